"""Random sentences from lists of words and templates, some of which train never sees."""

import random
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

NAME_SHARES = {"train": 0.6, "dev": 0.2, "test": 0.2}
HELD_OUT_EVERY = 5  # one entry of a list in so many is held out for dev and test
HELD_OUT_SHARE = 0.25  # how often a choice for dev or test falls on what is held out
REDRAWS = 20  # some lists are short, so a repetition is accepted in the end

SLOT = re.compile(r"\{(\w+)\}")

T = TypeVar("T")
Lists = dict[str, list[str]]  # the entries that may fill each slot
Divided = tuple[list[T], list[T]]  # what every split may use, and what is held out for dev and test
Files = dict[str, str]  # name and text of each file of a sample


def read_material(name: str) -> dict[str, Any]:
    """The tables of ``material/NAME.toml``."""
    with (Path(__file__).parent / "material" / f"{name}.toml").open("rb") as file:
        return tomllib.load(file)


def entries(text: str) -> list[str]:
    """The entries of a list, which are separated by ``|`` or by line ends."""
    return [entry.strip() for entry in text.replace("\n", "|").split("|") if entry.strip()]


def read_lists(table: dict[str, str]) -> Lists:
    return {slot: entries(text) for slot, text in table.items()}


def hold_out(values: list[T], rng: random.Random) -> Divided[T]:
    """Holds out one value in HELD_OUT_EVERY."""
    shuffled = rng.sample(values, len(values))
    cut = round(len(values) / HELD_OUT_EVERY)
    return shuffled[cut:], shuffled[:cut]


def hold_out_of_each(lists: Lists, rng: random.Random) -> dict[str, Divided[str]]:
    return {slot: hold_out(values, rng) for slot, values in lists.items()}


def split_names(names: Lists, rng: random.Random) -> dict[str, Lists]:
    """Divides every list between the splits: no name is in two of them."""
    by_split: dict[str, Lists] = {split: {} for split in NAME_SHARES}
    for slot, values in names.items():
        shuffled = rng.sample(values, len(values))
        start, total = 0, 0.0
        for split, share in NAME_SHARES.items():
            total += share
            stop = round(total * len(values))
            by_split[split][slot] = shuffled[start:stop]
            start = stop
    return by_split


def expand(slot: str, lists: Lists, rng: random.Random) -> str:
    """A random entry for the slot, with the slots in it filled in turn."""
    return SLOT.sub(lambda inner: expand(inner[1], lists, rng), rng.choice(lists[slot]))


class Chooser:
    """Random choices for one split; those for train never fall on what is held out."""

    def __init__(self, *, split: str, rng: random.Random) -> None:
        self.rng = rng
        self.held_out_share = 0.0 if split == "train" else HELD_OUT_SHARE

    def choose(self, values: Divided[T]) -> T:
        common, held_out = values
        return self.rng.choice(held_out if held_out and self.rng.random() < self.held_out_share else common)

    def fill(self, template: str, values: dict[str, Divided[str]]) -> str:
        """Fills the slots of the template, and those in their fillings; avoids using a filling twice."""
        used: set[str] = set()

        def filling(slot: re.Match[str]) -> str:
            text = self.choose(values[slot[1]])
            for _ in range(REDRAWS):
                if text not in used:
                    break
                text = self.choose(values[slot[1]])
            used.add(text)
            return SLOT.sub(filling, text)

        return SLOT.sub(filling, template)
