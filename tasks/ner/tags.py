"""Tags of words, such as ``B-PER``, and the entities they encode."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from tasks.read.columns import is_tag

SCHEMES = ("auto", "iob1", "bio", "bioes", "bmes", "io")
# The prefixes of tags, before the hyphen.
PREFIXES = {"iob1": "BI", "bio": "BI", "bioes": "BIES", "bmes": "BMES"}


class Entity(NamedTuple):
    """An entity of a type: words ``start:end`` of a sentence."""

    start: int
    end: int
    type: str


def detect_scheme(sentences: Iterable[Sequence[str]]) -> str:
    """Recognises the scheme from all tags of a file.

    M means BMES; E or S without M means BIOES. IOB1 and BIO share their letters: in IOB1 a ``B-`` occurs only directly
    after an entity of the same type; in BIO an ``I-`` never starts one. CoNLL-2003 itself breaks its rule twice in
    23,427 entities, so a file counts as IOB1 if ten times as many entities start with ``I-``.
    """
    prefixes: set[str] = set()
    free_begins = inside_starts = 0
    for tags in sentences:
        previous = "O"
        for tag in tags:
            if tag == previous == "O":
                continue
            prefixes.add(tag[:2])
            after_own_type = previous[2:] == tag[2:] and previous != "O"
            free_begins += tag.startswith("B-") and not after_own_type
            inside_starts += tag.startswith("I-") and not after_own_type
            previous = tag
    if "M-" in prefixes:
        return "bmes"
    if prefixes & {"E-", "S-"}:
        return "bioes"
    return "iob1" if inside_starts > 10 * free_begins else "bio"


def is_begin_marked(labels: Iterable[str]) -> bool:
    """Whether a model's labels are O and the tags of a scheme in which every entity starts with ``B-`` or ``S-``.

    If an ``I-X`` comes without ``B-X``, as it can in IOB1, then ``I-`` may start entities.
    """
    names = set(labels)
    return "O" in names and all(is_tag(name) and (name[0] not in "IME" or f"B{name[1:]}" in names) for name in names)


def tags_in(labels: Collection[str], entities: Iterable[Entity], length: int) -> list[str]:
    """The tags of a sentence's entities in the scheme of a model's labels, which another tool may have chosen: BIO;
    BIOES or BMES where there are ``S-`` and ``E-``; else IOB1, where only an entity next to another of its type begins
    with ``B-``. What the labels lack is O."""
    begin_marked = is_begin_marked(labels)
    tags = ["O"] * length
    before = (-1, "")  # the end of an entity, and its type
    for start, end, type_ in entities:
        first = "B" if begin_marked or before == (start, type_) else "I"
        inside = "M" if f"M-{type_}" in labels else "I"
        last = "E" if f"E-{type_}" in labels else inside
        only = "S" if f"S-{type_}" in labels else first
        letters = only if end - start == 1 else first + inside * (end - start - 2) + last
        tags[start:end] = [tag if (tag := f"{letter}-{type_}") in labels else "O" for letter in letters]
        before = (end, type_)
    return tags


def entities_from_tags(tags: Sequence[str], scheme: str) -> tuple[list[Entity], int]:
    """Decodes the entities of a sentence from its tags.

    A tag that continues no entity of its type starts one, and an entity that is not closed ends where the next tag
    begins; both count as repairs.

    Returns:
        The entities in order, and the number of repairs.
    """
    entities: list[Entity] = []
    repairs = 0
    start, type_ = -1, ""  # the current entity, if any

    def close(end: int) -> None:
        nonlocal start
        if start >= 0:
            entities.append(Entity(start, end, type_))
            start = -1

    closes = scheme in ("bioes", "bmes")
    for index, tag in enumerate(tags):
        if tag == "O" and start < 0:
            continue
        prefix, tag_type = tag[:1], tag[2:]
        continues = prefix in "IME" and start >= 0 and tag_type == type_
        if not continues:
            if start >= 0 and closes:
                repairs += 1
            close(index)
            if prefix == "O":
                continue
            if prefix in "ME" or (prefix == "I" and scheme != "iob1"):
                repairs += 1
            start, type_ = index, tag_type
        if prefix in "ES":
            close(index + 1)
    if start >= 0 and closes:
        repairs += 1
    close(len(tags))
    return entities, repairs
