"""The tokens that a model predicts, and what replaces them: BERT's masked language model, whole-word masking, and
ALBERT's n-gram masking.

Everything here is a function of its arguments and a random generator, so it can be repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from minibert import Tokenizer

RATE = 0.15
"""The share of tokens to predict (Devlin et al. 2019, section 3.1)."""
_MASKED, _RANDOM = 0.8, 0.1  # of those; the rest stay as they are
_NGRAM_ODDS = np.array([1, 1 / 2, 1 / 3])  # of 1, 2 and 3 words (Lan et al. 2020, section 4.1)


class Masked(NamedTuple):
    """A masked sequence.

    Attributes:
        ids: ``(T,)``, what the model sees.
        positions: ``(M,)``, the tokens to predict, in order.
        words: ``(M,)``, their original ids.
    """

    ids: npt.NDArray[np.int32]
    positions: npt.NDArray[np.int64]
    words: npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Masking:
    """How sequences of one vocabulary are masked.

    Attributes:
        unit: what is masked as a whole: one of :data:`~tasks.pretraining.settings.MASKING_UNITS`.
        mask_token_id: replaces eight tenths of the tokens to predict.
        special: ``(V,)``, ids that are never predicted and never replace others.
    """

    unit: str
    mask_token_id: int
    special: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, tokenizer: Tokenizer, unit: str) -> "Masking":
        special = np.zeros(tokenizer.vocab_size, bool)
        special[list(tokenizer.all_special_ids)] = True
        return cls(unit=unit, mask_token_id=tokenizer.mask_token_id, special=special)

    def __call__(
        self, ids: npt.NDArray[np.int32], word_starts: npt.NDArray[np.bool_], generator: np.random.Generator
    ) -> Masked:
        """Masks a sequence.

        Args:
            ids: ``(T,)``, with special tokens.
            word_starts: ``(T,)``, true at the first token of each word and at each special token.
            generator: of random numbers.
        """
        special = self.special[ids]
        starts = np.ones(len(ids), bool) if self.unit == "token" else word_starts
        units = units_of(starts, special, generator if self.unit == "ngram" else None)
        positions = choose(units, RATE * sum(end - start for start, end in units), generator)
        fate = generator.random(len(positions))
        masked = ids.copy()
        masked[positions[fate < _MASKED]] = self.mask_token_id
        strange = positions[(fate >= _MASKED) & (fate < _MASKED + _RANDOM)]
        masked[strange] = generator.choice(np.flatnonzero(~self.special), len(strange))
        return Masked(masked, positions, ids[positions])


def units_of(
    starts: npt.NDArray[np.bool_], special: npt.NDArray[np.bool_], generator: np.random.Generator | None
) -> list[tuple[int, int]]:
    """Splits a sequence into the units that are masked as a whole: runs ``start:end`` of tokens that are not special.

    Args:
        starts: ``(T,)``, true at the first token of each word.
        special: ``(T,)``, true at tokens that are never masked; a word with one of them is left out.
        generator: draws n-grams of words, with lengths in the proportions 1 : 1/2 : 1/3 except where the text ends.
            Splitting the whole text and then choosing among the pieces preserves these proportions; n-grams at random
            places would overlap, long ones more often. None makes every word a unit.
    """
    borders = [*np.flatnonzero(starts).tolist(), len(starts)]
    words = list(pairwise(borders))
    if generator is not None:
        odds = _NGRAM_ODDS / _NGRAM_ODDS.sum()
        lengths = iter(generator.choice(len(odds), len(words), p=odds).tolist())
    units: list[tuple[int, int]] = []
    more = 0  # words that the current unit may still take
    for start, end in words:
        if special[start:end].any():
            more = 0
        elif more:
            units[-1] = (units[-1][0], end)
            more -= 1
        else:
            units.append((start, end))
            more = 0 if generator is None else next(lengths)
    return units


def choose(units: Sequence[tuple[int, int]], quota: float, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draws units until they have ``quota`` tokens; returns the positions of the tokens, in order.

    The last unit may not fit; it is taken with the probability at which the expected number of tokens is the quota.
    """
    chosen: list[int] = []
    for index in generator.permutation(len(units)).tolist():
        start, end = units[index]
        if end - start > quota and generator.random() * (end - start) >= quota:
            break
        chosen.extend(range(start, end))
        quota -= end - start
        if quota <= 0:
            break
    return np.array(sorted(chosen), np.int64)
