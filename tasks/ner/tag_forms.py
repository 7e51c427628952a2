"""Tags in other forms than ``B-PER``, where one fits a whole file: BILOU, PER-B, B_PER, bare B and I, lower case."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from tasks.read.columns import is_tag

BARE_TYPE = "ENTITY"
"""The type of tags that name none."""

# The letters of each scheme, and those of BILOU and BMEWO, which are BIOES and BMES with other letters.
_SCHEMES = ("BI", "BIES", "BMES", "BILU", "BMEW")
_SAME = {"L": "E", "U": "S", "W": "S"}


class Parts(NamedTuple):
    """The letter and the type of a tag."""

    letter: str
    type: str


def _prefixed(mark: str) -> Callable[[str], Parts | None]:
    return lambda tag: Parts(tag[0], tag[2:]) if tag[1:2] == mark and len(tag) > 2 else None


def _suffixed(mark: str) -> Callable[[str], Parts | None]:
    return lambda tag: Parts(tag[-1], tag[:-2]) if tag[-2:-1] == mark and len(tag) > 2 else None


def _bare(tag: str) -> Parts | None:
    return Parts(tag, BARE_TYPE) if len(tag) == 1 else None


_FORMS = (_prefixed("-"), _prefixed("_"), _suffixed("-"), _suffixed("_"), _bare)


def usual_form(tags: Iterable[str]) -> Mapping[str, str] | None:
    """What each tag is in the usual form, such as ``B-PER``; None if no one form fits all of them.

    Args:
        tags: all tags of a file.
    """
    different = set(tags)
    if all(map(is_tag, different)):
        return {tag: tag for tag in different}
    return next(_readings(different), None)


def _readings(tags: set[str]) -> Iterator[dict[str, str]]:
    for outside in ("O", "o"):
        for form in _FORMS:
            parts = {tag: form(tag) for tag in tags if tag != outside}
            found = {tag: part for tag, part in parts.items() if part is not None}
            letters = {part.letter for part in found.values()}
            if len(found) < len(parts) or (form is _bare and not letters & set("Bb")):
                continue
            if letters <= set("biesmluw"):
                found = {tag: Parts(part.letter.upper(), part.type) for tag, part in found.items()}
                letters = {part.letter for part in found.values()}
            if found and any(letters <= set(scheme) for scheme in _SCHEMES):
                usual = {tag: f"{_SAME.get(part.letter, part.letter)}-{part.type}" for tag, part in found.items()}
                yield {**usual, outside: "O"}
