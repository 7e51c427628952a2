"""A teacher of pre-training: a trained encoder, and its states of texts as states of other tokens of the same texts."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from minibert import Encoder, Tokenizer, pack
from minibert.checkpoint import open_checkpoint
from minibert.hub import resolve, sha256_by_file
from minibert.inference import for_inference
from minibert.training import LabelledBatch, choose_device, choose_precision, predict
from minibert.training.precision import DTYPES
from tasks.run.evaluate import BATCH_TOKENS, batches_by_length

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained encoder.

    Attributes:
        name: as given.
        model: ready for inference.
        tokenizer: its own.
        sha256: of its files.
        precision: it computes in.
    """

    name: str
    model: Encoder
    tokenizer: Tokenizer
    sha256: str
    precision: str

    @classmethod
    def load(cls, name: str, *, device: str, precision: str) -> "Teacher":
        """Loads a checkpoint or a run, by its folder or its name on the hub.

        Raises:
            InputError: it cannot be used.
        """
        folder = resolve(name)
        checkpoint = open_checkpoint(folder)
        hashes = json.dumps(sha256_by_file(folder), sort_keys=True)
        on_device = checkpoint.load(Encoder)[0].to(choose_device(device))
        precision = choose_precision(precision, on_device.device)
        return cls(
            name=name,
            model=for_inference(on_device, DTYPES[precision]),
            tokenizer=checkpoint.tokenizer,
            sha256=hashlib.sha256(hashes.encode()).hexdigest(),
            precision=precision,
        )

    def states(self, texts: Sequence[str]) -> list[tuple[Floats, npt.NDArray[np.int64]]]:
        """The last hidden states of each text, ``(n, W)``, and the characters of its n tokens, ``(n, 2)``. A text that
        is too long is read in parts."""
        tokenizer, config = self.tokenizer, self.model.config
        special = tokenizer.num_special_tokens()
        room = config.max_length - special
        pieces = tokenizer.encode_all(texts)
        parts = [ids for each in pieces for ids in _cut(each.ids, room)]
        framed = [tokenizer.with_special_tokens(ids)[0] for ids in parts]
        batches = batches_by_length([*map(len, framed)], BATCH_TOKENS[self.model.device.type])
        found: list[Any] = [None] * len(parts)
        inputs = (_batch([framed[index] for index in indices]) for indices in batches)
        outputs = predict(self.model, inputs, precision=self.precision, device=self.model.device)
        for indices, (batch, output) in zip(batches, outputs, strict=True):
            rows = batch.inputs.unpack(output.last_hidden_state.float().cpu())
            for index, states in zip(indices, rows, strict=True):
                found[index] = states[_front(tokenizer) :][: len(parts[index])].numpy()
        of_parts, nothing = iter(found), np.empty((0, config.hidden_size), np.float32)
        return [
            (
                np.concatenate([nothing, *islice(of_parts, len(_cut(each.ids, room)))]),
                np.array(each.offsets, np.int64).reshape(-1, 2),
            )
            for each in pieces
        ]


def _cut(ids: Sequence[int], room: int) -> list[Sequence[int]]:
    return [ids[start : start + room] for start in range(0, len(ids), room)]


def _front(tokenizer: Tokenizer) -> int:
    """How many special tokens stand before a text."""
    return tokenizer.with_special_tokens([-1])[0].index(-1)


def _batch(ids: Sequence[Sequence[int]]) -> LabelledBatch:
    return LabelledBatch(inputs=pack(ids), targets=torch.empty(0), num_targets=0)


def averaged(states: Floats, given: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> Floats:
    """States of tokens as states of other tokens of the same text: means weighted by the characters that both share.

    Args:
        states: ``(n, W)``.
        given: ``(n, 2)``, the characters ``start:end`` of each of these tokens.
        wanted: ``(m, 2)``, those of the others.

    Returns:
        ``(m, W)``; NaN for a token that shares no character with any.
    """
    ends = np.minimum(wanted[:, None, 1], given[None, :, 1])
    shared = np.maximum(ends - np.maximum(wanted[:, None, 0], given[None, :, 0]), 0).astype(np.float32)
    total = shared.sum(1, keepdims=True)
    return (shared @ states) / np.where(total > 0, total, np.nan)
