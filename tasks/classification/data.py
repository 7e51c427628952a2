"""Labelled texts for classification and regression, from the files people have.

Formats, recognised by suffix and content: JSON lines; CSV or TSV with a header; on request, lines of a label, a space
and the text. The columns are named by the caller, or recognised.
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
from tasks.read.text_file import TextFile, read_start, read_text

KINDS = ("single", "multi", "regression")
LAYOUTS = ("auto", "label-first")
AVERAGES = ("micro avg", "macro avg", "weighted avg")
"""Rows of averages in a report, which therefore cannot be names of labels."""

_SEPARATORS = "|;,"  # between the labels in a cell


class LabelledText(NamedTuple):
    """A text, or a pair of texts, with its label.

    Attributes:
        text: the first text.
        pair: the second one.
        label: a label, any number of labels in alphabetical order, or a number; None if unknown.
        line: where it starts in its file.
        given: both texts as they were given, if clean-ups changed them.
    """

    text: str
    pair: str | None
    label: str | tuple[str, ...] | float | None
    line: int
    given: tuple[str, str | None] | None = None

    @property
    def as_given(self) -> tuple[str, str | None]:
        """Both texts before clean-ups."""
        return self.given or (self.text, self.pair)

    def cleaned(self, cleanups: Sequence["Cleanup"]) -> "LabelledText":
        """The same with its texts cleaned."""
        text, pair = clean(self.text, cleanups), None if self.pair is None else clean(self.pair, cleanups)
        if (text, pair) == (self.text, self.pair):
            return self
        return self._replace(text=text, pair=pair, given=(self.text, self.pair))


@dataclass(frozen=True, kw_only=True)
class ReadTexts:
    """One file of texts.

    Attributes:
        path: the file, as given.
        sha256: of the file.
        items: in file order.
        columns: the names of the columns read as ``text``, ``pair`` and ``label``.
        separator: between several labels of a cell; None if no cell has several.
    """

    path: str
    sha256: str
    items: list[LabelledText]
    columns: dict[str, str]
    separator: str | None


# -- clean-ups --------------------------------------------------------------------------------------------------------


class Cleanup(NamedTuple):
    """A pattern to replace in texts, and its replacement (a template of :mod:`re`)."""

    pattern: re.Pattern[str]
    replacement: str


def parse_cleanups(texts: Sequence[str]) -> list[Cleanup]:
    """Parses clean-ups from the command line, such as ``https?://\\S+ -> URL``.

    The first `` -> `` separates pattern and replacement; ``#\\w+ ->`` removes.

    Raises:
        InputError: there is no arrow, or one side cannot be used.
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
        raise InputError(f"--clean {text!r}: {source!r} is not a regular expression ({error}).") from None
    try:
        pattern.sub(replacement, "")  # parses the template even without a match
    except (re.error, IndexError) as error:
        raise InputError(f"--clean {text!r}: {replacement!r} is not a replacement ({error}).") from None
    return Cleanup(pattern, replacement)


