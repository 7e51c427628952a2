"""Training data: examples, the batches made of them, and the metric that chooses the best epoch."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from minibert.batch import IntSequence, PackedBatch, all_to_device

Example = TypeVar("Example")

IGNORE_INDEX = -100
"""The target of a position that has none: the default of ``F.cross_entropy``."""
NO_CHOICE = -1e30
"""The logit in place of a choice that is not there: its probability is 0, and, unlike with minus infinity, so are its
part of a divergence and all gradients."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledBatch:
    """A pack with its targets.

    Attributes:
        inputs: the B sequences.
        targets: whatever the loss function reads.
        num_targets: how many predictions the loss sums over, known on the host.
        lines: the line numbers of the examples in their file, for messages; may be empty.
        positions: ``(N,)``, the tokens of the pack whose output is needed, for a model that can leave out the others.
        target_positions: ``(N,)``, the tokens of the pack that have a target, if the loss selects them; or those that
            have a teacher's state.
        target_counts: how many of these each sequence has, on the host, so that selecting does not wait for the device.
        sequences_per_example: how many sequences each example has, on the host; empty where each has one.
        targets_per_sequence: of the whole optimizer step; None for this batch alone. The step divides a loss by the
            number of targets, so a loss term with one part per sequence is multiplied by this to become a mean over
            sequences.
        soft_targets: ``(N, K)``, the logits of a teacher for each target, or its states ``(N, C)``, if there is one.
        labelled: ``(B,)``, 1 for each example that has gold targets besides, and 0 for the others.
    """

    inputs: PackedBatch
    targets: Tensor
    num_targets: int
    lines: tuple[int, ...] = ()
    positions: Tensor | None = None
    target_positions: Tensor | None = None
    target_counts: tuple[int, ...] = ()
    sequences_per_example: tuple[int, ...] = ()
    targets_per_sequence: float | None = None
    soft_targets: Tensor | None = None
    labelled: Tensor | None = None

    def to(self, device: torch.device) -> "LabelledBatch":
        """The same batch on ``device``."""
        names = ("targets", "positions", "target_positions", "soft_targets", "labelled")
        given = {name: tensor for name in names if (tensor := getattr(self, name)) is not None}
        moved: dict[str, Any] = all_to_device({**self.inputs.tensors(), **given}, device)
        inputs = {name: moved.pop(name) for name in self.inputs.tensors()}
        return dataclasses.replace(self, inputs=dataclasses.replace(self.inputs, **inputs), **moved)

    def output_of(self, module: nn.Module) -> Any:
        """The output of a model, or of its wrapper for several processes, for this batch."""
        return module(self.inputs) if self.positions is None else module(self.inputs, self.positions)

    def by_example(self, output: Tensor) -> Tensor:
        """An output as logits with a row for each example, in fp32: ``(B, K)`` as it is; scores ``(B,)`` of the
        sequences, which are the choices of their example, as ``(examples, most choices)``, with :data:`NO_CHOICE`
        behind the last choice."""
        if not self.sequences_per_example:
            return output.float()
        rows = output.float().split(self.sequences_per_example)
        return pad_sequence(rows, batch_first=True, padding_value=NO_CHOICE)


@dataclass(frozen=True)
class Examples(Generic[Example]):
    """Training or evaluation data, and how examples become a batch.

    Attributes:
        items: the examples.
        collate: makes a batch of some examples.
        at_epoch: maps an example and an epoch, counted from 1, to the example as it is in that epoch, if it changes. It
            must depend on nothing else, so that a run can be resumed, or split into other micro-batches.
        lengths: the most tokens each example can have, for ``batch_tokens``.
    """

    items: Sequence[Example]
    collate: Callable[[Sequence[Example]], LabelledBatch]
    at_epoch: Callable[[Example, int], Example] | None = None
    lengths: IntSequence | None = None

    def batches(self, order: Sequence[int], size: int, *, epoch: int = 1, copies: int = 1) -> Iterator[LabelledBatch]:
        """Cuts ``order`` into batches of ``size`` items; each batch holds all of its items ``copies`` times."""
        for start in range(0, len(order), size):
            items = [self.items[i] for i in order[start : start + size]]
            if self.at_epoch is not None:
                items = [self.at_epoch(item, epoch) for item in items]
            yield self.collate(items * copies)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which examples each optimizer step takes. It depends only on these values and the number of the epoch, so that a
    resumed run finds its place.

    Attributes:
        num_examples: each epoch takes all of them once, in an order of its own.
        seed: of the orders.
        batch_size: examples in a step; the last one of an epoch may have fewer.
        batch_tokens: if given, a step takes the next examples whose tokens fit; an example that never fits is a step by
            itself.
        lengths: the tokens of each example, for ``batch_tokens``.
    """

    num_examples: int
    seed: int
    batch_size: int | None = None
    batch_tokens: int | None = None
    lengths: IntSequence | None = None

    def steps(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        """The indices of the examples of each step in an epoch, counted from 1."""
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
    """Cuts a list of examples into runs of at most ``max_tokens`` tokens; a longer example is a run of its own."""
    ends = np.cumsum(lengths)
    runs, start = [], 0
    while start < len(lengths):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + max_tokens, side="right")))
        runs.append(slice(start, end))
        start = end
    return runs


def shuffled(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order of an epoch, which depends only on these numbers."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(count, generator=generator).numpy()


@dataclass(frozen=True)
class Metric:
    """The figure that chooses the best epoch; among equal figures, the lower loss wins."""

    name: str
    higher_is_better: bool = True

    def improves(
        self, value: float, best: float | None, *, loss: float | None = None, best_loss: float | None = None
    ) -> bool:
        """Whether ``value`` beats ``best``, or equals it with a lower loss (if both losses are given).

        NaN never beats anything; any other value beats None.
        """
        if math.isnan(value):
            return False
        if best is None:
            return True
        if value == best:
            return loss is not None and best_loss is not None and loss < best_loss
        return value > best if self.higher_is_better else value < best
