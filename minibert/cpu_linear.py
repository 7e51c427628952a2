"""Linear maps for inference on a CPU, with their weights in the layout of the library that multiplies them.

:class:`torch.nn.Linear` converts the weight to such a layout in each call. The functions behind the classes are private
to PyTorch's compiler, or on their way out of PyTorch, so each class is tried once before it is used. Which is the
fastest (:func:`layer_class`; ``python -m benchmarks.linear_maps`` measures them):

* in 8 bits FBGEMM;
* in fp32 on a CPU without AVX-512 MKL: three quarters of oneDNN's time for a short text, the same time in bulk;
* otherwise oneDNN.

Their ``__call__`` is ``forward`` itself, because what :class:`torch.nn.Module` does around it shows in the time of a
short text. So they have no hooks.
"""

import functools
import warnings
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROWS = 512  # MKL lays a weight out for about so many; it serves any number, and fewer no worse

FUSED = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}
"""oneDNN's names of the activations that it fuses into a matrix product, and of their algorithms."""


def rounded_up(count: int) -> int:
    """The next of few numbers: of 16 between two powers of two, and of 32 from 1,024 on; 1 to 3 % more on average.

    oneDNN compiles a linear map for each number of rows that it meets, and keeps about half a megabyte of each for
    good. A server meets thousands of numbers.
    """
    step = 2 ** max(0, count.bit_length() - (5 if count < 1024 else 6))
    return -(-count // step) * step


class OneDnnLinear(nn.Module):
    """A linear map ``(T, C)`` -> ``(T, C')`` by oneDNN, and the activation after it."""

    def __init__(self, weight: Tensor, bias: Tensor, activation: str = "none", algorithm: str = "") -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        self.bias = bias
        self.activation = activation
        self.algorithm = algorithm

    def forward(self, x: Tensor) -> Tensor:
        missing = rounded_up(len(x)) - len(x)  # none within an encoder, but for the chosen rows of its last layer
        y: Tensor = torch.ops.mkldnn._linear_pointwise(
            F.pad(x, (0, 0, 0, missing)) if missing else x, self.weight, self.bias, self.activation, [], self.algorithm
        )
        return y[: len(x)] if missing else y

    __call__ = forward


class MklLinear(nn.Module):
    """A linear map ``(T, C)`` -> ``(T, C')`` in fp32 by MKL."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = torch.ops.mkl._mkl_reorder_linear_weight(weight.detach(), _ROWS)
        self.bias = bias
        # In the place of the weight itself, which would be read only if another number of rows were given below.
        self.shape = weight.new_zeros(1).expand(weight.shape)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkl._mkl_linear(x, self.weight, self.shape, self.bias, len(x))
        return y

    __call__ = forward


class FbgemmLinear(nn.Module):
    """A linear map ``(T, C)`` -> ``(T, C')`` of 8-bit integers by FBGEMM; its input and output are in fp32.

    Weights are integers from -127 to 127 times a scale per row. Inputs are integers from 0 to 255, less a zero point,
    times a scale per batch, so that each batch uses the whole range. A CPU without VNNI adds two products in 16 bits,
    so there inputs end at 127. What is NaN becomes some number, so all inputs must be finite.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        weight = weight.detach().float()
        scales = (weight.abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny).double()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*quantize_per_channel.*deprecated", category=UserWarning)
            rounded = torch.quantize_per_channel(weight, scales, scales.new_zeros(len(scales)).long(), 0, torch.qint8)
        self.weight = torch.ops.quantized.linear_prepack(rounded, bias.detach().float())
        self.seven_bits = not torch.cpu._is_vnni_supported()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.quantized.linear_dynamic(x, self.weight, self.seven_bits)
        return y

    __call__ = forward


PackedLinear: TypeAlias = OneDnnLinear | MklLinear | FbgemmLinear


def layer_class(dtype: torch.dtype, *, int8: bool = False) -> type[PackedLinear] | None:
    """What computes the linear maps of layers fastest on this CPU; None for :class:`torch.nn.Linear`.

    Args:
        dtype: of the states.
        int8: whether to multiply 8-bit integers, which :func:`can_quantize` must allow.
    """
    if int8:
        return FbgemmLinear
    if dtype == torch.float32 and torch.backends.cpu.get_cpu_capability() == "AVX2" and can_use_mkl():
        return MklLinear
    return OneDnnLinear if can_use_onednn(dtype) else None


@functools.cache
def can_use_onednn(dtype: torch.dtype) -> bool:
    """Whether this PyTorch and this CPU support oneDNN's linear maps."""
    try:
        OneDnnLinear(torch.zeros(8, 8, dtype=dtype), torch.zeros(8, dtype=dtype))(torch.zeros(1, 8, dtype=dtype))
    except (AttributeError, RuntimeError):
        return False
    return True


@functools.cache
@torch.no_grad()
def can_use_mkl() -> bool:
    """Whether this PyTorch has MKL's linear maps, and they are right for any number of rows."""
    if not torch.backends.mkl.is_available():
        return False
    try:
        weight, bias = torch.arange(160 * 96).view(160, 96) % 7 - 3.0, torch.arange(160) % 7 - 3.0  # sums are exact
        packed = MklLinear(weight, bias)
        inputs = (torch.arange(count * 96).view(count, 96) % 5 - 2.0 for count in (1, 7, 20, 64, 300))
        return all(torch.equal(packed(x), F.linear(x, weight, bias)) for x in inputs)
    except (AttributeError, RuntimeError):
        return False


@functools.cache
def can_quantize() -> bool:
    """Whether this PyTorch and this CPU support FBGEMM's linear maps."""
    if torch.backends.quantized.engine not in ("x86", "fbgemm"):
        return False
    try:
        FbgemmLinear(torch.zeros(8, 8), torch.zeros(8))(torch.zeros(1, 8))
    except (AttributeError, RuntimeError):
        return False
    return True
