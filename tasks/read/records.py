"""The records of a file, whatever container they come in: one reader for all tasks and for prediction."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from minibert.errors import InputError
from tasks.read import arrow, choices, folders, json_values, tables
from tasks.read.notes import Notes
from tasks.read.text_file import TextFile, decode, file_sha256, read_raw
from tasks.settings import RecordSettings, RunSettings, column_names

Settings = TypeVar("Settings", bound=RunSettings)

FASTTEXT = "__label__"
"""With which fastText marks the labels at the start of a line."""
_FASTTEXT_LABEL = re.compile(rf"{FASTTEXT}([^ \t]*)[ \t]*").match


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How files are read, as far as they do not say so themselves.

    Attributes:
        encoding: None for UTF-8.
        columns: the names of the columns of a table without a header.
        skip_invalid: leave out rows that cannot be used, instead of refusing the file.
        label_names: of labels or tags that are whole numbers, from 0.
    """

    encoding: str | None = None
    columns: Sequence[str] = ()
    skip_invalid: bool = False
    label_names: Sequence[str] = ()


DEFAULT = ReadOptions()


def read_options(settings: RunSettings, label_names: Sequence[str] = ()) -> ReadOptions:
    """The options in the settings of a run.

    Args:
        settings: of a task.
        label_names: as given: names, or one file with a name a line.

    Raises:
        InputError: the file of the names cannot be read, or a name is blank or there twice.
    """
    names = list(_names(label_names, settings.encoding))
    for name, count in Counter(names).most_common(1):
        if count > 1:
            raise InputError(f"--label-names: {shown(name)} is there twice; give each number a name of its own.")
    if not isinstance(settings, RecordSettings):
        return ReadOptions(encoding=settings.encoding)
    return ReadOptions(
        encoding=settings.encoding,
        columns=column_names(settings.columns),
        skip_invalid=settings.skip_invalid,
        label_names=names,
    )


def with_label_names(settings: Settings) -> Settings:
    """The settings with the names themselves where ``label_names`` is a file of two or more, which nobody need keep
    then; as they are without one.

    Raises:
        InputError: the file cannot be read.
    """
    given: Sequence[str] = getattr(settings, "label_names", ())
    changed: dict[str, Any] = {"label_names": tuple(_names(given, settings.encoding))}
    return dataclasses.replace(settings, **changed) if len(changed["label_names"]) > 1 else settings  # one is a file


def _names(given: Sequence[str], encoding: str | None) -> Sequence[str]:
    return _names_in_file(given[0], encoding) if len(given) == 1 else given


def _names_in_file(path: str, encoding: str | None) -> list[str]:
    """A name a line. The file may have the encoding of the data, or UTF-8."""
    raw = read_raw(path)
    try:
        file = decode(raw, None)
    except InputError:
        if encoding is None:
            raise
        file = decode(raw, encoding)
    names = [line.strip() for line in file.lines]
    while names and not names[-1]:
        names.pop()
    if "" in names:
        raise file.error(names.index("") + 1, "is blank, but each line names a number; remove it, or fill it in.")
    return names


class Record(NamedTuple):
    """A record: its fields, and where it stands.

    Attributes:
        fields: the columns of a table, or the fields of an object.
        place: file and line, with which messages begin.
        line: where it starts; in a folder or a binary table, the number of the file or row.
        path: in a JSON document, such as ``data[3].paragraphs[0].qas[2]``.
        refused: why it cannot be read, for a reader that goes on behind it; it has no fields then.
    """

    fields: Mapping[str, Any]
    place: str
    line: int = 0
    path: str = ""
    refused: InputError | None = None

    @property
    def where(self) -> str:
        """The place, and the path if there is one."""
        return f"{self.place}, {self.path}" if self.path else self.place

    def error(self, problem: str) -> InputError:
        """The error for a problem in this record."""
        return InputError(f"{self.where}: {problem}")


class Source(NamedTuple):
    """A file that is open for reading.

    Attributes:
        path: as given.
        sha256: of the file; for a folder, of the names and contents of its files.
        notes: on how it was understood; they grow while records are read.
        records: what it contains; None if it is text in another layout, which ``text`` has.
        text: its lines; None for folders and binary tables.
        table: how a table is written.
    """

    path: str
    sha256: str
    notes: Notes
    records: Iterator[Record] | None
    text: TextFile | None = None
    table: tables.Layout | None = None


def open_source(path: str, options: ReadOptions, *, is_header: Callable[[Sequence[str]], bool]) -> Source:
    """Opens a file or a folder.

    Args:
        path: a text file in any layout, perhaps in ``.gz`` or ``.zip``; parquet or Arrow; a folder.
        options: how to read it.
        is_header: whether the cells of a first line are the names of columns that the task knows.

    Raises:
        InputError: it cannot be read; names file and line.
    """
    notes = Notes(skip_invalid=options.skip_invalid)
    if Path(path).is_dir():
        format, sha256, documents = folders.read(path, options.encoding)
        notes.facts["format"] = format
        found = (Record(fields, place, number) for number, (fields, place) in enumerate(documents, 1))
        return Source(path, sha256, notes, _counted(found, notes))
    raw = read_raw(path)
    if arrow.is_table(raw):
        notes.facts["format"] = arrow.format_of(raw)
        rows, names = arrow.rows(raw)
        notes.facts |= {"label names": ", ".join(names)} if names else {}
        found = (Record(fields, f"{path}, row {number}", number) for number, fields in enumerate(rows, 1))
        return Source(path, raw.sha256, notes, _counted(found, notes))
    return text_source(decode(raw, options.encoding), options, notes, is_header=is_header)


