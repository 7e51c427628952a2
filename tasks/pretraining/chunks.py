"""The examples of pre-training: chunks of a corpus, paired and masked anew in each epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from minibert import Tokenizer
from tasks.data import Encoded
from tasks.pretraining.encode import ChunkedStream
from tasks.pretraining.masking import Masking
from tasks.pretraining.pairs import draw_pair
from tasks.pretraining.teacher_states import TeacherStates
from tasks.pretraining.tokens import TokenStream


@dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """What a model learns from the chunks of a stream.

    Attributes:
        pair: the relation of segments to predict; None for masked words only.
        masking: of words.
        tokenizer: adds the special tokens.
        stream: with the chunks.
        seed: of all random choices.
        teacher: the states of the stream's tokens that are to be learnt besides; None for none.
    """

    pair: str | None
    masking: Masking
    tokenizer: Tokenizer
    stream: TokenStream
    seed: int
    teacher: TeacherStates | None = None

    def __repr__(self) -> str:
        return f"{self.pair or 'no pair'}, {self.masking.unit} masking, {self.stream}"


class MaskedChunk(NamedTuple):
    """A chunk as the model sees it in one epoch: ids and token types ``(T,)``, the masked positions and their original
    ids ``(M,)``, the label of the pair, if it is one, and the place of each token in the stream, or -1, ``(T,)``."""

    ids: npt.NDArray[np.int32]
    types: Sequence[int]
    positions: npt.NDArray[np.int64]
    words: npt.NDArray[np.int32]
    label: int | None
    places: npt.NDArray[np.int64]


class Chunk(NamedTuple):
    """Tokens ``start:end`` of a stream, masked and paired anew in each epoch.

    Attributes:
        objective: shared by all chunks of a file.
        number: of the chunk.
        start, end: in the stream.
        line: where its document starts in the file.
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
        """The tokens with special ones, unmasked and unpaired; a pair from another document may be a little shorter."""
        objective = self.objective
        ids = objective.stream.ids[self.start : self.end].tolist()
        framed, _ = objective.tokenizer.with_special_tokens(ids, [] if objective.pair else None)
        return np.array(framed, np.int32)

    def draw(self) -> MaskedChunk:
        """Pairs and masks the chunk, from the seed, the epoch and its number."""
        objective = self.objective
        stream, tokenizer = objective.stream, objective.tokenizer
        generator = np.random.default_rng((objective.seed, self.epoch, self.number))
        first, second, label = (self.start, self.end), None, None
        if objective.pair is not None:
            first, second, label = draw_pair(objective.pair, stream, first, generator)
        framed, types = tokenizer.with_special_tokens(
            stream.ids[slice(*first)].tolist(), None if second is None else stream.ids[slice(*second)].tolist()
        )
        places = np.full(len(framed), -1)
        places[1 : 1 + first[1] - first[0]] = np.arange(*first)
        if second is not None:
            places[-1 - (second[1] - second[0]) : -1] = np.arange(*second)
        word_starts = np.where(places < 0, True, stream.word_starts[places])
        masked = objective.masking(np.array(framed, np.int32), word_starts, generator)
        return MaskedChunk(masked.ids, types, masked.positions, masked.words, label, places)


_CHUNKS = 200
"""After so many, pages of files are released: about 100 MB, as the system maps 64 KB around each place that is read."""


@dataclass(kw_only=True, eq=False)
class Chunks(Sequence[Chunk]):
    """The chunks of a stream, each made when it is asked for.

    Attributes:
        objective: shared by all.
        chunked: where they are.
        lines: ``(D,)``, where each document starts in its file.
    """

    objective: Objective
    chunked: ChunkedStream
    lines: npt.NDArray[np.int64]
    _made: int = 0

    def __len__(self) -> int:
        return len(self.chunked.starts)

    @overload
    def __getitem__(self, index: int) -> Chunk: ...
    @overload
    def __getitem__(self, index: slice) -> list[Chunk]: ...
    def __getitem__(self, index: int | slice) -> Chunk | list[Chunk]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        self._made += 1
        if self._made % _CHUNKS == 0:
            self.chunked.release()
            if self.objective.teacher is not None:
                self.objective.teacher.release()
        number = range(len(self))[index]
        start, length = int(self.chunked.starts[number]), int(self.chunked.lengths[number])
        document = np.searchsorted(self.chunked.first_chunks, number, side="right") - 1
        return Chunk(self.objective, number, start, start + length, int(self.lines[document]))


@dataclass(frozen=True, kw_only=True)
class EncodedChunks(Encoded[Chunk]):
    """Chunks, with their lengths known without making them."""

    examples: Chunks

    @cached_property
    def lengths(self) -> npt.NDArray[np.int32]:
        """``(n,)``, with special tokens."""
        objective = self.examples.objective
        return self.examples.chunked.lengths + objective.tokenizer.num_special_tokens(pair=objective.pair is not None)
