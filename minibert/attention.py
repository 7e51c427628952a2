"""One attention function over packed sequences, with named back-ends.

The rest of the library calls :func:`attend` and does not know which back-end ran. Padding exists only inside some of
them (see :mod:`minibert.grids`).
"""

import contextlib
import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from minibert.batch import PackedBatch
from minibert.dropout import drop
from minibert.grids import Grid, grid_layout, one_grid
from minibert.traced import Batch

_forced: str | None = None


def attend(qkv: Tensor, batch: Batch, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention in which a token sees all tokens of its own sequence and no others.

    ``softmax(Q K^T / sqrt(D)) V`` per head (Vaswani et al. 2017, section 3.2.1), with ``dropout`` on the
    probabilities.

    Args:
        qkv: ``(T, 3, H, D)``: query, key and value.
        batch: gives the lengths of the sequences.
        dropout: probability of dropping an attention weight; 0 outside training.

    Returns:
        ``(T, H, D)``.
    """
    if not isinstance(batch, PackedBatch):  # a graph is being exported
        return batch.attend(qkv)
    return BACKENDS[choose_backend(qkv.device, qkv.dtype, qkv.shape[-1])](qkv, batch, dropout)


def choose_backend(device: torch.device, dtype: torch.dtype, width: int) -> str:
    """The name of the fastest back-end for a device, type and head width, or that of :func:`attention_backend`."""
    if _forced is not None:
        return _forced
    if device.type != "cuda":
        return "grouped"
    # Flash attention needs an A100 or newer, and a head width that is a multiple of 8.
    flash = torch.backends.cuda.is_flash_attention_available() and width % 8 == 0 and width <= 128
    half = dtype in (torch.bfloat16, torch.float16)
    return "varlen" if half and flash and torch.cuda.get_device_capability(device) >= (8, 0) else "padded"


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
    """The formula, sequence by sequence: the reference for the others."""
    outputs = []
    for q, k, v in (sequence.unbind(1) for sequence in batch.unpack(qkv)):
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1])
        probabilities = F.dropout(scores.softmax(-1), dropout)
        outputs.append(torch.einsum("hqk,khd->qhd", probabilities, v))
    return torch.cat(outputs)


def _grouped(qkv: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
    """Sequences grouped by length, each group padded to its longest: the fastest on a CPU.

    In half precision, two matrix products with a softmax between them are faster than PyTorch's flash kernel at all
    lengths, several times in the backward pass. With dropout, which that kernel lacks, they serve any
    precision.
    """
    half = qkv.dtype in (torch.bfloat16, torch.float16)
    formula = _attend_by_products if half or dropout else _attend_by_kernel
    if batch.num_sequences == 1:
        return formula(one_grid(qkv), dropout)[0].transpose(0, 1)
    layout = grid_layout(batch, qkv.shape[2], by_length=True)
    return layout.from_grids([formula(grid, dropout) for grid in layout.to_grids(qkv)])


def _padded(qkv: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
    """All sequences padded to the longest: CUDA where varlen does not run, as in fp32."""
    layout = grid_layout(batch, qkv.shape[2], by_length=False)
    return layout.from_grids([_attend_by_kernel(grid, dropout) for grid in layout.to_grids(qkv)])


def _attend_by_kernel(grid: Grid, dropout: float) -> Tensor:
    return F.scaled_dot_product_attention(
        grid.query, grid.key, grid.value, attn_mask=grid.mask, dropout_p=dropout
    )  # (b, H, s, D)


def _attend_by_products(grid: Grid, dropout: float) -> Tensor:
    q, k, v = (x.flatten(0, 1) for x in (grid.query, grid.key, grid.value))
    if grid.mask is None:
        bias = q.new_zeros(1, 1, 1)
    else:
        bias = q.new_zeros(grid.mask.shape).masked_fill_(~grid.mask, -math.inf)
        bias = bias.expand(-1, grid.query.shape[1], -1, -1).flatten(0, 1)
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)  # (b H, s, s)
    # On rows this short, PyTorch's half-precision softmax is slower than two casts and a softmax in fp32.
    probabilities = (scores.float() if scores.shape[-1] < 128 else scores).softmax(-1).to(scores.dtype)
    return torch.bmm(drop(probabilities, dropout), v).view(grid.query.shape)  # (b, H, s, D)


def _varlen(qkv: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
    """Variable-length flash attention, without any padding: CUDA, half precision.

    PyTorch's own varlen_attn calls this operator without dropout, and imports its compiler.
    """
    query, key, value = qkv.unbind(1)
    cu_seqlens, longest = batch.cu_seqlens, batch.max_seqlen
    mixed: Tensor = torch.ops.aten._flash_attention_forward(
        query, key, value, cu_seqlens, cu_seqlens, longest, longest, dropout, is_causal=False, return_debug_mask=False
    )[0]
    return mixed


READ_NO_LENGTHS = {"varlen"}
"""The back-ends that read nothing but the bounds on the device, so that one CUDA graph serves many batches."""

BACKENDS: dict[str, Callable[[Tensor, PackedBatch, float], Tensor]] = {
    "plain": _plain,
    "grouped": _grouped,
    "padded": _padded,
    "varlen": _varlen,
}
