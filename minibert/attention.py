"""One attention function over packed sequences, with named back-ends.

Everything else calls :func:`attend` and does not know which back-end ran; padding exists only inside some of them.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from minibert.batch import PackedBatch, to_device
from minibert.dropout import drop

_forced: str | None = None


def attend(qkv: Tensor, batch: PackedBatch, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention in which a token sees all tokens of its own sequence and no others.

    ``softmax(Q K^T / sqrt(D)) V`` per head (Vaswani et al. 2017, section 3.2.1), with ``dropout`` on the
    probabilities.

    Args:
        qkv: ``(T, 3, H, D)``: query, key and value.
        batch: whose lengths say where the sequences lie.
        dropout: probability of dropping an attention weight; 0 outside training.

    Returns:
        ``(T, H, D)``.
    """
    return BACKENDS[_forced or choose_backend(qkv, dropout)](qkv, batch, dropout)


def choose_backend(qkv: Tensor, dropout: float) -> str:
    """The name of the back-end that suits this device, type and dropout."""
    if qkv.device.type != "cuda":
        return "grouped"
    half = qkv.dtype in (torch.bfloat16, torch.float16)
    # varlen_attn has no dropout and needs an A100 or newer.
    if half and dropout == 0.0 and torch.cuda.get_device_capability(qkv.device) >= (8, 0):
        return "varlen"
    return "padded"


@contextlib.contextmanager
def attention_backend(name: str) -> Iterator[None]:
    """Runs the ``with`` block on the back-end called ``name``; for tests and benchmarks.

    Raises:
        ValueError: there is no such back-end; the message lists them.
    """
    global _forced
    if name not in BACKENDS:
        raise ValueError(f"attention back-end {name!r} is not one of {', '.join(BACKENDS)}.")
    previous, _forced = _forced, name
    try:
        yield
    finally:
        _forced = previous


def _plain(qkv: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
    """The formula, written out: what the others are tested against."""
    outputs = []
    for q, k, v in (sequence.unbind(1) for sequence in batch.unpack(qkv)):
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1])
        probabilities = F.dropout(scores.softmax(-1), dropout)
        outputs.append(torch.einsum("hqk,khd->qhd", probabilities, v))
    return torch.cat(outputs)


def _grouped(qkv: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
    """Sequences of like lengths together, padded to the longest of their group: the fastest on a CPU.

    In half precision, two matrix products with a softmax between outrun PyTorch's flash kernel at all lengths, several
    times in the backward pass, and no less with dropout, which that kernel lacks.
    """
    half = qkv.dtype in (torch.bfloat16, torch.float16)
    return _in_grids(qkv, _layout(batch, like_lengths=True), dropout, _products if half or dropout else _kernel)


def _padded(qkv: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
    """One masked kernel over sequences padded to the longest: CUDA in fp32, and with dropout (most training)."""
    return _in_grids(qkv, _layout(batch, like_lengths=False), dropout, _kernel)


def _kernel(query: Tensor, key: Tensor, value: Tensor, real: Tensor, dropout: float) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask=real, dropout_p=dropout)


def _products(query: Tensor, key: Tensor, value: Tensor, real: Tensor, dropout: float) -> Tensor:
    bias = query.new_zeros(real.shape).masked_fill_(~real, -math.inf)
    bias = bias.expand(-1, query.shape[1], -1, -1).flatten(0, 1)
    q, k, v = (x.flatten(0, 1) for x in (query, key, value))
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)  # (b H, s, s)
    return torch.bmm(drop(scores.softmax(-1), dropout), v).view(query.shape)


