"""Labelled texts for classification and regression, from the files people have.

:mod:`tasks.read` reads the file, whatever its container and the tool that exported it. Here the columns are found, by
name or because the caller names them, and records become texts with labels.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple

from minibert.errors import InputError
from tasks.classification.cleanups import Cleanup, clean
from tasks.classification.labels import (
    KINDS,
    LabelError,
    LabelReader,
    OddLabels,
    from_columns,
    label_reader,
)
from tasks.classification.rows import LabelledRows
from tasks.read import tables
from tasks.read.columns import LABEL_NAMES, Columns, is_header
from tasks.read.json_values import is_json
from tasks.read.label_first import label_first
from tasks.read.notes import Notes
from tasks.read.records import ReadOptions, Record, Source, open_source, shown, text_source
from tasks.read.text_file import read_start
from tasks.read.texts import refuse_brat, with_label

_FIRST = 1000  # rows that show which columns have flags
_HINT = "; to a file without a header, add one such as label,text, or name its columns: --columns label,text"
LAYOUTS = ("auto", "label-first")


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

    def cleaned(self, cleanups: Sequence[Cleanup]) -> "LabelledText":
        """The same with its texts cleaned."""
        text, pair = clean(self.text, cleanups), None if self.pair is None else clean(self.pair, cleanups)
        if (text, pair) == (self.text, self.pair):
            return self
        return self._replace(text=text, pair=pair, given=(self.text, self.pair))


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How texts are found in a file.

    Attributes:
        kind: one of :data:`KINDS`: the label is a name, names, or a number.
        text_column, pair_column: names of columns or fields, upper or lower case; those that are None are recognised. A
            second text is looked for only if neither is given.
        label_columns: of the label; several, with 0 and 1, are the labels of ``kind`` multi; none for a recognised one.
        layout: one of :data:`LAYOUTS`; ``label-first`` reads files that are neither JSON nor ``.csv`` or ``.tsv`` nor
            have a header by :func:`~tasks.read.label_first.label_first`.
        read: how files are read.
    """

    kind: str = "single"
    text_column: str | None = None
    pair_column: str | None = None
    label_columns: Sequence[str] = ()
    layout: str = "auto"
    read: ReadOptions = field(default_factory=ReadOptions)


@dataclass(frozen=True, kw_only=True)
class ReadTexts:
    """One file of texts.

    Attributes:
        path: the file, as given.
        sha256: of the file.
        items: in file order, as ``collect`` returned them.
        columns: the names of the columns read as ``text``, ``pair`` and ``label``.
        separator: between several labels of a cell; None if no cell has several.
        notes: on how the file was understood.
    """

    path: str
    sha256: str
    items: Sequence[Any]
    columns: dict[str, str]
    separator: str | None
    notes: Notes


def read_texts(
    path: str,
    options: TextOptions,
    *,
    cleanups: Sequence[Cleanup] = (),
    separator: str | None = None,
    collect: Callable[[Iterator[LabelledText]], Sequence[Any]] = list,
) -> ReadTexts:
    """Reads a file of texts.

    Args:
        path: in any layout that :mod:`tasks.read` knows.
        options: how the texts are found in it.
        cleanups: applied to the texts.
        separator: of names in a cell, instead of the one that the file's own cells suggest: a line break if any cell of
            the label column has one, else ``|``, ``;``, ``,``, also in full width, or ``、``; an empty cell has none.
        collect: keeps the texts.

    Raises:
        InputError: something cannot be used; names file and line.
    """
    if options.kind not in KINDS or options.layout not in LAYOUTS:
        raise ValueError(f"kind {options.kind!r} or layout {options.layout!r} is not known.")
    source = open_source(path, options.read, is_header=_header_test(options))
    notes = source.notes
    columns, rows = _rows(source, options)
    named = rows.others or options.read.label_names
    if options.kind == "multi" and not named and {*map(str, rows.distinct)} <= {"0", "1"}:
        raise InputError(
            f"{path}: {columns['label']} has only 0 and 1, which say nothing of several labels; give --label-column a "
            "column for each label, or leave out --kind multi."
        )
    reader = label_reader(options.kind, [*rows.distinct, *rows.others], separator, options.read.label_names)
    odd = OddLabels()
    items = collect(_items(rows, columns, reader, cleanups, notes, odd))
    if notes.skip_invalid:
        for line in odd.missing:
            notes.leave_out("rows whose label looks like a missing value", line)
    notes.warnings += odd.warnings(left_out=bool(notes.skip_invalid))
    if reader.one_each(rows.distinct):
        said = "no cell has several labels; if one should, write |, ;, a comma or a line break between them."
        notes.warnings.append(f"{columns['label']}: {said}")
    if options.read.columns:
        notes.warnings += rows.first_label_warnings()
    if not items:
        raise InputError(f"{path}: has no texts that can be used.")
    if reader.separator is not None:
        notes.facts["labels separated by"] = repr(reader.separator)
    notes.facts |= {f"{role}_column": name for role, name in columns.items()}
    return ReadTexts(
        path=path, sha256=source.sha256, items=items, columns=columns, separator=reader.separator, notes=notes
    )


