"""A model's outputs for many items, in order, computed in batches by length."""

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

import torch

from minibert.batch import IntSequence
from minibert.checkpoint import Pretrained
from minibert.training import distributed, predict
from minibert.training.data import split_by_tokens
from tasks.data import Encoded, Example, Item, Output
from tasks.task import Task

BATCH_TOKENS = {"cpu": 4096, "cuda": 8192}
"""Per batch; on a CPU, larger batches do not fit the caches."""


@dataclass(frozen=True, kw_only=True)
class Evaluation(Generic[Output]):
    """A model's outputs for items, in order.

    Attributes:
        outputs: one per item.
        losses: one per item, summed over its targets; meaningless for items without labels.
        mean_loss: over all targets.
        num_tokens: in all examples.
        seconds: the time taken.
    """

    outputs: list[Output]
    losses: list[float]
    mean_loss: float
    num_tokens: int
    seconds: float


def evaluate(
    task: Task[Item, Example, Output],
    model: Pretrained,
    items: Sequence[Item],
    encoded: Encoded[Example],
    *,
    precision: str,
    together: bool = False,
    batch_tokens: int | None = None,
) -> Evaluation[Output]:
    """Runs the model over all examples, longest first, and puts the outputs back in order.

    Args:
        task, model: the task, and its model.
        items: with labels or without.
        encoded: their examples.
        precision: as in the settings.
        together: all processes of ``torchrun`` make this call with the same items; they share the batches, and each
            gets all outputs.
        batch_tokens: in a batch at most; None for what is fastest on the device.
    """
    started = time.perf_counter()
    device = model.device
    batches = batches_by_length(encoded.lengths, batch_tokens or BATCH_TOKENS[device.type])
    mine = [[encoded.examples[i] for i in indices] for indices in (distributed.shard(batches) if together else batches)]
    done = []
    with torch.inference_mode():
        outputs = predict(model, map(task.collate, mine), precision=precision, device=device)
        for examples, (batch, logits) in zip(mine, outputs, strict=True):
            losses_of_batch = task.losses(model, logits, batch).tolist()
            done.append((task.decode(model, logits, batch, examples), losses_of_batch, batch.num_targets))
        decoded: list[Any] = [None] * len(encoded.examples)
        losses = [0.0] * len(encoded.examples)
        num_targets = 0
        everything = distributed.all_gather(done) if together else done
        for indices, (values, losses_of_batch, targets) in zip(batches, everything, strict=True):
            for index, value, loss in zip(indices, values, losses_of_batch, strict=True):
                decoded[index], losses[index] = value, loss
            num_targets += targets
        rest, rest_of_losses = iter(decoded), iter(losses)
        by_item = [list(itertools.islice(rest, count)) for count in encoded.counts]
        answered = task.outputs(model, items, by_item)
    return Evaluation(
        outputs=answered,
        losses=[sum(itertools.islice(rest_of_losses, count)) for count in encoded.counts],
        mean_loss=math.fsum(losses) / max(1, num_targets),
        num_tokens=sum(len(example.ids) for example in encoded.examples),
        seconds=time.perf_counter() - started,
    )


def batches_by_length(lengths: IntSequence, most: int) -> list[list[int]]:
    """The indices of ``lengths``, longest first, in batches of at most ``most`` tokens (or one sequence)."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[run] for run in split_by_tokens([lengths[i] for i in order], most)]
