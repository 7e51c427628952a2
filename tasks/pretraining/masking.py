"""Which tokens a model has to predict, and what stands in their place: the masked language model of BERT, with whole
words, and with the n-grams of ALBERT.

Everything here is a function of its arguments and a generator, so that what is drawn can be drawn again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from minibert import Tokenizer

RATE = 0.15
"""The part of the tokens to predict (Devlin et al. 2019, section 3.1)."""
_MASKED, _RANDOM = 0.8, 0.1  # of those; the rest stay as they are
_NGRAM_ODDS = np.array([1, 1 / 2, 1 / 3])  # of 1, 2 and 3 words (Lan et al. 2020, section 4.1)


class Masked(NamedTuple):
    """A sequence to be completed.

    Attributes:
        ids: ``(n,)``, what the model sees.
        positions: ``(k,)``, where it has to tell what stood there, in order.
        words: ``(k,)``, the ids that stood there.
    """

    ids: npt.NDArray[np.int32]
    positions: npt.NDArray[np.int64]
    words: npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Masking:
    """How sequences of one vocabulary are masked.

    Attributes:
        unit: what is masked as a whole: one of :data:`~tasks.options.MASKING_UNITS`.
        mask_token_id: stands for eight tenths of what is to be predicted.
        special: ``(V,)``, the ids that are never to be predicted and never stand for another.
    """

    unit: str
    mask_token_id: int
    special: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, tokenizer: Tokenizer, unit: str) -> "Masking":
        special = np.zeros(tokenizer.vocab_size, bool)
        special[list(tokenizer.special_ids)] = True
        return cls(unit=unit, mask_token_id=tokenizer.mask_token_id, special=special)

    def __call__(
        self, ids: npt.NDArray[np.int32], word_starts: npt.NDArray[np.bool_], generator: np.random.Generator
    ) -> Masked:
        """Masks a sequence.

        Args:
            ids: ``(n,)``, with special tokens.
            word_starts: ``(n,)``, true at the first token of each word and at each special token.
            generator: where chance comes from.
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
    """Cuts a sequence into what is masked as a whole: runs ``start:end`` of tokens, without any special ones.

    Args:
        starts: ``(n,)``, true at the first token of each word.
        special: ``(n,)``, true at tokens that are not to be masked; a word that holds one is left out.
        generator: cuts into n-grams of words, whose lengths have the odds 1 : 1/2 : 1/3 but where the text ends.
            Cutting all of the text, and choosing among the pieces, keeps these odds for what is masked; n-grams drawn
            at random places would get in each other's way, the longer the more. Without it, each word is a unit.
    """
    borders = [*np.flatnonzero(starts).tolist(), len(starts)]
    words = list(pairwise(borders))
    if generator is not None:
        odds = _NGRAM_ODDS / _NGRAM_ODDS.sum()
        lengths = iter(generator.choice(len(odds), len(words), p=odds).tolist())
    units: list[tuple[int, int]] = []
    more = 0  # words that the unit under way may still take
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
    """Draws units until they have ``quota`` tokens; gives the tokens' places, in order.

    The last unit may not fit; it is taken with the probability that makes the expected number of tokens the quota.
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
