"""What is trained on: examples, the batches made of them, and the figure that chooses the best epoch."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from minibert.batch import IntSequence, PackedBatch, to_device

Example = TypeVar("Example")

IGNORE_INDEX = -100
"""The target of what has none, as ``F.cross_entropy`` has it by default."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledBatch:
    """A pack with what is to be predicted.

    Attributes:
        inputs: the sequences.
        targets: whatever the loss function reads.
        num_targets: how many predictions the loss sums over, known on the host.
        lines: where the examples stand in their file, so that a message can name them; may be left out.
        positions: ``(N,)``, the tokens of the pack that an output is wanted of, for a model that can leave out the
            others.
        target_positions: ``(N,)``, the tokens of the pack that have a target, where the loss chooses them; and
        target_counts: how many of them are in each sequence, on the host, so that choosing waits for no device.
        targets_per_sequence: in the whole of what is averaged over, which is this batch where nothing is given; an
            optimizer step gives its own. The step divides a loss by its targets, so a second term that has one part for
            each sequence must be multiplied by this to come out as a mean over sequences.
    """

    inputs: PackedBatch
    targets: Tensor
    num_targets: int
    lines: tuple[int, ...] = ()
    positions: Tensor | None = None
    target_positions: Tensor | None = None
    target_counts: tuple[int, ...] = ()
    targets_per_sequence: float | None = None

    def to(self, device: torch.device) -> "LabelledBatch":
        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else to_device(tensor, device)

        return dataclasses.replace(
            self,
            inputs=self.inputs.to(device),
            targets=to_device(self.targets, device),
            positions=moved(self.positions),
            target_positions=moved(self.target_positions),
        )

    def output_of(self, module: nn.Module) -> Any:
        """What a model, or what wraps it for several processes, gives for this batch."""
        return module(self.inputs) if self.positions is None else module(self.inputs, self.positions)


@dataclass(frozen=True)
class Examples(Generic[Example]):
    """Training or evaluation data, and how some of it becomes a batch.

    Attributes:
        items: the examples.
        collate: makes a batch of some.
        lengths: the most tokens that each item comes to, for steps of so many tokens.
        at_epoch: what an example is in an epoch, counted from 1, where it is not the same in each. It must depend on
            nothing else, so that a run can be resumed, and its batches cut in other ways.
    """

    items: Sequence[Example]
    collate: Callable[[Sequence[Example]], LabelledBatch]
    at_epoch: Callable[[Example, int], Example] | None = None
    lengths: Sequence[int] | None = None

    def batches(self, order: Sequence[int], size: int, *, epoch: int = 1, copies: int = 1) -> Iterator[LabelledBatch]:
        """Cuts ``order`` into batches of ``size`` items, and has all of a batch in it ``copies`` times."""
        for start in range(0, len(order), size):
            items = [self.items[i] for i in order[start : start + size]]
            if self.at_epoch is not None:
                items = [self.at_epoch(item, epoch) for item in items]
            yield self.collate(items * copies)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which examples an optimizer step takes. It depends on these values and the epoch's number alone, so that a
    resumed run finds its place.

    Attributes:
        num_examples: in an epoch, all of them once, in an order of its own.
        seed: of the orders.
        batch_size: examples in a step; the epoch's last one may have fewer.
        batch_tokens: where this is given, a step takes what comes next in the order as long as its tokens fit; an
            example that never fits is a step by itself.
        lengths: tokens of each example, for ``batch_tokens``.
    """

    num_examples: int
    seed: int
    batch_size: int | None = None
    batch_tokens: int | None = None
    lengths: Sequence[int] | None = None

    def steps(self, epoch: int) -> list[list[int]]:
        """The indices of each step's examples in an epoch, counted from 1."""
        order = shuffled(self.num_examples, self.seed, epoch)
        if self.batch_tokens is None:
            assert self.batch_size is not None
            return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        assert self.lengths is not None
        return [order[run] for run in split_by_tokens(np.asarray(self.lengths)[order], self.batch_tokens)]

    def sizes(self, epochs: int) -> list[int]:
        """How many examples each step of a whole run takes."""
        if self.batch_tokens is None:
            return [len(step) for step in self.steps(1)] * epochs
        return [len(step) for epoch in range(1, epochs + 1) for step in self.steps(epoch)]


def split_by_tokens(lengths: IntSequence, max_tokens: int) -> list[slice]:
    """Cuts a row of examples into consecutive runs of at most ``max_tokens`` tokens; a longer example is a run of its
    own."""
    ends = np.cumsum(lengths)
    runs, start = [], 0
    while start < len(lengths):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + max_tokens, side="right")))
        runs.append(slice(start, end))
        start = end
    return runs


def shuffled(count: int, seed: int, epoch: int) -> list[int]:
    """The order of an epoch, which depends on nothing but these numbers."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order


@dataclass(frozen=True)
class Metric:
    """The figure by which the best epoch is chosen."""

    name: str
    higher_is_better: bool = True

    def improves(self, value: float, best: float | None) -> bool:
        """Whether ``value`` beats ``best``; NaN never does, and the first figure always does."""
        if math.isnan(value):
            return False
        return best is None or (value > best if self.higher_is_better else value < best)
