"""Labels that people take for the same, though they are written in different ways."""

import unicodedata
from collections.abc import Iterable, Mapping

_SHOWN_GROUPS = 5


def alike_warning(first: Mapping[str, int], what: str) -> str | None:
    """About the labels of a file that look alike; None if there are none.

    Args:
        first: the labels, with the line where each is first.
        what: they are, in words.
    """
    alike: dict[str, list[str]] = {}
    for label in first:
        alike.setdefault(_as_seen(label), []).append(label)
    groups = [with_lines(group, first) for group in alike.values() if len(group) > 1]
    if not groups:
        return None
    more = f" and {len(groups) - _SHOWN_GROUPS:,} more" if len(groups) > _SHOWN_GROUPS else ""
    return (
        f"{what} that look alike are learnt as different ones: {'; '.join(groups[:_SHOWN_GROUPS])}{more}. If they are "
        "the same, write them alike."
    )


def with_lines(labels: Iterable[str], first: Mapping[str, int]) -> str:
    """Labels, with the line where each is first."""
    return ", ".join(f"{_spelled(label)} (line {first[label]})" for label in labels)


def _as_seen(label: str) -> str:
    """What people take a label for: without case, compatibility forms, and characters that are not seen; 1.0 is 1."""
    text = "".join(character for character in label if unicodedata.category(character) != "Cf")
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return text[:-2] if text.endswith(".0") and text[:-2].isdecimal() else text


def _spelled(label: str) -> str:
    """A label with escapes for what looks like something else, or like nothing."""
    return "".join(
        character
        if unicodedata.normalize("NFKC", character) == character and unicodedata.category(character) not in ("Cf", "Mn")
        else ascii(character)[1:-1]
        for character in label
    )
