"""Documents to the tokens and chunks of pre-training, block by block, by all cores.

Only a few blocks are in memory at a time. Like :mod:`tasks.pretraining.tokens`, nothing here imports torch.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from typing import Any

import numpy as np
import numpy.typing as npt

from minibert.errors import InputError
from minibert.tokenizer.tokenizer import Tokenizer
from tasks.pretraining.tokens import TokenStream, full_chunks, pair_chunks, tokenise
from tasks.run.processors import usable_processors
from tasks.run.store import release

_BLOCK = 1 << 20
"""Characters that are tokenised at a time: two seconds' work."""
_FEW = 8
"""Blocks for which it is not worth starting processes."""
_WAITING = 2
"""Blocks that wait for each process, so that none is idle."""

Paragraphs = Sequence[str]
Spans = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Chunking:
    """How documents become chunks.

    Attributes:
        tokenizer: makes the tokens.
        in_pairs: whether a chunk is of one document, and split into two segments; otherwise chunks cross documents,
            with a separator between them.
        room: the most tokens in a chunk.
    """

    tokenizer: Tokenizer
    in_pairs: bool
    room: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ChunkedStream:
    """The tokens of documents and their chunks, in arrays that may lie in files.

    Attributes:
        stream: the tokens.
        starts, lengths: ``(n,)``, of the chunks, in order.
    """

    stream: TokenStream
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "ChunkedStream":
        """From what :func:`encode` gave."""
        names = ("ids", "word_starts", "sentences", "documents")
        stream = TokenStream(**{name: arrays[name] for name in names})
        return cls(stream=stream, starts=arrays["starts"], lengths=arrays["lengths"])

    def release(self) -> None:
        """Takes pages of files out of this process's memory."""
        stream = self.stream
        for array in (stream.ids, stream.word_starts, stream.sentences, self.starts, self.lengths):
            release(array)

    @cached_property
    def first_chunks(self) -> npt.NDArray[np.int64]:
        """``(D + 1,)``, the first chunk of each document, then n. A chunk belongs to the document it starts in."""
        return np.searchsorted(self.starts, self.stream.documents)


def encode(documents: Iterable[Paragraphs], chunking: Chunking, append: Callable[[str, npt.NDArray[Any]], None]) -> int:
    """Turns documents into the arrays of a :class:`ChunkedStream`.

    Args:
        documents: the paragraphs of each.
        chunking: see there.
        append: takes the name of an array and its next values.

    Returns:
        The number of unknown tokens.
    """
    tokenizer, unknown, total = chunking.tokenizer, 0, 0
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32
    append("documents", np.zeros(1, np.int64))
    for stream, spans in _chunked(documents, chunking):
        append("ids", stream.ids.astype(dtype))
        append("word_starts", stream.word_starts)
        append("sentences", total + stream.sentences)
        append("documents", total + stream.documents[1:])
        append("starts", spans[:, 0])
        append("lengths", (spans[:, 1] - spans[:, 0]).astype(np.int32))
        unknown += int(np.count_nonzero(stream.ids == tokenizer.unk_token_id))
        total += len(stream.ids)
    return unknown


def encode_in_memory(documents: Iterable[Paragraphs], chunking: Chunking) -> tuple[ChunkedStream, int]:
    """The same in memory, with the number of unknown tokens."""
    parts: dict[str, list[npt.NDArray[Any]]] = {}
    unknown = encode(documents, chunking, lambda name, values: parts.setdefault(name, []).append(values))
    return ChunkedStream.from_arrays({name: np.concatenate(values) for name, values in parts.items()}), unknown


def _chunked(documents: Iterable[Paragraphs], chunking: Chunking) -> Iterator[tuple[TokenStream, Spans]]:
    """Streams that follow one another, and chunks ``(n, 2)`` as ``start:end`` from the start of the first stream."""
    tokenizer = chunking.tokenizer
    if not chunking.in_pairs:
        separator = tokenizer.sep_token_id
        yield from full_chunks(_streams(_blocks(documents), tokenizer, separator), chunking.room, separator)
        return
    total = 0
    for tokens in _streams(_blocks(documents), tokenizer, None):
        stream, chunks = pair_chunks(tokens, chunking.room)
        yield stream, total + np.array(chunks, np.int64).reshape(-1, 2)
        total += len(stream.ids)


def _blocks(documents: Iterable[Paragraphs]) -> Iterator[list[Paragraphs]]:
    block: list[Paragraphs] = []
    size = 0
    for paragraphs in documents:
        block.append(paragraphs)
        size += sum(map(len, paragraphs))
        if size >= _BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block


def _streams(blocks: Iterator[list[Paragraphs]], tokenizer: Tokenizer, separator: int | None) -> Iterator[TokenStream]:
    """The tokens of each block, in order; many blocks are shared among processes."""
    first = list(islice(blocks, _FEW))
    if len(first) < _FEW:
        yield from (tokenise(block, tokenizer, separator=separator) for block in first)
        return
    cores = usable_processors()
    # Forked processes would share the locks of this one's threads.
    pool = ProcessPoolExecutor(cores, get_context("spawn"), initializer=_start, initargs=(tokenizer, separator))
    pending: deque[Future[TokenStream]] = deque()
    try:
        for block in chain(first, blocks):
            pending.append(pool.submit(_tokenise, block))
            if len(pending) > _WAITING * cores:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise InputError(
            "a process that makes tokens was killed, perhaps because memory ran out; stop other programs, and start "
            "again."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_given: tuple[Tokenizer, int | None]
"""The tokenizer and the separator of a process of the pool."""


def _start(tokenizer: Tokenizer, separator: int | None) -> None:
    global _given
    _given = tokenizer, separator
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent ends the pool
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot end its pool, whose processes would wait for work for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _tokenise(block: list[Paragraphs]) -> TokenStream:
    tokenizer, separator = _given
    return tokenise(block, tokenizer, separator=separator)
