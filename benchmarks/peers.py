"""The tools that minibert is compared with. Each loads the same weights, from the folder that ours was saved to.

A peer that cannot run on this machine raises :class:`Unavailable`, which says why.
"""

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.contender import Predictor, Trainer, Unavailable
from benchmarks.graph_peers import GRAPH_PEERS, graph_predictor
from benchmarks.reference import transformers
from benchmarks.workload import Ids, Workload, padded
from minibert.training import TrainingSettings
from minibert.training.precision import DTYPES

# -- models: modules from ids and mask to logits (B, S, num_labels) -------------------------------------------------


class _Transformers(nn.Module):
    def __init__(self, folder: Path, attention: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = transformers.AutoModelForTokenClassification.from_pretrained(
            folder, attn_implementation=attention, dtype=dtype
        )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        return logits


class _TorchEncoder(nn.Module):
    """``torch.nn.TransformerEncoder`` between transformers' embeddings and classifier, for inference.

    In evaluation mode it uses its fast path: fused layers over nested tensors.
    """

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        super().__init__()
        theirs = _Transformers(folder, "sdpa", dtype).model
        config = theirs.config
        layer = nn.TransformerEncoderLayer(
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            config.hidden_dropout_prob,
            config.hidden_act,
            config.layer_norm_eps,
            batch_first=True,
            dtype=dtype,
        )
        self.encoder = nn.TransformerEncoder(layer, config.num_hidden_layers)
        for ours, source in zip(self.encoder.layers, theirs.bert.encoder.layer, strict=True):
            attention = source.attention.self
            projections = [attention.query, attention.key, attention.value]
            ours.load_state_dict(
                {
                    "self_attn.in_proj_weight": torch.cat([linear.weight for linear in projections]),
                    "self_attn.in_proj_bias": torch.cat([linear.bias for linear in projections]),
                    **_named("self_attn.out_proj", source.attention.output.dense),
                    **_named("norm1", source.attention.output.LayerNorm),
                    **_named("linear1", source.intermediate.dense),
                    **_named("linear2", source.output.dense),
                    **_named("norm2", source.output.LayerNorm),
                }
            )
        self.embeddings, self.classifier = theirs.bert.embeddings, theirs.classifier
        warnings.filterwarnings("ignore", "The PyTorch API of nested tensors")

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.encoder(self.embeddings(input_ids=ids), src_key_padding_mask=mask == 0)
        logits: Tensor = self.classifier(x)
        return logits


def _named(name: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in module.state_dict().items()}


def _attention(name: str) -> Callable[[Path, Workload, torch.dtype], nn.Module]:
    return lambda folder, work, dtype: _Transformers(folder, name, dtype)


def _flash(folder: Path, work: Workload, dtype: torch.dtype) -> nn.Module:
    _require_cuda(work)
    if importlib.util.find_spec("flash_attn") is None:
        raise Unavailable("flash-attn is not installed")
    if work.precision == "fp32":
        raise Unavailable("flash attention computes in half precision only")
    return _Transformers(folder, "flash_attention_2", dtype)


def _compiled(folder: Path, work: Workload, dtype: torch.dtype) -> nn.Module:
    _require_cuda(work)
    model: nn.Module = torch.compile(_Transformers(folder, "sdpa", dtype), dynamic=True)  # type: ignore[assignment]
    return model


def _torch_encoder(folder: Path, work: Workload, dtype: torch.dtype) -> nn.Module:
    if work.config.model_type != "bert":
        raise Unavailable("its layers are BERT's")
    return _TorchEncoder(folder, dtype)


def _require_cuda(work: Workload) -> None:
    if work.device.type != "cuda":
        raise Unavailable("measured on CUDA only")


BASELINE = "transformers-sdpa"
_MODULES: Mapping[str, Callable[[Path, Workload, torch.dtype], nn.Module]] = {
    BASELINE: _attention("sdpa"),
    "transformers-eager": _attention("eager"),
    "transformers-compiled": _compiled,
    "transformers-flash": _flash,
    "torch-encoder": _torch_encoder,
}
_SORTED = "-sorted"  # suffix of a name: all sequences sorted by length


# -- inference --------------------------------------------------------------------------------------------------------


def predictor(name: str, folder: Path, work: Workload) -> Predictor:
    """The peer of this name, with weights in the workload's precision.

    Raises:
        Unavailable: it cannot run here.
    """
    base = name.removesuffix(_SORTED)
    if base in GRAPH_PEERS:
        found = graph_predictor(base, folder, work, lambda: _Transformers(folder, "eager", torch.float32))
        return replace(found, name=name, sorts=name.endswith(_SORTED))
    return _padded_predictor(name, _MODULES[base](folder, work, work.dtype), work)


def reference_predictor(folder: Path, work: Workload, dtype: torch.dtype = torch.float32) -> Predictor:
    """transformers' eager attention in fp32 or fp64."""
    return _padded_predictor("reference", _Transformers(folder, "eager", dtype), work)


def _padded_predictor(name: str, module: nn.Module, work: Workload) -> Predictor:
    module.to(work.device).eval()
    fill = work.config.pad_token_id

    @torch.inference_mode()
    def compute(sequences: Sequence[Ids]) -> Tensor:
        logits: Tensor = module(*padded(sequences, fill, work.device))
        return logits

    return Predictor(name=name, compute=compute, sorts=name.endswith(_SORTED))


PREDICTORS = tuple(name + suffix for name in (*_MODULES, *GRAPH_PEERS) for suffix in ("", _SORTED))


# -- training ---------------------------------------------------------------------------------------------------------

TRAINERS = tuple(name for name in _MODULES if name != "torch-encoder")


def trainer(name: str, folder: Path, work: Workload, *, checkpointing: bool = False) -> Trainer:
    """The peer of this name in a plain loop: padded batches, autocast over fp32 weights, clipping, AdamW.

    Raises:
        Unavailable: it cannot run here.
    """
    module = _MODULES[name](folder, work, torch.float32)
    if checkpointing:
        cast(transformers.PreTrainedModel, module.model).gradient_checkpointing_enable()
    return _plain_trainer(name, module, work, work.precision)


def reference_trainer(folder: Path, work: Workload, dtype: torch.dtype = torch.float32) -> Trainer:
    """transformers in fp32 or fp64, with SDPA: eager attention needs too much memory for long texts."""
    return _plain_trainer("reference", _Transformers(folder, "sdpa", dtype), work, "fp32")


def _plain_trainer(name: str, module: nn.Module, work: Workload, precision: str) -> Trainer:
    fill = work.config.pad_token_id
    targets = iter(work.random_targets())

    def loss_of(batch: Sequence[Ids], labels: Sequence[Ids]) -> Callable[[], Tensor]:
        def loss() -> Tensor:
            ids, mask = padded(batch, fill, work.device)
            wanted, _ = padded(labels, -100, work.device)
            return F.cross_entropy(module(ids, mask).float().flatten(0, 1), wanted.flatten())

        return loss

    losses = [loss_of(batch, [next(targets) for _ in batch]) for batch in work.batches]
    return plain_loop(name, module, work.device, precision, losses)


def plain_loop(
    name: str, module: nn.Module, device: torch.device, precision: str, losses: Sequence[Callable[[], Tensor]]
) -> Trainer:
    """A loop with autocast over fp32 weights, clipping and AdamW; each of ``losses`` computes that of one batch."""
    module.to(device)
    settings = TrainingSettings()
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in module.parameters() if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in module.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=5e-5,  # whatever the width: here it is speed that counts
        fused=True,  # as transformers' Trainer
    )
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def backward(loss_of: Callable[[], Tensor]) -> None:
        with torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32"):
            loss = loss_of()
        scaler.scale(loss).backward()

    def train() -> None:
        module.train()
        for loss in losses:
            backward(loss)
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(module.parameters(), settings.max_grad_norm)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

    def gradients() -> dict[str, Tensor]:
        module.eval()
        backward(losses[0])
        found = {
            name.removeprefix("_orig_mod.").removeprefix("model."): parameter.grad / scaler.get_scale()
            for name, parameter in module.named_parameters()
            if parameter.grad is not None
        }
        optimizer.zero_grad()
        return found

    return Trainer(name=name, train=train, gradients=gradients)
