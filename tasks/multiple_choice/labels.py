"""Which choice a label means: by its number, its letter, its text, or a name that the choices have."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tasks.read.records import Record

NUMBER = re.compile(r"(\d{1,6})(?:\.0)?")
"""A label that is a number, perhaps as pandas writes it."""
_LETTER = re.compile("[A-Za-z]")


class Labelled(NamedTuple):
    """A label as text, the choices, and their names; those are empty for none."""

    label: str
    choices: Sequence[str]
    names: Sequence[str]


class Labels(NamedTuple):
    """How the labels of a file are read.

    Attributes:
        first_number: of the choices, 0 or 1; None if no label can only be a number.
        is_certain: False if the file does not show it.
        are_texts: each is the text of a choice, and at least one can be nothing else; so none is a number or letter.
    """

    first_number: int | None = None
    is_certain: bool = True
    are_texts: bool = False


def labels_of(questions: Iterable[Labelled], first_number: int | None) -> Labels:
    """Goes by the labels that can only be texts, and by those that can only be numbers.

    Args:
        questions: of one file.
        first_number: if it is known from another file.
    """
    numbers = set()
    are_texts, one_is_certain = True, False
    for label, choices, names in questions:
        number = NUMBER.fullmatch(label)
        if number and label not in (*choices, *names):
            numbers.add({0: "first", len(choices): "last"}.get(int(number[1]), "between"))
        are_texts = are_texts and label in choices
        counts = number is not None and int(number[1]) <= len(choices)
        one_is_certain = one_is_certain or not (counts or label in names or _LETTER.fullmatch(label))
    if are_texts and one_is_certain:
        return Labels(are_texts=True)
    if first_number is not None or not numbers:
        return Labels(first_number)
    return Labels(int("last" in numbers and "first" not in numbers), is_certain=numbers != {"between"})


def place_of(question: Labelled, labels: Labels, record: Record) -> int:
    """The place of the right choice, from 0.

    Raises:
        InputError: the label is none of the choices, or may be more than one; names the place of ``record``.
    """
    label, choices, names = question
    if labels.are_texts:
        return choices.index(label)
    if label not in (*names, *choices):  # a letter, by the names where these are letters
        label = next((name for name in names if name.lower() == label.lower()), label)
    readings = {places.index(label) for places in (names, choices) if label in places}
    if label not in names:
        if number := NUMBER.fullmatch(label):
            first_numbers = (0, 1) if labels.first_number is None else (labels.first_number,)
            readings |= {int(number[1]) - first for first in first_numbers}
        if _LETTER.fullmatch(label):
            readings.add(ord(label.upper()) - ord("A"))
    first = labels.first_number or 0
    places = sorted(place for place in readings if 0 <= place < len(choices))
    if len(places) > 1:
        letters = [chr(ord("A") + place) for place in places]
        has_letters = any(letter in (*choices, *names) for letter in letters)
        marks = [str(first + place) for place in places] if has_letters else letters
        raise record.error(
            f"label {label!r} may be choice {places[0]} ({choices[places[0]][:40]!r}) or choice {places[1]} "
            f"({choices[places[1]][:40]!r}), by its number, letter or text; write the "
            f"{'number' if has_letters else 'letter'} of the right one, {' or '.join(marks)}."
        )
    if not places:
        raise record.error(
            f"label {label[:40]!r} is none of the choices; write its number ({first} to {first + len(choices) - 1}), "
            f"its letter (A to {chr(ord('A') + len(choices) - 1)}) or its text."
        )
    return places[0]
