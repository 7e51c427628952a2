"""A model's outputs, batch by batch."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from minibert.training.data import LabelledBatch
from minibert.training.precision import autocast, choose_precision


@torch.inference_mode()
def predict(
    model: nn.Module, batches: Iterable[LabelledBatch], *, precision: str, device: torch.device
) -> Iterator[tuple[LabelledBatch, Tensor]]:
    """Gives each batch, in order, with the model's output for it in evaluation mode, both on ``device``."""
    model.eval()
    precision = choose_precision(precision, device)
    for batch in batches:
        on_device = batch.to(device)
        with autocast(device, precision):
            output = model(on_device.inputs)
        yield on_device, output
