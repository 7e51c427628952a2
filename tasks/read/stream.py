"""Inputs for prediction: the records of any file, streamed where it has one a line, from a file or standard input."""

import contextlib
import dataclasses
import gzip
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from minibert.errors import InputError
from tasks.read import json_values, tables
from tasks.read.columns import is_header, is_tag
from tasks.read.encodings import START, advice, codec_name, nul_problem, packed
from tasks.read.notes import Notes
from tasks.read.records import (
    DEFAULT,
    ReadOptions,
    Record,
    fasttext,
    fasttext_start,
    objects,
    open_source,
)
from tasks.read.text_file import TextFile, opened

logger = logging.getLogger(__name__)

FORMATS = ("auto", "text", "jsonl", "csv", "tsv")
_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv"}
# Files that are read as a whole: archives and binary tables, by their first bytes or their suffix.
_WHOLE = (b"PK\x03\x04", b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")
_WHOLE_SUFFIXES = (".zip", ".parquet", ".arrow", ".feather")


class Position:
    """How far a file has been read.

    Attributes:
        file: set while it is read as a stream.
    """

    file: IO[bytes] | None = None

    def share(self) -> float | None:
        """The share of its bytes, 0 to 1; None where they do not say how much is left: in a pipe, or once all are read,
        which is at the start for a file that is read as a whole."""
        file = self.file
        if file is None:
            return None
        try:
            raw = file.fileobj if isinstance(file, gzip.GzipFile) else file
            size, done = os.fstat(raw.fileno()).st_size, raw.tell()
        except (OSError, ValueError, AttributeError):  # a pipe; or the thread that reads has just closed it
            return None
        return done / size if size and done < size else None


def records(
    path: str,
    format: str = "auto",
    options: ReadOptions = DEFAULT,
    *,
    keep_refused: bool = False,
    position: Position | None = None,
) -> Iterator[Record]:
    """Yields the inputs of a file; in plain text every line is one, blank or not.

    Nothing waits for a second line where the first one says what the file is, so that a pipe can be answered line by
    line. (An object that could be a whole table, a cell or a JSON document over several lines, and UTF-16 do wait.)

    Args:
        path: ``-`` for standard input, which is then this reader's alone; a file in any layout of :mod:`tasks.read`, or
            a folder of texts.
        format: one of :data:`FORMATS`; ``auto`` goes by the suffix, then by the first line. Tables are split as in
            training, at commas, semicolons or tabs.
        options: how to read the file; its rows are never left out.
        keep_refused: a line, a row or an object that cannot be read is a record, too, which says why, as long as it is
            certain where the next one begins.
        position: is kept up to date.

    Raises:
        InputError: something cannot be read; names file and line.
    """
    for record in _records(path, format, options, position or Position()):
        if record.refused is not None and not keep_refused:
            raise record.refused
        yield record


def _records(path: str, format: str, options: ReadOptions, position: Position) -> Iterator[Record]:
    if path != "-" and (Path(path).is_dir() or _is_whole(path)):
        source = open_source(path, options, is_header=is_header)
        found = source.records
        if found is None and source.text is not None:
            found = _of_lines(iter(source.text.raw), path, Path(source.text.name).suffix.lower(), format, options)
        yield from (record for record in found or () if record.fields or not source.table)  # a blank line has none
        return
    name = "standard input" if path == "-" else path
    if format == "auto" and not options.columns and path != "-" and _is_text_and_number(path, options):
        options = dataclasses.replace(options, columns=tables.TEXT_AND_NUMBER)
    with _input(path, name) as file:
        lines = _decoded(file, name, options.encoding)
        ending = Path(path.removesuffix(".gz")).suffix.lower()
        position.file = file
        try:
            yield from _of_lines(lines, name, ending, format, options)
        finally:
            position.file = None


def _is_whole(path: str) -> bool:
    if path.lower().endswith(_WHOLE_SUFFIXES):
        return True
    try:
        if not Path(path).is_file():
            return False  # a pipe can be read only once; what is missing is said where it is read
        with open(path, "rb") as file:
            return file.read(8).startswith(_WHOLE)
    except (OSError, ValueError):
        return False


def _is_text_and_number(path: str, options: ReadOptions) -> bool:
    """Whether each line of a file is a text, a tab and a number, as in THUCNews; a pipe can be read only once."""
    if not Path(path).is_file() or Path(path.removesuffix(".gz")).suffix.lower() in _ENDINGS:
        return False
    layout = tables.Layout("\t", [], 2)
    with opened(path, path) as file:
        try:
            filled = (line for line in _bare(_decoded(file, path, options.encoding)) if line.strip())
            fits = (tables.without_header([line], layout) is not None for line in filled)
            return next(fits, False) and all(fits)
        except InputError:
            return False  # said where the line is read


def _of_lines(lines: Iterator[str], name: str, ending: str, format: str, options: ReadOptions) -> Iterator[Record]:
    raw = next(lines, None)
    if raw is None:
        return
    first = next(_bare([raw]))
    if "\r" in first:
        raise InputError(f"{name}, line 1: a carriage return inside the line; end lines with LF or CRLF.")
    if format == "auto":
        format = _format(first, name, ending, options)
    whole = chain([raw], lines)
    if format == "jsonl":
        yield from _json(_bare(whole), name)
    elif format in ("fasttext", "text"):
        for number, line in enumerate(_bare(whole), 1):
            if isinstance(line, _Undecoded):
                yield Record({}, f"{name}, line {number}", number, refused=line.error)
            elif format == "fasttext":
                yield from fasttext([(number, line)], name)
            else:
                yield Record({"text": line}, f"{name}, line {number}", number)
    else:
        yield from _rows(whole, name, f".{format}", options)


def _format(first: str, name: str, ending: str, options: ReadOptions) -> str:
    """The format of a file by its suffix and its first line."""
    if options.columns:
        return "tsv" if ending == ".tsv" else "csv" if ending == ".csv" else "table"
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    if json_values.starts_json(first) or first.strip() in ("[", "{"):
        return "jsonl"
    if fasttext_start([first]):
        return "fasttext"
    if tables.TOUTIAO in first:
        return "table"
    layout = tables.layout_of([first], "")
    if is_header(layout.names):
        logger.warning("%s: looks like a table (%s); to read its rows, give --format csv or tsv.", name, first[:200])
    elif is_tagged_word(first):
        logger.warning("%s: looks like tagged words (%s), but each line is read as a text.", name, first[:200])
    return "text"


def is_tagged_word(line: str) -> bool:
    """Whether a line looks like the first of an NER file: a word and its tag, or CoNLL's ``-DOCSTART-``."""
    columns = line.split()
    return columns[:1] == ["-DOCSTART-"] or (len(columns) == 2 and is_tag(columns[1]))


@contextlib.contextmanager
def _input(path: str, name: str) -> Iterator[IO[bytes]]:
    if path == "-":
        # Detached, for whoever reads it in a thread: Python would close it at exit, and cannot while a thread waits.
        yield sys.stdin.detach()  # type: ignore[union-attr]  # a TextIOWrapper
        return
    with opened(path, name) as file:
        yield file


class _Undecoded(str):
    """A line in another encoding: its ASCII, so that cells are where they are, and half a surrogate pair for each other
    byte; and the error that says so."""

    error: InputError


_UNDECODED = re.compile("[\udc80-\udcff]").search


def _decoded(file: IO[bytes], name: str, encoding: str | None) -> Iterator[str]:
    """The lines of a file without their ``\\n``, but with the ``\\r`` of a CRLF."""
    codec = codec_name(encoding)
    if codec.startswith(("utf-16", "utf-32")):  # whose line breaks are not one byte
        try:
            text = file.read().decode(codec).removeprefix("\ufeff").removesuffix("\n")
        except UnicodeError as error:
            raise InputError(f"{name}: is not {encoding} ({error}); give another --encoding.") from None
        if problem := nul_problem(text, encoding):
            raise InputError(f"{name}: {problem}")
        yield from text.split("\n")
        return
    start = ""
    for number, raw in enumerate(file, 1):
        if number == 1 and (problem := packed(raw)):
            raise InputError(f"{name}: {problem}")
        try:
            line = raw.decode(codec.removesuffix("-sig"))
            line = line.removeprefix("\ufeff") if number == 1 else line
            if len(start) < START:
                start += line
                if "\0" in line and (problem := nul_problem(start, encoding)):
                    raise InputError(f"{name}, line {number}: {problem}")
        except UnicodeDecodeError as error:
            byte = f"byte {error.start} of the line (0x{raw[error.start]:02x})"
            told = f"not {encoding}; give another --encoding." if encoding else f"not UTF-8. {advice(raw, error.start)}"
            line = _Undecoded(raw.decode("ascii", "surrogateescape").removesuffix("\n").removesuffix("\r"))
            line.error = InputError(f"{name}, line {number}: {byte} is {told}")
            yield line
            continue
        yield line.removesuffix("\n")


def _bare(lines: Iterable[str]) -> Iterator[str]:
    """The lines without carriage returns at their ends; those in another encoding have none."""
    return (line if isinstance(line, _Undecoded) else line.removesuffix("\r") for line in lines)


def _json(lines: Iterator[str], name: str) -> Iterator[Record]:
    """JSON lines as a stream; any other JSON as a whole."""
    held = _until_filled(lines)
    if not held:
        return
    if not _are_lines(held, lines):
        whole = [*held, *lines]
        if (odd := next((line for line in whole if isinstance(line, _Undecoded)), None)) is not None:
            raise odd.error
        file = TextFile(path=name, raw=whole, sha256="", name="input.json")
        _, values = json_values.values(file, Notes(skip_invalid=None))
        for value in values:
            yield from _of_value(value, file)
        return
    file = TextFile(path=name, raw=[], sha256="")
    for number, line in enumerate(chain(held, lines), 1):
        if line.strip():
            yield from _of_line(line, number, file)


def _are_lines(held: list[str], lines: Iterator[str]) -> bool:
    """Whether JSON is an object a line, by its first line that is not blank, the last of ``held``. Where that may also
    be the start of something else, it takes the lines up to the next one that is not blank, and adds them."""
    line = held[-1]
    first = _object(line)
    if not _may_go_on(line) if first is None else not json_values.is_wrapper(first):
        return True
    held += _until_filled(lines)
    second = held[-1]
    if second is line or _object(second) is None:
        return False
    return first is not None or not _may_go_on(f"{line}\n{second}")


def _may_go_on(text: str) -> bool:
    """Whether a text that is no object may be the start of other JSON, or be other JSON."""
    text = text.strip()
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        return not text.startswith("{") or error.pos >= len(text)
    except (ValueError, RecursionError):
        return True
    return True if not text.startswith("{") else text[end:].lstrip()[:1] in (",", "{")


def _until_filled(lines: Iterator[str]) -> list[str]:
    """The next lines up to one that is not blank."""
    found = []
    for line in lines:
        found.append(line)
        if line.strip():
            break
    return found


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _of_line(line: str, number: int, file: TextFile) -> Iterator[Record]:
    """The records of a line; one that says why, if it cannot be read."""
    try:
        if isinstance(line, _Undecoded):
            raise line.error
        value = json_values.Value(json_values.parse(file, line, number), number)
        if "\\ud" in line.lower():
            json_values.check_characters(file, value)
    except InputError as error:
        yield Record({}, f"{file.path}, line {number}", number, refused=error)
        return
    yield from _of_value(value, file)


def _of_value(value: json_values.Value, file: TextFile) -> Iterator[Record]:
    """The records in a value of a JSON file; one that says why, if there are none."""
    place = f"{file.path}, line {value.line}"
    try:
        yield from list(objects(json_values.check_numbers(file, value), place, file.path))
    except InputError as error:
        yield Record({}, place, value.line, value.path, refused=error)


def _rows(lines: Iterator[str], name: str, suffix: str, options: ReadOptions) -> Iterator[Record]:
    start = list(islice(lines, 1))
    if start and tables.names_delimiter(next(_bare(start))):
        start += islice(lines, 1)
    if not options.columns and isinstance(start[-1], _Undecoded):
        raise start[-1].error
    file = TextFile(path=name, raw=start, sha256="")
    layout = tables.layout_of(file.lines, suffix, options.columns)
    undecoded: list[InputError] = []
    notes = Notes(skip_invalid=None)
    for line, row in tables.cells(_noted(chain(start, lines), undecoded), layout, file.error):
        place = f"{name}, line {line}"
        try:
            if undecoded and any(map(_UNDECODED, row)):
                raise undecoded.pop(0)
            fields = tables.fields_of(line, row, layout, file.error, notes)
        except InputError as error:
            yield Record({}, place, line, refused=error)
            continue
        if fields:
            yield Record(fields, place, line)


def _noted(lines: Iterable[str], undecoded: list[InputError]) -> Iterator[str]:
    """The lines; the errors of those in another encoding are added to a list, since the cells of a row have none."""
    for line in lines:
        if isinstance(line, _Undecoded):
            undecoded.append(line.error)
        yield line
