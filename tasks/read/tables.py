"""Tables: CSV, TSV, and cells with ``_!_`` between them, with a header or without."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from minibert.errors import InputError
from tasks.read.notes import Notes

_LONGEST_CELL = 2**31 - 1  # csv's own limit of 128 KB is too low for long documents
_LONGEST_TSV_CELL = 200  # lines
TOUTIAO = "_!_"
"""Between the cells of the Toutiao news set, and of others made after it."""
TEXT_AND_NUMBER = ("text", "label")
"""The columns of THUCNews, which has no header."""
_TOUTIAO_COLUMNS = ("id", "code", "category", "title", "keywords")

Error = Callable[[int, str], InputError]
"""Makes the error for a problem in a line; see ``TextFile.error``."""


class Layout(NamedTuple):
    """How a table is written.

    Attributes:
        delimiter: between cells.
        names: of the columns.
        first: the line of the first row below the header.
    """

    delimiter: str
    names: list[str]
    first: int

    def in_words(self) -> str:
        """The kind of table."""
        return f"a table with {self.delimiters} between its cells"

    @property
    def delimiters(self) -> str:
        """What separates the cells, in words."""
        return {"\t": "tabs", ",": "commas", ";": "semicolons"}.get(self.delimiter, self.delimiter)


def layout_of(lines: Sequence[str], suffix: str, columns: Sequence[str] = ()) -> Layout:
    """How a table is written, by its first lines.

    Args:
        lines: the first one; two, if that is Excel's ``sep=;``.
        suffix: of the file.
        columns: the names of the columns of a table without a header.
    """
    first = 1
    delimiter = None
    if lines and names_delimiter(lines[0]):
        delimiter, first = lines[0][4], 2
    line = lines[first - 1] if len(lines) >= first else ""
    delimiter = delimiter or delimiter_of(line, suffix, len(columns))
    if columns:
        return Layout(delimiter, list(columns), first)
    if delimiter == TOUTIAO and _is_toutiao(line.split(TOUTIAO)):
        return Layout(delimiter, list(_TOUTIAO_COLUMNS), first)
    names = header(line, delimiter)
    while len(names) > 1 and not names[-1]:  # a blank cell at the line's end
        names.pop()
    return Layout(delimiter, names, first + 1)


def names_delimiter(line: str) -> bool:
    """Whether a first line is Excel's ``sep=;``, so that the second one has the names."""
    return line.lower().startswith("sep=") and len(line) == 5


def _is_toutiao(row: Sequence[str]) -> bool:
    return len(row) == len(_TOUTIAO_COLUMNS) and row[0].isdecimal() and row[1].isdecimal()


def without_header(lines: Sequence[str], layout: Layout) -> Layout | None:
    """The layout of a table without a header whose columns are certain: on every line a text, a tab and a whole number,
    as in THUCNews; None for any other."""
    if layout.delimiter != "\t" or layout.first != 2:
        return None
    filled = (line for line in lines if line.strip())
    fits = map(_is_text_and_number, filled)
    return Layout("\t", list(TEXT_AND_NUMBER), 1) if next(fits, False) and all(fits) else None


def _is_text_and_number(line: str) -> bool:
    text, _, number = line.partition("\t")
    return number.isdecimal() and bool(text.strip()) and not text.strip().isdecimal()


def header(line: str, delimiter: str) -> list[str]:
    """The names in a file's first line, as written; empty if the line is not a row."""
    if len(delimiter) > 1:
        return [name.strip() for name in line.split(delimiter)]
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def delimiter_of(line: str, suffix: str, num_columns: int = 0) -> str:
    """The delimiter by a file's first line: tab in ``.tsv`` files, else the one that gives as many cells as there are
    columns, if that is known, else the most cells."""
    if suffix == ".tsv":
        return "\t"
    if TOUTIAO in line:
        return TOUTIAO
    counts = {delimiter: len(header(line, delimiter)) for delimiter in (",;\t" if suffix == ".csv" else "\t,;")}
    return max(counts, key=lambda delimiter: (counts[delimiter] == num_columns, counts[delimiter]))


def find(names: Sequence[str], known: Sequence[str]) -> str | None:
    """The first of the known names (in lower case) that the header has, as written there."""
    written = {name.lower(): name for name in names}
    return next((written[name] for name in known if name in written), None)


def cells(lines: Iterable[str], layout: Layout, error: Error) -> Iterator[tuple[int, list[str]]]:
    """The cells of the rows below the header, and the line in which each row starts; a blank line has no cells.

    Args:
        lines: of the file, which may end in the ``\\r`` of a CRLF. A quoted cell may continue over several of them; it
            has ``\\n`` or ``\\r\\n`` for the line breaks, as the file has them, since offsets count both.
        layout: of the table.
        error: for messages.

    Raises:
        InputError: made by ``error``, if quotation marks are unbalanced.
    """
    if layout.delimiter == "\t":
        found = _tab_cells(lines, len(layout.names))
    elif len(layout.delimiter) > 1:
        bare = enumerate((line.removesuffix("\r") for line in lines), 1)
        found = ((number, line.split(layout.delimiter) if line else []) for number, line in bare)
    else:
        found = _quoted_cells(lines, layout.delimiter, error)
    return ((line, row) for line, row in found if line >= layout.first)


