"""A model's outputs, batch by batch."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from minibert.training.data import LabelledBatch
from minibert.training.precision import autocast, choose_precision


@torch.inference_mode()
def predict(
    model: nn.Module, batches: Iterable[LabelledBatch], *, precision: str, device: torch.device
) -> Iterator[tuple[LabelledBatch, Any]]:
    """Gives each batch, in order, with the model's output for it in evaluation mode, both on ``device``."""
    model.eval()
    precision = choose_precision(precision, device)
    for batch in batches:
        on_device = batch.to(device)
        with autocast(device, precision):
            output = on_device.output_of(model)
        yield on_device, output
