"""Texts that are the same, though programs have written them otherwise."""

import re
import unicodedata
from bisect import bisect_right

_PIECE = re.compile(r"\s*##")


def spaced(text: str) -> str:
    """A text with its runs of white space as single spaces: tools change line breaks inside spans."""
    return " ".join(text.split())


def as_spoken(text: str) -> str:
    """A text without what the pipelines of uncased models lose or add: case, accents, the width of characters, white
    space, and the ``##`` of pieces; equal in all Unicode forms."""
    letters = unicodedata.normalize("NFKD", _PIECE.sub("", text).casefold())
    return "".join(char for char in letters if not (char.isspace() or unicodedata.combining(char))).casefold()


def end_of(text: str, start: int, wanted: str) -> int | None:
    """Where a part of a text ends that begins at ``start`` and is ``wanted``, but for its Unicode form and its runs of
    white space; None if none does."""
    if start >= len(text) or text[start].isspace():
        return None
    wanted = _composed(wanted)
    ends = range(start + 1, min(len(text), start + 4 * len(wanted) + 16) + 1)  # a letter may have several marks
    # The last place of this length, since marks belong to the letter before them.
    behind = bisect_right(ends, len(wanted), key=lambda end: len(_composed(text[start:end])))
    part = text[start : start + behind].rstrip()
    return start + len(part) if _composed(part) == wanted else None


def _composed(text: str) -> str:
    return spaced(unicodedata.normalize("NFKC", text))