def rows(
    numbered: Iterable[tuple[int, list[str]]], layout: Layout, error: Error, notes: Notes
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows as ``{column: cell}``, each with its line; a blank line has no fields.

    Args:
        numbered: from :func:`cells`.
        layout: with the names of the columns.
        error: for messages.
        notes: count the rows, and the blank cells that are dropped at their ends.

    Raises:
        InputError: made by ``error``, if a row has more or fewer cells than there are columns, or their names.
    """
    for line, row in numbered:
        try:
            fields = fields_of(line, row, layout, error, notes)
        except InputError as problem:
            notes.refuse(problem, line)
            continue
        yield line, fields


def fields_of(line: int, row: list[str], layout: Layout, error: Error, notes: Notes) -> dict[str, str]:
    """One of the :func:`rows`.

    Raises:
        InputError: made by ``error``; the next row can be read all the same.
    """
    if not row:
        return {}
    names = layout.names
    notes.rows += 1
    if len(row) > len(names) and not any(row[len(names) :]):
        row = row[: len(names)]
        notes.repair("blank cells at the end of a line dropped", line)
    _check_no_names(line, row, layout, error)
    if len(row) != len(names):
        if layout.first > 1:
            raise error(line, f"{len(row)} cells, but the header names {len(names)} columns.")
        raise error(
            line,
            f"{len(row)} cells, but --columns names {len(names)} columns. Cells are read with {layout.delimiters} "
            "between them; a first line such as sep=; says otherwise.",
        )
    return dict(zip(names, row, strict=True))


def _check_no_names(line: int, row: Sequence[str], layout: Layout, error: Error) -> None:
    """Raises the error for a row that has the names of the columns in place of values."""
    if len(row) == 1 and line > layout.first:  # a word may be its column's name
        return
    written, names = ([cell.strip().casefold() for cell in cells] for cells in (row, layout.names))
    if layout.first > 1 and len(row) > 1 and written == names:
        raise error(line, "repeats the header; remove it.")
    if layout.first == 1 and sorted(written) == sorted(names):  # also in another order than that of --columns
        raise error(
            line, "has the names of --columns; if it is the file's header, leave out --columns, else remove the line."
        )


def _tab_cells(lines: Iterable[str], width: int) -> Iterator[tuple[int, list[str]]]:
    """In TSV a quotation mark is usually a word, so a cell is unquoted only if it is quoted as a whole. A cell with
    line breaks is recognised where it begins with a quotation mark, and joining lines gives ``width`` cells; one with
    tabs, where that gives ``width`` cells. The last cell goes on only up to the next line that is a row by itself."""
    held: list[tuple[int, str]] = []  # lines that may be one row
    is_last = False  # whether its last cell is open
    for number, raw in enumerate(lines, 1):
        line = raw.removesuffix("\r")
        if held and is_last and line.count("\t") >= width - 1:
            yield from _single_rows(held)
            held = []
        if held:
            held.append((number, raw))
            row = _split_tabs("\n".join(part for _, part in held).removesuffix("\r")) if '"' in line else None
            if row is not None and len(row) == width and (not is_last or _is_quoted(row[-1])):
                yield held[0][0], unquoted(row)
                held = []
            elif len(held) > _LONGEST_TSV_CELL or (row is not None and (is_last or len(row) > width)):
                yield from _single_rows(held)
                held = []
            continue
        row = line.split("\t") if line else []
        if 0 < len(row) <= width and width > 1 and row[-1].startswith('"') and _split_tabs(line) is None:
            held, is_last = [(number, raw)], len(row) == width
        elif len(row) > width and '"' in line and len(quoted := _split_tabs(line) or []) == width:
            yield number, unquoted(quoted)
        else:
            yield number, unquoted(row)
    yield from _single_rows(held)


def _single_rows(held: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    for number, raw in held:
        line = raw.removesuffix("\r")
        yield number, unquoted(line.split("\t")) if line else []


def _split_tabs(text: str) -> list[str] | None:
    """The cells of a row that may have quoted line breaks, as written; None if a quoted cell is still open."""
    parts = text.split("\t")
    cells: list[str] = []
    for part in parts:
        if cells and _is_open(cells[-1]):
            cells[-1] += "\t" + part
        else:
            cells.append(part)
    return None if _is_open(cells[-1]) else cells


def _is_open(cell: str) -> bool:
    return cell.startswith('"') and cell.count('"') % 2 == 1


def _is_quoted(cell: str) -> bool:
    """Whether a cell is quoted as a whole: all marks inside of it are doubled."""
    return len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "")


def unquoted(row: list[str]) -> list[str]:
    """Cells that are quoted as a whole without their quotation marks."""
    return [cell[1:-1].replace('""', '"') if _is_quoted(cell) else cell for cell in row]


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
