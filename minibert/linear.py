"""Linear maps whose weights are cast to half precision once for all uses in an optimizer step.

Autocast casts a weight and its gradient at each use, each by a kernel of its own: a quarter of the kernels of a step.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn


class Linear(nn.Linear):
    """:class:`torch.nn.Linear` with a bias, ``(T, C)`` -> ``(T, C')``.

    Attributes:
        cast_weights: weight and bias in half precision to compute with, within :meth:`WeightCopies.used`.
    """

    cast_weights: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.cast_weights is None:
            return super().forward(x)
        weight, bias = self.cast_weights
        return cast(Tensor, _CastLinear.apply(x, self.weight, self.bias, weight, bias))


class _CastLinear(torch.autograd.Function):
    """Computes with copies of a weight ``(C', C)`` and a bias ``(C',)`` in half precision.

    The originals get their gradients in fp32, so that those of several uses (ALBERT) add up in fp32. An input
    ``(T, C)`` gets one of its own type.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, cast_weight: Tensor, cast_bias: Tensor) -> Tensor:
        cast_x = x.to(cast_weight.dtype)
        ctx.save_for_backward(cast_x, cast_weight)
        ctx.product = _product_in_fp32 if x.dtype == torch.float32 else torch.mm
        return nn.functional.linear(cast_x, cast_weight, cast_bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        of_weight, of_bias = _product_in_fp32(gradient.t(), x), gradient.sum(0, dtype=torch.float32)
        return ctx.product(gradient, weight), of_weight, of_bias, None, None


def _product_in_fp32(a: Tensor, b: Tensor) -> Tensor:
    """A matrix product in fp32 of matrices in half precision. On a CPU it is rounded to half precision on the way."""
    return torch.mm(a, b, out_dtype=torch.float32) if a.device.type == "cuda" else (a @ b).float()


class WeightCopies:
    """Copies of a model's weights in half precision, always at the same place in memory."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self._linears = [part for part in model.modules() if isinstance(part, Linear)]
        self._own = [parameter.detach() for part in self._linears for parameter in (part.weight, part.bias)]
        self._copies = [torch.empty_like(parameter, dtype=dtype) for parameter in self._own]

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Within the block, in which no weight may change, each :class:`Linear` computes with a copy as it is now."""
        torch._foreach_copy_(self._copies, self._own)
        for number, part in enumerate(self._linears):
            part.cast_weights = self._copies[2 * number], self._copies[2 * number + 1]
        try:
            yield
        finally:
            for part in self._linears:
                part.cast_weights = None
