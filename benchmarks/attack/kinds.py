"""The kinds of hostile input: add one here.

A kind writes a hostile input into an empty folder, from a seeded source of chance, and returns the function that reads
it as a user's command would. Only InputError may come out of that.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.attack.bodies import bodies
from benchmarks.attack.settings import configs, states, toml
from benchmarks.attack.texts import data, tokenizers
from benchmarks.attack.weights import archives, bundles, fairseq, pickles, safetensors


class Kind(NamedTuple):
    """A kind of input, and its share of all inputs in percent."""

    make: Callable[[Path, random.Random], Callable[[], object]]
    share: int


KINDS = {
    "pickles": Kind(pickles, 15),
    "archives": Kind(archives, 12),
    "safetensors": Kind(safetensors, 12),
    "bundles": Kind(bundles, 34),
    "fairseq": Kind(fairseq, 3),
    "configs": Kind(configs, 5),
    "tokenizers": Kind(tokenizers, 6),
    "toml": Kind(toml, 4),
    "states": Kind(states, 2),
    "data": Kind(data, 3),
    "bodies": Kind(bodies, 4),
}