def _in_grids(qkv: Tensor, layout: "_Layout", dropout: float, formula: Callable[..., Tensor]) -> Tensor:
    """Attention by a formula of ``query, key, value (b, H, s, D)``, of which keys are real ``(b, 1, 1, s)``, and
    dropout."""
    rows = cast(Tensor, _ToRows.apply(qkv.flatten(1), layout))
    outputs = []
    for grid, real in zip(rows.split([real.numel() for real in layout.real]), layout.real, strict=True):
        query, key, value = grid.view(len(real), -1, *qkv.shape[1:]).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = formula(query, key, value, real, dropout)
        outputs.append(mixed.transpose(1, 2).flatten(2).flatten(0, 1))  # (b s, H D)
    return cast(Tensor, _ToTokens.apply(torch.cat(outputs), layout)).view(qkv.shape[0], *qkv.shape[2:])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layout:
    """How sequences lie in padded grids ``(b, s)``, which lie end to end in N rows.

    Attributes:
        tokens: ``(N,)``, the token in each row; 0 where it is padding.
        padding: which rows are padding.
        rows: ``(T,)``, the row of each token.
        real: of each grid ``(b, 1, 1, s)``, false at padding.
    """

    tokens: Tensor
    padding: Tensor
    rows: Tensor
    real: tuple[Tensor, ...]


@lru_cache(maxsize=1)  # every layer asks for the same batch; a batch is equal to itself alone
def _layout(batch: PackedBatch, *, like_lengths: bool) -> _Layout:
    """One grid, or as many as it takes to have sequences of like lengths in each."""
    lengths = np.array(batch.lengths)
    starts = np.cumsum(lengths) - lengths
    waiting = np.argsort(-lengths, kind="stable") if like_lengths else np.arange(len(lengths))
    tokens, real = [], []
    while len(waiting):
        longest = int(lengths[waiting].max())
        # Padding is a quarter of a row at most, or so little that another grid would cost more.
        together = lengths[waiting] >= min(0.75 * longest, longest - 16) if like_lengths else slice(None)
        members = waiting[together]
        waiting = waiting[len(members) :]
        place = np.arange(longest)
        real.append(place < lengths[members, None])
        tokens.append(np.where(real[-1], starts[members, None] + place, 0))
    token_of_row = np.concatenate([grid.ravel() for grid in tokens])
    row_is_real = np.concatenate([grid.ravel() for grid in real])
    row_of_token = np.empty(batch.num_tokens, np.int64)
    row_of_token[token_of_row[row_is_real]] = np.flatnonzero(row_is_real)

    def there(array: Any) -> Tensor:
        return to_device(torch.from_numpy(array), batch.device)

    with torch.inference_mode(False):  # what is kept here may serve a training step next
        return _Layout(
            tokens=there(token_of_row),
            padding=there(np.flatnonzero(~row_is_real)),
            rows=there(row_of_token),
            real=tuple(there(grid[:, None, None]) for grid in real),
        )


class _ToRows(torch.autograd.Function):
    """Values of tokens ``(T, C)`` -> of rows ``(N, C)``, 0 in padding.

    Each row is of one token, so that either way is the other's gradient. PyTorch's own for index_select would be a sum,
    row by row.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, layout: _Layout) -> Tensor:
        ctx.layout = layout
        return values.index_select(0, layout.tokens).index_fill_(0, layout.padding, 0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return cast(Tensor, _ToTokens.apply(gradient, ctx.layout)), None


class _ToTokens(torch.autograd.Function):
    """The way back: ``(N, C)`` -> ``(T, C)``."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, layout: _Layout) -> Tensor:
        ctx.layout = layout
        return values.index_select(0, layout.rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return cast(Tensor, _ToRows.apply(gradient, ctx.layout)), None


def _varlen(qkv: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
    """Variable-length flash attention: CUDA, half precision, no dropout."""
    if dropout:
        raise ValueError("the varlen attention back-end has no dropout; use padded.")
    query, key, value = qkv.unbind(1)
    longest = batch.max_seqlen
    output = varlen_attn(query, key, value, batch.cu_seqlens, batch.cu_seqlens, longest, longest)
    assert isinstance(output, Tensor)
    return output


BACKENDS: dict[str, Callable[[Tensor, PackedBatch, float], Tensor]] = {
    "plain": _plain,
    "grouped": _grouped,
    "padded": _padded,
    "varlen": _varlen,
}
