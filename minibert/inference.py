"""A model made ready to answer: its weights in half precision, and on a CPU in the order in which oneDNN reads them."""

import copy
import functools
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from minibert.crf import LinearChainCRF
from minibert.encoder import Encoder, FeedForward

Module = TypeVar("Module", bound=nn.Module)

# oneDNN's names of the activations that it computes while a matrix product's result is still in the cache.
_FUSED = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}


def for_inference(model: Module, dtype: torch.dtype) -> Module:
    """A copy of ``model`` for answering: in evaluation mode, on the same device, with weights of ``dtype``.

    It computes in ``dtype`` by itself: autocast would cast each weight at each use. A CRF, which computes in fp32,
    keeps its weights. On a CPU the linear maps are packed, so that the copy can be neither saved nor moved.

    Returns:
        The copy, or ``model`` itself where its weights are of ``dtype`` already.
    """
    if all(parameter.dtype == dtype for parameter in _parameters(model)):
        return model
    copies: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
        for parameter in _parameters(model)
    }
    ready = copy.deepcopy(model, copies).eval()  # takes from `copies` what is there
    if next(ready.parameters()).device.type == "cpu" and _can_pack(dtype):
        _pack(ready)
    return ready


def _parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Those of ``model`` but a CRF's."""
    of_crf = {id(p) for module in model.modules() if isinstance(module, LinearChainCRF) for p in module.parameters()}
    return (parameter for parameter in model.parameters() if id(parameter) not in of_crf)


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


def _pack(model: nn.Module) -> None:
    activation_behind: dict[nn.Module, tuple[str, str]] = {}
    for encoder in model.modules():
        if isinstance(encoder, Encoder) and encoder.config.hidden_act in _FUSED:
            for part in encoder.modules():
                if isinstance(part, FeedForward):
                    activation_behind[part.intermediate] = _FUSED[encoder.config.hidden_act]
                    part.activation = nn.Identity()
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                setattr(parent, name, _PackedLinear(child, *activation_behind.get(child, ())))
