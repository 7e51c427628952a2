"""Copies of models for inference: weights in half precision or in 8 bits, and on a CPU in the layout of oneDNN.

oneDNN compiles a linear map for each number of rows that it meets, and keeps about half a megabyte of each for good. A
server meets thousands of numbers, so the copies compute few of them: see :func:`rounded_up`.
"""

import copy
import functools
import math
from collections.abc import Iterator
from typing import Any, TypeGuard, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minibert.batch import PackedBatch
from minibert.crf import LinearChainCRF
from minibert.encoder import Encoder, EncoderOutput, FeedForward, Layer
from minibert.errors import InputError
from minibert.heads import Fp32Linear
from minibert.traced import Batch

Module = TypeVar("Module", bound=nn.Module)

# oneDNN's names of the activations that it fuses into a matrix product.
_FUSED = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}


def for_inference(model: Module, dtype: torch.dtype, *, int8: bool = False) -> Module:
    """A copy of ``model`` for inference: in evaluation mode, on the same device, with weights of ``dtype``.

    It computes in ``dtype`` without autocast, which would cast each weight at each use. Modules that compute in fp32 (a
    CRF, the last linear map of a text classifier) keep their weights. On a CPU linear maps are packed, so the copy can
    be neither saved nor moved. Tensors that need no change are shared with ``model``.

    Args:
        model: a model with weights in fp32.
        dtype: of the weights and of the computation.
        int8: the linear maps of the layers multiply 8-bit integers instead. Each row of a weight has its own scale.
            Inputs have one scale for all tokens of a batch, measured each time, so outputs depend slightly on the
            batch.

    Returns:
        The copy, or ``model`` itself if it needs no change.

    Raises:
        InputError: ``int8`` is not supported here.
    """
    if getattr(model, "_weights_ready_in", None) == dtype:
        return model  # such a copy; going through its modules would take as long as a short text
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    if int8 and not (on_cpu and _can_quantize()):
        raise InputError("--precision int8: needs a CPU that multiplies 8-bit integers (VNNI); use auto.")
    packed = on_cpu and (int8 or _can_pack(dtype)) and any(_is_packable(part) for part in model.modules())
    if not packed and all(parameter.dtype == dtype for parameter in _castable_parameters(model)):
        return model
    quantized = {id(p) for part in _layer_linears(model) for p in part.parameters()} if int8 else set()
    copies: dict[int, Any] = {
        id(parameter): nn.Parameter(
            parameter.detach() if id(parameter) in quantized else parameter.detach().to(dtype), requires_grad=False
        )
        for parameter in _castable_parameters(model)
    }
    ready = copy.deepcopy(model, copies).eval()  # as deepcopy's memo, `copies` replaces these parameters
    if packed:
        _pack(ready, dtype, int8=int8)
    object.__setattr__(ready, "_weights_ready_in", dtype)
    return ready


def _castable_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """All parameters but those of modules that compute in fp32."""
    fp32_modules = [module for module in model.modules() if isinstance(module, (LinearChainCRF, Fp32Linear))]
    kept = {id(parameter) for module in fp32_modules for parameter in module.parameters()}
    return (parameter for parameter in model.parameters() if id(parameter) not in kept)


def _is_packable(part: nn.Module) -> TypeGuard[nn.Linear]:
    return isinstance(part, nn.Linear) and not isinstance(part, Fp32Linear)


def _layer_linears(model: nn.Module) -> Iterator[nn.Linear]:
    for layer in model.modules():
        if isinstance(layer, Layer):
            yield from (part for part in layer.modules() if isinstance(part, nn.Linear))


