"""Which examples each step takes."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from training_runs import CPU, Item, collate, loss, ragged_items, tiny_model, train, weights

from minibert.training import (
    Examples,
    LabelledBatch,
    Metric,
    Trainer,
    TrainingSettings,
)
from minibert.training.data import Plan, shuffled


def test_every_example_is_seen_once_an_epoch_in_another_order() -> None:
    seen: list[list[int]] = [[]]
    items = [([i], [i % 2]) for i in range(5, 25)]

    def watching(batch_items: Sequence[Item]) -> LabelledBatch:
        seen[-1] += [ids[0] for ids, _ in batch_items]
        return collate(batch_items)

    def next_epoch() -> dict[str, float]:
        seen.append([])
        return {"figure": 0.0}

    Trainer(
        model=tiny_model(), data=Examples(items, watching), loss=loss, evaluate=next_epoch, metric=Metric("figure"),
        settings=TrainingSettings(epochs=2, batch_size=7), device=CPU,
    ).fit()  # fmt: skip
    first, second, _ = seen
    assert sorted(first) == sorted(second) == list(range(5, 25))
    assert first != second


@pytest.mark.parametrize("budget", [1, 7, 30, 10_000])
def test_steps_fill_their_token_budget(budget: int) -> None:
    """Each example once an epoch, in the shuffled order; no step above the budget, unless it is one example; and no
    step has room for the next one's first."""
    lengths = [len(ids) for ids, _ in ragged_items(50)]
    plan = Plan(num_examples=50, seed=3, batch_tokens=budget, lengths=lengths)
    for epoch in (1, 2):
        steps = plan.steps(epoch)
        assert [index for step in steps for index in step] == shuffled(50, 3, epoch).tolist()
        totals = [sum(lengths[index] for index in step) for step in steps]
        for step, total in zip(steps, totals, strict=True):
            assert total <= budget or len(step) == 1
        for total, after in zip(totals, steps[1:], strict=False):
            assert total + lengths[after[0]] > budget
    assert plan.sizes(2) == [len(step) for epoch in (1, 2) for step in plan.steps(epoch)]


def test_training_by_token_budget() -> None:
    """Their number is known from the start: the rate rises over the first tenth, and falls to 0 in the end."""
    items = ragged_items()
    lengths = [len(ids) for ids, _ in items]
    steps = Plan(num_examples=len(items), seed=42, batch_tokens=20, lengths=lengths).sizes(2)
    seen: list[int] = []

    def watched(model: nn.Module, batch: LabelledBatch) -> Tensor:
        seen.append(batch.inputs.num_tokens)
        return loss(model, batch)

    whole, parts = tiny_model().double(), tiny_model().double()
    train(whole, loss=watched, batch_size=None, batch_tokens=20)
    assert len(seen) == len(steps)
    assert max(seen) <= 20
    assert sum(seen) == 2 * sum(lengths)
    train(parts, batch_size=None, batch_tokens=20, micro_batch_size=2)
    torch.testing.assert_close(weights(parts), weights(whole), rtol=0, atol=1e-9)


def test_examples_may_change_by_epoch_and_batches_know_the_targets_of_their_step() -> None:
    seen: list[tuple[int, int, float | None]] = []
    epochs: list[int] = []

    def at_epoch(item: Item, epoch: int) -> Item:
        epochs.append(epoch)
        return item

    def noting(model: nn.Module, batch: LabelledBatch) -> Tensor:
        seen.append((batch.inputs.num_sequences, batch.num_targets, batch.targets_per_sequence))
        return loss(model, batch)

    Trainer(
        model=tiny_model(), data=Examples(ragged_items(7), collate, at_epoch), loss=noting,
        evaluate=lambda: {"figure": 0.0}, metric=Metric("figure"), device=CPU,
        settings=TrainingSettings(epochs=3, batch_size=7, micro_batch_size=3, precision="fp32"),
    ).fit()  # fmt: skip
    assert epochs == [1] * 7 + [2] * 7 + [3] * 7
    for step in (seen[:3], seen[3:6], seen[6:]):
        targets = sum(count for _, count, _ in step)
        assert [(size, ratio) for size, _, ratio in step] == [(3, targets / 7), (3, targets / 7), (1, targets / 7)]
