"""A model made ready to answer: its weights in the precision that is asked for, or in 8 bits, and on a CPU in the order
in which oneDNN reads them."""

import copy
import functools
import math
from collections.abc import Iterator
from typing import Any, TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from minibert.crf import LinearChainCRF
from minibert.encoder import Encoder, FeedForward, Layer
from minibert.errors import InputError
from minibert.heads import Fp32Linear

Module = TypeVar("Module", bound=nn.Module)

# oneDNN's names of the activations that it computes while a matrix product's result is still in the cache.
_FUSED = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}


def for_inference(model: Module, dtype: torch.dtype, *, int8: bool = False) -> Module:
    """A copy of ``model`` for answering: in evaluation mode, on the same device, with weights of ``dtype``.

    It computes in ``dtype`` by itself: autocast would cast each weight at each use. What computes in fp32, a CRF and
    the last map of a classifier of texts, keeps its weights. On a CPU the linear maps are packed, so that the copy can
    be neither saved nor moved. What need not change is shared with ``model``.

    Args:
        model: a model with its weights in fp32.
        dtype: of the weights, and of what is computed.
        int8: the layers' linear maps multiply 8-bit integers instead. A weight's row has a scale of its own. What goes
            in has one scale for all tokens of a batch, measured anew each time, so that answers differ a little with
            the batch they come in.

    Returns:
        The copy, or ``model`` itself where there is nothing to do.

    Raises:
        InputError: ``int8`` where that cannot be computed.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    if int8 and not (on_cpu and _can_quantize()):
        raise InputError("--precision int8: needs a CPU that multiplies 8-bit integers (VNNI); use auto.")
    packs = on_cpu and (int8 or _can_pack(dtype)) and any(_is_to_pack(part) for part in model.modules())
    if not packs and all(parameter.dtype == dtype for parameter in _parameters(model)):
        return model
    exact = {id(p) for part in _maps_of_layers(model) for p in part.parameters()} if int8 else set()
    copies: dict[int, Any] = {
        id(parameter): nn.Parameter(
            parameter.detach() if id(parameter) in exact else parameter.detach().to(dtype), requires_grad=False
        )
        for parameter in _parameters(model)
    }
    ready = copy.deepcopy(model, copies).eval()  # takes from `copies` what is there
    if packs:
        _pack(ready, dtype, int8=int8)
    return ready


def _parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Those of ``model`` but of what computes in fp32."""
    exact = [module for module in model.modules() if isinstance(module, (LinearChainCRF, Fp32Linear))]
    of_exact = {id(parameter) for module in exact for parameter in module.parameters()}
    return (parameter for parameter in model.parameters() if id(parameter) not in of_exact)


def _is_to_pack(part: nn.Module) -> TypeGuard[nn.Linear]:
    return isinstance(part, nn.Linear) and not isinstance(part, Fp32Linear)


def _maps_of_layers(model: nn.Module) -> Iterator[nn.Linear]:
    for layer in model.modules():
        if isinstance(layer, Layer):
            yield from (part for part in layer.modules() if isinstance(part, nn.Linear))


class _PackedLinear(nn.Module):
    """A linear map ``(T, C)`` -> ``(T, C')`` with its weight in oneDNN's own order, and the activation behind it.

    :class:`torch.nn.Linear` brings the weight into that order anew in each call. Both functions are private to PyTorch
    (its compiler's), so :func:`_can_pack` tries them.
    """

    def __init__(self, linear: nn.Linear, activation: str = "none", algorithm: str = "") -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self.bias = linear.bias
        self.activation = activation
        self.algorithm = algorithm

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.activation, [], self.algorithm)
        return y


@functools.cache
def _can_pack(dtype: torch.dtype) -> bool:
    """Whether this PyTorch and this CPU have packed linear maps."""
    try:
        # Without initial values, which would be drawn, and make a resumed run differ from the one it continues.
        _PackedLinear(nn.utils.skip_init(nn.Linear, 8, 8, dtype=dtype))(torch.zeros(1, 8, dtype=dtype))
    except (AttributeError, RuntimeError):
        return False
    return True


class _Int8Linear(nn.Module):
    """A linear map ``(T, C)`` -> ``(T, C')`` of 8-bit integers, and the activation behind it.

    Weights are rounded to -127 to 127 times a scale of their row. Inputs are rounded to 0 to 255, less a number that
    stands for 0, times one scale for all: each batch uses the whole range. Both functions are private to PyTorch (its
    compiler's), so :func:`_can_quantize` tries them.
    """

    def __init__(self, linear: nn.Linear, activation: str = "none", algorithm: str = "") -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        self.scales = (weight.abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        rounded = (weight / self.scales[:, None]).round().to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.bias = linear.bias.detach().float()
        self.activation = activation
        self.algorithm = algorithm

    def forward(self, x: Tensor) -> Tensor:
        low, high = (float(end) for end in torch.aminmax(x))
        if not math.isfinite(high - low):
            raise InputError(
                "--precision int8: what the model computes is not finite; look for damaged weights with "
                "tools/inspect_weights.py."
            )
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 254 or 1.0  # with the two roundings, 255 at most
        zero = round(-low / scale)
        rounded = torch.add(torch.tensor(zero + 0.5), x.float(), alpha=1 / scale).to(torch.uint8)
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, scale, zero, self.weight, self.scales, self.zeros, self.bias,
            1.0, 0, x.dtype, self.activation, [], self.algorithm,
        )  # fmt: skip
        return y


@functools.cache
def _can_quantize() -> bool:
    """Whether this PyTorch and this CPU have linear maps in 8 bits."""
    if not torch.cpu._is_vnni_supported():
        return False
    try:
        _Int8Linear(nn.utils.skip_init(nn.Linear, 8, 8))(torch.zeros(1, 8))
    except (AttributeError, RuntimeError):
        return False
    return True


def _pack(model: nn.Module, dtype: torch.dtype, *, int8: bool) -> None:
    activation_behind: dict[nn.Module, tuple[str, str]] = {}
    for encoder in model.modules():
        if isinstance(encoder, Encoder) and encoder.config.hidden_act in _FUSED:
            for part in encoder.modules():
                if isinstance(part, FeedForward):
                    activation_behind[part.intermediate] = _FUSED[encoder.config.hidden_act]
                    part.activation = nn.Identity()
    in_8_bits = {id(part) for part in _maps_of_layers(model)} if int8 else set()
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if _is_to_pack(child) and (id(child) in in_8_bits or _can_pack(dtype)):
                packed = _Int8Linear if id(child) in in_8_bits else _PackedLinear
                setattr(parent, name, packed(child, *activation_behind.get(child, ())))
