"""What is seen of a corpus at a time, drawn anew in each epoch: chunks of it, paired and masked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from minibert import Tokenizer
from tasks.pretraining.corpus import TokenStream
from tasks.pretraining.masking import Masking
from tasks.pretraining.pairs import draw_pair


@dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """What a model is to learn from chunks of one stream, and how they are laid out for it.

    Attributes:
        pair: the relation of segments to tell; None for masked words alone.
        masking: of words.
        tokenizer: frames segments.
        stream: holds the chunks.
        seed: of all draws.
    """

    pair: str | None
    masking: Masking
    tokenizer: Tokenizer
    stream: TokenStream
    seed: int

    def __repr__(self) -> str:
        return f"{self.pair or 'no pair'}, {self.masking.unit} masking, {self.stream}"


class MaskedChunk(NamedTuple):
    """A chunk as the model sees it in one epoch: ids and token types ``(n,)``, the masked positions and the words that
    stood there ``(k,)``, and the pair's label, if it is a pair."""

    ids: npt.NDArray[np.int32]
    types: Sequence[int]
    positions: npt.NDArray[np.int64]
    words: npt.NDArray[np.int32]
    label: int | None


class Chunk(NamedTuple):
    """Tokens ``start:end`` of a stream, to be masked and paired anew in each epoch.

    Attributes:
        objective: of it, and of all others of its file.
        number: among them.
        start, end: in the stream.
        line: where its document starts in its file.
        epoch: from 1; 0 is for evaluation.
    """

    objective: Objective
    number: int
    start: int
    end: int
    line: int
    epoch: int = 0

    @property
    def ids(self) -> npt.NDArray[np.int32]:
        """The tokens in a frame, unmasked and unpaired; a pair from elsewhere may be a little shorter."""
        objective = self.objective
        ids = objective.stream.ids[self.start : self.end].tolist()
        framed, _ = objective.tokenizer.with_special_tokens(ids, [] if objective.pair else None)
        return np.array(framed, np.int32)

    def draw(self) -> MaskedChunk:
        """Pairs and masks, by the seed, the epoch and the number."""
        objective = self.objective
        stream, tokenizer = objective.stream, objective.tokenizer
        generator = np.random.default_rng((objective.seed, self.epoch, self.number))
        first, second, label = (self.start, self.end), None, None
        if objective.pair is not None:
            first, second, label = draw_pair(objective.pair, stream, first, generator)
        framed, types = tokenizer.with_special_tokens(
            stream.ids[slice(*first)].tolist(), None if second is None else stream.ids[slice(*second)].tolist()
        )
        word_starts = np.ones(len(framed), bool)
        word_starts[1 : 1 + first[1] - first[0]] = stream.word_starts[slice(*first)]
        if second is not None:
            word_starts[-1 - (second[1] - second[0]) : -1] = stream.word_starts[slice(*second)]
        masked = objective.masking(np.array(framed, np.int32), word_starts, generator)
        return MaskedChunk(masked.ids, types, masked.positions, masked.words, label)
