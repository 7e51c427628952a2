"""Plain text for pre-training: documents, their tokens, and the chunks that a model sees at a time."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from minibert import Tokenizer
from minibert.errors import InputError
from minibert.tokenizer.tokenizer import split_words
from tasks.data import Split
from tasks.read.text_file import read_text

# A sentence ends after a punctuation mark and the closing quotation marks and brackets that follow; after a full stop
# there must also be white space.
_SENTENCE_END = re.compile(r"""(?:[。！？；!?]+|\.(?=[”’"')\]]*\s))[”’」』）】"')\]]*\s*""")


_DIVIDED = {
    "blank": "divided by blank lines",
    "lines": "a line each",
    "headings": "each from a heading such as = Title = on",
}
_IS_HEADING = re.compile(r"\s*= [^=].* =\s*$").match


class Document(NamedTuple):
    """A document of a corpus.

    Attributes:
        paragraphs: its lines.
        path: its file.
        line: where it starts.
    """

    paragraphs: tuple[str, ...]
    path: str
    line: int


def read_corpus(paths: Sequence[str], *, documents: str = "auto", encoding: str | None = None) -> Split[Document]:
    """Reads text files, gzipped or not, with one paragraph per line.

    Args:
        paths: of the files.
        documents: what divides them, one of :data:`~tasks.pretraining.settings.DOCUMENTS`: blank lines; ``lines``, so
            that each line is one; ``headings``, WikiText's lines such as ``= Title =``. ``auto`` is ``headings`` for a
            file that begins with one, else ``blank``.
        encoding: None for UTF-8.

    Raises:
        InputError: a file cannot be read, is in another encoding (names the line), or has no text.
    """
    read = []
    hashes = []
    understood = []
    for path in paths:
        file = read_text(path, encoding)
        hashes.append(file.sha256)
        start = next((line for line in file.lines if line.strip()), "")
        way = documents if documents != "auto" else "headings" if _IS_HEADING(start) else "blank"
        found = list(_documents(path, file.lines, way))
        if not found:
            raise InputError(f"{path}: has no text; give a file with one paragraph per line.")
        start = f"{path}: " if len(paths) > 1 else ""
        understood.append(f"{start}{len(found):,} documents, {_DIVIDED[way]}")
        read += found
    whole = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    return Split(path=", ".join(paths), sha256=whole, items=read, understood=understood)


def _documents(path: str, lines: Iterable[str], way: str) -> Iterable[Document]:
    paragraphs: list[str] = []
    first = 1
    for number, line in enumerate([*lines, ""], start=1):
        text = line.strip()
        is_border = _IS_HEADING(line) is not None if way == "headings" else not text or way == "lines"
        if paragraphs and is_border:
            yield Document(tuple(paragraphs), path, first)
            paragraphs = []
        if text:
            first = first if paragraphs else number
            paragraphs.append(text)
    if paragraphs:
        yield Document(tuple(paragraphs), path, first)


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenStream:
    """The tokens of documents, end to end.

    Attributes:
        ids: ``(N,)``, without special tokens except the separators between documents, if there are any.
        word_starts: ``(N,)``, true at the first token of each word; a Chinese character is a word.
        sentences: ``(S,)``, where sentences start, always at the first token of a word.
        documents: ``(D + 1,)``, where documents start, then N; an empty document starts where the next one does.
    """

    ids: npt.NDArray[np.int32]
    word_starts: npt.NDArray[np.bool_]
    sentences: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]

    def __repr__(self) -> str:
        return f"{len(self.ids)} tokens of {len(self.documents) - 1} documents"

    def sentences_between(self, start: int, end: int) -> npt.NDArray[np.int64]:
        """The sentence starts from ``start`` to before ``end``."""
        first, last = np.searchsorted(self.sentences, (start, end))
        return self.sentences[first:last]


def tokenise(documents: Sequence[Document], tokenizer: Tokenizer, *, separator: int | None) -> TokenStream:
    """Splits documents into tokens, words and sentences.

    Args:
        documents: to split.
        tokenizer: makes the tokens.
        separator: a token to add after each document, as a sentence of its own; None for none.
    """
    ids: list[npt.NDArray[np.int32]] = []
    words: list[npt.NDArray[np.bool_]] = []
    sentences: list[npt.NDArray[np.int64]] = []
    borders = [0]
    total = 0
    for document in documents:
        for paragraph in document.paragraphs:
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
    return TokenStream(
        ids=np.concatenate(ids),
        word_starts=np.concatenate(words),
        sentences=np.concatenate(sentences),
        documents=np.array(borders, np.int64),
    )


def _changes(places: npt.NDArray[np.int64], starts: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Whether each place is in another part of a text than the one before it; true for the first.

    Args:
        places: in order.
        starts: where the parts start, in order.
    """
    part = np.searchsorted(np.array(starts, np.int64), places, side="right")
    return np.diff(part, prepend=-1) != 0


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


def pair_chunks(stream: TokenStream, room: int) -> tuple[TokenStream, list[list[tuple[int, int]]]]:
    """Cuts documents into chunks that can be split into two segments of whole sentences.

    Args:
        stream: the tokens.
        room: the most tokens in a chunk.

    Returns:
        The stream, with sentences short enough that two of them fit (the last chunk of a document may be a single
        sentence, which is split in the middle), and the chunks ``start:end`` of each document. A chunk has at least two
        tokens.
    """
    stream = with_short_sentences(stream, room // 2)
    more: list[int] = []
    chunks: list[list[tuple[int, int]]] = []
    for start, end in pairwise(stream.documents.tolist()):
        chunks.append([])
        for chunk in _filled(stream.sentences_between(start, end).tolist(), end, room):
            if len(stream.sentences_between(*chunk)) == 1:
                if chunk[1] - chunk[0] == 1:
                    continue
                more.append(_middle(stream, *chunk))
            chunks[-1].append(chunk)
    return _with_sentences(stream, sorted([*stream.sentences.tolist(), *more])), chunks


def full_chunks(stream: TokenStream, room: int, separator: int) -> list[list[tuple[int, int]]]:
    """Cuts the stream into chunks of whole sentences, as long as possible, across documents (FULL-SENTENCES in Liu et
    al. 2019, section 4.2).

    Args:
        stream: the tokens, with a separator after each document.
        room: the most tokens in a chunk.
        separator: removed at both ends of a chunk, where it separates nothing.

    Returns:
        The chunks ``start:end`` of each document: those that start in it.
    """
    chunks: list[list[tuple[int, int]]] = [[] for _ in stream.documents[1:]]
    for start, end in _filled(with_short_sentences(stream, room).sentences.tolist(), len(stream.ids), room):
        start += int(stream.ids[start] == separator)
        end -= int(stream.ids[end - 1] == separator)
        if start < end:
            chunks[int(np.searchsorted(stream.documents, start, side="right")) - 1].append((start, end))
    return chunks


def _filled(starts: Sequence[int], end: int, room: int) -> list[tuple[int, int]]:
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
