"""Exact resume: an interrupted run ends with the same bits."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_runs import (
    CALLS_PER_EPOCH,
    CPU,
    PowerCut,
    Run,
    assert_same_end,
    failing_at,
    interrupted,
    loss,
    tiny_model,
)

from minibert.errors import InputError
from minibert.training import LabelledBatch, Metric
from minibert.training.state import random_state, set_random_state


@pytest.mark.slow
@pytest.mark.parametrize("call", [1, 5, 8, 12, 17, 19, 26])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, uninterrupted: Run, call: int) -> None:
    """In the first step, between its micro-batches, in mid-epoch, and at the start and in the end of an epoch."""
    again = interrupted(tmp_path, call).go_on()
    again.start(resume=True)
    assert_same_end(again, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("call", [2, 6, 9, 13])
def test_a_run_by_token_budget_resumes(tmp_path: Path, call: int) -> None:
    settings = {"batch_size": None, "batch_tokens": 40}
    expected = Run(tmp_path / "expected", settings=settings)
    expected.start()
    again = interrupted(tmp_path / "run", call, **settings).go_on()
    again.start(resume=True)
    assert_same_end(again, expected)


def test_a_run_interrupted_three_times(tmp_path: Path, uninterrupted: Run) -> None:
    run = interrupted(tmp_path, 8)
    for call in (6, 8):  # computations after each start
        run = run.go_on(loss=failing_at(call, PowerCut()))
        with pytest.raises(PowerCut):
            run.start(resume=True)
    again = run.go_on()
    again.start(resume=True)
    assert_same_end(again, uninterrupted)


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_crash_after_the_best_model_was_written(tmp_path: Path, uninterrupted: Run, epoch: int) -> None:
    """The run folder holds a model that no checkpoint knows of."""
    times = iter(range(1, 100))
    run = Run(tmp_path)

    def crash() -> None:
        run._keep_best()
        if next(times) == epoch:
            raise PowerCut

    run.on_best = crash
    with pytest.raises(PowerCut):
        run.start()
    again = run.go_on()
    again.start(resume=True)
    assert_same_end(again, uninterrupted)


def test_resuming_writes_the_best_model_of_the_checkpoint_again(tmp_path: Path, uninterrupted: Run) -> None:
    """Whatever a run has written after its last checkpoint."""
    run = interrupted(tmp_path, CALLS_PER_EPOCH + 1)
    expected = run.best[0].clone()
    run.best[:] = [torch.zeros_like(expected)]
    again = run.go_on(loss=failing_at(1, PowerCut()))
    with pytest.raises(PowerCut):
        again.start(resume=True)
    assert torch.equal(again.best[0], expected)


@pytest.mark.slow
def test_a_resumed_run_still_knows_the_loss_that_decides_ties(tmp_path: Path) -> None:
    """Every epoch has the same figure; the learning rate is so large that the loss also rises."""
    settings = {"epochs": 5, "lr": 0.1, "ema": None}
    whole = Run(tmp_path / "whole", metric=Metric("constant"), settings=settings)
    whole.start()
    best = [record["best"] for record in whole.log if "train_loss" in record]
    assert True in best[1:]
    assert False in best
    for epoch in range(1, 5):
        run = Run(tmp_path / str(epoch), metric=Metric("constant"), settings=settings)
        run.loss = failing_at(epoch * CALLS_PER_EPOCH + 1, PowerCut())
        with pytest.raises(PowerCut):
            run.start()
        again = run.go_on()
        again.start(resume=True)
        assert_same_end(again, whole)


def test_resuming_a_finished_run_trains_nothing(tmp_path: Path, uninterrupted: Run) -> None:
    run = Run(tmp_path)
    history = run.start()
    again = run.go_on(loss=failing_at(1, PowerCut()))
    assert again.start(resume=True) == history
    assert_same_end(again, uninterrupted)


def test_resume_without_a_checkpoint_starts_from_the_beginning(tmp_path: Path, uninterrupted: Run) -> None:
    run = Run(tmp_path / "none", log=[{"left": "by a run that crashed before its first checkpoint"}])
    run.start(resume=True)
    assert_same_end(run, uninterrupted)


def test_python_and_numpy_random_states_are_restored(tmp_path: Path) -> None:
    """Including the second normal deviate that both generators keep."""

    def noisy(model: nn.Module, batch: LabelledBatch) -> Tensor:
        return loss(model, batch) * (1 + random.random() + abs(random.gauss(0, 1)) + abs(np.random.normal()))

    expected = Run(tmp_path / "expected", loss=noisy)
    expected.start()
    calls = iter(range(1, 1000))

    def noisy_until_the_cut(model: nn.Module, batch: LabelledBatch) -> Tensor:
        if next(calls) == 17:
            raise PowerCut
        return noisy(model, batch)

    run = Run(tmp_path / "run", loss=noisy_until_the_cut)
    with pytest.raises(PowerCut):
        run.start()
    random.seed(99)
    np.random.seed(99)
    again = run.go_on(loss=noisy)
    again.start(resume=True)
    assert_same_end(again, expected)


def test_every_random_generator_continues_where_it_was() -> None:
    """Also between the two normal deviates that Python and numpy generate at a time."""

    def draw() -> tuple[Any, ...]:
        return random.random(), random.gauss(0, 1), np.random.normal(), np.random.random(), torch.rand(3).tolist()

    random.seed(1)
    np.random.seed(1)
    draw()
    state = random_state(CPU)
    expected = [draw() for _ in range(3)]
    set_random_state(state, CPU)
    assert [draw() for _ in range(3)] == expected


@pytest.mark.slow
def test_early_stopping_keeps_its_count(tmp_path: Path) -> None:
    """Epochs 1, 2, 3 with losses 1, 2, 3: patience 2 ends after the third, wherever the run was interrupted."""
    for call in (4, 13, 22):
        losses = iter([1.0, 2.0, 3.0, 4.0])
        folder = tmp_path / str(call)
        run = Run(folder, loss=failing_at(call, PowerCut()), settings={"epochs": 4, "early_stopping": 2})
        run.figures = lambda losses=losses: {"loss": next(losses)}  # type: ignore[misc]
        with pytest.raises(PowerCut):
            run.start()
        history = run.go_on(figures=run.figures).start(resume=True)
        assert [record["loss"] for record in history] == [1.0, 2.0, 3.0]


def test_nan_and_infinite_figures_survive_a_resume(tmp_path: Path) -> None:
    figures = iter([float("nan"), float("inf"), 0.5])
    run = Run(tmp_path, loss=failing_at(20, PowerCut()), figures=lambda: {"loss": next(figures)})
    with pytest.raises(PowerCut):
        run.start()
    history = run.go_on(figures=run.figures).start(resume=True)
    assert [record["best"] for record in history] == [False, True, True]
    assert [str(record["loss"]) for record in history] == ["nan", "inf", "0.5"]


@pytest.mark.parametrize(
    ("name", "value", "before"),
    [("lr", 1e-4, "0.003"), ("epochs", 4, "3"), ("seed", 7, "42"), ("ema", 0.5, "0.9"), ("precision", "fp32", "bf16"),
     ("layer_decay", 0.9, "1.0"), ("batch_size", 6, "8")],
)  # fmt: skip
def test_a_changed_setting_is_refused_with_both_values(tmp_path: Path, name: str, value: Any, before: str) -> None:
    run = interrupted(tmp_path, 8)
    again = run.go_on()
    again.settings = {name: value}
    option = name.replace("_", "-")
    with pytest.raises(InputError, match=rf"^--resume: --{option} changed: was {before}, is now {value}\. Give"):
        again.start(resume=True)


def test_resumable_settings_may_change(tmp_path: Path, uninterrupted: Run) -> None:
    again = interrupted(tmp_path, 8).go_on()
    again.settings = {"save_steps": 3, "keep_checkpoints": 5, "deterministic": True, "activation_checkpointing": True}
    again.start(resume=True)
    assert_same_end(again, uninterrupted)


def test_the_extra_fingerprint_must_be_the_same(tmp_path: Path) -> None:
    run = Run(tmp_path, loss=failing_at(8, PowerCut()), fingerprint_extra={"--weights": "here", "--splits": ("a", 1)})
    with pytest.raises(PowerCut):
        run.start()
    with pytest.raises(InputError, match="--weights changed: was here, is now there"):
        run.go_on(fingerprint_extra={"--weights": "there", "--splits": ("a", 1)}).start(resume=True)
    run.go_on(fingerprint_extra={"--weights": "here", "--splits": ("a", 1)}).start(resume=True)


def test_another_model_is_refused(tmp_path: Path) -> None:
    run = interrupted(tmp_path, 8)
    with pytest.raises(InputError, match="the model's shapes changed"):
        run.go_on(model=tiny_model(0.2, num_hidden_layers=2)).start(resume=True)


def test_a_new_run_does_not_mix_with_an_old_ones_checkpoints(tmp_path: Path) -> None:
    run = interrupted(tmp_path, 8)
    with pytest.raises(InputError, match="holds checkpoints of an earlier run; give --resume"):
        run.go_on().start()
