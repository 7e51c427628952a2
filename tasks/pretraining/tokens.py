"""The tokens of documents, end to end, and the chunks that a model sees at a time.

Nothing here imports torch, so that the processes that make tokens start quickly.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from minibert.tokenizer.tokenizer import Tokenizer, split_words

# A sentence ends after a punctuation mark and the closing quotation marks and brackets that follow; after a full stop
# there must also be white space.
_SENTENCE_END = re.compile(r"""(?:[。！？；!?]+|\.(?=[”’"')\]]*\s))[”’」』）】"')\]]*\s*""")

_DOCUMENTS = 10_000  # whose ids are in memory at a time

Span = tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenStream:
    """The tokens of documents, end to end.

    Attributes:
        ids: ``(N,)``, without special tokens except the separators between documents, if there are any.
        word_starts: ``(N,)``, true at the first token of each word; a Chinese character is a word.
        sentences: ``(S,)``, where sentences start, always at the first token of a word.
        documents: ``(D + 1,)``, where documents start, then N; an empty document starts where the next one does.
    """

    ids: npt.NDArray[np.integer]
    word_starts: npt.NDArray[np.bool_]
    sentences: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]

    @cached_property
    def filled(self) -> npt.NDArray[np.int64]:
        """``(F + 1,)``, where the documents that are not empty start, then N."""
        return self.documents[np.diff(self.documents, prepend=-1) > 0]

    def __repr__(self) -> str:
        return f"{len(self.ids)} tokens of {len(self.documents) - 1} documents"

    def sentences_between(self, start: int, end: int) -> npt.NDArray[np.int64]:
        """The sentence starts from ``start`` to before ``end``."""
        first, last = np.searchsorted(self.sentences, (start, end))
        return self.sentences[first:last]


def tokenise(documents: Iterable[Sequence[str]], tokenizer: Tokenizer, *, separator: int | None) -> TokenStream:
    """Splits documents into tokens, words and sentences.

    Args:
        documents: the paragraphs of each.
        tokenizer: makes the tokens.
        separator: a token to add after each document, as a sentence of its own; None for none.
    """
    ids: list[npt.NDArray[np.int32]] = []
    words: list[npt.NDArray[np.bool_]] = []
    sentences: list[npt.NDArray[np.int64]] = []
    borders = [0]
    total = 0
    for document in documents:
        for paragraph in document:
            pieces = tokenizer.encode(paragraph)
            # By its last character, because some tokenizers count the space before a word as part of its first token.
            last = np.array([end - 1 for _, end in pieces.offsets], np.int64)
            word_starts = _changes(last, [start for start, _ in split_words(paragraph)])
            sentence_starts = _changes(last, [match.end() for match in _SENTENCE_END.finditer(paragraph)])
            ids.append(np.array(pieces.ids, np.int32))
            words.append(word_starts | sentence_starts)
            sentences.append(total + np.flatnonzero(sentence_starts))
            total += len(pieces.ids)
        if separator is not None and total > borders[-1]:
            ids.append(np.array([separator], np.int32))
            words.append(np.array([True]))
            sentences.append(np.array([total]))
            total += 1
        borders.append(total)
    return _stream(ids, words, sentences, borders)


def _stream(
    ids: Sequence[npt.NDArray[np.int32]],
    words: Sequence[npt.NDArray[np.bool_]],
    sentences: Sequence[npt.NDArray[np.int64]],
    documents: Sequence[int],
) -> TokenStream:
    """A stream of parts, of which there may be none."""
    return TokenStream(
        ids=np.concatenate([np.empty(0, np.int32), *ids]),
        word_starts=np.concatenate([np.empty(0, bool), *words]),
        sentences=np.concatenate([np.empty(0, np.int64), *sentences]),
        documents=np.array(documents, np.int64),
    )


def _changes(places: npt.NDArray[np.int64], starts: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Whether each place is in another part of a text than the one before it; true for the first.

    Args:
        places: in order.
        starts: where the parts start, in order.
    """
    part = np.searchsorted(np.array(starts, np.int64), places, side="right")
    return np.diff(part, prepend=-1) != 0


def id_parts(stream: TokenStream, separator: int | None) -> Iterator[npt.NDArray[np.integer]]:
    """The ids in parts, with a separator after each document that is not empty; None adds none."""
    for first in range(0, len(stream.filled) - 1, _DOCUMENTS):
        borders = stream.filled[first : first + _DOCUMENTS + 1]
        ids = stream.ids[borders[0] : borders[-1]]
        yield ids if separator is None else np.insert(ids, borders[1:] - borders[0], separator)


def with_short_sentences(stream: TokenStream, longest: int) -> TokenStream:
    """The same with sentences of at most ``longest`` tokens: longer ones are cut, between words if possible."""
    starts: list[int] = []
    for start, end in pairwise([*stream.sentences.tolist(), len(stream.ids)]):
        starts.append(start)
        while end - start > longest:
            words = np.flatnonzero(stream.word_starts[start + 1 : start + longest + 1])
            start += 1 + int(words[-1]) if len(words) else longest
            starts.append(start)
    return _with_sentences(stream, starts)


def pair_chunks(stream: TokenStream, room: int) -> tuple[TokenStream, list[Span]]:
    """Cuts documents into chunks that can be split into two segments of whole sentences.

    Args:
        stream: the tokens.
        room: the most tokens in a chunk.

    Returns:
        The stream, with sentences short enough that two of them fit (the last chunk of a document may be a single
        sentence, which is split in the middle), and the chunks ``start:end``, each within a document. A chunk has at
        least two tokens.
    """
    stream = with_short_sentences(stream, room // 2)
    more: list[int] = []
    chunks: list[Span] = []
    for start, end in pairwise(stream.documents.tolist()):
        for chunk in _filled(stream.sentences_between(start, end).tolist(), end, room):
            if len(stream.sentences_between(*chunk)) == 1:
                if chunk[1] - chunk[0] == 1:
                    continue
                more.append(_middle(stream, *chunk))
            chunks.append(chunk)
    return _with_sentences(stream, sorted([*stream.sentences.tolist(), *more])), chunks


def full_chunks(
    streams: Iterable[TokenStream], room: int, separator: int
) -> Iterator[tuple[TokenStream, npt.NDArray[np.int64]]]:
    """Cuts streams that follow one another into chunks of whole sentences, as long as possible, across documents
    (FULL-SENTENCES in Liu et al. 2019, section 4.2).

    Args:
        streams: the tokens, with a separator after each document.
        room: the most tokens in a chunk.
        separator: removed at both ends of a chunk, where it separates nothing.

    Yields:
        Each stream, and last an empty one, with the chunks that are certain by then: ``(n, 2)``, as ``start:end`` from
        the start of the first stream. The last chunk waits for the next stream, of which more may fit.
    """
    nothing = _stream([], [], [], [0])
    rest, start_of_rest = nothing, 0
    for stream in streams:
        joined = with_short_sentences(_joined(rest, stream), room)
        runs = _filled(joined.sentences.tolist(), len(joined.ids), room)
        last = runs[-1][0] if runs else 0
        yield stream, start_of_rest + _without_separators(joined, runs[:-1], separator)
        rest, start_of_rest = _joined(nothing, joined, last), start_of_rest + last
    runs = [(0, len(rest.ids))] if len(rest.ids) else []
    yield nothing, start_of_rest + _without_separators(rest, runs, separator)


def _joined(first: TokenStream, second: TokenStream, start: int = 0) -> TokenStream:
    """The first stream and, after it, the second one from ``start`` on, where a sentence starts; as one document."""
    sentences = second.sentences[np.searchsorted(second.sentences, start) :] - start + len(first.ids)
    ids = np.concatenate([first.ids, second.ids[start:]])
    return TokenStream(
        ids=ids,
        word_starts=np.concatenate([first.word_starts, second.word_starts[start:]]),
        sentences=np.concatenate([first.sentences, sentences]),
        documents=np.array([0, len(ids)]),
    )


def _without_separators(stream: TokenStream, runs: Sequence[Span], separator: int) -> npt.NDArray[np.int64]:
    """Runs of tokens without the separators at their ends, and without those that have nothing else: ``(n, 2)``."""
    spans = np.array(runs, np.int64).reshape(-1, 2)
    spans[:, 0] += stream.ids[spans[:, 0]] == separator
    spans[:, 1] -= stream.ids[spans[:, 1] - 1] == separator
    return spans[spans[:, 0] < spans[:, 1]]


def _filled(starts: Sequence[int], end: int, room: int) -> list[Span]:
    """Runs of as many sentences as fit into ``room`` tokens.

    Args:
        starts: where the sentences start, none longer than ``room``.
        end: where the last one ends.
        room: tokens.
    """
    chunks = []
    borders = [*starts, end]
    first = 0
    for index in range(1, len(borders)):
        if index + 1 == len(borders) or borders[index + 1] - borders[first] > room:
            chunks.append((borders[first], borders[index]))
            first = index
    return chunks


def _middle(stream: TokenStream, start: int, end: int) -> int:
    """The word start nearest to the middle of ``start:end``; the middle itself if there is only one word."""
    words = start + 1 + np.flatnonzero(stream.word_starts[start + 1 : end])
    middle = (start + end) // 2
    return int(words[np.abs(words - middle).argmin()]) if len(words) else middle


def _with_sentences(stream: TokenStream, starts: Sequence[int]) -> TokenStream:
    words = stream.word_starts.copy()
    words[list(starts)] = True
    return TokenStream(
        ids=stream.ids, word_starts=words, sentences=np.array(starts, np.int64), documents=stream.documents
    )