def check_columns(path: str, options: TextOptions) -> None:
    """Raises the error of :func:`read_texts` for columns that a file does not have; reads no more than its start."""
    start = read_start(path, options.read.encoding)
    if start is None or not any(line.strip() for line in start.lines):
        return
    if is_json(start) and not (start.lines[-1].startswith("{") and start.lines[-1].endswith("}")):
        return  # what its records are shows only in the whole file
    source = text_source(start, options.read, Notes(), is_header=_header_test(options))
    records = _filled(source, _records(source, options))
    try:
        first = list(islice(records, 1))
    except InputError:
        return  # it may go on in the next line, or be one that --skip-invalid leaves out
    _roles(source, options, first)


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


def _header_test(options: TextOptions) -> Callable[[Sequence[str]], bool]:
    given = [name for name in (options.text_column, options.pair_column, *options.label_columns) if name]

    def test(names: Sequence[str]) -> bool:
        if options.layout == "label-first" and not tables.find(names, LABEL_NAMES):
            return False
        return is_header(names) or bool(tables.find(names, [name.lower() for name in given])) or _has_roles(names)

    return test


def _has_roles(names: Sequence[str]) -> bool:
    try:
        return bool(Columns(names=names, place="").roles(None, None, None))
    except InputError:
        return False


def _records(source: Source, options: TextOptions) -> Iterator[Record]:
    """The records of a file, with those of label-first lines."""
    file = source.text
    if source.records is not None:
        return source.records
    assert file is not None
    if not any(line.strip() for line in file.lines):
        return iter(())
    if options.layout == "label-first" and file.suffix not in (".csv", ".tsv"):
        return label_first(file, source.notes)
    names = tables.layout_of(file.lines[:2], file.suffix).names
    Columns(names=names, place=f"{file.path}, line 1", hint=_HINT).roles(
        options.text_column, options.pair_column, next(iter(options.label_columns), None)
    )
    raise file.error(1, f"is no header ({', '.join(names)[:80]}){_HINT}.")


def _filled(source: Source, records: Iterable[Record]) -> Iterator[Record]:
    """The records, without the blank ones of a table and those that their tools leave out."""
    notes = source.notes
    for record in records:
        if source.table and not any(record.fields.values()):
            if record.fields:  # a blank line has none
                notes.leave_out("blank rows", record.line)
            continue
        try:
            found = with_label(record, notes)
        except InputError as error:
            notes.refuse(error, record.line)
            continue
        if found is not None:
            yield found


def _rows(source: Source, options: TextOptions) -> tuple[dict[str, str], LabelledRows]:
    """The columns of a file by role, and its rows."""
    records = _filled(source, _records(source, options))
    first = list(islice(records, _FIRST))
    if not first:
        raise InputError(f"{source.path}: has no texts{' that can be used' if source.notes.left_out else ''}.")
    refuse_brat(first[0], source.path)
    try:
        columns, flags = _roles(source, options, first)
    except InputError:
        deque(records, maxlen=0)  # what cannot be read is the more urgent problem
        raise
    texts = [columns[role] for role in ("text", "pair") if role in columns]
    rows = LabelledRows(source.path, texts, columns["label"])
    for record in chain(first, records):
        rows.append(record, _label(record, columns, flags))
    return columns, rows


