"""Text with a word a line: the word, its tag, and perhaps columns in between; a blank line after each sentence."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from minibert.errors import InputError
from tasks.read.notes import Notes
from tasks.read.spans import TaggedWords
from tasks.read.tables import unquoted
from tasks.read.text_file import TextFile

_BLANKS = re.compile("[ \t]+")
_TAG = re.compile(r"[Oo]|[BIESMLUWbiesmluw]([-_].+)?|.+[-_][BIESMLUWbiesmluw]").fullmatch
_NUMBER = re.compile(r"([0-9]{1,6})([-.][0-9]{1,6})?").fullmatch
_INLINE = re.compile(r"<(\w+)\b[^<>]*>[^<]*</\1>").search
_DOCUMENT = "-DOCSTART-"


class Format(NamedTuple):
    """How the lines of a file are divided.

    Attributes:
        by_tabs: every line has a tab, so only tabs separate.
        word, tag: the indices of their columns.
        is_numbered: the first column numbers the words.
    """

    by_tabs: bool
    word: int
    tag: int
    is_numbered: bool = False


def words_in_columns(
    file: TextFile, notes: Notes, *, text_column: str | None, tag_column: str | None
) -> Iterator[TaggedWords]:
    """The sentences of a file.

    Args:
        file: a text file.
        notes: count sentences, comment lines and blank cells.
        text_column, tag_column: the numbers of columns, from 1; None for the first (or the second, if the first one
            numbers the words) and the last.

    Raises:
        InputError: a line has no word and tag; names file and line.
    """
    if file.lines[:1] and file.lines[0].startswith("#FORMAT=WebAnno"):
        raise file.error(1, "WebAnno's TSV, which is not read; export CoNLL 2002 instead.")
    form = _format(file, notes, _number("text", text_column), _number("tag", tag_column))
    words: list[str] = []
    tags: list[str] = []
    lines: list[int] = []
    width = 0
    is_bad = False
    known: dict[str, tuple[str, str]] = {}  # most lines have occurred before; equal ones share their strings
    for number, line in enumerate([*file.lines, ""], 1):
        pair = known.get(line)
        if pair is None:
            if not line or line.isspace() or line.startswith(_DOCUMENT):
                if words or is_bad:
                    notes.rows += 1
                if words and not is_bad:
                    yield TaggedWords(words, tags, lines)
                words, tags, lines, is_bad = [], [], [], False
                continue
            cells = _cells(line, form)
            if line[0] == "#" and (form.is_numbered or _is_comment(line, cells, width)):
                notes.repair("comment lines passed over", number)
                continue
            if form.is_numbered and not cells[0].isdecimal():
                notes.repair("rows of several words (1-2) or of none (1.1) passed over", number)
                continue
            if problem := _problem(line, cells, width, form):
                if not is_bad:
                    notes.refuse(file.error(number, problem), number)
                is_bad = True
                continue
            width = len(cells)
            pair = _word(cells[form.word]), cells[form.tag]
            if form.by_tabs and line.endswith("\t"):
                notes.repair("blank cells at the end of a line dropped", number)
            elif pair[0] is not cells[form.word]:
                notes.repair("quoted words without their quotation marks", number)
            else:
                known[line] = pair
        words.append(pair[0])
        tags.append(pair[1])
        lines.append(number)
    if width > 2 and known and all(word.isdecimal() for word, _ in known.values()):
        notes.warnings.append(
            f"{file.path}: all words are numbers; if another column has the words, give --text-column."
        )


def _format(file: TextFile, notes: Notes, word: int | None, tag: int | None) -> Format:
    first = next(filter(_is_row, file.lines), None)
    # The first line decides most files, of which some have millions.
    by_tabs = first is not None and "\t" in first and all("\t" in line for line in file.lines if _is_row(line))
    form = Format(by_tabs, 0 if word is None else word, -1 if tag is None else tag)
    notes.facts["format"] = f"a word a line, {'tabs' if by_tabs else 'blanks'} between columns"
    if word != 0 and (numbered := _first_numbered(file, form)):
        first = numbered
        form = form._replace(word=word or 1, is_numbered=True)
        if word is None:
            notes.facts["text_column"] = "2 (the first one numbers the words)"
    width = len(_cells(first, form)) if first else 0
    if width > 2 or tag is not None:
        notes.facts["tag_column"] = f"{width if tag is None else tag + 1} of {width}"
    return form


def _is_row(line: str) -> bool:
    return bool(line) and not line.isspace() and not line.startswith((_DOCUMENT, "# "))


def _first_numbered(file: TextFile, form: Format) -> str | None:
    """The first row if the first of three or more columns numbers the words: it counts up in every sentence, as in
    CoNLL-U, where a row of several words is 1-2, and one of none 1.1; None if it does not."""
    last, most, first = -1, 0, None
    for line in file.lines:
        if not line or line.isspace() or line.startswith(_DOCUMENT):
            last = -1
        elif line[0] != "#":
            cells = _cells(line, form)
            number = _NUMBER(cells[0])
            if len(cells) < 3 or number is None:
                return None
            first = first or line
            if number[2] is None:
                if int(number[1]) <= last:
                    return None
                most += last >= 0
                last = int(number[1])
    return first if most else None


def _number(role: str, column: str | None) -> int | None:
    """The index of a column that an option names."""
    if column is None:
        return None
    if not (column.isascii() and column.isdecimal() and 0 < int(column[:9]) < 1000):
        raise InputError(
            f"--{role}-column {column[:40]}: the file has a word a line; give the column's number, from 1."
        )
    return int(column) - 1


def _cells(line: str, form: Format) -> list[str]:
    # Only tab and space separate: str.split would also split at a no-break or ideographic space that is a word.
    if not form.by_tabs:
        return _BLANKS.split(line.strip(" \t"))
    cells = line.split("\t")
    while len(cells) > 1 and not cells[-1]:
        cells.pop()
    return cells


def _word(cell: str) -> str:
    """A word. pandas quotes those that have quotation marks, and doubles the marks: a mark alone becomes four."""
    return unquoted([cell])[0] if '""' in cell[1:-1] else cell


def _is_comment(line: str, cells: Sequence[str], width: int) -> bool:
    """Whether a line that begins with # is no row: the sign stands alone, and no tag ends the line."""
    if line[1:2] not in ("", " ", "\t"):
        return False
    return len(cells) != (width or max(2, len(cells))) or not _TAG(cells[-1])


