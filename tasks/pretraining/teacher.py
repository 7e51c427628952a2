"""A teacher of pre-training: a trained encoder that reads texts, and the tokens of others that share its characters."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from minibert import Encoder, Tokenizer, pack
from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.hub import resolve, sha256_of_model
from minibert.inference import for_inference
from minibert.training import LabelledBatch, choose_device, choose_precision, predict
from minibert.training.precision import DTYPES
from tasks.run.evaluate import BATCH_TOKENS, batches_by_length

Floats = npt.NDArray[np.float32]
Spans = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained encoder that is not loaded yet.

    Attributes:
        name: as given: a checkpoint or a run, by its folder or its name on the hub.
        folder: with its files.
        sha256: of these.
        width: W, the numbers in a state.
        device: it computes on.
        precision: it computes in.
    """

    name: str
    folder: Path
    sha256: str
    width: int
    device: torch.device
    precision: str

    @classmethod
    def find(cls, name: str, *, device: str, precision: str) -> "Teacher":
        """Finds a teacher, and downloads it if necessary.

        Raises:
            InputError: it cannot be used.
        """
        folder, chosen = resolve(name), choose_device(device)
        return cls(
            name=name,
            folder=folder,
            sha256=sha256_of_model(folder),
            width=open_checkpoint(folder).config.hidden_size,
            device=chosen,
            precision=choose_precision(precision, chosen),
        )

    def load(self) -> "Reader":
        """Loads it.

        Raises:
            InputError: a file of it is damaged.
        """
        checkpoint = open_checkpoint(self.folder)
        model = checkpoint.load(Encoder)[0].to(self.device)
        return Reader(
            name=self.name,
            model=for_inference(model, DTYPES[self.precision]),
            tokenizer=checkpoint.tokenizer,
            precision=self.precision,
        )


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A teacher that reads texts.

    Attributes:
        name: as given.
        model: ready for inference.
        tokenizer: its own.
        precision: it computes in.
    """

    name: str
    model: Encoder
    tokenizer: Tokenizer
    precision: str

    def states(self, texts: Sequence[str]) -> list[tuple[Floats, Spans]]:
        """The last hidden states of each text, ``(n, W)``, and the characters of its n tokens, ``(n, 2)``. A text with
        more tokens than the model has positions is read in parts.

        Raises:
            InputError: a state is not finite.
        """
        tokenizer, config = self.tokenizer, self.model.config
        room = config.max_length - tokenizer.num_special_tokens()
        front = tokenizer.with_special_tokens([-1])[0].index(-1)
        pieces = tokenizer.encode_all(texts)
        parts = [part for each in pieces for part in _cut(each.ids, room)]
        framed = [tokenizer.with_special_tokens(ids)[0] for ids in parts]
        batches = batches_by_length([*map(len, framed)], BATCH_TOKENS[self.model.device.type])
        found: list[Any] = [None] * len(parts)
        inputs = (_batch([framed[index] for index in indices]) for indices in batches)
        outputs = predict(self.model, inputs, precision=self.precision, device=self.model.device)
        for indices, (batch, output) in zip(batches, outputs, strict=True):
            last = output.last_hidden_state.float().cpu()
            if not last.isfinite().all():
                raise InputError(
                    f"--teacher {self.name}: its states are not finite in {self.precision}; try --precision fp32, or "
                    "name another teacher."
                )
            rows = batch.inputs.unpack(last)
            for index, states in zip(indices, rows, strict=True):
                found[index] = states[front:][: len(parts[index])].numpy()
        of_parts, nothing = iter(found), np.empty((0, config.hidden_size), np.float32)
        return [
            (np.concatenate([nothing, *islice(of_parts, len(_cut(each.ids, room)))]), spans(each.offsets))
            for each in pieces
        ]


def _cut(ids: Sequence[int], room: int) -> list[Sequence[int]]:
    return [ids[start : start + room] for start in range(0, len(ids), room)]


def spans(offsets: Sequence[tuple[int, int]]) -> Spans:
    """The characters of tokens as an array ``(n, 2)``."""
    return np.array(offsets, np.int64).reshape(-1, 2)


def _batch(ids: Sequence[Sequence[int]]) -> LabelledBatch:
    return LabelledBatch(inputs=pack(ids), targets=torch.empty(0), num_targets=0)


def shared_characters(given: Spans, wanted: Spans) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Floats]:
    """Which tokens of a text share characters with other tokens of the same text, so that states of the former become
    states of the latter: means weighted by the characters that both share.

    Args:
        given: ``(n, 2)``, the characters ``start:end`` of each of the former, in order.
        wanted: ``(m, 2)``, those of the latter.

    Returns:
        For each of the m tokens the first of the n that is in its mean, and how many from there on are, 0 if it shares
        no character with any; and the weights of all these, token by token.
    """
    # Ends, like starts, never fall, so the tokens that may share a character follow each other.
    first = np.searchsorted(given[:, 1], wanted[:, 0], side="right")
    counts = np.maximum(np.searchsorted(given[:, 0], wanted[:, 1], side="left") - first, 0)
    token, other = ranges(first, counts)
    ends = np.minimum(wanted[token, 1], given[other, 1])
    shared = np.maximum(ends - np.maximum(wanted[token, 0], given[other, 0]), 0)
    total = np.bincount(token, shared, len(wanted))
    some = total[token] > 0
    weights = shared[some] / total[token[some]]
    return first, np.where(total > 0, counts, 0).astype(np.int32), weights.astype(np.float32)


def ranges(
    first: npt.NDArray[np.integer[Any]], counts: npt.NDArray[np.integer[Any]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The numbers ``first[i], first[i] + 1, ...``, as many as ``counts[i]``, of one i after another, behind their i."""
    of = np.repeat(np.arange(len(counts)), counts)
    return of, np.arange(len(of)) + (first - np.cumsum(counts) + counts)[of]
