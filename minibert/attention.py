"""One attention function over packed sequences, with named back-ends.

Everything else calls :func:`attend` and does not know which back-end ran; padding exists only inside one of them.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from minibert.batch import PackedBatch

_forced: str | None = None


def attend(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention in which a token sees all tokens of its own sequence and no others.

    ``softmax(Q K^T / sqrt(D)) V`` per head (Vaswani et al. 2017, section 3.2.1), with ``dropout`` on the
    probabilities.

    Args:
        query, key, value: ``(T, H, D)`` each.
        batch: whose lengths say where the sequences lie.
        dropout: probability of dropping an attention weight; 0 outside training.

    Returns:
        ``(T, H, D)``.
    """
    return BACKENDS[_forced or choose_backend(query, dropout)](query, key, value, batch, dropout)


def choose_backend(query: Tensor, dropout: float) -> str:
    """The name of the back-end that suits this device, type and dropout."""
    if query.device.type != "cuda":
        return "per_sequence"
    half = query.dtype in (torch.bfloat16, torch.float16)
    # varlen_attn has no dropout and needs an A100 or newer.
    if half and dropout == 0.0 and torch.cuda.get_device_capability(query.device) >= (8, 0):
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


def _plain(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
    """The formula, written out: what the others are tested against."""
    outputs = []
    for q, k, v in zip(batch.unpack(query), batch.unpack(key), batch.unpack(value), strict=True):
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1])
        probabilities = F.dropout(scores.softmax(-1), dropout)
        outputs.append(torch.einsum("hqk,khd->qhd", probabilities, v))
    return torch.cat(outputs)


def _per_sequence(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
    """PyTorch's kernel on one sequence after another: no padding, no mask, and so its flash kernel on the CPU."""

    def heads_first(x: Tensor) -> Tensor:  # (length, H, D) -> (1, H, length, D); flash takes four dimensions only
        return x.transpose(0, 1).unsqueeze(0)

    outputs = [
        F.scaled_dot_product_attention(heads_first(q), heads_first(k), heads_first(v), dropout_p=dropout)
        for q, k, v in zip(batch.unpack(query), batch.unpack(key), batch.unpack(value), strict=True)
    ]
    return torch.cat(outputs, dim=2).squeeze(0).transpose(0, 1)


def _padded(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
    """One masked kernel over sequences padded to the longest: CUDA in fp32, and with dropout (most training)."""
    slots, real = _padding(batch)
    grid = real.shape[0], real.shape[-1]

    def pad(x: Tensor) -> Tensor:  # (T, H, D) -> (B, H, longest, D)
        padded = x.new_zeros(real.numel(), *x.shape[1:]).index_copy(0, slots, x)
        return padded.view(*grid, *x.shape[1:]).transpose(1, 2)

    output = F.scaled_dot_product_attention(pad(query), pad(key), pad(value), attn_mask=real, dropout_p=dropout)
    return output.transpose(1, 2).flatten(0, 1)[slots]


@lru_cache(maxsize=1)  # every layer asks for the same batch; a batch is equal to itself alone
def _padding(batch: PackedBatch) -> tuple[Tensor, Tensor]:
    """Where each token stands in a padded grid, ``(T,)``, and where that grid is real, ``(B, 1, 1, longest)``."""
    longest = batch.max_seqlen
    with torch.inference_mode(False):  # what is kept here may serve a training step next
        sequence = torch.repeat_interleave(batch.cu_seqlens.diff(), output_size=batch.num_tokens)
        slots = sequence * longest + batch.position_ids
        real = torch.zeros(batch.num_sequences * longest, dtype=torch.bool, device=batch.device)
        real[slots] = True
    return slots, real.view(batch.num_sequences, 1, 1, longest)


def _varlen(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
    """Variable-length flash attention: CUDA, half precision, no dropout."""
    if dropout:
        raise ValueError("the varlen attention back-end has no dropout; use padded.")
    longest = batch.max_seqlen
    output = varlen_attn(query, key, value, batch.cu_seqlens, batch.cu_seqlens, longest, longest)
    assert isinstance(output, Tensor)
    return output


BACKENDS: dict[str, Callable[[Tensor, Tensor, Tensor, PackedBatch, float], Tensor]] = {
    "plain": _plain,
    "per_sequence": _per_sequence,
    "padded": _padded,
    "varlen": _varlen,
}
