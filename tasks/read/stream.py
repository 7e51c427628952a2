"""Inputs for prediction, streamed: plain text, JSON lines, CSV or TSV, from a file or standard input."""

import contextlib
import gzip
import json
import logging
import sys
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

from minibert.errors import InputError
from tasks.read import tables
from tasks.read.columns import is_header, is_tag
from tasks.read.text_file import encoding_advice

logger = logging.getLogger(__name__)

FORMATS = ("auto", "text", "jsonl", "csv", "tsv")
_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv"}


class Record(NamedTuple):
    """An input: its fields, and its file and line for messages."""

    fields: dict[str, Any]
    place: str


def records(path: str, format: str = "auto") -> Iterator[Record]:
    """Yields the inputs of a file; in plain text every line is one, blank or not.

    Args:
        path: ``-`` for standard input; may be gzipped.
        format: one of :data:`FORMATS`; ``auto`` goes by the suffix, then by whether the first line begins a JSON
            object. Tables are split as in training, at commas, semicolons or tabs.

    Raises:
        InputError: something cannot be read; names file and line.
    """
    name = "standard input" if path == "-" else path
    with _opened(path, name) as file:
        lines = _decoded(file, name)
        first = next(lines, None)
        if first is None:
            return
        if "\r" in first:
            raise InputError(f"{name}, line 1: a carriage return inside the line; end lines with LF or CRLF.")
        if format == "auto":
            ending = Path(path.removesuffix(".gz")).suffix.lower()
            format = _ENDINGS.get(ending, "jsonl" if tables.starts_json(first) else "text")
            if format == "text" and is_header(tables.header(first, tables.delimiter_of(first, ""))):
                logger.warning("%s: looks like a table (%s); to read its rows, give --format csv or tsv.", name, first)
            elif format == "text" and _is_tagged_word(first):
                logger.warning("%s: looks like tagged words (%s), but each line is read as a text.", name, first)
        whole = chain([first], lines)
        if format == "jsonl":
            yield from _json_objects(whole, name)
        elif format == "text":
            for number, line in enumerate(whole, 1):
                yield Record({"text": line}, f"{name}, line {number}")
        else:
            yield from _rows(whole, first, name, f".{format}")


def _is_tagged_word(line: str) -> bool:
    """Whether a line looks like the first of an NER file: a word and its tag, or CoNLL's ``-DOCSTART-``."""
    columns = line.split()
    return columns[:1] == ["-DOCSTART-"] or (len(columns) == 2 and is_tag(columns[1]))


@contextlib.contextmanager
def _opened(path: str, name: str) -> Iterator[IO[bytes]]:
    try:
        if path == "-":
            yield sys.stdin.buffer
            return
        with open(path, "rb") as file:
            is_gzip = path.endswith(".gz") or file.peek(2)[:2] == b"\x1f\x8b"
            with gzip.open(file) if is_gzip else contextlib.nullcontext(file) as opened:
                yield opened  # type: ignore[misc]  # a GzipFile reads bytes
    except FileNotFoundError:
        raise InputError(f"{name}: no such file.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{name}: damaged gzip file ({error}); copy it again.") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error}).") from None


def _decoded(file: Iterable[bytes], name: str) -> Iterator[str]:
    for number, raw in enumerate(file, 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}, line {number}: byte {error.start} of the line (0x{raw[error.start]:02x}) is not UTF-8. "
                f"{encoding_advice('FILE' if file is sys.stdin.buffer else name, raw)}"
            ) from None
        yield line.removesuffix("\n").removesuffix("\r")


def _json_objects(lines: Iterable[str], name: str) -> Iterator[Record]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            fields = json.loads(line)
            json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()  # NaN would make the answer no JSON
        except UnicodeEncodeError:
            raise InputError(rf"{place}: an escape \uD800 to \uDFFF stands alone, which is not a character.") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: not JSON ({error}); write one object a line.") from None
        if not isinstance(fields, dict):
            raise InputError(f"{place}: not a JSON object; write one object a line.")
        yield Record(fields, place)


def _rows(lines: Iterable[str], first: str, name: str, suffix: str) -> Iterator[Record]:
    def error(line: int, problem: str) -> InputError:
        return InputError(f"{name}, line {line}: {problem}")

    delimiter = tables.delimiter_of(first, suffix)
    filled = (row for row in tables.cells(lines, delimiter, error) if row[1])
    for line, fields in tables.rows(filled, tables.header(first, delimiter), error):
        yield Record(fields, f"{name}, line {line}")
