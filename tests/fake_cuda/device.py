"""Tensors on a CUDA device that has no memory: they have a shape, a type and a device, but no values.

Within :func:`fake_cuda`, what needs a value on the host (a synchronisation) raises DataDependentOutputException or
DynamicOutputShapeException, tensors of two devices in one operator raise, and :class:`Log` counts the operators.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import mock

import torch
from fake_cuda.guard import Unavailable
from fake_cuda.launches import launches_of
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

try:
    from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
except ImportError as error:
    raise Unavailable(f"this PyTorch has other names: {error}") from error

Model = TypeVar("Model", bound=nn.Module)


class KernelRefused(Exception):
    """A flash attention kernel would refuse its arguments, which a tensor without values does not show."""


class Log(TorchDispatchMode):
    """Counts what is dispatched to the device, and checks the arguments of flash attention.

    Attributes:
        operators: how often each operator took or gave a tensor on the device.
        launches: of kernels, estimated, by operator.
        flash_calls: forward passes of flash attention.
        sent: copies between host and device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clear()

    def clear(self) -> None:
        self.operators: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()
        self.flash_calls = self.sent = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "prim":  # a question about a tensor; there are more of them than operators
            return func(*args)
        name = func.name().removeprefix("aten::").partition(".")[0]
        if name in ("_flash_attention_forward", "_flash_attention_backward"):
            _check_flash(name, func, args)
            self.flash_calls += name.endswith("forward")
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
        if any(tensor.device.type == "cuda" for tensor in tensors):
            self.operators[name] += 1
            self.sent += any(tensor.device.type == "cpu" and tensor.ndim for tensor in tensors)
            if count := launches_of(func, name, args, out):
                self.launches[name] += count
        return out


def _check_flash(name: str, func: Any, args: Sequence[Any]) -> None:
    """What PyTorch's wrapper of the kernels for sequences of different lengths checks (mha_varlen_fwd, _bwd)."""
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False))

    def require(holds: bool, what: str) -> None:
        if not holds:
            raise KernelRefused(f"{name}: {what}")

    for which in ("query", "key", "value"):
        x = given[which]
        require(x.device.type == "cuda", f"{which} is on {x.device}")
        require(x.dtype in (torch.float16, torch.bfloat16), f"{which} is {x.dtype}")
        require(x.ndim == 3, f"{which} has {x.ndim} dimensions, not (T, H, D)")
        require(x.stride(-1) == 1, f"{which} has the stride {x.stride(-1)} in its last dimension")
        require(x.shape[-1] % 8 == 0 and x.shape[-1] <= 256, f"{which} has heads of width {x.shape[-1]}")
    for which in ("cum_seq_q", "cum_seq_k"):
        bounds = given[which]
        require(bounds.device.type == "cuda", f"{which} is on {bounds.device}")
        require(bounds.dtype == torch.int32, f"{which} is {bounds.dtype}")
        require(bounds.ndim == 1 and bounds.is_contiguous(), f"{which} is not contiguous")
    for which in ("max_q", "max_k"):
        require(type(given[which]) is int, f"{which} is a {type(given[which]).__name__}")


@contextlib.contextmanager
def fake_cuda(capability: tuple[int, int] = (9, 0)) -> Iterator[Log]:
    """Within the block, there is one CUDA device of a compute capability. Yields the log of its operators.

    Raises:
        Unavailable: this PyTorch has other names for what is replaced here.
    """
    properties = SimpleNamespace(
        major=capability[0], minor=capability[1], name="fake", total_memory=2**37, multi_processor_count=132
    )
    replaced: dict[str, Callable[..., Any]] = {
        "torch.cuda.is_available": lambda: True,
        "torch.cuda.device_count": lambda: 1,
        "torch.cuda.current_device": lambda: 0,
        "torch.cuda.empty_cache": lambda: None,
        "torch.cuda.synchronize": lambda _=None: None,
        "torch.cuda.manual_seed_all": lambda _: None,
        "torch.cuda.is_bf16_supported": lambda including_emulation=True: capability >= (8, 0),
        "torch.cuda.get_device_name": lambda _=None: "fake",
        "torch.cuda.get_device_capability": lambda _=None: capability,
        "torch.cuda.get_device_properties": lambda _=None: properties,
        "torch.cuda.get_rng_state": lambda _=None: on_host(lambda: torch.zeros(16, dtype=torch.uint8)),
        "torch.cuda.set_rng_state": lambda state, _=None: None,
        "torch.backends.cuda.is_flash_attention_available": lambda: capability >= (8, 0),
        # It asks for the type Tensor or Parameter, which a tensor without values is not.
        "torch.nn.utils.clip_grad._has_foreach_support": lambda tensors, device: True,
        # What is made on the host has values until it is about to be sent.
        "torch.Tensor.pin_memory": lambda self: torch.empty(self.shape, dtype=self.dtype),
        # A model that is copied stays where it is.
        "torch._subclasses.fake_tensor.FakeTensorMode.__deepcopy__": lambda self, memo: self,
    }
    with contextlib.ExitStack() as stack:
        for name, value in replaced.items():
            try:
                stack.enter_context(mock.patch(name, value, create=name.endswith("__deepcopy__")))
            except AttributeError as error:
                raise Unavailable(f"this PyTorch has no {name} to replace") from error
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        yield stack.enter_context(Log())


def on_host(work: Callable[[], Any]) -> Any:
    """What ``work`` gives, computed with values, as on the host."""
    with unset_fake_temporarily():
        return work()


def on_device(model: Model) -> Model:
    """``model.to("cuda")`` for a model with values, or on the meta device, within :func:`fake_cuda`."""
    moved: dict[int, Tensor] = {}
    for module in model.modules():
        tables: list[dict[str, Any]] = [module._parameters, module._buffers]
        for tensors in tables:
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                if id(tensor) not in moved:
                    new = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
                    is_parameter = isinstance(tensor, nn.Parameter)
                    moved[id(tensor)] = nn.Parameter(new, tensor.requires_grad) if is_parameter else new
                tensors[name] = moved[id(tensor)]
    return model
