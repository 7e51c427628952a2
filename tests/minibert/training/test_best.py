"""Writing the best model on a disk that is full for a while."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training_runs import (
    Run,
    weights,
)

from minibert.errors import InputError
from minibert.training import checkpoints, saving


def full_disk(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_best_model_that_cannot_be_written_is_written_later(
    tmp_path: Path, uninterrupted: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk is full in the first two epochs, of which the first is the best."""
    figures = iter([1.0, 2.0, 3.0])
    kept: list[Tensor] = []
    run = Run(tmp_path, figures=lambda: {"loss": next(figures)}, settings={"ema": None, "save_steps": None})
    tries = []

    def on_best() -> None:
        tries.append(weights(run.model).clone())
        if len(tries) < 3:
            raise InputError("model.safetensors: cannot be written (No space left on device).")
        kept.append(tries[-1])

    run.on_best = on_best
    run.start()
    assert torch.equal(kept[0], tries[0])
    assert not torch.equal(kept[0], weights(run.model))
    assert caplog.text.count("the best model could not be written (model.safetensors: cannot be written (No space") == 2


def test_a_best_model_that_can_never_be_written_is_an_error_in_the_end(tmp_path: Path) -> None:
    """The newest checkpoint stays; from it the model can be written when there is room again."""
    run = Run(tmp_path / "a", on_best=lambda: full_disk())
    with pytest.raises(InputError, match=r"No space left.*make room, and --resume goes on from step-00000009"):
        run.start()
    assert len(run.log) == 6  # all epochs were trained: each has a record for its last step and one for itself
    again, whole = run.go_on(), Run(tmp_path / "b")
    again.start(resume=True)
    whole.start()
    assert torch.equal(again.best[0], whole.best[0])


@pytest.mark.parametrize("save_steps", [2, None])
@pytest.mark.parametrize("ema", [0.9, None])
def test_a_resumed_run_writes_the_best_model_that_an_earlier_start_could_not(
    tmp_path: Path, save_steps: int | None, ema: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first epoch is the best. Checkpoints fit, also those of later epochs, and the model does not."""
    monkeypatch.setattr(saving, "DEFAULT_SAVE_MINUTES", 1e-9)
    figures = iter([1.0, 2.0, 3.0])
    tries: list[Tensor] = []
    run = Run(tmp_path, figures=lambda: {"loss": next(figures)}, settings={"ema": ema, "save_steps": save_steps})

    def full() -> None:
        tries.append(weights(run.model).clone())
        full_disk()

    run.on_best = full
    with pytest.raises(InputError, match="--resume goes on from step-00000009"):
        run.start()
    again = run.go_on()
    history = again.start(resume=True)
    assert [epoch["best"] for epoch in history] == [True, False, False]
    assert torch.equal(again.best[0], tries[0])


def test_old_checkpoints_make_room_for_the_best_model_at_the_end(tmp_path: Path) -> None:
    """They are no longer needed, and may be what filled the disk."""
    run = Run(tmp_path)
    steps = checkpoints.Checkpoints(tmp_path, keep=2).steps

    def full() -> None:
        if len(run.log) < 6 or len(steps()) > 1:
            full_disk()
        run.best[:] = [weights(run.model).clone()]

    run.on_best = full
    run.start()
    assert len(run.best) == 1
    assert steps() == [9]
