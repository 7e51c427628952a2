"""Which choice a label means: by its number, its letter, its text, or a name that the choices have."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tasks.read.records import Record

NUMBER = re.compile(r"(\d{1,6})(?:\.0)?")
"""A label that is a number, perhaps as pandas writes it."""


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
    """

    first_number: int | None = None
    is_certain: bool = True


def labels_of(questions: Iterable[Labelled], first_number: int | None) -> Labels:
    """Goes by the labels that are numbers, and no texts or names of choices.

    Args:
        questions: of one file.
        first_number: if it is known from another file.
    """
    numbers = set()
    for label, choices, names in questions:
        if (number := NUMBER.fullmatch(label)) and label not in (*choices, *names):
            numbers.add({0: "first", len(choices): "last"}.get(int(number[1]), "between"))
    if first_number is not None or not numbers:
        return Labels(first_number)
    return Labels(int("last" in numbers and "first" not in numbers), is_certain=numbers != {"between"})


def place_of(question: Labelled, labels: Labels, record: Record) -> int:
    """The place of the right choice, from 0.

    Raises:
        InputError: the label is none of the choices, or may be more than one; names the place of ``record``.
    """
    label, choices, names = question
    readings = {places.index(label) for places in (names, choices) if label in places}
    if label not in names:
        if number := NUMBER.fullmatch(label):
            first_numbers = (0, 1) if labels.first_number is None else (labels.first_number,)
            readings |= {int(number[1]) - first for first in first_numbers}
        if re.fullmatch("[A-Za-z]", label):
            readings.add(ord(label.upper()) - ord("A"))
    places = sorted(place for place in readings if 0 <= place < len(choices))
    if len(places) > 1:
        raise record.error(
            f"label {label!r} may be choice {places[0]} ({choices[places[0]][:40]!r}) or choice {places[1]} "
            f"({choices[places[1]][:40]!r}), by its number, letter or text; write the text of the right one."
        )
    if not places:
        first = labels.first_number or 0
        raise record.error(
            f"label {label[:40]!r} is none of the choices; write its number ({first} to {first + len(choices) - 1}), "
            f"its letter (A to {chr(ord('A') + len(choices) - 1)}) or its text."
        )
    return places[0]
