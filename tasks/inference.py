"""A trained model's answers to many items: batches by length, answers in order."""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import torch

from minibert.checkpoint import Pretrained
from minibert.training import LabelledBatch, autocast, choose_precision
from tasks.task import Encoded, Example, Item, Output, Task

_BATCH_TOKENS = 8192


@dataclass(frozen=True, kw_only=True)
class Answers(Generic[Output]):
    """A model's answers to items, in order.

    Attributes:
        outputs: one an item.
        losses: one an item, summed over its targets; meaningless where items have no labels.
        mean_loss: over all targets.
        num_tokens: the model computed.
        seconds: it took.
    """

    outputs: list[Output]
    losses: list[float]
    mean_loss: float
    num_tokens: int
    seconds: float


def answers(
    task: Task[Item, Example, Output],
    model: Pretrained,
    items: Sequence[Item],
    encoded: Encoded[Example],
    *,
    precision: str,
) -> Answers[Output]:
    """Runs the model over all examples, the longest first, and puts the answers back in order."""
    started = time.perf_counter()
    device = next(model.parameters()).device
    precision = choose_precision(precision, device)
    decoded: list[Any] = [None] * len(encoded.examples)
    losses = torch.zeros(len(encoded.examples))
    num_targets = num_tokens = 0
    model.eval()
    with torch.inference_mode():
        for indices in batches_by_length([len(example.ids) for example in encoded.examples]):
            examples = [encoded.examples[index] for index in indices]
            batch: LabelledBatch = task.collate(examples).to(device)
            with autocast(device, precision):
                logits = model(batch.inputs)
            losses[indices] = task.losses(model, logits, batch).float().cpu()
            for index, value in zip(indices, task.decode(model, logits, batch, examples), strict=True):
                decoded[index] = value
            num_targets += batch.num_targets
            num_tokens += batch.inputs.num_tokens
        rest, rest_of_losses = iter(decoded), iter(losses.tolist())
        by_item = [list(itertools.islice(rest, count)) for count in encoded.counts]
        outputs = task.outputs(model, items, by_item)
    return Answers(
        outputs=outputs,
        losses=[sum(itertools.islice(rest_of_losses, count)) for count in encoded.counts],
        mean_loss=float(losses.double().sum()) / max(1, num_targets),
        num_tokens=num_tokens,
        seconds=time.perf_counter() - started,
    )


def batches_by_length(lengths: Sequence[int], *, budget: int = _BATCH_TOKENS) -> Iterator[list[int]]:
    """Cuts the indices of ``lengths``, longest first, into batches of at most ``budget`` tokens."""
    batch: list[int] = []
    num_tokens = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and num_tokens + lengths[index] > budget:
            yield batch
            batch, num_tokens = [], 0
        batch.append(index)
        num_tokens += lengths[index]
    if batch:
        yield batch
