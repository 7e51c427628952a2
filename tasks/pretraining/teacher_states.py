"""What a small model learns from a large one besides words: its states of a corpus.

The teacher reads each paragraph whole, once, before training. Its states are averaged onto the model's own tokens, by
the characters that tokens of both share, so that the two may have different tokenizers; and they are turned and cut to
the model's width along their principal axes, so that no map has to be learnt and left behind. They lie in files, 2
bytes a number, in parts, so that a run that was stopped goes on with the next part.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice, pairwise

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
from tasks.pretraining.prepared import chunks_key
from tasks.pretraining.teacher import Floats, Teacher, averaged
from tasks.run.store import Store, Writer, release, stored

Halves = npt.NDArray[np.float16]

_PART = 1 << 20
"""Characters of documents whose states are in one store."""
_GROUP = 1 << 16
"""Characters that the teacher reads at a time."""
_SEEN = 300
"""Documents, spread over the corpus, of whose first paragraphs the axes are those of."""


@dataclass(kw_only=True, eq=False)
class TeacherStates:
    """A teacher's states of the N tokens of a stream, at a model's width C.

    Attributes:
        kept: the share of the variance of its states that is left at this width.
        width: C.
        parts: arrays of ``n C`` numbers in files, end to end.
    """

    kept: float
    width: int
    parts: list[Halves] = field(default_factory=list)

    @cached_property
    def _borders(self) -> npt.NDArray[np.int64]:
        return np.cumsum([0, *(len(part) // self.width for part in self.parts)])

    def __repr__(self) -> str:
        return f"a teacher's states of {self._borders[-1]} tokens"

    def take(self, rows: IntSequence) -> Floats:
        """The states of some tokens, ``(len(rows), C)``; 0 for a token that the teacher has none for."""
        numbers = np.asarray(rows)
        found = np.empty((len(numbers), self.width), np.float32)
        places = np.searchsorted(self._borders, numbers, side="right") - 1
        for place in np.unique(places):
            chosen = places == place
            part = self.parts[place].reshape(-1, self.width)
            found[chosen] = part[numbers[chosen] - self._borders[place]]
        return found

    def release(self) -> None:
        """Takes pages of files out of this process's memory."""
        for part in self.parts:
            release(part)


def stored_states(
    documents: Documents, chunking: Chunking, chunked: ChunkedStream, teacher: Teacher, width: int
) -> TeacherStates:
    """The teacher's states of the tokens of documents, computed where they are not yet stored.

    Args:
        documents: with their text.
        chunking: by which ``chunked`` was made of them.
        chunked: the model's tokens.
        teacher: to ask.
        width: of the model.

    Raises:
        InputError: the teacher's states are narrower than the model's.
    """
    if teacher.model.config.hidden_size < width:
        raise InputError(
            f"--teacher {teacher.name}: its states have {teacher.model.config.hidden_size} numbers, fewer than the "
            f"{width} of the model; name a wider teacher, or train a narrower model (--model-config)."
        )
    key = {**chunks_key(documents, chunking), "teacher": teacher.sha256, "precision": teacher.precision, "width": width}
    key["torch"] = torch.__version__
    what = f"the states of {teacher.name}"
    axes = stored({**key, "axes": _SEEN}, lambda writer: _write_axes(writer, documents, teacher, width), what)
    states = TeacherStates(kept=axes.facts["kept"], width=width)
    texts = documents.texts()
    progress = tqdm(
        total=len(documents), desc="the teacher", unit=" documents", leave=False,
        disable=None if distributed.is_rank0() else True,
    )  # fmt: skip
    with progress:
        for first, end in pairwise(_borders(documents)):
            block = list(islice(texts, end - first))
            tokens = chunked.stream.documents[first : end + 1]

            def write(writer: Writer, block: Sequence[Paragraphs] = block, tokens: IntSequence = tokens) -> None:
                _write_states(writer, block, tokens, chunking, teacher, axes)

            states.parts.append(stored({**key, "part": [first, end]}, write, what).arrays["states"])
            progress.update(end - first)
    return states


def _borders(documents: Documents) -> list[int]:
    """Where parts of about :data:`_PART` characters start, then D."""
    before = np.cumsum(documents.characters) // _PART
    return [0, *(np.flatnonzero(np.diff(before)) + 1).tolist(), len(documents)]


def _write_axes(writer: Writer, documents: Documents, teacher: Teacher, width: int) -> None:
    """The mean of the teacher's states and their first principal axes, from some documents."""
    chosen = set(np.linspace(0, len(documents) - 1, _SEEN).astype(int).tolist())
    texts = [paragraphs[0] for number, paragraphs in enumerate(documents.texts()) if number in chosen]
    states = np.concatenate([states for states, _ in teacher.states(texts)]).astype(np.float64)
    mean = states.mean(0)
    variances, axes = np.linalg.eigh(np.cov(states - mean, rowvar=False).reshape(len(mean), -1))
    writer.append("mean", mean.astype(np.float32))
    writer.append("axes", np.ascontiguousarray(axes[:, ::-1][:, :width], np.float32).reshape(-1))
    writer.facts["kept"] = float(variances[::-1][:width].sum() / max(variances.sum(), 1e-30))


def _write_states(
    writer: Writer,
    block: Sequence[Paragraphs],
    tokens: IntSequence,
    chunking: Chunking,
    teacher: Teacher,
    axes: Store,
) -> None:
    """The states of the tokens of some documents; ``tokens`` are the borders of these documents in the stream."""
    rows = _rows(chain.from_iterable(block), chunking.tokenizer, teacher, axes)
    width = len(axes.arrays["axes"]) // len(axes.arrays["mean"])
    for paragraphs, length in zip(block, np.diff(tokens).tolist(), strict=True):
        found = np.concatenate([np.empty((0, width), np.float32), *islice(rows, len(paragraphs))])
        separators = length - len(found)
        assert separators == (0 if chunking.in_pairs or not length else 1)
        writer.append("states", np.pad(found, ((0, separators), (0, 0))).astype(np.float16).reshape(-1))


def _rows(paragraphs: Iterable[str], tokenizer: Tokenizer, teacher: Teacher, axes: Store) -> Iterator[Floats]:
    """The teacher's states of each paragraph's tokens, ``(n, C)``; 0 where no character is shared."""
    mean = axes.arrays["mean"]
    turn = axes.arrays["axes"].reshape(len(mean), -1)
    for group in _groups(paragraphs):
        for (states, given), own in zip(teacher.states(group), tokenizer.encode_all(group), strict=True):
            wanted = np.array(own.offsets, np.int64).reshape(-1, 2)
            yield np.nan_to_num((averaged(states, given, wanted) - mean) @ turn)


def _groups(paragraphs: Iterable[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for paragraph in paragraphs:
        group.append(paragraph)
        size += len(paragraph)
        if size >= _GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group
