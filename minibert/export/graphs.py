"""The two graphs of a model with a head: what goes in and comes out, by name.

    padded    rectangles with a mask, as other tools make them
    packed    sequences end to end: linear maps see real tokens alone

Both run the model's own forward, on the batches of :mod:`minibert.traced`.

Shapes: B sequences of at most S tokens, T tokens in all, N tokens that are asked for, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from minibert.batch import PackedBatch, pack
from minibert.checkpoint import Pretrained
from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.export.inputs import Inputs, packed_inputs, padded_inputs
from minibert.heads import (
    MeanSequenceClassifier,
    PretrainingModel,
    SequenceClassifier,
    SpanClassifier,
    TokenClassifier,
)
from minibert.traced import Batch, GriddedBatch, Grids, PaddedBatch

_HEADS = (TokenClassifier, SequenceClassifier, MeanSequenceClassifier, SpanClassifier, PretrainingModel)
_PER_TOKEN = (TokenClassifier, SpanClassifier, PretrainingModel)


class Graph(nn.Module):
    """What the two graphs share.

    Args:
        model: with one of the heads that answer.

    Attributes:
        name: of its files.

    Raises:
        InputError: the model has another head.
    """

    name: str

    def __init__(self, model: Pretrained) -> None:
        super().__init__()
        if not isinstance(model, _HEADS):
            raise InputError(f"{type(model).__name__}: has no head whose graph could be exported.")
        self.model = model.eval()
        self.per_token = isinstance(model, _PER_TOKEN)
        self.has_types = model.config.type_vocab_size > 1

    @property
    def output_names(self) -> tuple[str, ...]:
        return ("start_logits", "end_logits") if isinstance(self.model, SpanClassifier) else ("logits",)

    def inputs(self, batch: PackedBatch) -> Inputs:
        """A batch as the graph takes it."""
        raise NotImplementedError

    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        """The dimensions of each input that may vary, with their names."""
        raise NotImplementedError

    def expected(self, batch: PackedBatch) -> tuple[Tensor, ...]:
        """The outputs for the inputs of a batch, by the model itself; of padding, none."""
        return self._outputs(batch, None)

    def real(self, outputs: tuple[Tensor, ...], batch: PackedBatch) -> tuple[Tensor, ...]:
        """Outputs of the graph without those of padding, which have no meaning."""
        return outputs

    def _outputs(self, batch: Batch, positions: Tensor | None) -> tuple[Tensor, ...]:
        if isinstance(self.model, PretrainingModel):
            output = self.model(batch, positions)
            return output[:1] if isinstance(output, tuple) else (output,)
        logits: Tensor = self.model(batch)
        return logits.unbind(-1) if isinstance(self.model, SpanClassifier) else (logits,)


class PaddedGraph(Graph):
    """From ``(B, S)`` ids, mask and types. Outputs of tokens are ``(B, S, ...)``, those of sequences ``(B, ...)``."""

    name = "padded"

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        outputs = self._outputs(PaddedBatch.from_rows(input_ids, attention_mask, token_type_ids), None)
        return tuple(output.unflatten(0, input_ids.shape) for output in outputs) if self.per_token else outputs

    def inputs(self, batch: PackedBatch) -> Inputs:
        return padded_inputs(batch, fill=self.model.config.pad_token_id, types=self.has_types)

    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        shape = {0: Dim("batch"), 1: Dim("length", max=self.model.config.max_length)}
        return dict.fromkeys(("input_ids", "attention_mask", *(["token_type_ids"] if self.has_types else [])), shape)

    def real(self, outputs: tuple[Tensor, ...], batch: PackedBatch) -> tuple[Tensor, ...]:
        if not self.per_token:
            return outputs
        mask = self.inputs(batch)["attention_mask"].bool()
        return tuple(output[mask] for output in outputs)


class PackedGraph(Graph):
    """From sequences end to end: ids, positions and types ``(T,)``, ``cu_seqlens (B + 1,)`` and two grids
    (:func:`~minibert.export.inputs.packed_inputs` makes them). Outputs of tokens are ``(T, ...)``, those of sequences
    ``(B, ...)``. A model of masked words takes ``positions (N,)`` in the pack, and returns ``(N, V)``."""

    name = "packed"

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        cu_seqlens: Tensor,
        long_grid: Tensor,
        short_grid: Tensor,
        token_type_ids: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        heads = self.model.config.num_attention_heads
        batch = GriddedBatch(
            input_ids=input_ids,
            position_ids=position_ids,
            token_type_ids=torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids,
            cu_seqlens=cu_seqlens,
            max_seqlen=long_grid.shape[1],
            grids=Grids.from_tokens((long_grid, short_grid), input_ids.shape[0], heads),
        )
        return self._outputs(batch, positions)

    def inputs(self, batch: PackedBatch) -> Inputs:
        found = packed_inputs(batch, None)
        return {name: found[name] for name in self.dynamic_shapes()}

    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        tokens, most = {0: Dim("tokens")}, self.model.config.max_length
        names = {"input_ids": tokens, "position_ids": tokens, "cu_seqlens": {0: Dim("batch_plus_1")}}
        for name in ("long", "short"):
            names[f"{name}_grid"] = {0: Dim(f"{name}_rows"), 1: Dim(f"{name}_width", max=most)}
        if self.has_types:
            names["token_type_ids"] = tokens
        if isinstance(self.model, PretrainingModel):
            names["positions"] = {0: Dim("masks")}
        return names


def example_batch(config: EncoderConfig) -> PackedBatch:
    """A small batch to trace with: no size of an input is 1, which a tracer could take for fixed."""
    lengths = [min(length, config.max_length) for length in (9, 8, 3, 2)]
    return random_batch(lengths, config)


def random_batch(lengths: Sequence[int], config: EncoderConfig, seed: int = 0) -> PackedBatch:
    """Random sequences of some lengths, with random types."""
    chance = np.random.default_rng(seed)
    ids = [chance.integers(config.vocab_size, size=length) for length in lengths]
    return pack(ids, [chance.integers(max(1, config.type_vocab_size), size=length) for length in lengths])
