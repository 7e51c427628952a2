"""Inputs for prediction, read as they come: plain text, JSON lines, CSV or TSV, from a file or standard input."""

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

from minibert.errors import InputError

FORMATS = ("auto", "text", "jsonl", "csv", "tsv")
_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv"}
_LONGEST_CELL = 2**31 - 1  # csv's own limit of 128 KB is below a long document


class Record(NamedTuple):
    """An input: its fields, and what messages call it (file and line)."""

    fields: dict[str, Any]
    place: str


def records(path: str, format: str = "auto") -> Iterator[Record]:
    """The inputs of a file, one after another; each line of plain text is one, blank or not.

    Args:
        path: ``-`` is standard input; ``.gz`` files are opened.
        format: one of :data:`FORMATS`; ``auto`` goes by the ending, then by whether the first line is a JSON object.

    Raises:
        InputError: with file and line, where something cannot be read.
    """
    name = "standard input" if path == "-" else path
    with _opened(path, name) as file:
        lines = _decoded(file, name)
        first = next(lines, None)
        if first is None:
            return
        if format == "auto":
            ending = Path(path.removesuffix(".gz")).suffix.lower()
            format = _ENDINGS.get(ending, "jsonl" if first.startswith('{"') else "text")
        whole = chain([first], lines)
        if format == "jsonl":
            yield from _json_objects(whole, name)
        elif format == "text":
            for number, line in enumerate(whole, 1):
                yield Record({"text": line}, f"{name}, line {number}")
        else:
            yield from _rows(whole, name, "," if format == "csv" else "\t")


@contextmanager
def _opened(path: str, name: str) -> Iterator[IO[bytes]]:
    try:
        if path == "-":
            yield sys.stdin.buffer
        elif path.endswith(".gz"):
            with gzip.open(path, "rb") as file:
                yield file  # type: ignore[misc]  # a GzipFile reads bytes
        else:
            with open(path, "rb") as plain:
                yield plain
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
                f"{name}, line {number}: byte {error.start} of the line (0x{raw[error.start]:02x}) is not UTF-8; save "
                "the input as UTF-8 (iconv converts it)."
            ) from None
        yield line.removesuffix("\n").removesuffix("\r")


def _json_objects(lines: Iterable[str], name: str) -> Iterator[Record]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            fields = json.loads(line)
            json.dumps(fields, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InputError(rf"{place}: an escape \uD800 to \uDFFF stands alone, which is no character.") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: not JSON ({error}).") from None
        if not isinstance(fields, dict):
            raise InputError(f"{place}: not a JSON object; write one object a line.")
        yield Record(fields, place)


def _rows(lines: Iterable[str], name: str, delimiter: str) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    header: list[str] = []
    start = 1
    try:
        for cells in reader:
            place = f"{name}, line {start}"
            start = reader.line_num + 1
            if not header:
                header = [cell.strip() for cell in cells]
            elif cells:
                if len(cells) != len(header):
                    raise InputError(f"{place}: {len(cells)} cells, but the header names {len(header)} columns.")
                yield Record(dict(zip(header, cells, strict=True)), place)
    except csv.Error as error:
        raise InputError(f"{name}, line {start}: not a row of this table ({error}).") from None
