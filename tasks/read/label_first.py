"""Lines of a label, blanks and the text, as in many collections of questions."""

import re
from collections.abc import Iterator, Sequence

from tasks.read.notes import Notes
from tasks.read.records import Record
from tasks.read.text_file import TextFile

_WIDE = "\u3000"
_WIDE_FIRST = re.compile(f"[^ \t{_WIDE}]+{_WIDE}").match


def label_first(file: TextFile, notes: Notes) -> Iterator[Record]:
    """The records of a file, with ``label`` and ``text``.

    Tabs on all lines separate, whatever blanks there are; and on most lines, if there are labels with a blank inside.
    Otherwise full-width spaces do, where most lines have one before any blank.

    Raises:
        InputError: a line has a label alone.
    """
    rows = [(number, line.strip(" \t")) for number, line in enumerate(file.lines, 1) if line.strip(" \t")]
    mark = _separator([line for _, line in rows])
    name = {"\t": "tab", _WIDE: "full-width space"}.get(mark)
    notes.facts["format"] = f"a label, {f'a {name}' if name else 'blanks'} and the text on each line"
    around = f" \t{mark}"
    for number, line in rows:
        notes.rows += 1
        # Only space and tab separate: str.split would also split at a no-break space inside a label.
        parts = line.strip(around).split(mark, 1) if mark else re.split("[ \t]+", line, maxsplit=1)
        if len(parts) < 2:
            problem = f"only one word ({line[:40]!r}); expected a label, a space and the text."
            if mark:
                problem = f"no {name} between label and text ({line[:40]!r}), as most lines have; write one."
            notes.refuse(file.error(number, problem), number)
            continue
        yield Record({"label": parts[0], "text": parts[1].strip(around)}, f"{file.path}, line {number}", number)


def _separator(lines: Sequence[str]) -> str:
    """What separates label and text in a file, if it is not blanks and tabs alike: a tab, or a full-width space."""
    before_tabs = [line.split("\t", 1)[0] for line in lines if "\t" in line]
    # If no label has a blank inside, blanks separate wherever a tab does.
    if len(before_tabs) == len(lines) or (
        len(before_tabs) > len(lines) / 2 and any(" " in label.strip(" ") for label in before_tabs)
    ):
        return "\t"
    return _WIDE if sum(map(bool, map(_WIDE_FIRST, lines))) > len(lines) / 2 else ""
