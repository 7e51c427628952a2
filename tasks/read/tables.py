"""Rows of labelled data: CSV and TSV with a header, and JSON lines."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from minibert.errors import InputError
from tasks.read.text_file import TextFile

_LONGEST_CELL = 2**31 - 1  # csv's own limit of 128 KB is too low for long documents

Error = Callable[[int, str], InputError]
"""Makes the error for a problem in a line; see ``TextFile.error``."""

# -- CSV and TSV ------------------------------------------------------------------------------------------------------


def header(line: str, delimiter: str) -> list[str]:
    """The names in a file's first line, as written; empty if the line is not a row."""
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def delimiter_of(line: str, suffix: str) -> str:
    """The delimiter by a file's first line: tab in ``.tsv`` files, else the one that gives the most cells."""
    if suffix == ".tsv":
        return "\t"
    return max(",;\t" if suffix == ".csv" else "\t,;", key=lambda delimiter: len(header(line, delimiter)))


def find(names: Sequence[str], known: Sequence[str]) -> str | None:
    """The first of the known names (in lower case) that the header has, as written there."""
    written = {name.lower(): name for name in names}
    return next((written[name] for name in known if name in written), None)


def cells(lines: Iterable[str], delimiter: str, error: Error) -> Iterator[tuple[int, list[str]]]:
    """The cells of all rows, the header's included, and the line in which each row starts; a blank line has no cells.

    With commas or semicolons, a quoted cell may continue over several lines; it has ``\\n`` for the line breaks.

    Raises:
        InputError: made by ``error``, if quotation marks are unbalanced.
    """
    return _tab_cells(lines) if delimiter == "\t" else _quoted_cells(lines, delimiter, error)


def rows(
    numbered: Iterable[tuple[int, list[str]]], names: Sequence[str], error: Error
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows below the header as ``{column: cell}``, each with its line; a blank line is a row of empty cells.

    Args:
        numbered: from :func:`cells`.
        names: of the header.
        error: for messages.

    Raises:
        InputError: made by ``error``, if a row has more or fewer cells than the header.
    """
    for line, row in numbered:
        if line == 1:
            continue
        if row and len(row) != len(names):
            raise error(line, f"{len(row)} cells, but the header names {len(names)} columns.")
        yield line, dict(zip(names, row or [""] * len(names), strict=True))


def _tab_cells(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """In TSV a quotation mark is usually a word, so a cell is unquoted only if it is quoted as a whole."""
    for number, line in enumerate(lines, 1):
        row = line.split("\t") if line else []
        yield (
            number,
            [cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell for cell in row],
        )


def _quoted_cells(lines: Iterable[str], delimiter: str, error: Error) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as problem:
        raise error(
            line, f"not a row of this table ({problem}); quotation marks must be balanced, and doubled inside a cell."
        ) from None


# -- JSON lines -------------------------------------------------------------------------------------------------------


starts_json = re.compile(r'\s*\{\s*"').match
"""Whether a line begins like a JSON object with a field."""


def is_json_lines(file: TextFile) -> bool:
    """Whether a file has JSON lines, by its suffix or its first line.

    Raises:
        InputError: it is a single JSON array.
    """
    start = next((line.lstrip() for line in file.lines if line.strip()), "")
    if start.startswith("[") and file.suffix == ".json":
        raise file.error(1, "a JSON array; write one object per line (JSON lines) instead.")
    return file.suffix in (".jsonl", ".json", ".ndjson") or bool(starts_json(start))


def json_rows(file: TextFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects, each with its line; blank lines are skipped.

    Raises:
        InputError: a line is not an object, or has half a surrogate pair; names file and line.
    """
    for number, line in enumerate(file.lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise file.error(number, f"not JSON ({error}); write one object a line.") from None
        if not isinstance(row, dict):
            raise file.error(number, "not a JSON object; write one object a line.")
        if "\\ud" in line.lower() and not _is_unicode(json.dumps(row, ensure_ascii=False)):
            raise file.error(number, r"an escape \uD800 to \uDFFF stands alone, which is not a character.")
        yield number, row


def _is_unicode(text: str) -> bool:
    """Whether a text has no lone half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
