"""Tables from a checkpoint family's tensor names to ours, and their inverse.

A table is a dictionary of templates. ``{p}`` stands for ``weight`` and ``bias``, ``{l}`` for every layer, ``{g}`` and
``{k}`` for every group and inner layer. A target ``name[1/3]`` is the second of three equal blocks of rows of ``name``
(the foreign file keeps apart what we hold in one tensor); a target ``None`` is a name that is known and ignored.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from minibert.config import EncoderConfig

Rows = Mapping[str, str | None]


@dataclass(frozen=True)
class Slot:
    """A parameter of ours, or one of ``parts`` equal blocks of its rows."""

    name: str
    part: int = 0
    parts: int = 1

    def of(self, parameter: Tensor) -> Tensor:
        """The view of ``parameter`` that this slot names."""
        return parameter.chunk(self.parts)[self.part]


def expand(rows: Rows, config: EncoderConfig) -> dict[str, Slot | None]:
    """Writes out the templates of ``rows`` for the layers of ``config``."""
    ranges: dict[str, list[str]] = {
        "p": ["weight", "bias"],
        "l": [str(i) for i in range(config.num_hidden_layers)],
        "g": [str(i) for i in range(config.num_hidden_groups)],
        "k": [str(i) for i in range(config.inner_group_num)],
    }
    table: dict[str, Slot | None] = {}
    for foreign, ours in rows.items():
        letters = re.findall(r"\{(\w)\}", foreign)
        for choice in itertools.product(*(ranges[letter] for letter in letters)):
            filled = dict(zip(letters, choice, strict=True))
            table[foreign.format(**filled)] = None if ours is None else _slot(ours.format(**filled))
    return table


def _slot(target: str) -> Slot:
    if match := re.fullmatch(r"(.+)\[(\d+)/(\d+)\]", target):
        return Slot(match[1], int(match[2]), int(match[3]))
    return Slot(target)
