"""When a run saves and stops: intervals, signals, kills."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from torch import Tensor, nn
from training_runs import CALLS_PER_EPOCH, CALLS_PER_STEP, PowerCut, Run, assert_same_end, failing_at, loss, saved_steps

from minibert.training import Interrupted, LabelledBatch, Metric, Paused, saving


def test_saving_every_so_many_minutes(tmp_path: Path) -> None:
    Run(tmp_path, settings={"save_steps": None, "save_minutes": 1e-9, "keep_checkpoints": 100}).start()
    assert saved_steps(tmp_path) == list(range(1, 10))


def test_without_an_interval_the_end_is_saved(tmp_path: Path, uninterrupted: Run) -> None:
    """So whoever goes on with the run, perhaps after a crash in what comes next, need not train it again."""
    run = Run(tmp_path, settings={"save_steps": None})
    run.start()
    assert saved_steps(tmp_path) == [9]
    (saved,) = tmp_path.iterdir()
    written = saved.stat()
    again = run.go_on(loss=failing_at(1, PowerCut()))
    assert len(again.start(resume=True)) == 3
    assert_same_end(again, uninterrupted)
    assert (saved.stat().st_ino, saved.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)  # not saved again


@pytest.mark.parametrize("call", [CALLS_PER_STEP + 2, 5 * CALLS_PER_STEP + 1, 8 * CALLS_PER_STEP + 1])
def test_without_an_interval_a_run_still_saves_now_and_then(
    tmp_path: Path, uninterrupted: Run, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "DEFAULT_SAVE_MINUTES", 1e-9)
    run = Run(tmp_path, loss=failing_at(call, PowerCut()), settings={"save_steps": None})
    with pytest.raises(PowerCut):
        run.start()
    done = (call - 1) // CALLS_PER_STEP
    assert saved_steps(tmp_path) == list(range(max(1, done - 1), done + 1))
    again = run.go_on()
    again.start(resume=True)
    assert_same_end(again, uninterrupted)


def test_what_falls_due_while_an_epoch_is_evaluated_is_saved_before_the_next_step(
    tmp_path: Path, uninterrupted: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = [0.0]
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=lambda: 60 * minutes[0]))
    run = Run(tmp_path, loss=failing_at(CALLS_PER_EPOCH + 1, PowerCut()), settings={"save_steps": None})

    def figures() -> dict[str, float]:
        minutes[0] += saving.DEFAULT_SAVE_MINUTES
        return run._figures()

    run.figures = figures
    with pytest.raises(PowerCut):
        run.start()
    assert saved_steps(tmp_path) == [3]
    again = run.go_on()
    again.start(resume=True)
    assert_same_end(again, uninterrupted)


def test_a_signal_while_the_end_is_saved_stops_the_run_after_it(
    tmp_path: Path, uninterrupted: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = saving.CheckpointSaver.save

    def signalled(saver: saving.CheckpointSaver) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        save(saver)

    monkeypatch.setattr(saving.CheckpointSaver, "save", signalled)
    run = Run(tmp_path, settings={"save_steps": None})
    with pytest.raises(Interrupted, match=r"after step 9; saved to .*step-00000009"):
        run.start()
    monkeypatch.undo()
    again = run.go_on(loss=failing_at(1, PowerCut()))
    again.start(resume=True)
    assert_same_end(again, uninterrupted)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("save_steps", [2, None])
def test_a_signal_stops_the_run_after_the_step_and_a_save(
    tmp_path: Path, uninterrupted: Run, number: signal.Signals, status: int, save_steps: int | None
) -> None:
    """With and without regular checkpoints, in the middle of the fifth step's accumulation."""
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("the tests were started with this signal ignored, as nohup does")
    calls = iter(range(1, 1000))

    def signalled(model: nn.Module, batch: LabelledBatch) -> Tensor:
        if next(calls) == 4 * CALLS_PER_STEP + 2:
            os.kill(os.getpid(), number)
        return loss(model, batch)

    before = signal.getsignal(number)
    run = Run(tmp_path, loss=signalled, settings={"save_steps": save_steps})
    with pytest.raises(Interrupted, match=f"stopped by {number.name} after step 5; saved to .*step-00000005") as caught:
        run.start()
    assert caught.value.exit_status == status
    assert caught.value.checkpoint == tmp_path / "step-00000005"
    assert signal.getsignal(number) is before
    again = run.go_on()
    again.start(resume=True)
    assert_same_end(again, uninterrupted)


@pytest.mark.parametrize("stops", [(1,), (2,), (1, 2, 2)])
@pytest.mark.parametrize("save_steps", [2, None])
def test_a_run_that_pauses_after_epochs_ends_like_one_that_does_not(
    tmp_path: Path, uninterrupted: Run, stops: tuple[int, ...], save_steps: int | None
) -> None:
    """The learning rates are those of all epochs from the start; a stop that is behind a run stops it at once."""
    run = Run(tmp_path, settings={"save_steps": save_steps})
    for number, epoch in enumerate(stops):
        trainer = run.trainer(resume=number > 0)
        trainer.stop_after = epoch
        with pytest.raises(Paused) as caught:
            trainer.fit()
        assert [record["epoch"] for record in caught.value.history] == list(range(1, epoch + 1))
        assert 3 * epoch in saved_steps(tmp_path)
        run = run.go_on()
    run.start(resume=True)
    assert_same_end(run, uninterrupted)


def test_the_last_epoch_and_early_stopping_end_a_run_that_was_to_pause_there_or_later(tmp_path: Path) -> None:
    whole = Run(tmp_path / "whole").trainer()
    whole.stop_after = 3
    assert len(whole.fit()) == 3
    early = Run(tmp_path / "early", settings={"early_stopping": 1}, metric=Metric("constant"))
    early.figures = lambda: {"constant": 0.5}
    trainer = early.trainer()
    trainer.stop_after = 3
    assert len(trainer.fit()) == 2


def test_a_signal_during_evaluation_stops_the_run_after_it(tmp_path: Path, uninterrupted: Run) -> None:
    run = Run(tmp_path)
    run.figures = lambda: os.kill(os.getpid(), signal.SIGTERM) or run._figures()
    with pytest.raises(Interrupted, match="after step 3; saved"):
        run.start()
    assert len(run.log) == 2
    again = run.go_on()
    again.start(resume=True)
    assert_same_end(again, uninterrupted)


def test_a_second_signal_stops_at_once(tmp_path: Path, uninterrupted: Run) -> None:
    """The handler of SIGINT acts in the middle of the step; earlier checkpoints stay intact."""
    calls = iter(range(1, 1000))

    def signalled_twice(model: nn.Module, batch: LabelledBatch) -> Tensor:
        if next(calls) == 3 * CALLS_PER_STEP + 2:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
        return loss(model, batch)

    run = Run(tmp_path, loss=signalled_twice)
    with pytest.raises(KeyboardInterrupt):
        run.start()
    assert saved_steps(tmp_path) == [2, 3]
    again = run.go_on()
    again.start(resume=True)
    assert_same_end(again, uninterrupted)


def test_signals_are_not_watched_without_checkpoints(tmp_path: Path) -> None:
    def interrupting(model: nn.Module, batch: LabelledBatch) -> Tensor:
        signal.raise_signal(signal.SIGINT)
        return loss(model, batch)

    run = Run(tmp_path, loss=interrupting)
    run.folder = None  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        run.start()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the trained processes are forks")
def test_kills_at_random_moments_and_inside_saves() -> None:
    """A short form of the trial of two hundred."""
    command = [sys.executable, "-m", "benchmarks.kills", "--trials", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert '"bit_identical": 2' in done.stdout
