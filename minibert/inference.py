"""Copies of models for inference: weights in half precision or in 8 bits, and on a CPU in layouts of their own."""

import copy
from collections.abc import Iterator
from typing import Any, TypeGuard, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minibert.batch import PackedBatch
from minibert.cpu_linear import FUSED, OneDnnLinear, can_quantize, layer_class, rounded_up
from minibert.crf import LinearChainCRF
from minibert.encoder import Encoder, EncoderOutput, FeedForward, Layer
from minibert.errors import InputError
from minibert.heads import Fp32Linear
from minibert.ngrams import NgramScores
from minibert.traced import Batch

Module = TypeVar("Module", bound=nn.Module)

_IN_FP32 = (LinearChainCRF, NgramScores, Fp32Linear)
_LARGEST_WEIGHT = 1000
"""Below it nothing overflows in fp32 between linear maps in 8 bits, which would read NaN as some number."""


def for_inference(model: Module, dtype: torch.dtype, *, int8: bool = False) -> Module:
    """A copy of ``model`` for inference: in evaluation mode, on the same device, with weights of ``dtype``.

    It computes in ``dtype`` without autocast, which would cast each weight at each use. Modules that compute in fp32 (a
    CRF, the last linear map of a text classifier, its n-gram scores) keep their weights. On a CPU linear maps are
    packed, so the copy can be neither saved nor moved. Tensors that need no change are shared with ``model``.

    Args:
        model: a model with weights in fp32.
        dtype: of the weights and of the computation.
        int8: the linear maps of the layers multiply 8-bit integers instead, between states in fp32, which ``dtype``
            must be. Inputs have one scale for all tokens of a batch, measured each time, so outputs depend slightly on
            the batch.

    Returns:
        The copy, or ``model`` itself, in the mode that it is in, if its weights need no change.

    Raises:
        InputError: ``int8`` is not supported here, or a weight is damaged.
    """
    if getattr(model, "_weights_ready_in", None) == dtype:
        return model  # such a copy; going through its modules would take as long as a short text
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    if int8:
        if not (on_cpu and can_quantize()):
            raise InputError("--precision int8: needs a CPU of the x86 family, and PyTorch with FBGEMM; use auto.")
        if not all(parameter.abs().max() <= _LARGEST_WEIGHT for parameter in _castable_parameters(model)):
            raise InputError(
                f"--precision int8: the model has a weight that is above {_LARGEST_WEIGHT:,} or no number; look for "
                "damage with tools/inspect_weights.py."
            )
    packed = on_cpu and layer_class(dtype, int8=int8) is not None and any(map(_is_packable, model.modules()))
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
    fp32_modules = [module for module in model.modules() if isinstance(module, _IN_FP32)]
    kept = {id(parameter) for module in fp32_modules for parameter in module.parameters()}
    return (parameter for parameter in model.parameters() if id(parameter) not in kept)


def _is_packable(part: nn.Module) -> TypeGuard[nn.Linear]:
    return isinstance(part, nn.Linear) and not isinstance(part, Fp32Linear)


def _layer_linears(model: nn.Module) -> Iterator[nn.Linear]:
    for layer in model.modules():
        if isinstance(layer, Layer):
            yield from (part for part in layer.modules() if isinstance(part, nn.Linear))


def with_tail(batch: PackedBatch, longest: int) -> PackedBatch:
    """The same sequences, and behind them as many without meaning as make the number of tokens a round one.

    Args:
        batch: T tokens, on the CPU.
        longest: the most tokens of a sequence.
    """
    missing = rounded_up(batch.num_tokens) - batch.num_tokens
    if not missing:
        return batch
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


def _pack(model: nn.Module, dtype: torch.dtype, *, int8: bool) -> None:
    """Replaces the linear maps of ``model``. oneDNN also computes the activations of feed-forward blocks."""
    of_layers, of_others = layer_class(dtype, int8=int8), layer_class(dtype)
    activation_after: dict[nn.Module, tuple[str, str]] = {}
    for encoder in model.modules() if of_layers is OneDnnLinear else ():
        if isinstance(encoder, Encoder):
            encoder.__class__ = _RoundingEncoder
            for part in encoder.modules():
                if isinstance(part, FeedForward) and encoder.config.hidden_act in FUSED:
                    activation_after[part.intermediate] = FUSED[encoder.config.hidden_act]
                    part.activation = nn.Identity()
    layers = {id(part) for part in _layer_linears(model)}
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            packed_class = of_layers if id(child) in layers else of_others
            if _is_packable(child) and packed_class is not None:
                setattr(parent, name, packed_class(child.weight, child.bias, *activation_after.get(child, ())))
