"""The outputs of a model, batch by batch."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from minibert.inference import for_inference
from minibert.training.data import LabelledBatch
from minibert.training.precision import DTYPES, choose_precision


@torch.inference_mode()
def predict(
    model: nn.Module, batches: Iterable[LabelledBatch], *, precision: str, device: torch.device
) -> Iterator[tuple[LabelledBatch, Any]]:
    """Yields each batch, in order, with the model's output for it in evaluation mode, both on ``device``.

    Computes with the copy that :func:`~minibert.inference.for_inference` makes. To call this often, make the copy once
    and pass it as ``model``.
    """
    ready = for_inference(model, DTYPES[choose_precision(precision, device)])
    if ready.training:
        ready.eval()
    for batch in batches:
        on_device = batch.to(device)
        yield on_device, on_device.output_of(ready)
