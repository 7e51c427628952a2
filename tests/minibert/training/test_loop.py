"""The training loop: seeds, records, the best epoch and early stopping."""

import itertools
import math
import random
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from training_runs import CPU, collate, loss, ragged_items, tiny_model, train, weights

from minibert.errors import InputError
from minibert.training import (
    Callbacks,
    Examples,
    Metric,
    Trainer,
    TrainingSettings,
    predict,
)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_seed_determines_every_bit(precision: str) -> None:
    first, again, other = (tiny_model(0.2) for _ in range(3))
    train(first, precision=precision, seed=5)
    train(again, precision=precision, seed=5)
    train(other, precision=precision, seed=6)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


def test_the_time_left_falls_to_nothing() -> None:
    left = [record["seconds_left"] for record in train(tiny_model(), epochs=3) if "train_loss" in record]
    assert left[-1] == 0
    assert all(value >= 0 for value in left)


@pytest.mark.slow
def test_it_learns() -> None:
    records = train(tiny_model(), epochs=30, lr=3e-3)
    losses = [record["train_loss"] for record in records if "train_loss" in record]
    assert losses[0] > 0.5
    assert losses[-1] < 0.1


def test_the_reported_loss_is_the_mean_over_targets() -> None:
    model = tiny_model()
    items = ragged_items()
    batch = collate(items)
    with torch.no_grad():
        expected = float(F.cross_entropy(model(batch.inputs), batch.targets))
    records = train(model, items, epochs=1, batch_size=5, lr=1e-12)
    assert records[-1]["train_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("higher", "figures", "best"),
    [
        (True, [0.1, 0.3, 0.2, 0.3], [0, 1]),
        (False, [0.5, 0.7, 0.4], [0, 2]),
        (True, [math.nan, 0.0, math.nan, 0.1], [1, 3]),
    ],
)
def test_the_best_epoch_follows_the_metrics_direction_and_is_never_nan(
    higher: bool, figures: list[float], best: list[int]
) -> None:
    saved: list[int] = []
    epoch = iter(range(len(figures)))
    now = [-1]

    def evaluate() -> dict[str, float]:
        now[0] = next(epoch)
        return {"figure": figures[now[0]]}

    history = Trainer(
        model=tiny_model(), data=Examples(ragged_items(2), collate), loss=loss, evaluate=evaluate,
        metric=Metric("figure", higher_is_better=higher), settings=TrainingSettings(epochs=len(figures)), device=CPU,
        callbacks=Callbacks(on_best=lambda: saved.append(now[0])),
    ).fit()  # fmt: skip
    assert saved == best
    assert [index for index, record in enumerate(history) if record["best"]] == best


def test_early_stopping_ends_after_epochs_without_a_new_best() -> None:
    figures = iter([0.1, 0.3, 0.2, 0.3, 0.9])
    history = Trainer(
        model=tiny_model(), data=Examples(ragged_items(2), collate), loss=loss,
        evaluate=lambda: {"figure": next(figures)}, metric=Metric("figure"),
        settings=TrainingSettings(epochs=5, early_stopping=2), device=CPU,
    ).fit()  # fmt: skip
    assert [record["figure"] for record in history] == [0.1, 0.3, 0.2, 0.3]


def best_epoch(figures: Sequence[float], losses: Sequence[float]) -> int | None:
    """The first of the epochs that no other beats."""
    epochs = [epoch for epoch in range(len(figures)) if not math.isnan(figures[epoch])]
    return min(epochs, key=lambda epoch: (-figures[epoch], losses[epoch], epoch), default=None)


def length_with_early_stopping(figures: Sequence[float], losses: Sequence[float], patience: int) -> int:
    """The epochs until the best of those so far is ``patience`` epochs ago."""
    for length in range(1, len(figures) + 1):
        best = best_epoch(figures[:length], losses[:length])
        if length - (0 if best is None else best + 1) >= patience:
            return length
    return len(figures)


def test_equal_figures_go_to_the_lower_loss_in_every_history() -> None:
    epochs = list(itertools.product([0.5, 0.75, math.nan], [1.0, 2.0]))
    metric = Metric("figure")
    for history in itertools.product(epochs, repeat=4):
        chosen: int | None = None
        best: tuple[float | None, float | None] = None, None
        for epoch, (figure, dev_loss) in enumerate(history):
            if metric.improves(figure, best[0], loss=dev_loss, best_loss=best[1]):
                chosen, best = epoch, (figure, dev_loss)
        assert chosen == best_epoch(*zip(*history, strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_the_kept_epoch_and_early_stopping_count_a_tie_with_a_lower_loss_as_better(seed: int) -> None:
    rng = random.Random(seed)
    figures = [rng.choice([0.5, 0.75]) for _ in range(8)]
    losses = [rng.choice([1.0, 2.0, 3.0]) for _ in range(8)]
    epochs = iter(range(8))
    evaluated: list[int] = []
    kept: list[int] = []

    def evaluate() -> dict[str, float]:
        evaluated.append(next(epochs))
        return {"figure": figures[evaluated[-1]], "loss": losses[evaluated[-1]]}

    history = Trainer(
        model=tiny_model(), data=Examples(ragged_items(2), collate), loss=loss, evaluate=evaluate,
        metric=Metric("figure"), settings=TrainingSettings(epochs=8, early_stopping=3), device=CPU,
        callbacks=Callbacks(on_best=lambda: kept.append(evaluated[-1])),
    ).fit()  # fmt: skip
    length = length_with_early_stopping(figures, losses, 3)
    assert len(history) == length
    assert kept[-1] == best_epoch(figures[:length], losses[:length])


def test_a_metric_that_is_always_nan_stops_the_run() -> None:
    with pytest.raises(InputError, match="no epoch has a figure for figure"):
        Trainer(
            model=tiny_model(), data=Examples(ragged_items(2), collate), loss=loss, metric=Metric("figure"),
            evaluate=lambda: {"figure": math.nan}, settings=TrainingSettings(epochs=2), device=CPU,
        ).fit()  # fmt: skip


def test_dropout_acts_in_training_and_never_in_evaluation() -> None:
    """Also in the epoch after an evaluation, and with a model that was loaded in evaluation mode."""
    model = tiny_model(0.5).eval()
    items = ragged_items(4)
    data = Examples(items, collate)
    evaluated: list[Tensor] = []

    def evaluate() -> dict[str, float]:
        for _ in range(2):
            outputs = predict(model, data.batches(range(4), 4), precision="fp32", device=CPU)
            evaluated.append(torch.cat([logits for _, logits in outputs]))
        return {"figure": 0.0}

    history = Trainer(
        model=model, data=data, loss=loss, evaluate=evaluate, metric=Metric("figure"),
        settings=TrainingSettings(epochs=3, batch_size=4, lr=1e-12, precision="fp32"), device=CPU,
    ).fit()  # fmt: skip
    assert all(torch.equal(output, evaluated[0]) for output in evaluated)
    assert len({record["train_loss"] for record in history}) == 3
