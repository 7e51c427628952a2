"""One kernel for what stands between the matrix products of a layer: dropout, the residual sum and the norm.

Written in Triton, which comes with PyTorch for CUDA. By PyTorch's own operators the same takes ten kernels a norm, and
each reads and writes the hidden states. :mod:`minibert.add_norm` imports this where there is a GPU.
"""

import contextlib
from typing import Any, cast

import torch
import triton
import triton.language as tl
from torch import Tensor

# As operators of PyTorch's dispatcher, the kernels can be traced without values.
_LIBRARY = torch.library.Library("minibert", "DEF")
_ALL_DEVICES = "CompositeExplicitAutograd"
_STEPS = 65_536  # dropout compares 16 random bits, so its probability is a multiple of this fraction
_INTERPRETED_PROGRAMS = 4


def dropout_add_norm(
    branch: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, p: float, eps: float
) -> tuple[Tensor, Tensor]:
    """``layer_norm(residual + dropout(branch, p)) * weight + bias`` (Ba et al. 2016), computed in fp32.

    Args:
        branch: ``(T, C)``, of the type in which matrix products are computed.
        residual: ``(T, C)``, of the same type or fp32.
        weight, bias: ``(C,)``.
        p: the probability of dropping a value, below 1, rounded to 16 bits.

    Returns:
        The result in the type of ``residual`` and in that of ``branch``: one tensor twice if they are the same.
    """
    threshold = min(round(p * _STEPS), _STEPS - 1)
    if torch.is_grad_enabled() and any(x.requires_grad for x in (branch, residual, weight, bias)):
        full, rounded = cast(
            "tuple[Tensor, Tensor]", _DropoutAddNorm.apply(branch, residual, weight, bias, threshold, eps)
        )
    else:
        seed = _seed(branch, threshold)
        full, rounded, _, _ = _forward(branch, residual, weight, bias, seed, threshold, eps, False)
    return full, full if branch.dtype == residual.dtype else rounded


def _seed(like: Tensor, threshold: int) -> Tensor:
    """Drawn on the device, so that a CUDA graph draws another one at each replay."""
    return torch.randint(2**31, (1,), device=like.device) if threshold else torch.empty(0, device=like.device)


class _DropoutAddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, branch: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, threshold: int, eps: float
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        seed = _seed(branch, threshold)
        full, rounded, total, statistics = _forward(branch, residual, weight, bias, seed, threshold, eps, True)
        ctx.save_for_backward(total, statistics, weight, seed)
        ctx.threshold, ctx.dtype = threshold, branch.dtype
        return full, rounded

    @staticmethod
    def backward(ctx: Any, of_full: Tensor | None, of_rounded: Tensor | None) -> tuple[Tensor | None, ...]:
        total, statistics, weight, seed = ctx.saved_tensors
        if of_full is None and of_rounded is None:
            return (None,) * 6
        given = [None if gradient is None else gradient.contiguous() for gradient in (of_full, of_rounded)]
        of_residual, of_branch, parts = _backward(*given, total, statistics, weight, seed, ctx.threshold, ctx.dtype)
        of_weight, of_bias = parts.sum(0).unbind()
        return of_branch, of_residual, of_weight, of_bias, None, None