def clean(text: str, cleanups: Iterable[Cleanup]) -> str:
    """Applies clean-ups in order."""
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
            if any cell of the label column has one, else by ``;``, else by ``,``; an empty cell has no labels.
        text_column, pair_column, label_column: names of columns or fields, upper or lower case; those that are None are
            recognised. A second text is looked for only if neither of the first two is given.
        layout: one of :data:`LAYOUTS`; ``label-first`` reads files that are neither JSON lines nor ``.csv`` or ``.tsv``
            as lines of a label, one or more spaces or tabs, and the text.
        cleanups: applied to the texts.
        separator: of names in a cell, instead of the one that the file's own cells suggest.

    Raises:
        InputError: something cannot be used; names file and line.
    """
    if kind not in KINDS or layout not in LAYOUTS:
        raise ValueError(f"kind {kind!r} or layout {layout!r} is not known.")
    file = read_text(path)
    known, records = _records(file, layout)
    columns = known.roles(text_column, pair_column, label_column)
    rows = list(records)
    if not rows:
        raise InputError(f"{path}: has no texts.")
    separator = separator or _separator(record.get(columns["label"]) for _, record in rows)
    label_of = _label_reader(kind, separator)
    items = []
    for line, record in rows:
        texts = [_raw_text(file, line, record, columns[role]) for role in ("text", "pair") if role in columns]
        item = LabelledText(texts[0], texts[1] if len(texts) > 1 else None, None, line).cleaned(cleanups)
        if not all(text.strip() for text in (item.text, item.pair) if text is not None):
            raise file.error(line, "--clean leaves nothing of the text; change it, or the row.")
        try:
            label = label_of(_field(file, line, record, columns["label"]))
        except _LabelError as error:
            raise file.error(line, f"{columns['label']} is {error}") from None
        items.append(item._replace(label=label))
    return ReadTexts(
        path=path,
        sha256=file.sha256,
        items=items,
        columns=columns,
        separator=separator,
    )


def check_columns(
    path: str, *, text_column: str | None, pair_column: str | None, label_column: str | None, layout: str
) -> None:
    """Raises the error of :func:`read_texts` for columns that a file does not have; reads no more than its start."""
    if (start := read_start(path)) is not None:
        _records(start, layout)[0].roles(text_column, pair_column, label_column)


def count_oddities(items: Iterable[LabelledText]) -> dict[str, int]:
    """The number of ``texts_with_several_labels`` (different ones in different rows) and of ``cleaned_texts`` (changed
    by clean-ups)."""
    labels: dict[tuple[str, str | None], set[Any]] = {}
    num_cleaned = 0
    for item in items:
        labels.setdefault((item.text, item.pair), set()).add(item.label)
        num_cleaned += item.given is not None
    num_contradicted = sum(len(different) > 1 for different in labels.values())
    return {"texts_with_several_labels": num_contradicted, "cleaned_texts": num_cleaned}


def _records(file: TextFile, layout: str) -> tuple[Columns, Iterator[tuple[int, Mapping[str, Any]]]]:
    """The column names of a file, and its rows, each with its line."""
    rows: Iterator[tuple[int, Mapping[str, Any]]]
    if not any(line.strip() for line in file.lines):
        raise InputError(f"{file.path}: has no texts.")
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
        # Only space and tab separate: str.split would also split at a no-break space inside a label.
        parts = re.split("[ \t]+", line, maxsplit=1)
        if len(parts) < 2:
            raise file.error(number, f"only one word ({line[:40]!r}); expected a label, a space and the text.")
        yield number, {"label": parts[0], "text": parts[1]}


def _raw_text(file: TextFile, line: int, record: Mapping[str, Any], name: str) -> str:
    text = _field(file, line, record, name)
    if not isinstance(text, str):
        raise file.error(line, f"{name} is {_shown(text)}, not text.")
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
    """The text of an input for prediction, and the second one of a pair.

    The fields are those named in training, if the record has them, else recognised ones.

    Raises:
        InputError: a field is missing or is not text; the message begins with ``place``.
    """
    known = {name.lower() for name in record}
    columns = Columns(names=list(record), place=place, advice="call it {role}").texts(
        *(column if column and column.lower() in known else None for column in (text_column, pair_column))
    )
    if pair_column and "pair" not in columns:
        raise InputError(f"{place}: has no {pair_column}, but the model needs a pair of texts; add it.")
    for name in columns.values():
        if not isinstance(record[name], str):
            raise InputError(f"{place}: {name} is {_shown(record[name])}, not text.")
    pair = columns.get("pair")
    # If training named the text and no second one, it was on single texts.
    return record[columns["text"]], None if pair is None or (text_column and not pair_column) else record[pair]


# -- labels -----------------------------------------------------------------------------------------------------------


class _LabelError(ValueError):
    """The problem with a label: what it is, and what it should be."""


def _separator(values: Iterable[Any]) -> str | None:
    cells = [value for value in values if isinstance(value, str)]
    return next((mark for mark in _SEPARATORS if any(mark in cell for cell in cells)), None)


def _label_reader(kind: str, separator: str | None) -> Callable[[Any], str | tuple[str, ...] | float]:
    """The function that parses one label."""
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
    """A label's name: stripped text; JSON's whole numbers, true and false become text."""
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
    """A value for a message, in JSON's notation."""
    if value is None:
        return "null"
    if isinstance(value, str) and not value.strip():
        return "empty"
    return repr(value)[:60]
