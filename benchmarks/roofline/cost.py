"""What an operator costs on a GPU: the bytes that it moves, its matrix products, and its launches."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fake_cuda.launches import launches_of
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

_PRODUCTS = {"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2)}  # which arguments are multiplied
_READ_IN_PART = {"embedding", "index_select", "gather", "index"}  # of the first argument, no more than comes out
_FORWARD = {"_flash_attention_forward", "_scaled_dot_product_efficient_attention"}
_BACKWARD = {"_flash_attention_backward", "_scaled_dot_product_efficient_attention_backward"}
_BACKWARD_OF_ATTENTION = 2.5  # relative to the forward pass: five products instead of two


@dataclass(frozen=True, kw_only=True)
class Device:
    """Rates of a device: those of the H200 are what was measured on one, rounded down.

    Attributes:
        bandwidth: bytes a second.
        products: operations a second of large matrix products in half precision.
        efficiency: the part of it that the products of a model reach, and those inside attention.
        shortest_kernel: seconds.
    """

    bandwidth: float = 4e12
    products: float = 750e12
    efficiency: float = 0.85
    attention_efficiency: float = 0.4
    shortest_kernel: float = 1.5e-6


class Costs(TorchDispatchMode):
    """Adds up what is dispatched to the device within the block.

    Args:
        attended: the operations of the two products inside attention, in one forward pass of one layer.

    Attributes:
        launches: by operator.
        seconds: on the device, by operator.
    """

    def __init__(self, device: Device, attended: float) -> None:
        super().__init__()
        self._device, self._attended = device, attended
        self.launches: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.namespace == "prim":
            return out
        name = func.name().removeprefix("aten::").partition(".")[0]
        launches = launches_of(func, name, args, out)
        if launches and any(tensor.device.type == "cuda" for tensor in _tensors((args, kwargs, out))):
            moving = moved_bytes(func, name, args, kwargs or {}, out) / self._device.bandwidth
            seconds = max(moving, self._computing(name, args), launches * self._device.shortest_kernel)
            self.launches[name] += launches
            self.seconds[name] += seconds  # type: ignore[assignment]
        return out

    def _computing(self, name: str, args: Sequence[Any]) -> float:
        """Seconds of the operator's matrix products."""
        if name in _PRODUCTS:
            first, second = (args[index] for index in _PRODUCTS[name])
            operations = 2.0 * first.numel() * second.shape[-1]
            return operations / (self._device.products * self._device.efficiency)
        if name in _FORWARD | _BACKWARD:
            operations = self._attended * (1.0 if name in _FORWARD else _BACKWARD_OF_ATTENTION)
            return operations / (self._device.products * self._device.attention_efficiency)
        return 0.0


def moved_bytes(func: Any, name: str, args: Any, kwargs: Any, out: Any) -> int:
    """The bytes that an operator reads and writes: each argument once, what it changes twice, and each result."""
    given = _tensors((args, kwargs))
    written = [tensor for tensor in _tensors(out) if not any(tensor is argument for argument in given)]
    if name in _READ_IN_PART:
        given = [*given[1:], *written]
    changed: list[Tensor] = []
    for argument, value in zip(func._schema.arguments, args, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write:
            changed += _tensors(value)
    return sum(_stored(tensor) for tensor in [*given, *written, *changed])


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def _stored(tensor: Tensor) -> int:
    """Without the copies of an expanded tensor."""
    sizes = (size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
    return math.prod(sizes) * tensor.element_size() if tensor.device.type == "cuda" else 0


def attend_efficiently(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, **options: Any
) -> Tensor:
    """What ``scaled_dot_product_attention`` does on CUDA with a mask, which a PyTorch for CPUs would not choose: the
    memory-efficient kernel, with a mask that is written out for all heads and queries where its width is no multiple of
    16 (preprocess_mask in attention.cpp)."""
    if attn_mask is not None:
        zero = torch.zeros((), dtype=query.dtype, device=query.device)
        attn_mask = torch.where(attn_mask, zero, -math.inf).expand(*query.shape[:3], key.shape[2])
        if missing := -attn_mask.shape[-1] % 16:
            attn_mask = torch.nn.functional.pad(attn_mask, (0, missing))[..., : key.shape[2]]
    mixed: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, query.requires_grad, dropout_p
    )[0]
    return mixed