def _launch_forward(
    branch: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, seed: Tensor, threshold: int, eps: float, keep: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The result in both types; with ``keep`` also what the backward pass needs: the sums ``(T, C)``, and their means
    and reciprocal standard deviations ``(2, T)``."""
    outputs = _empty_outputs(branch, residual, keep)
    full, rounded, total, statistics = outputs
    count, width = branch.shape
    block = _block(width)
    with _current(branch.device):
        _forward_kernel[(count,)](
            branch.contiguous(), residual.contiguous(), weight, bias, seed, full, rounded, total, statistics,
            count, width, threshold, eps,
            BLOCK=block, DROPS=threshold > 0, ROUNDS=rounded.numel() > 0, KEEPS=keep, num_warps=_warps(block),
        )  # fmt: skip
    return outputs


def _empty_outputs(branch: Tensor, residual: Tensor, keep: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = branch.shape
    nothing = (0,)
    return (
        residual.new_empty(shape),
        branch.new_empty(nothing if branch.dtype == residual.dtype else shape),
        residual.new_empty(shape if keep else nothing),
        residual.new_empty((2, shape[0]) if keep else nothing, dtype=torch.float32),
    )


def _launch_backward(
    of_full: Tensor | None,
    of_rounded: Tensor | None,
    total: Tensor,
    statistics: Tensor,
    weight: Tensor,
    seed: Tensor,
    threshold: int,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of residual and branch (of ``dtype``), and parts of those of weight and bias ``(P, 2, C)``."""
    outputs = _empty_gradients(total, dtype)
    of_residual, of_branch, parts = outputs
    count, width = total.shape
    block = _block(width)
    with _current(total.device):
        _backward_kernel[(len(parts),)](
            total if of_full is None else of_full, total if of_rounded is None else of_rounded,
            total, statistics, weight, seed, of_residual, of_branch, parts,
            count, width, threshold,
            BLOCK=block, DROPS=threshold > 0, FULL=of_full is not None, ROUNDED=of_rounded is not None,
            num_warps=_warps(block),
        )  # fmt: skip
    return outputs


def _empty_gradients(total: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    parts = min(len(total), _programs(total.device))
    return (
        torch.empty_like(total),
        torch.empty_like(total, dtype=dtype),
        total.new_empty((parts, 2, total.shape[1]), dtype=torch.float32),
    )


_LIBRARY.define(
    "dropout_add_norm(Tensor branch, Tensor residual, Tensor weight, Tensor bias, Tensor seed, int threshold, "
    "float eps, bool keep) -> (Tensor, Tensor, Tensor, Tensor)"
)
_LIBRARY.impl("dropout_add_norm", _launch_forward, _ALL_DEVICES)
torch.library.register_fake(
    "minibert::dropout_add_norm", lambda *given: _empty_outputs(given[0], given[1], given[-1]), lib=_LIBRARY
)

_LIBRARY.define(
    "dropout_add_norm_backward(Tensor? of_full, Tensor? of_rounded, Tensor total, Tensor statistics, Tensor weight, "
    "Tensor seed, int threshold, ScalarType dtype) -> (Tensor, Tensor, Tensor)"
)
_LIBRARY.impl("dropout_add_norm_backward", _launch_backward, _ALL_DEVICES)
torch.library.register_fake(
    "minibert::dropout_add_norm_backward", lambda *given: _empty_gradients(given[2], given[-1]), lib=_LIBRARY
)


def _forward(*given: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _found(torch.ops.minibert.dropout_add_norm.default, _launch_forward)(*given)


def _backward(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _found(torch.ops.minibert.dropout_add_norm_backward.default, _launch_backward)(*given)


def _found(operator: Any, function: Any) -> Any:
    """The operator where something looks at what is dispatched; else the function behind it, as the dispatcher takes
    longer than the kernel."""
    return operator if torch._C._len_torch_dispatch_stack() else function


def _current(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Within it, Triton launches on ``device``."""
    here = device.type != "cuda" or device.index == torch.cuda.current_device()
    return contextlib.nullcontext() if here else torch.cuda.device(device)


def _programs(device: torch.device) -> int:
    """How many programs share the rows in the backward pass: each writes its part of the weights' gradients."""
    if device.type != "cuda":
        return _INTERPRETED_PROGRAMS
    return 2 * torch.cuda.get_device_properties(device).multi_processor_count


def _block(width: int) -> int:
    return max(8, triton.next_power_of_2(width))  # of 8 values a draw


def _warps(block: int) -> int:
    return max(1, min(8, block // 256))


@triton.jit
def _forward_kernel(
    branch, residual, weight, bias, seed, full, rounded, total, statistics,
    count, width, threshold, eps,
    BLOCK: tl.constexpr, DROPS: tl.constexpr, ROUNDS: tl.constexpr, KEEPS: tl.constexpr,
):  # fmt: skip
    """A row by each program."""
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    places = row.to(tl.int64) * width + columns
    x = tl.load(branch + places, mask=inside, other=0.0).to(tl.float32)
    if DROPS:
        x = tl.where(_kept(seed, row, threshold, BLOCK), x * (65536 / (65536 - threshold)), 0.0)
    x += tl.load(residual + places, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(x, 0) / width
    centred = tl.where(inside, x - mean, 0.0)
    scale = 1 / tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
    w = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    y = centred * scale * w + b
    tl.store(full + places, y, mask=inside)
    if ROUNDS:
        tl.store(rounded + places, y, mask=inside)
    if KEEPS:
        tl.store(total + places, x, mask=inside)
        tl.store(statistics + row, mean)
        tl.store(statistics + count + row, scale)


@triton.jit
def _backward_kernel(
    of_full, of_rounded, total, statistics, weight, seed, of_residual, of_branch, parts,
    count, width, threshold,
    BLOCK: tl.constexpr, DROPS: tl.constexpr, FULL: tl.constexpr, ROUNDED: tl.constexpr,
):  # fmt: skip
    """Every P-th row by each of P programs, whose sums over its rows are a part of the weights' gradients."""
    first, step = tl.program_id(0), tl.num_programs(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    w = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    of_weight = tl.zeros([BLOCK], tl.float32)
    of_bias = tl.zeros([BLOCK], tl.float32)
    row = first
    while row < count:
        places = tl.cast(row, tl.int64) * width + columns
        gradient = tl.zeros([BLOCK], tl.float32)
        if FULL:
            gradient += tl.load(of_full + places, mask=inside, other=0.0).to(tl.float32)
        if ROUNDED:
            gradient += tl.load(of_rounded + places, mask=inside, other=0.0).to(tl.float32)
        mean, scale = tl.load(statistics + row), tl.load(statistics + count + row)
        x = tl.load(total + places, mask=inside, other=0.0).to(tl.float32)
        normed = tl.where(inside, (x - mean) * scale, 0.0)
        of_weight += gradient * normed
        of_bias += gradient
        weighted = gradient * w
        along, across = tl.sum(weighted * normed, 0) / width, tl.sum(weighted, 0) / width
        of_sum = (weighted - normed * along - across) * scale
        tl.store(of_residual + places, of_sum, mask=inside)
        if DROPS:
            of_sum = tl.where(_kept(seed, row, threshold, BLOCK), of_sum * (65536 / (65536 - threshold)), 0.0)
        tl.store(of_branch + places, of_sum, mask=inside)
        row += step
    part = parts + first * 2 * width + columns
    tl.store(part, of_weight, mask=inside)
    tl.store(part + width, of_bias, mask=inside)


@triton.jit
def _kept(seed, row, threshold, BLOCK: tl.constexpr):
    """Which values of a row dropout keeps: 16 bits of Philox (Salmon et al. 2011) for each, 8 values a draw."""
    draws = tl.cast(row, tl.int32) * (BLOCK // 8) + tl.arange(0, BLOCK // 8)
    a, b, c, d = tl.randint4x(tl.load(seed), draws)
    words = tl.reshape(tl.join(tl.join(a, b), tl.join(c, d)), [BLOCK // 2])
    bits = tl.reshape(tl.join(words & 0xFFFF, (words >> 16) & 0xFFFF), [BLOCK])
    return bits.to(tl.int32) >= threshold
