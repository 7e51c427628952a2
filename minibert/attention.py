"""One attention function over packed sequences, with named back-ends.

Everything else calls :func:`attend` and does not know which back-end ran; padding exists only inside some of them.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from minibert.batch import PackedBatch, to_device
from minibert.dropout import drop

IntArray = npt.NDArray[np.integer]

_GRID = 80_000
"""What a padded grid of sequences costs on a CPU by itself, in scores: measured."""

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
    return BACKENDS[_forced or choose_backend(qkv)](qkv, batch, dropout)


def choose_backend(qkv: Tensor) -> str:
    """The name of the back-end that suits this device, type and width of heads."""
    if qkv.device.type != "cuda":
        return "grouped"
    half, width = qkv.dtype in (torch.bfloat16, torch.float16), qkv.shape[-1]
    # What flash attention asks for: an A100 or newer, and whole groups of eight.
    flash = torch.backends.cuda.is_flash_attention_available() and width % 8 == 0 and width <= 128
    return "varlen" if half and flash and torch.cuda.get_device_capability(qkv.device) >= (8, 0) else "padded"


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
    formula = _products if half or dropout else _kernel
    return _in_grids(qkv, _layout(batch, qkv.shape[2], like_lengths=True), dropout, formula)


def _padded(qkv: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
    """One masked kernel over sequences padded to the longest: CUDA where there is no varlen, as in fp32."""
    return _in_grids(qkv, _layout(batch, qkv.shape[2], like_lengths=False), dropout, _kernel)


def _kernel(query: Tensor, key: Tensor, value: Tensor, real: Tensor, dropout: float) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask=real, dropout_p=dropout)


def _products(query: Tensor, key: Tensor, value: Tensor, real: Tensor, dropout: float) -> Tensor:
    bias = query.new_zeros(real.shape).masked_fill_(~real, -math.inf)
    bias = bias.expand(-1, query.shape[1], -1, -1).flatten(0, 1)
    q, k, v = (x.flatten(0, 1) for x in (query, key, value))
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)  # (b H, s, s)
    # Of rows as short as these, PyTorch's softmax in half precision takes longer than two casts and one in fp32.
    probabilities = (scores.float() if scores.shape[-1] < 128 else scores).softmax(-1).to(scores.dtype)
    return torch.bmm(drop(probabilities, dropout), v).view(query.shape)


def _in_grids(qkv: Tensor, layout: "_Layout", dropout: float, formula: Callable[..., Tensor]) -> Tensor:
    """Attention by a formula of ``query, key, value (b, H, s, D)``, of which keys are real ``(b, 1, 1, s)``, and
    dropout."""
    num_heads, width = qkv.shape[2:]
    rows = cast(Tensor, _Move.apply(qkv.reshape(-1, width), layout.enter))
    outputs = []
    for grid, real in zip(rows.split([3 * num_heads * real.numel() for real in layout.real]), layout.real, strict=True):
        query, key, value = grid.view(3, len(real), num_heads, -1, width).unbind(0)
        outputs.append(formula(query, key, value, real, dropout).flatten(0, 2))
    return cast(Tensor, _Move.apply(torch.cat(outputs), layout.leave)).view(-1, num_heads, width)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Way:
    """How N rows move to M places, each row to one of them at most.

    Attributes:
        rows: ``(M,)``, the row that comes to each place. At padding some row, whose gradient it does not get.
        places: ``(N,)``, the place of each row; any where it has none.
        left: ``(L,)``, the rows that have none.
    """

    rows: Tensor
    places: Tensor
    left: Tensor


class _Move(torch.autograd.Function):
    """Rows ``(N, D)`` -> places ``(M, D)``.

    The gradient is the way back. PyTorch's own for index_select would be a sum, row by row.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, way: _Way) -> Tensor:
        ctx.way = way
        return values.index_select(0, way.rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.way.places).index_fill_(0, ctx.way.left, 0), None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layout:
    """How sequences lie in padded grids, which lie end to end.

    Attributes:
        enter: from the heads ``(T, 3, H)`` of a pack to those of the grids, ``(3, b, H, s)`` each.
        leave: from the heads ``(b, H, s)`` of the grids to those of the pack, ``(T, H)``.
        real: of each grid ``(b, 1, 1, s)``, false at padding.
    """

    enter: _Way
    leave: _Way
    real: tuple[Tensor, ...]


