"""CoNLL-2012's files, in which OntoNotes comes: a word a line, entities in brackets, columns that vary in number."""

import re
from collections.abc import Iterator, Sequence

from tasks.read.notes import Notes
from tasks.read.spans import TaggedWords
from tasks.read.text_file import TextFile

_BLANKS = re.compile("[ \t]+")
_WORD, _ENTITY = 3, 10  # columns: Pradhan et al. 2012, table 2
_BRACKETS = re.compile(r"(?:\(([^()*]+))?\*?(\))?").fullmatch


def is_conll_2012(file: TextFile) -> bool:
    """Whether a file begins with a document of CoNLL-2012."""
    return next((line for line in file.lines if line.strip()), "").startswith("#begin document")


def words_in_brackets(file: TextFile, notes: Notes) -> Iterator[TaggedWords]:
    """The sentences of a file, with tags such as B-PERSON.

    Raises:
        InputError: a line has too few columns, or brackets that do not pair; names file and line.
    """
    notes.facts["format"] = "CoNLL-2012"
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate([*file.lines, ""], 1):
        if line.strip() and line[0] != "#":  # a word is never the first column
            rows.append((number, _BLANKS.split(line.strip(" \t"))))
        elif rows:
            notes.rows += 1
            with notes.row(rows[0][0]):
                yield _sentence(file, rows)
            rows = []


def _sentence(file: TextFile, rows: Sequence[tuple[int, Sequence[str]]]) -> TaggedWords:
    words, tags, lines, inside = [], [], [], ""
    for number, cells in rows:
        if len(cells) <= _ENTITY:
            raise file.error(number, f"{len(cells)} columns; CoNLL-2012 has an entity's brackets in column 11.")
        found = _BRACKETS(cells[_ENTITY])
        if found is None or (inside and found[1]) or (found[2] and not inside and not found[1]):
            raise file.error(number, f"{cells[_ENTITY][:40]!r} does not open, continue or close one entity.")
        inside = inside or found[1] or ""
        words.append(cells[_WORD])
        tags.append(f"{'B' if found[1] else 'I'}-{inside}" if inside else "O")
        lines.append(number)
        if found[2]:
            inside = ""
    if inside:
        raise file.error(lines[-1], f"the sentence ends inside a {inside[:40]}; close its bracket.")
    return TaggedWords(words, tags, lines)
