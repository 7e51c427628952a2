"""A model's outputs, batch by batch."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from minibert.training.data import Examples, LabelledBatch
from minibert.training.precision import autocast, choose_precision


@torch.inference_mode()
def predict(
    model: nn.Module, data: Examples[Any], *, batch_size: int, precision: str, device: torch.device
) -> Iterator[tuple[LabelledBatch, Tensor]]:
    """Gives each batch of ``data``, in order, with the model's output for it, both on ``device``."""
    model.eval()
    precision = choose_precision(precision, device)
    for batch in data.batches(range(len(data.items)), batch_size):
        on_device = batch.to(device)
        with autocast(device, precision):
            output = model(on_device.inputs)
        yield on_device, output