@lru_cache(maxsize=1)  # every layer asks for the same batch; a batch is equal to itself alone
def _layout(batch: PackedBatch, num_heads: int, *, like_lengths: bool) -> _Layout:
    """One grid, or as many as it takes to have sequences of like lengths in each."""
    lengths = np.array(batch.lengths)
    starts = np.cumsum(lengths) - lengths
    order = np.argsort(-lengths, kind="stable") if like_lengths else np.arange(len(lengths))
    cuts = _cheapest_cuts(lengths, num_heads) if like_lengths else []
    heads, parts = np.arange(num_heads)[:, None], np.arange(3)[:, None, None, None]
    grids, entering, leaving = [], [], []
    for members in np.split(order, cuts):
        place = np.arange(lengths[members].max())
        real = (place < lengths[members, None])[:, None]  # (b, 1, s)
        # In padding stands the first token of the same sequence, so that no other's infinities come in.
        tokens = starts[members, None, None] + np.where(real, place, 0)
        grids.append(real)
        entering.append((3 * tokens + parts) * num_heads + heads)  # (3, b, H, s)
        leaving.append(tokens * num_heads + heads)  # (b, H, s)

    def there(array: Any) -> Tensor:
        return to_device(torch.from_numpy(array), batch.device)

    heads_in, real_in = _end_to_end(entering, grids)
    heads_out, real_out = _end_to_end(leaving, grids)
    with torch.inference_mode(False):  # what is kept here may serve a training step next
        return _Layout(
            enter=_Way(rows=there(heads_in), places=there(_places(heads_in, real_in)), left=there(heads_in[:0])),
            leave=_Way(
                rows=there(_places(heads_out, real_out)),
                places=there(heads_out),
                left=there(np.flatnonzero(~real_out)),
            ),
            real=tuple(there(real[:, None]) for real in grids),
        )


def _cheapest_cuts(lengths: IntArray, num_heads: int) -> list[int]:
    """Where to cut a batch's sequences, longest first, into grids so that all their scores ``(b, H, s, s)``, and what
    each grid costs beside them, come to the least."""
    values, counts = np.unique(lengths, return_counts=True)
    of_each = num_heads * values[::-1].astype(float) ** 2  # scores, in a grid whose longest this is
    before = np.cumsum([0, *counts[::-1]])  # sequences that are longer
    least, start = np.zeros(len(before)), np.zeros(len(before), int)
    for end in range(1, len(before)):
        costs = least[:end] + (before[end] - before[:end]) * of_each[:end] + _GRID
        start[end] = costs.argmin()
        least[end] = costs[start[end]]
    cuts, end = [], start[-1]
    while end:
        cuts.append(int(before[end]))
        end = start[end]
    return cuts[::-1]


def _end_to_end(grids: Sequence[Any], real: Sequence[Any]) -> tuple[Any, Any]:
    """Grids' numbers one behind the other, and which of them are real."""
    flat = [(grid.ravel(), np.broadcast_to(mask, grid.shape).ravel()) for grid, mask in zip(grids, real, strict=True)]
    numbers, masks = zip(*flat, strict=True)
    return np.concatenate(numbers), np.concatenate(masks)


def _places(numbers: Any, real: Any) -> Any:
    """Where each number stands; it is real in one place."""
    places = np.empty(np.count_nonzero(real), np.int64)
    places[numbers[real]] = np.flatnonzero(real)
    return places


def _varlen(qkv: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
    """Variable-length flash attention, with no padding at all: CUDA, half precision.

    PyTorch's own varlen_attn calls this operator without dropout, and brings in its compiler.
    """
    query, key, value = qkv.unbind(1)
    bounds, longest = batch.cu_seqlens, batch.max_seqlen
    mixed: Tensor = torch.ops.aten._flash_attention_forward(
        query, key, value, bounds, bounds, longest, longest, dropout, is_causal=False, return_debug_mask=False
    )[0]
    return mixed


BACKENDS: dict[str, Callable[[Tensor, PackedBatch, float], Tensor]] = {
    "plain": _plain,
    "grouped": _grouped,
    "padded": _padded,
    "varlen": _varlen,
}
