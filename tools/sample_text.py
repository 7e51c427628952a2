"""How the task samples are drawn: lists written as text, divided so that train never sees some of what they hold."""

import random
import re
from typing import TypeVar

FRESH_EVERY = 5  # one line of a list in so many is kept for dev and test
REDRAWS = 20  # some lists are short, so a repetition is let through in the end

SLOT = re.compile(r"\{(\w+)\}")

T = TypeVar("T")
Pools = dict[str, list[str]]
Divided = tuple[list[T], list[T]]  # what every split may use, what is kept for dev and test


def parts(text: str) -> list[str]:
    """The non-empty parts of a text, which end at line ends and at ``|``."""
    return [part.strip() for part in text.replace("\n", "|").split("|") if part.strip()]


def pools(**texts: str) -> Pools:
    """One list for each slot, from text."""
    return {slot: parts(text) for slot, text in texts.items()}


def divide(values: list[T], rng: random.Random) -> Divided[T]:
    """Keeps one value in FRESH_EVERY away from train."""
    shuffled = rng.sample(values, len(values))
    cut = round(len(values) / FRESH_EVERY)
    return shuffled[cut:], shuffled[:cut]


def divide_all(lists: Pools, rng: random.Random) -> dict[str, Divided[str]]:
    """Every list, divided."""
    return {slot: divide(values, rng) for slot, values in lists.items()}


class Drawer:
    """Random choices for one split.

    Args:
        fresh_share: how often a choice falls on what is kept for dev and test: 0 for train.
    """

    def __init__(self, *, rng: random.Random, fresh_share: float) -> None:
        self.rng = rng
        self.fresh_share = fresh_share

    def pick(self, values: Divided[T]) -> T:
        """One value of a divided list."""
        common, fresh = values
        return self.rng.choice(fresh if fresh and self.rng.random() < self.fresh_share else common)

    def fill(self, template: str, values: dict[str, Divided[str]]) -> str:
        """The template with its slots, and the slots of what stands in them, filled; each time with something new."""
        used: set[str] = set()

        def filling(slot: re.Match[str]) -> str:
            text = self.pick(values[slot[1]])
            for _ in range(REDRAWS):
                if text not in used:
                    break
                text = self.pick(values[slot[1]])
            used.add(text)
            return SLOT.sub(filling, text)

        return SLOT.sub(filling, template)
