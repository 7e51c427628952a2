"""minibert in the comparisons: the model as a user runs it, and the optimizer step of ``Trainer``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.contender import Predictor, Trainer
from benchmarks.workload import Ids, Workload
from minibert import TokenClassifier, pack
from minibert.checkpoint import Pretrained
from minibert.formats.huggingface import name_table
from minibert.formats.names import from_parameters
from minibert.inference import for_inference
from minibert.training import Examples, LabelledBatch, TrainingSettings
from minibert.training.optimizer import LinearSchedule, build_optimizer
from minibert.training.state import Progress, RunState
from minibert.training.step import Divergence, Loss, OptimizerStep

OURS = "minibert"
OURS_INT8 = f"{OURS}-int8"


def our_predictor(folder: Path, work: Workload, *, int8: bool = False) -> Predictor:
    """Our model, prepared as for prediction."""
    ready = for_inference(TokenClassifier.from_pretrained(folder).to(work.device).eval(), work.dtype, int8=int8)

    @torch.inference_mode()
    def compute(sequences: Sequence[Ids]) -> Tensor:
        logits: Tensor = ready(pack(sequences).to(work.device))
        return logits

    return Predictor(name=OURS_INT8 if int8 else OURS, compute=compute, exact=not int8)


def our_trainer(folder: Path, work: Workload, *, checkpointing: bool = False) -> Trainer:
    """The optimizer step of :class:`minibert.training.Trainer` over the workload's batches."""
    model = TokenClassifier.from_pretrained(folder)
    model.encoder.activation_checkpointing = checkpointing
    data = Examples(list(zip(work.sequences, work.random_targets(), strict=True)), _collate)
    name = OURS if not checkpointing else f"{OURS} checkpointed"
    return trainer_of(model, work, name=name, data=data, sizes=[len(batch) for batch in work.batches], loss=_loss)


def trainer_of(
    model: Pretrained, work: Workload, *, data: Examples[Any], sizes: Sequence[int], loss: Loss, name: str = OURS
) -> Trainer:
    """An optimizer step on each batch; ``sizes`` are the numbers of examples of the batches, in order."""
    step, state = optimizer_step(
        model, device=work.device, data=data, size=max(sizes), loss=loss, precision=work.precision
    )

    def train() -> None:
        model.train()
        first = 0
        for size in sizes:
            step(range(first, first + size))
            first += size

    def gradients() -> dict[str, Tensor]:
        model.eval()
        step.gradients(range(sizes[0]))
        scale = state.scaler.get_scale()
        ours = {name: p.grad / scale for name, p in model.named_parameters() if p.grad is not None}
        state.optimizer.zero_grad()
        return name_table(model.config, model.head).export(from_parameters(ours))

    return Trainer(name=name, train=train, gradients=gradients)


def optimizer_step(
    model: nn.Module,
    *,
    device: torch.device,
    data: Examples[Any],
    size: int,
    loss: Loss,
    precision: str,
    module: nn.Module | None = None,
    divergence: Divergence | None = None,
    settings: TrainingSettings | None = None,
) -> tuple[OptimizerStep, RunState]:
    """The optimizer step of a run, and its state.

    Args:
        model: moved to ``device``.
        size: the most examples that a step has, and computes at a time.
        module: the wrapper of ``model``, which is on ``device`` then.
    """
    settings = settings or TrainingSettings()
    lr = settings.lr or 5e-5  # whatever the width: here it is speed that counts
    model.to(device)
    optimizer = build_optimizer(model, lr=lr, head_lr=None, weight_decay=settings.weight_decay)
    state = RunState(
        model=model,
        optimizer=optimizer,
        schedule=LinearSchedule(num_steps=1_000_000, warmup_ratio=settings.warmup_ratio),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
        ema=None,
        progress=Progress(micro_batch_size=min(size, settings.micro_batch_size or size)),
        fingerprint={},
        device=device,
    )
    step = OptimizerStep(
        state=state, module=module or model, data=data, loss=loss, divergence=divergence, settings=settings,
        precision=precision,
    )  # fmt: skip
    return step, state


def _collate(examples: Sequence[tuple[Ids, Ids]]) -> LabelledBatch:
    inputs = pack([ids for ids, _ in examples])
    targets = torch.cat([torch.from_numpy(targets) for _, targets in examples])
    return LabelledBatch(inputs=inputs, targets=targets, num_targets=len(targets))


def _loss(model: nn.Module, batch: LabelledBatch) -> Tensor:
    logits: Tensor = model(batch.inputs)
    return F.cross_entropy(logits.float(), batch.targets, reduction="sum")
