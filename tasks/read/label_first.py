"""Lines of a label, blanks and the text, as in many collections of questions."""

import re
from collections.abc import Iterator

from tasks.read.notes import Notes
from tasks.read.records import Record
from tasks.read.text_file import TextFile


def label_first(file: TextFile, notes: Notes) -> Iterator[Record]:
    """The records of a file, with ``label`` and ``text``.

    Tabs on all lines separate, whatever blanks there are; and on most lines, if there are labels with a blank inside.

    Raises:
        InputError: a line has a label alone.
    """
    rows = [(number, line.strip(" \t")) for number, line in enumerate(file.lines, 1) if line.strip(" \t")]
    before_tabs = [line.split("\t", 1)[0] for _, line in rows if "\t" in line]
    # If no label has a blank inside, blanks separate wherever a tab does.
    by_tabs = len(before_tabs) == len(rows) or (
        len(before_tabs) > len(rows) / 2 and any(" " in label.strip(" ") for label in before_tabs)
    )
    notes.facts["format"] = f"a label, {'a tab' if by_tabs else 'blanks'} and the text on each line"
    for number, line in rows:
        notes.rows += 1
        # Only space and tab separate: str.split would also split at a no-break space inside a label.
        parts = line.split("\t", 1) if by_tabs else re.split("[ \t]+", line, maxsplit=1)
        if len(parts) < 2:
            problem = f"only one word ({line[:40]!r}); expected a label, a space and the text."
            if by_tabs:
                problem = f"no tab between label and text ({line[:40]!r}), as most lines have; write one."
            notes.refuse(file.error(number, problem), number)
            continue
        yield Record({"label": parts[0], "text": parts[1].strip(" \t")}, f"{file.path}, line {number}", number)
