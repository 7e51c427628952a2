"""What a small model learns from a large one besides words: its states of a corpus.

The teacher reads each paragraph whole, once, before training. Its states are turned along their principal axes and cut
to the model's width, so that no map has to be learnt and left behind. They lie in files, 2 bytes a number, in parts, so
that a run that was stopped goes on with the part that it was at, and the processes of ``torchrun`` share the work. As
they are those of the teacher's own tokens, and as wide as most models at least, models of any width and tokenizer share
them: each takes means of their first numbers, by the characters that tokens of both share.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain, islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from minibert import Tokenizer
from minibert.batch import IntSequence
from minibert.errors import InputError
from minibert.training import distributed
from tasks.pretraining.corpus import Documents
from tasks.pretraining.encode import ChunkedStream, Chunking, Paragraphs
from tasks.pretraining.prepared import tokens_key
from tasks.pretraining.teacher import Floats, Reader, Spans, Teacher, ranges, shared_characters, spans
from tasks.run.store import Store, Writer, release, stored

Halves = npt.NDArray[np.float16]

SLICE = 1 << 14
"""Characters of a text that the teacher reads at a time, and of several texts."""
_PART = 1 << 20
"""The fewest characters of documents whose states are in one store."""
_PARTS = 64
"""The most stores: each is an open file."""
_KEPT = 512
"""Numbers of a state that are stored, if it has as many and no model needs more."""
_SEEN = 400
"""Documents, spread over the corpus, whose states have the axes."""
_CHARACTERS = 500
"""Of each of these, from its start."""


@dataclass(frozen=True, kw_only=True)
class Axes:
    """How states are turned: ``(states - mean) @ axes``, of which the first C numbers are those for a model.

    Attributes:
        mean: ``(W,)``.
        axes: ``(W, S)``, of most variance first; each has its largest component above 0. S numbers are stored.
        width: C.
        kept: the share of the variance that is in the first C.
    """

    mean: Floats
    axes: Floats
    width: int
    kept: float

    @cached_property
    def sha256(self) -> str:
        """Of the numbers: other ones, as another machine might find them, belong to other states."""
        return hashlib.sha256(self.mean.tobytes() + self.axes.tobytes()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherStates:
    """A teacher's states as states of the N tokens of a stream, at a model's width C.

    Attributes:
        width: C.
        stored: S, the numbers of a stored state, C or more.
        parts: the states of the teacher's own tokens, arrays of ``n S`` numbers in files, end to end.
        first: ``(N,)``, the first of the teacher's tokens in the mean of each token.
        borders: ``(N + 1,)``, where the weights of each token's mean start, and end; it takes in as many tokens.
        weights: of these means.
    """

    width: int
    stored: int
    parts: Sequence[Halves]
    first: npt.NDArray[np.int64]
    borders: npt.NDArray[np.int64]
    weights: Floats

    @cached_property
    def _part_borders(self) -> npt.NDArray[np.int64]:
        return np.cumsum([0, *(len(part) // self.stored for part in self.parts)])

    def take(self, rows: IntSequence) -> Floats:
        """The states of some tokens, ``(len(rows), C)``; 0 for a token that the teacher has none for."""
        numbers = np.asarray(rows)
        starts = self.borders[numbers]
        counts = self.borders[numbers + 1] - starts
        of, weights = ranges(starts, counts)
        _, others = ranges(self.first[numbers], counts)
        found, some = np.zeros((len(numbers), self.width), np.float32), counts > 0
        if len(of):
            values = self._of_teacher(others) * self.weights[weights][:, None]
            found[some] = np.add.reduceat(values, (np.cumsum(counts) - counts)[some])
        return found

    def _of_teacher(self, numbers: npt.NDArray[np.int64]) -> Floats:
        """The states of some of its own tokens."""
        found = np.empty((len(numbers), self.width), np.float32)
        places = np.searchsorted(self._part_borders, numbers, side="right") - 1
        for place in np.unique(places):
            chosen = places == place
            part = self.parts[place].reshape(-1, self.stored)
            found[chosen] = part[numbers[chosen] - self._part_borders[place], : self.width]
        return found

    def release(self) -> None:
        """Takes pages of files out of this process's memory."""
        for part in self.parts:
            release(part)
        for array in (self.first, self.borders, self.weights):
            release(array)