def rounded_up(count: int) -> int:
    """The next of few numbers: of 16 between two powers of two, and of 32 from 1,024 on; 1 to 3 % more on average."""
    step = 2 ** max(0, count.bit_length() - (5 if count < 1024 else 6))
    return -(-count // step) * step


def with_tail(batch: PackedBatch, longest: int) -> PackedBatch:
    """The same sequences, and behind them as many without meaning as make the number of tokens a round one.

    Args:
        batch: T tokens, on the CPU.
        longest: the most tokens of a sequence.
    """
    missing = rounded_up(batch.num_tokens) - batch.num_tokens
    lengths = [min(longest, missing - start) for start in range(0, missing, longest)]
    ends = batch.num_tokens + torch.tensor(lengths, dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return PackedBatch(
        input_ids=F.pad(batch.input_ids, (0, missing)),
        position_ids=torch.cat([batch.position_ids, *map(torch.arange, lengths)]),
        token_type_ids=F.pad(batch.token_type_ids, (0, missing)),
        cu_seqlens=torch.cat([batch.cu_seqlens, ends]),
        lengths=(*batch.lengths, *lengths),
    )


class _RoundingEncoder(Encoder):
    """An encoder that computes a round number of tokens, and leaves the others out of its output."""

    def forward(self, batch: Batch, *, rows: Tensor | None = None, output_hidden_states: bool = False) -> EncoderOutput:
        assert isinstance(batch, PackedBatch), "packed linear maps cannot be traced"
        output = super().forward(
            with_tail(batch, self.config.max_length), rows=rows, output_hidden_states=output_hidden_states
        )
        pooled, states = output.pooler_output, output.hidden_states
        last = output.last_hidden_state[: batch.num_tokens if rows is None else len(rows)]
        return EncoderOutput(
            last_hidden_state=last,
            pooler_output=None if pooled is None else pooled[: batch.num_sequences],
            hidden_states=None if states is None else (*(state[: batch.num_tokens] for state in states[:-1]), last),
        )


def _padded_rows(x: Tensor) -> Tensor:
    """``(N, C)`` with zeros behind it to a round number of rows; within an encoder it has one already."""
    missing = rounded_up(len(x)) - len(x)
    return F.pad(x, (0, 0, 0, missing)) if missing else x


class _PackedLinear(nn.Module):
    """A linear map ``(T, C)`` -> ``(T, C')`` with its weight in the layout of oneDNN, and the activation after it.

    :class:`torch.nn.Linear` converts the weight to that layout in each call. Both functions are private to PyTorch's
    compiler, so :func:`_can_pack` tries them.
    """

    def __init__(self, linear: nn.Linear, activation: str = "none", algorithm: str = "") -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self.bias = linear.bias
        self.activation = activation
        self.algorithm = algorithm

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(
            _padded_rows(x), self.weight, self.bias, self.activation, [], self.algorithm
        )
        return y[: len(x)]


@functools.cache
def _can_pack(dtype: torch.dtype) -> bool:
    """Whether this PyTorch and this CPU support packed linear maps."""
    try:
        # skip_init draws no random numbers, which would make a resumed run differ.
        _PackedLinear(nn.utils.skip_init(nn.Linear, 8, 8, dtype=dtype))(torch.zeros(1, 8, dtype=dtype))
    except (AttributeError, RuntimeError):
        return False
    return True


class _Int8Linear(nn.Module):
    """A linear map ``(T, C)`` -> ``(T, C')`` of 8-bit integers, and the activation after it.

    Weights are integers from -127 to 127 times a scale per row. Inputs are integers from 0 to 255, less a zero point,
    times a scale per batch, so that each batch uses the whole range. Both functions are private to PyTorch's compiler,
    so :func:`_can_quantize` tries them.
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
                "--precision int8: the model computes values that are not finite; look for damaged weights with "
                "tools/inspect_weights.py."
            )
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 254 or 1.0  # 254, so that two roundings stay within 255
        zero = round(-low / scale)
        rounded = torch.add(torch.tensor(zero + 0.5), _padded_rows(x).float(), alpha=1 / scale).to(torch.uint8)
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, scale, zero, self.weight, self.scales, self.zeros, self.bias,
            1.0, 0, x.dtype, self.activation, [], self.algorithm,
        )  # fmt: skip
        return y[: len(x)]


@functools.cache
def _can_quantize() -> bool:
    """Whether this PyTorch and this CPU support linear maps in 8 bits."""
    if not torch.cpu._is_vnni_supported():
        return False
    try:
        _Int8Linear(nn.utils.skip_init(nn.Linear, 8, 8))(torch.zeros(1, 8))
    except (AttributeError, RuntimeError):
        return False
    return True


def _pack(model: nn.Module, dtype: torch.dtype, *, int8: bool) -> None:
    """Replaces the linear maps of ``model``, and fuses the activations of its feed-forward blocks into them."""
    activation_after: dict[nn.Module, tuple[str, str]] = {}
    for encoder in model.modules():
        if not isinstance(encoder, Encoder):
            continue
        encoder.__class__ = _RoundingEncoder
        if encoder.config.hidden_act in _FUSED:
            for part in encoder.modules():
                if isinstance(part, FeedForward):
                    activation_after[part.intermediate] = _FUSED[encoder.config.hidden_act]
                    part.activation = nn.Identity()
    quantized = {id(part) for part in _layer_linears(model)} if int8 else set()
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if _is_packable(child) and (id(child) in quantized or _can_pack(dtype)):
                packed_class = _Int8Linear if id(child) in quantized else _PackedLinear
                setattr(parent, name, packed_class(child, *activation_after.get(child, ())))
