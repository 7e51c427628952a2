"""Plain text for pre-training: its documents, read as a stream, and the list of them without their text."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
import numpy.typing as npt

from minibert.batch import IntSequence
from minibert.errors import InputError
from tasks.data import Split
from tasks.read.text_file import file_sha256, stream_lines

_DIVIDED = {
    "blank": "divided by blank lines",
    "lines": "a line each",
    "headings": "each from a heading such as = Title = on",
}
_IS_HEADING = re.compile(r"\s*= [^=].* =\s*$").match

Item = TypeVar("Item", "Document", "Listed")


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


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Text files, gzipped or not, with one paragraph per line.

    Attributes:
        paths: of the files.
        documents: what divides them, one of :data:`~tasks.pretraining.settings.DOCUMENTS`: blank lines; ``lines``, so
            that each line is one; ``headings``, WikiText's lines such as ``= Title =``. ``auto`` is ``headings`` for a
            file that begins with one, else ``blank``.
        encoding: None for UTF-8.
    """

    paths: tuple[str, ...]
    documents: str = "auto"
    encoding: str | None = None

    def read(self) -> Iterator[Document]:
        """The documents, of which only the current one is held.

        Raises:
            InputError: a file cannot be read, is in another encoding (names the line), or has changed since its hash
                was computed.
        """
        _ = self._stamps
        for path in self.paths:
            yield from _documents(path, stream_lines(path, self.encoding), self.divided(path))
            self.require_unchanged(path)

    def require_unchanged(self, *paths: str) -> None:
        """Raises InputError if one of the files has changed since its hash was computed."""
        for path in paths or self.paths:
            if _stamp(path) != self._stamps[self.paths.index(path)]:
                raise InputError(f"{path}: changes while it is read; start again when it is complete.")

    def divided(self, path: str) -> str:
        """What divides the documents of one of the files: blank, lines or headings."""
        if self.documents != "auto":
            return self.documents
        start = next((line for line in stream_lines(path, self.encoding) if line.strip()), "")
        return "headings" if _IS_HEADING(start) else "blank"

    @cached_property
    def file_hashes(self) -> list[str]:
        """The sha256 of each file."""
        _ = self._stamps  # from before
        return [file_sha256(path) for path in self.paths]

    @cached_property
    def _stamps(self) -> list[tuple[int, int] | None]:
        return [_stamp(path) for path in self.paths]

    @property
    def sha256(self) -> str:
        """That of the file, or of the sha256s of several."""
        hashes = self.file_hashes
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()

    def key(self) -> dict[str, Any]:
        """Everything that its documents depend on, as JSON, and which of its paths are the same."""
        places = [self.paths.index(path) for path in self.paths]
        return {"sha256": self.file_hashes, "places": places, "documents": self.documents, "encoding": self.encoding}

    def understood(self, counts: Mapping[str, int]) -> list[str]:
        """How each file was understood, for people; see also :meth:`named`.

        Args:
            counts: the documents by file.

        Raises:
            InputError: a file has none.
        """
        lines = []
        for path in self.paths:
            if not counts.get(path):
                raise InputError(f"{path}: has no text; give a file with one paragraph per line.")
            count = counts[path] // self.paths.count(path)
            lines.append(f"{count:,} documents, {_DIVIDED[self.divided(path)]}")
        return lines

    def named(self, lines: Sequence[str]) -> list[str]:
        """A line about each file, with its name if there are several."""
        if len(self.paths) == 1:
            return list(lines)
        return [f"{path}: {line}" for path, line in zip(self.paths, lines, strict=True)]


def _stamp(path: str) -> tuple[int, int] | None:
    """What differs once a file has been written to; None if there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # said where it is read
        return None
    return found.st_size, found.st_mtime_ns


def _documents(path: str, lines: Iterable[str], way: str) -> Iterator[Document]:
    paragraphs: list[str] = []
    first = 0
    for number, line in enumerate(chain(lines, [""]), start=1):
        text = line.strip()
        if text and not first:
            _refuse_json(path, number, text)
        is_border = _IS_HEADING(line) is not None if way == "headings" else not text or way == "lines"
        if paragraphs and is_border:
            yield Document(tuple(paragraphs), path, first)
            paragraphs = []
        if text:
            first = first if paragraphs else number
            paragraphs.append(text)
    if paragraphs:
        yield Document(tuple(paragraphs), path, first)


def _refuse_json(path: str, number: int, text: str) -> None:
    """Raises InputError if the first line of a file that is not blank is JSON, or begins it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = {"[": [{}], "[{": [{}], "{": {}}.get(text)  # JSON over several lines
    several = isinstance(value, list) and isinstance(next(iter(value), None), dict)
    if several or isinstance(value, dict):
        field = ".[].text" if several else ".text"
        raise InputError(
            f"{path}, line {number}: is JSON, whose braces and names of fields would be learnt; give plain text, as "
            f"jq -r '{field} + \"\\n\"' writes it, with a blank line after each document."
        )