def stored_axes(documents: Documents, teacher: Teacher, width: int) -> Axes:
    """The principal axes of the teacher's states of documents, for a model of ``width``.

    Raises:
        InputError: the teacher's states are narrower, or the documents have too few tokens.
    """
    if teacher.width < width:
        raise InputError(
            f"--teacher {teacher.name}: its states have {teacher.width} numbers, fewer than the {width} of the model; "
            "name a wider teacher, or train a narrower model (--model-config)."
        )
    key = {"documents": documents.key, **_key(teacher), "seen": [_SEEN, _CHARACTERS]}
    store = stored(key, lambda writer: _write_axes(writer, documents, teacher), f"the axes of {teacher.name}")
    mean, variances = store.arrays["mean"], store.arrays["variances"]
    axes = store.arrays["axes"].reshape(len(mean), -1)[:, : max(width, _KEPT)]
    kept = float(variances[:width].sum() / variances.sum())
    return Axes(mean=mean.astype(np.float32), axes=axes.astype(np.float32), width=width, kept=kept)


def stored_states(
    documents: Documents, chunking: Chunking, chunked: ChunkedStream, teacher: Teacher, axes: Axes
) -> TeacherStates:
    """The teacher's states of the tokens of documents, computed where they are not yet stored.

    Args:
        documents: with their text.
        chunking: by which ``chunked`` was made of them.
        chunked: the model's tokens.
        teacher: to ask.
        axes: of its states.

    Raises:
        InputError: the text changes meanwhile, or the teacher's states are not finite.
    """
    parts = _stored_parts(documents, teacher, axes)

    def write(writer: Writer) -> None:
        lengths = np.diff(chunked.stream.documents)
        _write_means(writer, documents.texts(), lengths, chunking.tokenizer, chain.from_iterable(map(_texts, parts)))
        documents.corpus.require_unchanged()

    key = {**tokens_key(documents, chunking), "parts": [part.key for part in parts]}
    means = stored(key, write, f"the characters shared with tokens of {teacher.name}").arrays
    return TeacherStates(
        width=axes.width,
        stored=axes.axes.shape[1],
        parts=[part.arrays["states"] for part in parts],
        **{name: means[name] for name in ("first", "borders", "weights")},
    )


def _stored_parts(documents: Documents, teacher: Teacher, axes: Axes) -> list[Store]:
    """The teacher's states of its own tokens, turned, with their characters, part by part."""
    key = {"documents": documents.key, **_key(teacher), "axes": axes.sha256}
    reader = cache(teacher.load)  # only if it is needed, and only as long
    texts = _InOrder(documents)
    places = list(pairwise(_borders(documents)))
    progress = tqdm(
        total=len(places), desc="the teacher", unit=" parts", leave=False,
        disable=None if distributed.is_rank0() else True,
    )  # fmt: skip

    def part(first: int, end: int) -> Store:
        def write(writer: Writer) -> None:
            _write_states(writer, texts.between(first, end), reader(), axes)
            documents.corpus.require_unchanged()

        return stored({**key, "part": [first, end]}, write, f"the states of {teacher.name}")

    # Each process begins with parts of its own, and then takes what is left.
    rank, processes = distributed.rank(), distributed.world_size()
    found: dict[int, Store] = {}
    with progress:
        for number, place in enumerate(places):
            if number % processes == rank:
                found[number] = part(*place)
                progress.update(processes)
        texts = _InOrder(documents)
        return [found[number] if number in found else part(*place) for number, place in enumerate(places)]


def _key(teacher: Teacher) -> dict[str, Any]:
    """What a teacher's states depend on besides the text, as JSON."""
    return {
        "teacher": teacher.sha256,
        "precision": teacher.precision,
        "device": teacher.device.type,
        "torch": torch.__version__,
    }


class _InOrder:
    """The texts of documents, read from the files once as far as they are asked for."""

    def __init__(self, documents: Documents) -> None:
        self._texts, self._next = documents.texts(), 0

    def between(self, first: int, end: int) -> Iterator[Paragraphs]:
        """Those of the documents ``first:end``, which must not come before earlier ones."""
        skipped, self._next = first - self._next, end
        return islice(self._texts, skipped, skipped + end - first)


def _borders(documents: Documents) -> list[int]:
    """Where parts start, then D."""
    total = np.cumsum(documents.characters)
    before = (total - 1) // max(_PART, -(-int(total[-1]) // _PARTS))
    return [0, *(np.flatnonzero(np.diff(before)) + 1).tolist(), len(documents)]


