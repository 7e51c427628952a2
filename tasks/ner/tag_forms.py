"""Tags in other forms than ``B-PER``, where one fits a whole file: BILOU, PER-B, B_PER, bare B and I, lower case."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from minibert.errors import InputError
from tasks.read.columns import is_tag
from tasks.read.notes import Notes
from tasks.read.spans import TaggedWords

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


def in_usual_form(tagged: Sequence[TaggedWords], notes: Notes) -> Sequence[TaggedWords]:
    """The same with tags such as B-PER, where one form fits the whole file."""
    usual = usual_form({tag for row in tagged for tag in row.tags})
    if usual is None or all(tag == same for tag, same in usual.items()):
        return tagged
    example = min(tag for tag, same in usual.items() if same not in ("O", tag))
    name = f"tags read in the usual form, such as {example} as {usual[example]}"
    for row in tagged:
        notes.repair(name, row.lines[0], sum(usual[tag] != tag for tag in row.tags))
    return [row._replace(tags=[usual[tag] for tag in row.tags]) for row in tagged]


def as_inside(tagged: Sequence[TaggedWords], path: str) -> Sequence[TaggedWords]:
    """The same with tags such as I-PER, as IOB1 has them, for those of the scheme IO: PER, or I-PER in a whole file.

    Raises:
        InputError: some tags have a prefix, and others have none.
    """
    tagged = [row._replace(tags=["O" if tag == "o" else tag for tag in row.tags]) for row in tagged]
    first: dict[bool, tuple[int, str]] = {}  # a tag with a prefix, and one without: the line of each
    for row in tagged:
        for tag, line in zip(row.tags, row.lines, strict=True):
            if tag != "O":
                first.setdefault(is_tag(tag), (line, tag))
    if len(first) > 1:
        (line, tag), (other, bare) = first[True], first[False]
        raise InputError(
            f"{path}, line {line}: {tag[:40]!r} begins like a tag with a prefix, and {bare[:40]!r} in line {other} has "
            "none; with --scheme io write I- before all types, or before none."
        )
    if True in first:
        return tagged
    return [row._replace(tags=[tag if tag == "O" else f"I-{tag}" for tag in row.tags]) for row in tagged]


def with_names(
    tagged: Sequence[TaggedWords], label_names: Sequence[str], path: str, notes: Notes
) -> Iterator[TaggedWords]:
    """The same with the names of tags that are numbers, if all in the file are; a number without a name is refused."""
    if not label_names or not all(tag.isdecimal() for row in tagged for tag in row.tags):
        yield from tagged
        return
    for row in tagged:
        with notes.row(row.lines[0]):
            for tag, line in zip(row.tags, row.lines, strict=True):
                if int(tag[:9]) >= len(label_names):
                    raise InputError(
                        f"{path}, line {line}: {tag[:9]} is none of the {len(label_names)} --label-names, which count "
                        "from 0."
                    )
            yield row._replace(tags=[label_names[int(tag)] for tag in row.tags])