class Listed(NamedTuple):
    """A document without its text.

    Attributes:
        path: its file.
        line: where it starts.
        text_hash: 64 bits of a hash of its text.
        paragraphs, characters: how many it has.
    """

    path: str
    line: int
    text_hash: int
    paragraphs: int
    characters: int


def listed(document: Document) -> Listed:
    """The document without its text."""
    text = "\n".join(document.paragraphs)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    characters = len(text) - len(document.paragraphs) + 1
    return Listed(document.path, document.line, int.from_bytes(digest), len(document.paragraphs), characters)


@dataclass(frozen=True, kw_only=True, eq=False)
class Documents(Sequence[Listed]):
    """Some documents of a corpus, as arrays of D values that may lie in files.

    Attributes:
        corpus: with their text.
        key: names them among the stored ones; see :mod:`tasks.run.store`.
        numbers: their places in the corpus, rising.
        files: the places of their files in ``corpus.paths``.
        lines, text_hashes, paragraphs, characters: see :class:`Listed`.
    """

    corpus: Corpus
    key: str
    numbers: npt.NDArray[np.int64]
    files: npt.NDArray[np.int32]
    lines: npt.NDArray[np.int64]
    text_hashes: npt.NDArray[np.uint64]
    paragraphs: npt.NDArray[np.int64]
    characters: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Listed: ...
    @overload
    def __getitem__(self, index: slice) -> list[Listed]: ...
    def __getitem__(self, index: int | slice) -> Listed | list[Listed]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        numbers = (self.lines, self.text_hashes, self.paragraphs, self.characters)
        return Listed(self.corpus.paths[self.files[index]], *(int(values[index]) for values in numbers))

    def texts(self) -> Iterator[tuple[str, ...]]:
        """The paragraphs of each, from the files."""
        wanted = iter(self.numbers.tolist())
        number = next(wanted, None)
        for place, document in enumerate(self.corpus.read()):
            if place == number:
                yield document.paragraphs
                number = next(wanted, None)


def document_arrays(
    corpus: Corpus, items: Sequence[Listed], indices: IntSequence | None
) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays of :class:`Documents`, by name, of ``items`` at ``indices`` in the corpus; None if they are all."""
    places = {path: place for place, path in reversed(list(enumerate(corpus.paths)))}
    return {
        "numbers": np.arange(len(items)) if indices is None else np.array(indices, np.int64),
        "files": np.fromiter((places[item.path] for item in items), np.int32, len(items)),
        "lines": np.fromiter((item.line for item in items), np.int64, len(items)),
        "text_hashes": np.fromiter((item.text_hash for item in items), np.uint64, len(items)),
        "paragraphs": np.fromiter((item.paragraphs for item in items), np.int64, len(items)),
        "characters": np.fromiter((item.characters for item in items), np.int64, len(items)),
    }


def read_corpus(paths: Sequence[str], *, documents: str = "auto", encoding: str | None = None) -> Split[Document]:
    """Reads whole files; see :class:`Corpus`.

    Raises:
        InputError: a file cannot be read, is in another encoding (names the line), or has no text.
    """
    corpus = Corpus(paths=tuple(paths), documents=documents, encoding=encoding)
    return _split(corpus, list(corpus.read()))


def list_corpus(corpus: Corpus) -> Split[Listed]:
    """The same without the texts."""
    return _split(corpus, [listed(document) for document in corpus.read()])


def _split(corpus: Corpus, items: Sequence[Item]) -> Split[Item]:
    counts = Counter(item.path for item in items)
    understood = corpus.named(corpus.understood(counts))
    return Split(path=", ".join(corpus.paths), sha256=corpus.sha256, items=items, understood=understood)