def _write_axes(writer: Writer, documents: Documents, teacher: Teacher) -> None:
    """The mean of the teacher's states, their axes as rows of ``(W, W)``, and the variances along these."""
    chosen = set(np.linspace(0, len(documents) - 1, _SEEN).astype(int).tolist())
    texts = ("\n".join(each)[:_CHARACTERS] for number, each in enumerate(documents.texts()) if number in chosen)
    reader, count = teacher.load(), 0
    total, products = np.zeros(teacher.width), np.zeros((teacher.width, teacher.width))
    for group in _groups(enumerate(texts)):
        for states, _ in reader.states([text for _, text in group]):
            count += len(states)
            total += states.sum(0, dtype=np.float64)
            products += states.T.astype(np.float64) @ states
    documents.corpus.require_unchanged()
    if count <= teacher.width:
        raise InputError(
            f"{', '.join(documents.corpus.paths)}: too little text to learn from --teacher {teacher.name} "
            f"({count} of its tokens, and its states have {teacher.width} numbers); give more."
        )
    mean = total / count
    variances, axes = np.linalg.eigh(products / count - np.outer(mean, mean))
    signs = np.sign(axes[np.abs(axes).argmax(0), np.arange(len(axes))])
    writer.append("mean", mean)
    writer.append("axes", np.ascontiguousarray((axes * signs)[:, ::-1]).reshape(-1))
    writer.append("variances", np.maximum(variances[::-1], 0))


def _write_states(writer: Writer, texts: Iterable[Paragraphs], reader: Reader, axes: Axes) -> None:
    """The states of the teacher's tokens of some documents, the characters of these tokens, and how many of them each
    paragraph has."""
    slices = (
        (start, paragraph[start : start + SLICE])
        for paragraphs in texts
        for paragraph in paragraphs
        for start in range(0, max(1, len(paragraph)), SLICE)
    )
    lengths: list[int] = []
    for group in _groups(slices):
        read = reader.states([text for _, text in group])
        for (start, _), (states, characters) in zip(group, read, strict=True):
            writer.append("states", ((states - axes.mean) @ axes.axes).astype(np.float16).reshape(-1))
            writer.append("characters", (characters + start).astype(np.int32).reshape(-1))
            if start == 0:
                lengths.append(0)
            lengths[-1] += len(states)
    writer.append("lengths", np.array(lengths, np.int64))


def _texts(part: Store) -> Iterator[Spans]:
    """The characters of the teacher's tokens of each paragraph in a part."""
    characters = part.arrays["characters"].reshape(-1, 2)
    for start, end in pairwise([0, *np.cumsum(part.arrays["lengths"]).tolist()]):
        yield characters[start:end]


def _write_means(
    writer: Writer,
    texts: Iterable[Paragraphs],
    lengths: npt.NDArray[np.int64],
    tokenizer: Tokenizer,
    of_teacher: Iterator[Spans],
) -> None:
    """Of which tokens of the teacher the state of each token is a mean, as in :class:`TeacherStates`.

    Args:
        writer: takes them.
        texts: the documents.
        lengths: ``(D,)``, their tokens, separators included, of which the teacher has no states.
        tokenizer: that of the tokens.
        of_teacher: the characters of the teacher's tokens of each paragraph.
    """
    rows, ended, total, weighed = np.zeros(len(lengths), np.int64), 0, 0, 0
    changed = InputError("the corpus changes while it is read; start again when it is complete.")

    def add(first: npt.NDArray[np.int64], counts: npt.NDArray[np.int32]) -> None:
        nonlocal weighed
        writer.append("first", first)
        writer.append("borders", weighed + np.cumsum(counts, dtype=np.int64))
        weighed += int(counts.sum())

    def end_documents(until: int) -> None:
        nonlocal ended
        for left in lengths[ended:until] - rows[ended:until]:
            if not 0 <= left <= 1:
                raise changed
            add(np.zeros(left, np.int64), np.zeros(left, np.int32))
        ended = until

    writer.append("borders", np.zeros(1, np.int64))
    for group in _groups((number, paragraph) for number, each in enumerate(texts) for paragraph in each):
        for (number, _), pieces in zip(group, tokenizer.encode_all([text for _, text in group]), strict=True):
            given = next(of_teacher, None)
            if given is None:
                raise changed
            first, counts, weights = shared_characters(given, spans(pieces.offsets))
            end_documents(number)
            add(total + first, counts)
            writer.append("weights", weights)
            rows[number] += len(first)
            total += len(given)
    end_documents(len(lengths))


def _groups(texts: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """Texts, each with a number, in groups that are worth a call of the teacher."""
    group: list[tuple[int, str]] = []
    size = 0
    for number, text in texts:
        group.append((number, text))
        size += len(text)
        if size >= SLICE:
            yield group
            group, size = [], 0
    if group:
        yield group
