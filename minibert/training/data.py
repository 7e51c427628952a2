"""What is trained on: examples, the batches made of them, and the figure that chooses the best epoch."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from minibert.batch import PackedBatch

Example = TypeVar("Example")


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
        targets_per_sequence: in the whole of what is averaged over, which is this batch where nothing is given; an
            optimizer step gives its own. The step divides a loss by its targets, so a second term that has one part for
            each sequence must be multiplied by this to come out as a mean over sequences.
    """

    inputs: PackedBatch
    targets: Tensor
    num_targets: int
    lines: tuple[int, ...] = ()
    positions: Tensor | None = None
    targets_per_sequence: float | None = None

    def to(self, device: torch.device) -> "LabelledBatch":
        return dataclasses.replace(
            self,
            inputs=self.inputs.to(device),
            targets=self.targets.to(device, non_blocking=True),
            positions=None if self.positions is None else self.positions.to(device, non_blocking=True),
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
        at_epoch: what an example is in an epoch, counted from 1, where it is not the same in each. It must depend on
            nothing else, so that a run can be resumed, and its batches cut in other ways.
    """

    items: Sequence[Example]
    collate: Callable[[Sequence[Example]], LabelledBatch]
    at_epoch: Callable[[Example, int], Example] | None = None

    def batches(self, order: Sequence[int], size: int, *, epoch: int = 1) -> Iterator[LabelledBatch]:
        for start in range(0, len(order), size):
            items = [self.items[i] for i in order[start : start + size]]
            yield self.collate(items if self.at_epoch is None else [self.at_epoch(item, epoch) for item in items])


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
