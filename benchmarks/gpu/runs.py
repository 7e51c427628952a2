"""Short training runs, of which each step's loss and gradient are kept."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.gpu.device import Moment, synchronize
from benchmarks.gpu.heads import head
from benchmarks.gpu.plan import Plan
from minibert.training import Examples, LabelledBatch, Metric, Trainer, TrainingSettings
from minibert.training.optimizer import AdamW


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What a run of the training loop left.

    Attributes:
        losses, gradients: of its steps, the gradients as vectors; empty if not asked for.
        milliseconds: between steps.
        weights: after the last one.
    """

    losses: list[float]
    gradients: list[Tensor]
    milliseconds: list[float]
    weights: Tensor


def train(
    plan: Plan,
    *,
    size: str,
    batch: int,
    steps: int,
    settings: TrainingSettings,
    dropout: float = 0.1,
    keep_gradients: bool = False,
    before_step: Callable[[int], None] = lambda number: None,
    checkpoints: Path | None = None,
    resume: bool = False,
) -> Run:
    """Trains a BERT with a linear head for words: ``steps`` steps of ``batch`` sentences, the same weights every time.

    ``before_step`` is called with the number of each step of this run, from 0, before it is computed.
    """
    which, config = head("words", plan, size=size, sequences=steps * batch)
    rates: dict[str, Any] = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), dropout)
    model = which.model(dataclasses.replace(config, **rates)).to(plan.device)
    losses: list[Tensor] = []
    gradients: list[Tensor] = []
    moments: list[Moment] = []

    def loss(module: nn.Module, batch: LabelledBatch) -> Tensor:
        before_step(len(losses))
        value = which.losses(model, module, batch).sum()
        losses.append(value.detach().clone())
        return value

    update = AdamW.step

    def keep(optimizer: AdamW, *given: Any) -> None:
        moments.append(Moment(plan.device))
        if keep_gradients:
            gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        update(optimizer, *given)

    with mock.patch.object(AdamW, "step", keep):
        Trainer(
            model=model,
            data=Examples(which.examples, which.collate),
            loss=loss,
            evaluate=lambda: {"figure": 1.0},
            metric=Metric("figure"),
            settings=settings,
            device=plan.device,
            checkpoints=checkpoints,
            resume=resume,
        ).fit()
    synchronize(plan.device)
    return Run(
        losses=[float(value) for value in losses],
        gradients=gradients,
        milliseconds=[earlier.milliseconds_to(later) for earlier, later in itertools.pairwise(moments)],
        weights=nn.utils.parameters_to_vector(model.parameters()).detach(),
    )
