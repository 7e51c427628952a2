"""Batches while a graph is exported: their sizes are symbols, so nothing about them is known on the host.

The encoder and its heads read these as they read a :class:`~minibert.batch.PackedBatch`. What that one computes on the
host, the caller of the graph gives: the grids of attention (see :mod:`minibert.grids`), or a mask.

Shapes: B sequences of at most S tokens, T tokens in all (B S with padding), H heads, D head width, C hidden width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minibert.batch import PackedBatch, sum_of_sequences


@dataclass(frozen=True, kw_only=True, eq=False)
class PaddedBatch:
    """A rectangle of B rows, whose ``B S`` places are the tokens. What is computed at padding has no meaning.

    Attributes:
        input_ids, position_ids, token_type_ids: ``(B S,)`` int64.
        mask: ``(B, S)`` bool, false at padding, which may be on either side. A row without tokens is all padding.
    """

    input_ids: Tensor
    position_ids: Tensor
    token_type_ids: Tensor
    mask: Tensor

    @classmethod
    def from_rows(cls, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None) -> "PaddedBatch":
        """From ``(B, S)`` int64 each; token types are all 0 if None."""
        mask = attention_mask != 0
        return cls(
            input_ids=input_ids.flatten(),
            position_ids=(mask.long().cumsum(1) - 1).clamp(min=0).flatten(),
            token_type_ids=(torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids).flatten(),
            mask=mask,
        )

    @property
    def max_seqlen(self) -> int:
        return self.mask.shape[1]

    @property
    def first_tokens(self) -> Tensor:
        """``(B,)``, each row's first token."""
        rows, width = self.mask.shape
        return torch.arange(rows) * width + self.mask.long().argmax(1)

    def sum(self, x: Tensor) -> Tensor:
        """The sum over the tokens of each row: ``(B S, C)`` -> ``(B, C)``."""
        return torch.where(self.mask[..., None], x.view(*self.mask.shape, x.shape[1]), 0.0).sum(1)

    def mean(self, x: Tensor) -> Tensor:
        """The mean over the tokens of each row: ``(B S, C)`` -> ``(B, C)``."""
        return self.sum(x) / self.mask.sum(1, keepdim=True)

    def attend(self, qkv: Tensor) -> Tensor:
        """As :func:`minibert.attention.attend`, with the rows as one grid: ``(B S, 3, H, D)`` -> ``(B S, H, D)``."""
        qkv = qkv.unflatten(0, self.mask.shape).permute(2, 0, 3, 1, 4)
        query, key, value = _contiguous(qkv).unbind(0)  # (B, H, S, D)
        mixed = _attend(query, key, value, bias_of(self.mask))
        return _contiguous(mixed.transpose(1, 2)).flatten(0, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Grids:
    """Where the rows of a pack lie in its grids; a row is one head of one token, D values wide.

    Attributes:
        query, key, value: for each grid, the ``(b, H, s)`` rows of the pack ``(T, 3, H)`` that it takes.
        biases: ``(b, 1, 1, s)`` for each grid.
        places: ``(T, H)``, where each row of the pack lies among the ``(b, H, s)`` rows of all grids, end to end.
    """

    query: list[Tensor]
    key: list[Tensor]
    value: list[Tensor]
    biases: list[Tensor]
    places: Tensor

    @classmethod
    def from_tokens(cls, grids: Sequence[Tensor], num_tokens: int, num_heads: int) -> "Grids":
        """From the tokens of each grid ``(b, s)``, -1 at padding."""
        heads = torch.arange(num_heads)
        places = torch.zeros(num_tokens + 1, num_heads, dtype=torch.long)
        query, biases, start = [], [], 0
        for grid in grids:
            count, width = grid.shape
            real = grid >= 0
            # Padding copies its own sequence, so that infinities and NaN of others stay out.
            tokens = torch.where(real, grid, grid[:, :1].clamp(min=0))
            query.append(3 * num_heads * tokens[:, None] + heads[:, None])
            biases.append(bias_of(real))
            # Padding is written to a place behind the pack.
            first = torch.arange(count)[:, None] * (num_heads * width) + torch.arange(width) + start
            cells = first[..., None] + width * heads  # (b, s, H)
            places = places.index_put((torch.where(real, grid, num_tokens).flatten(),), cells.flatten(0, 1))
            start = start + count * width * num_heads
        return cls(
            query=query,
            key=[rows + num_heads for rows in query],
            value=[rows + 2 * num_heads for rows in query],
            biases=biases,
            places=places[:num_tokens],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class GriddedBatch:
    """Sequences end to end, with grids that were laid out beforehand.

    Attributes:
        input_ids, position_ids, token_type_ids: ``(T,)`` int64.
        cu_seqlens: ``(B + 1,)`` int64, the start of each sequence, then T.
        max_seqlen: of the longest sequence.
        grids: see there.
    """

    input_ids: Tensor
    position_ids: Tensor
    token_type_ids: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    grids: Grids

    @property
    def first_tokens(self) -> Tensor:
        """``(B,)``, each sequence's first token."""
        return self.cu_seqlens[:-1]

    def sum(self, x: Tensor) -> Tensor:
        """The sum over the tokens of each sequence: ``(T, C)`` -> ``(B, C)``."""
        return sum_of_sequences(x, self.position_ids, self.cu_seqlens)

    def mean(self, x: Tensor) -> Tensor:
        """The mean over the tokens of each sequence: ``(T, C)`` -> ``(B, C)``."""
        return self.sum(x) / self.cu_seqlens.diff()[:, None]

    def attend(self, qkv: Tensor) -> Tensor:
        """As :func:`minibert.attention.attend`: ``(T, 3, H, D)`` -> ``(T, H, D)``."""
        rows, grids = qkv.flatten(0, 2), self.grids
        outputs = []
        for of_query, of_key, of_value, bias in zip(grids.query, grids.key, grids.value, grids.biases, strict=True):
            query, key, value = (F.embedding(places, rows) for places in (of_query, of_key, of_value))  # (b, H, s, D)
            outputs.append(_attend(query, key, value, bias).flatten(0, 2))
        return F.embedding(grids.places, torch.cat(outputs))


def bias_of(mask: Tensor) -> Tensor:
    """What is added to the scores ``(B, 1, 1, S)``: next to minus infinity at padding, so that a row which is all
    padding gets no NaN."""
    return torch.where(mask, 0.0, torch.finfo(torch.float32).min)[:, None, None]


def _contiguous(x: Tensor) -> Tensor:
    """As ``x.contiguous()``, which asks about the sizes."""
    return x.clone(memory_format=torch.contiguous_format)


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """The formula of :func:`minibert.attention.attend`, written so that ONNX Runtime fuses what it can:
    ``(B, H, S, D)``, contiguous. From ``torch.matmul`` a tracer would conclude that no size is 1."""
    sizes = query.shape
    q, k, v = (x.flatten(0, 1) for x in (query, key, value))
    scores = torch.bmm(q, k.transpose(1, 2)) * sizes[3] ** -0.5  # (B H, S, S)
    probabilities = (scores.unflatten(0, sizes[:2]) + bias).softmax(-1).flatten(0, 1)
    return torch.bmm(probabilities, v).view(sizes)


Batch = PackedBatch | PaddedBatch | GriddedBatch
"""What the encoder and its heads take."""
