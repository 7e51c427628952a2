"""Labelled texts for classification and regression, from the files people have.

Formats, told apart by ending and content: JSON lines; CSV or TSV with a header; where it is asked for, lines of a
label, a blank and the text. The columns are named by the caller, or recognised.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from minibert.errors import InputError
from tasks.read import tables
from tasks.read.columns import Columns
from tasks.read.text_file import TextFile, read_text

KINDS = ("single", "multi", "regression")
LAYOUTS = ("auto", "label-first")
AVERAGES = ("micro avg", "macro avg", "weighted avg")
"""The rows that reports have beside those of the classes, and so no names for a class."""

_SEPARATORS = "|;,"  # between the labels in a cell


class LabelledText(NamedTuple):
    """A text, or a pair of texts, and what is to be learnt of it.

    Attributes:
        text: the first text.
        pair: the second one.
        label: a label, any number of labels in alphabetical order, or a number; None where it is not known.
        line: where it starts in its file.
    """

    text: str
    pair: str | None
    label: str | tuple[str, ...] | float | None
    line: int


@dataclass(frozen=True, kw_only=True)
class ReadTexts:
    """One file of texts.

    Attributes:
        path: the file, as it was given.
        sha256: of the file.
        items: in file order.
        columns: which of the file's columns was read as ``text``, ``pair`` and ``label``.
        separator: what stands between several labels of a cell; None where no cell has several.
        notes: ``texts_with_several_labels`` (different ones in different rows) and ``cleaned_texts`` (those that the
            clean-ups changed), where there are any.
    """

    path: str
    sha256: str
    items: list[LabelledText]
    columns: dict[str, str]
    separator: str | None
    notes: dict[str, int]


# -- clean-ups --------------------------------------------------------------------------------------------------------


class Cleanup(NamedTuple):
    """What to replace in a text, and by what (a template of :mod:`re`)."""

    pattern: re.Pattern[str]
    replacement: str


def parse_cleanups(texts: Sequence[str]) -> list[Cleanup]:
    """Reads clean-ups off a command line, as in ``https?://\\S+ -> URL``.

    The first `` -> `` separates pattern and replacement; ``#\\w+ ->`` removes.

    Raises:
        InputError: there is no arrow, or one side of it cannot be used.
    """
    return [_parse_cleanup(text) for text in texts]


def _parse_cleanup(text: str) -> Cleanup:
    source, arrow, replacement = text.partition(" -> ")
    if not arrow:
        source, arrow, _ = text.rpartition(" ->")
    if not source:
        raise InputError(f"--clean {text!r}: write it as 'PATTERN -> REPLACEMENT', such as '#\\w+ -> TAG'.")
    try:
        pattern = re.compile(source)
    except (re.error, OverflowError) as error:
        raise InputError(f"--clean {text!r}: {source!r} is no regular expression ({error}).") from None
    try:
        pattern.sub(replacement, "")  # reads the template, matches or not
    except (re.error, IndexError) as error:
        raise InputError(f"--clean {text!r}: {replacement!r} is no replacement ({error}).") from None
    return Cleanup(pattern, replacement)


def clean(text: str, cleanups: Iterable[Cleanup]) -> str:
    """Applies clean-ups in order, each to what the one before left."""
    for pattern, replacement in cleanups:
        text = pattern.sub(replacement, text)
    return text


# -- reading ----------------------------------------------------------------------------------------------------------


def read_texts(
    path: str,
    *,
    kind: str,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    layout: str = "auto",
    cleanups: Sequence[Cleanup] = (),
    separator: str | None = None,
) -> ReadTexts:
    """Reads a file of texts.

    Args:
        path: ``.gz`` or plain.
        kind: one of :data:`KINDS`: the label is a name, names, or a number. In a table, names are separated by ``|``
            where any cell of the label column holds one, else by ``;``, else by ``,``; an empty cell is no label.
        text_column, pair_column, label_column: names of columns or fields, in any case; those that are None are
            recognised. A second text is looked for only where neither of the first two is given.
        layout: one of :data:`LAYOUTS`; ``label-first`` reads files that are neither JSON lines nor ``.csv`` or ``.tsv``
            as lines of a label, one or more spaces or tabs, and the text.
        cleanups: applied to the texts.
        separator: of names in a cell, in place of what the file's own cells suggest.

    Raises:
        InputError: with file and line, where something in it cannot be used.
    """
    if kind not in KINDS or layout not in LAYOUTS:
        raise ValueError(f"kind {kind!r} or layout {layout!r} is not known.")
    file = read_text(path)
    known, records = _records(file, layout)
    columns = known.roles(text_column, pair_column, label_column)
    rows = list(records)
    if not rows:
        raise InputError(f"{path}: holds no text.")
    separator = separator or _separator(record.get(columns["label"]) for _, record in rows)
    label_of = _label_reader(kind, separator)
    items = []
    num_cleaned = 0
    for line, record in rows:
        raw = [_raw_text(file, line, record, columns[role]) for role in ("text", "pair") if role in columns]
        texts = [clean(text, cleanups) for text in raw]
        num_cleaned += texts != raw
        if not all(text.strip() for text in texts):
            raise file.error(line, "the clean-ups (--clean) leave nothing of the text; change them or the row.")
        try:
            label = label_of(_field(file, line, record, columns["label"]))
        except _LabelError as error:
            raise file.error(line, f"{columns['label']} is {error}") from None
        items.append(LabelledText(texts[0], texts[1] if len(texts) > 1 else None, label, line))
    notes = {"texts_with_several_labels": _num_contradicted(items), "cleaned_texts": num_cleaned}
    return ReadTexts(
        path=path,
        sha256=file.sha256,
        items=items,
        columns=columns,
        separator=separator,
        notes={name: count for name, count in notes.items() if count},
    )


def _num_contradicted(items: Iterable[LabelledText]) -> int:
    labels: dict[tuple[str, str | None], set[Any]] = {}
    for item in items:
        labels.setdefault((item.text, item.pair), set()).add(item.label)
    return sum(len(different) > 1 for different in labels.values())


def _records(file: TextFile, layout: str) -> tuple[Columns, Iterator[tuple[int, Mapping[str, Any]]]]:
    """The names in a file, and its rows, each with its line."""
    rows: Iterator[tuple[int, Mapping[str, Any]]]
    if not any(line.strip() for line in file.lines):
        raise InputError(f"{file.path}: holds no text.")
    if tables.is_json_lines(file):
        rows = tables.json_rows(file)
    elif layout == "label-first" and file.suffix not in (".csv", ".tsv"):
        rows = _label_first(file)
    else:
        delimiter = tables.delimiter_of(file.lines[0], file.suffix)
        names = tables.header(file.lines[0], delimiter)
        hint = ", or begin the file with a header such as label,text"
        numbered = tables.cells(file.lines, delimiter, file.error)
        filled = (row for row in tables.rows(numbered, names, file.error) if any(row[1].values()))
        return Columns(names=names, place=f"{file.path}, line 1", hint=hint), filled
    line, first = next(rows)
    return Columns(names=list(first), place=f"{file.path}, line {line}"), chain([(line, first)], rows)


def _label_first(file: TextFile) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(file.lines, 1):
        line = line.strip(" \t")
        if not line:
            continue
        # Only space and tab separate: str.split would also cut at a no-break space inside a label.
        parts = re.split("[ \t]+", line, maxsplit=1)
        if len(parts) < 2:
            raise file.error(number, f"only one word ({line[:40]!r}); expected a label, a blank and the text.")
        yield number, {"label": parts[0], "text": parts[1]}


def _raw_text(file: TextFile, line: int, record: Mapping[str, Any], name: str) -> str:
    text = _field(file, line, record, name)
    if not isinstance(text, str):
        raise file.error(line, f"{name} is {_shown(text)}, which is no text.")
    if not text.strip():
        raise file.error(line, f"{name} is empty; fill it in or remove the row.")
    return text


def _field(file: TextFile, line: int, record: Mapping[str, Any], name: str) -> Any:
    if name not in record:
        raise file.error(line, f"has no field {name}, which the first row has.")
    return record[name]


def text_fields(
    record: Mapping[str, Any], place: str, *, text_column: str | None, pair_column: str | None
) -> tuple[str, str | None]:
    """The text of a record for prediction, and the second one of a pair.

    The names are those given in training, where the record has them; else those that are recognised.

    Raises:
        InputError: a text is missing, or it is no text; the message begins with ``place``.
    """
    known = {name.lower() for name in record}
    columns = Columns(names=list(record), place=place, advice="call it {role}").texts(
        *(column if column and column.lower() in known else None for column in (text_column, pair_column))
    )
    if pair_column and "pair" not in columns:
        raise InputError(f"{place}: has no {pair_column}, and the model wants a pair of texts; add it.")
    for name in columns.values():
        if not isinstance(record[name], str):
            raise InputError(f"{place}: {name} is {_shown(record[name])}, which is no text.")
    pair = columns.get("pair")
    # Who named the text in training and no second one has trained on single texts.
    return record[columns["text"]], None if pair is None or (text_column and not pair_column) else record[pair]


# -- labels -----------------------------------------------------------------------------------------------------------


class _LabelError(ValueError):
    """Says what a label is, and what it should be."""


def _separator(values: Iterable[Any]) -> str | None:
    cells = [value for value in values if isinstance(value, str)]
    return next((mark for mark in _SEPARATORS if any(mark in cell for cell in cells)), None)


def _label_reader(kind: str, separator: str | None) -> Callable[[Any], str | tuple[str, ...] | float]:
    """What reads one label."""
    if kind == "single":
        return _name
    if kind == "regression":
        return _number

    def names(value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            parts = value.split(separator) if separator else [value]
            value = [part for part in parts if part.strip()]
        if not isinstance(value, list):
            raise _LabelError(f"{_shown(value)}; expected a list of labels, or labels with | between them.")
        return tuple(sorted({_name(part) for part in value}))

    return names


def _name(value: Any) -> str:
    """A label's name: a text without the blanks around it; JSON's whole numbers, true and false become theirs."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise _LabelError(f"{_shown(value)}; expected one label, a text or a whole number.")
    if value.strip() in AVERAGES:
        raise _LabelError(f"{_shown(value)}, a name that reports have for an average; rename the label.")
    return value.strip()


def _number(value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _LabelError(f"{_shown(value)}; expected a finite number.")
    return number


def _shown(value: Any) -> str:
    """A value for a message, as JSON names it."""
    if value is None:
        return "null"
    if isinstance(value, str) and not value.strip():
        return "empty"
    return repr(value)[:60]