def _problem(line: str, cells: Sequence[str], width: int, form: Format) -> str | None:
    if _INLINE(line) and not (width and len(cells) == width):
        return (
            f"tags inside the text ({line[:40]!r}), which are not read; export one word and its tag a line, or JSON "
            "lines with text and entities."
        )
    if len(cells) < 2:
        if line[0] in " \t" or cells[0] == "":
            return f"the word is blank ({line[:40]!r}); remove the line, or write a word."
        return f"only one column ({line[:40]!r}); expected a word and its tag."
    if width and len(cells) != width:
        if line[0] in " \t" and len(cells) == width - 1:
            return f"the word is blank ({line[:40]!r}); remove the line, or write a word."
        return f"{len(cells)} columns, but {width} in the lines before."
    if len(cells) <= max(form.word, form.tag):
        return f"{len(cells)} columns, so there is no column {max(form.word, form.tag) + 1}."
    if not cells[form.word]:
        return f"the word is blank ({line[:40]!r}); remove the line, or write a word."
    return None


def other_tag_column(file: TextFile, line: int) -> int | None:
    """A column besides the last whose cells look like tags in the whole file, numbered from 1; for advice."""
    form = _format(file, Notes(), 0, None)
    width = len(_cells(file.lines[line - 1], form))
    rows = [_cells(each, form) for each in file.lines if _is_row(each)]
    rows = [row for row in rows if len(row) == width]
    for column in range(width - 2, 0, -1):
        cells = {row[column] for row in rows}
        if all(map(_TAG, cells)) and any(len(cell) > 2 for cell in cells):
            return column + 1
    return None