def _items(
    rows: LabelledRows,
    columns: Mapping[str, str],
    reader: LabelReader,
    cleanups: Sequence[Cleanup],
    notes: Notes,
    odd: OddLabels,
) -> Iterator[LabelledText]:
    """The rows that can be used, without those whose label is missing if ``--skip-invalid`` leaves them out."""
    known: dict[Any, str | tuple[str, ...] | float] = {}  # labels that say the same in every row
    for row in rows:
        texts, label, line, record = row
        if (
            record is None
            and type(label) in (str, int)
            and label in known
            and not cleanups
            and all(map(str.strip, texts))
        ):
            item = LabelledText(texts[0], texts[1] if len(texts) > 1 else None, known[label], line)
        else:
            try:
                item = _item(rows.record_of(row), label, columns, reader, cleanups, notes)
            except InputError as error:
                notes.refuse(error, line)
                continue
            if (type(label) is int or (isinstance(label, str) and reader.is_plain(label))) and item.label is not None:
                known[label] = item.label
        if not (odd.is_missing(item.label, line) and notes.skip_invalid):
            yield item


def _roles(source: Source, options: TextOptions, rows: Sequence[Record]) -> tuple[dict[str, str], list[str]]:
    """The columns of a file by role; and those of 0 and 1, where each label has one."""
    table, given = source.table, options.label_columns
    if table is not None:
        place = f"{source.path}, line {max(1, table.first - 1)}"
        columns = Columns(names=table.names, place=place, hint="" if options.read.columns else _HINT)
    else:
        columns = Columns(names=list(rows[0].fields) if rows else [], place=rows[0].where if rows else source.path)
    for name in given[1:]:
        columns.given("label", name)
    if len(given) > 1 and options.kind != "multi":
        raise InputError(f"--label-column {' '.join(given)}: several need --kind multi.")
    try:
        found = columns.roles(options.text_column, options.pair_column, given[0] if given else None)
    except InputError as error:
        flags = _flag_columns(rows) if not given else []
        if len(flags) < 2:
            raise
        raise InputError(
            f"{error} These have only 0 and 1: --kind multi --label-column {' '.join(flags)[:300]}"
        ) from None
    if len(given) < 2:
        return found, []
    chosen = [columns.given("label", name) for name in given]
    return {**found, "label": ", ".join(chosen)}, chosen


def _flag_columns(rows: Sequence[Record]) -> list[str]:
    """The columns that have 0 or 1 in each of the first rows, and not the same in all of them."""
    names = rows[0].fields if rows else ()
    cells = {name: {str(record.fields.get(name)) for record in rows} for name in names}
    return [name for name, values in cells.items() if values <= {"0", "1"} and name.lower() != "id"]


def _label(record: Record, columns: Mapping[str, str], flags: Sequence[str]) -> Any:
    """The label of a record as the file has it; what is odd about several columns shows in :func:`_item`."""
    if flags:
        try:
            return from_columns(record.fields, flags)
        except LabelError as error:
            return error
    return record.fields.get(columns["label"], _ABSENT)


_ABSENT = LabelError("absent")


def _item(
    record: Record,
    label: Any,
    columns: Mapping[str, str],
    reader: LabelReader,
    cleanups: Sequence[Cleanup],
    notes: Notes,
) -> LabelledText:
    texts = [_raw_text(record, columns[role], notes) for role in ("text", "pair") if role in columns]
    item = LabelledText(texts[0], texts[1] if len(texts) > 1 else None, None, record.line).cleaned(cleanups)
    if not all(text.strip() for text in (item.text, item.pair) if text is not None):
        raise record.error("--clean leaves nothing of the text; change it, or the row.")
    if label is _ABSENT:
        raise record.error(f"has no field {columns['label']}, which the first row has.")
    try:
        if isinstance(label, LabelError):
            raise label
        return item._replace(label=reader.read(label, record.line, notes))
    except LabelError as error:
        raise record.error(f"{columns['label']} is {error}") from None


def _raw_text(record: Record, name: str, notes: Notes) -> str:
    if name not in record.fields:
        raise record.error(f"has no field {name}, which the first row has.")
    text = record.fields[name]
    if isinstance(text, list) and len(text) == 1:
        notes.repair("lists of one text read as that text", record.line)
        text = text[0]
    if not isinstance(text, str):
        raise record.error(f"{name} is {shown(text)}, not text.")
    if not text.strip():
        raise record.error(f"{name} is empty; fill it in or remove the row.")
    return text


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
            raise InputError(f"{place}: {name} is {shown(record[name])}, not text.")
    pair = columns.get("pair")
    # If training named the text and no second one, it was on single texts.
    return record[columns["text"]], None if pair is None or (text_column and not pair_column) else record[pair]