def source_sha256(path: str, encoding: str | None) -> str:
    """The ``sha256`` of the :class:`Source` that :func:`open_source` makes of a file or folder.

    Raises:
        InputError: it cannot be read.
    """
    return folders.read(path, encoding)[1] if Path(path).is_dir() else file_sha256(path)


def text_source(
    file: TextFile, options: ReadOptions, notes: Notes, *, is_header: Callable[[Sequence[str]], bool]
) -> Source:
    """The same for a text file that is read, or its start."""
    notes.facts |= {"format": "text", "encoding": options.encoding or "utf-8"}
    records: Iterator[Record] | None = None
    table = None
    if not options.columns and json_values.is_json(file):
        notes.facts["format"], values = json_values.values(file, notes)
        records = _counted(_objects(file, values, notes), notes)
    elif not options.columns and fasttext_start(file.lines):
        notes.facts["format"] = "fastText"
        records = _counted(fasttext(enumerate(file.lines, 1), file.path), notes)
    else:
        layout = tables.layout_of(file.lines[:2], file.suffix, options.columns)
        if not options.columns and not is_header(layout.names):
            layout = tables.without_header(file.lines, layout) or layout
        if options.columns or layout.first != 2 or is_header(layout.names):
            table = layout
            notes.facts["format"] = layout.in_words() + ("" if layout.first > 1 else ", without a header")
            records = table_records(enumerate_cells(file, layout), file, layout, notes)
    return Source(file.path, file.sha256, notes, records, file, table)


def enumerate_cells(file: TextFile, layout: tables.Layout) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table as cells, with their lines."""
    return tables.cells(file.raw, layout, file.error)


def table_records(
    numbered: Iterable[tuple[int, list[str]]], file: TextFile, layout: tables.Layout, notes: Notes
) -> Iterator[Record]:
    """The rows of a table; a blank line is a record without fields."""
    for line, fields in tables.rows(numbered, layout, file.error, notes):
        yield Record(fields, f"{file.path}, line {line}", line)


def fasttext_start(lines: Sequence[str]) -> bool:
    """Whether a file is in fastText's layout."""
    return next((line.startswith(FASTTEXT) for line in lines if line.strip()), False)


def fasttext(numbered: Iterable[tuple[int, str]], path: str) -> Iterator[Record]:
    """The lines of a file in fastText's layout: labels with a prefix, then the text."""
    for number, line in numbered:
        if not line.strip():
            continue
        labels: list[str] = []
        rest = line.strip(" \t")
        end = 0
        while label := _FASTTEXT_LABEL(rest, end):
            labels.append(label[1])
            end = label.end()
        yield Record({"text": rest[end:], "label": labels}, f"{path}, line {number}", number)


def _counted(records: Iterable[Record], notes: Notes) -> Iterator[Record]:
    for record in records:
        notes.rows += 1
        yield record


_LEVELS = ("paragraphs", "qas")
_FORMS = frozenset(("data", "questions", "options", *_LEVELS))
"""The fields of objects that are not one record as they stand."""

# -- JSON -------------------------------------------------------------------------------------------------------------


def _objects(file: TextFile, values: Iterable[json_values.Value], notes: Notes) -> Iterator[Record]:
    for value in values:
        place = f"{file.path}, line {value.line}"
        fields = value.value
        if (
            isinstance(fields, dict)
            and fields.keys().isdisjoint(_FORMS)
            and not isinstance(fields.get("question"), dict)
        ):  # most are: for speed
            yield Record(fields, place, value.line, value.path)
            continue
        try:
            found = list(objects(value, place, file.path))
        except InputError as error:
            notes.rows += 1
            notes.refuse(error, value.line)
            continue
        yield from found


def objects(value: json_values.Value, place: str, path: str) -> Iterator[Record]:
    """The records in one value of a JSON file: itself, or the questions in its paragraphs.

    Args:
        value: from :mod:`tasks.read.json_values`.
        place: file and line.
        path: of the file.

    Raises:
        InputError: it is no record.
    """
    content = value.value
    if json_values.is_pair(content):
        content = {"text": content[0], **content[1]}  # spaCy's (text, annotations)
    if (several := choices.questions(content)) is not None:
        yield from (Record(fields, place, value.line, value.path) for fields in several)
        return
    if not isinstance(content, dict):
        at = f", {value.path}" if value.path else ""
        raise InputError(f"{place}{at}: not a JSON object; each record must be one.")
    if isinstance(content.get("data"), dict):  # label-studio's tasks
        content = {**content["data"], **{name: inner for name, inner in content.items() if name != "data"}}
    yield from _nested(Record(content, place, value.line, value.path), path)


def _nested(record: Record, file: str) -> Iterator[Record]:
    """The questions in a record, as SQuAD nests them: each with the fields of the paragraph around it."""
    level = next((name for name in _LEVELS if name in record.fields), None)
    if level is None:
        yield record
        return
    parts = record.fields[level]
    path = f"{record.path}.{level}" if record.path else level
    if not isinstance(parts, list):
        raise InputError(f"{record.place}: {path} is {shown(parts)}, not a list.")
    # The start of a paragraph in its document is not that of an answer.
    outer = {name: value for name, value in record.fields.items() if name not in (level, "id", "title", "start")}
    for number, part in enumerate(parts):
        at = f"{path}[{number}]"
        if not isinstance(part, dict):
            raise InputError(f"{record.place}: {at} is {shown(part)}, not an object.")
        line = part.line if isinstance(part, json_values.Object) else record.line
        context: dict[str, Any] = {name: outer[name] for name in ("context", "context_text") if name in outer}
        yield from _nested(Record({**outer, **part, **context}, f"{file}, line {line}", line, at), file)


def shown(value: Any) -> str:
    """A value of the wrong type, for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, str) and not value.strip():
        return "empty"
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + " ..."
