"""The gradient of one step of pre-training, as a run computes it."""

import contextlib
from collections.abc import Sequence
from unittest.mock import patch

import torch

from minibert import PretrainingModel
from minibert.training import Examples, LabelledBatch, Metric, Trainer, TrainingSettings
from tasks.pretraining.chunks import Chunk
from tasks.pretraining.task import PretrainingTask


class Stop(Exception):
    """Ends a run when a step has its gradient."""


def step_losses(
    model: PretrainingModel, examples: Sequence[Chunk], task: PretrainingTask, micro_batch_size: int
) -> list[float]:
    """Computes a step's gradient as a run does, and leaves it in the model; gives each micro-batch's loss."""
    losses = []

    def loss(module: torch.nn.Module, batch: LabelledBatch) -> torch.Tensor:
        value = task.losses(model, batch.output_of(module), batch).sum()
        losses.append(value.item())
        return value

    settings = TrainingSettings(epochs=1, batch_size=11, micro_batch_size=micro_batch_size, precision="fp32")
    with patch("torch.nn.utils.get_total_norm", side_effect=Stop), contextlib.suppress(Stop):
        Trainer(
            model=model, data=Examples(examples, task.collate, task.at_epoch), loss=loss, evaluate=dict,
            metric=Metric("loss"), settings=settings, device=torch.device("cpu"),
        ).fit()  # fmt: skip
    return losses
