"""What is trained on: examples, the batches made of them, and the figure that chooses the best epoch."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

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
    """

    inputs: PackedBatch
    targets: Tensor
    num_targets: int
    lines: tuple[int, ...] = ()

    def to(self, device: torch.device) -> "LabelledBatch":
        return dataclasses.replace(
            self, inputs=self.inputs.to(device), targets=self.targets.to(device, non_blocking=True)
        )


@dataclass(frozen=True)
class Examples(Generic[Example]):
    """Training or evaluation data, and how some of it becomes a batch."""

    items: Sequence[Example]
    collate: Callable[[Sequence[Example]], LabelledBatch]

    def batches(self, order: Sequence[int], size: int) -> Iterator[LabelledBatch]:
        for start in range(0, len(order), size):
            yield self.collate([self.items[i] for i in order[start : start + size]])


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
