"""Checkpoints: what an interrupted run goes on with, what is never half-written, and what happens to damaged files."""

import errno
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file
from torch import Tensor, nn
from training_runs import CPU, Run, assert_same_end, failing_at, loss, tiny_model, weights

from minibert.errors import InputError
from minibert.training import Interrupted, LabelledBatch, checkpoints
from minibert.training.state import random_state, set_random_state

CALLS_PER_STEP = 3  # micro-batches of 3, 3 and 2 sequences
CALLS_PER_EPOCH = 9


class PowerCut(Exception):
    """Ends a run as a crash would: nothing of it is left but its files."""


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing happened to."""
    run = Run(tmp_path_factory.mktemp("untouched"))
    run.start()
    return run


def interrupted(folder: Path, call: int, **settings: Any) -> Run:
    """A run that broke off in the ``call``-th computation of a loss."""
    run = Run(folder, loss=failing_at(call, PowerCut()), settings=settings)
    with pytest.raises(PowerCut):
        run.start()
    return run


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in folder.iterdir())


# -- exact resume -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [1, 5, 8, 12, 17, 19, 26])
def test_a_run_that_broke_off_ends_as_if_it_had_not(tmp_path: Path, untouched: Run, call: int) -> None:
    """In the first step, between its micro-batches, in mid-epoch, and at the start and in the end of an epoch."""
    again = interrupted(tmp_path, call).go_on()
    again.start(resume=True)
    assert_same_end(again, untouched)


@pytest.mark.parametrize("call", [2, 6, 9, 13])
def test_a_run_of_steps_by_tokens_goes_on(tmp_path: Path, call: int) -> None:
    settings = {"batch_size": None, "batch_tokens": 40}
    expected = Run(tmp_path / "expected", settings=settings)
    expected.start()
    again = interrupted(tmp_path / "run", call, **settings).go_on()
    again.start(resume=True)
    assert_same_end(again, expected)


def test_a_run_that_broke_off_thrice(tmp_path: Path, untouched: Run) -> None:
    run = interrupted(tmp_path, 8)
    for call in (6, 8):  # computations after each start
        run = run.go_on(loss=failing_at(call, PowerCut()))
        with pytest.raises(PowerCut):
            run.start(resume=True)
    again = run.go_on()
    again.start(resume=True)
    assert_same_end(again, untouched)


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_crash_after_the_best_model_was_written(tmp_path: Path, untouched: Run, epoch: int) -> None:
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
    assert_same_end(again, untouched)


def test_the_best_model_is_written_again_as_the_checkpoint_knows_it(tmp_path: Path, untouched: Run) -> None:
    """Whatever a run has written after its last checkpoint."""
    run = interrupted(tmp_path, CALLS_PER_EPOCH + 1)
    expected = run.best[0].clone()
    run.best[:] = [torch.zeros_like(expected)]
    again = run.go_on(loss=failing_at(1, PowerCut()))
    with pytest.raises(PowerCut):
        again.start(resume=True)
    assert torch.equal(again.best[0], expected)


def test_a_finished_run_is_only_reported(tmp_path: Path, untouched: Run) -> None:
    run = Run(tmp_path)
    history = run.start()
    again = run.go_on(loss=failing_at(1, PowerCut()))
    assert again.start(resume=True) == history
    assert_same_end(again, untouched)


def test_without_a_checkpoint_resume_starts_afresh(tmp_path: Path, untouched: Run) -> None:
    run = Run(tmp_path / "none", log=[{"left": "by a run that crashed before its first checkpoint"}])
    run.start(resume=True)
    assert_same_end(run, untouched)


def test_python_and_numpy_randomness_goes_on(tmp_path: Path) -> None:
    """As a task may use it, with the normal deviates that both keep in stock."""

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


def test_every_random_generator_goes_on_where_it_was() -> None:
    """Also from between the two normal deviates that Python's and numpy's generators make at a time."""

    def draw() -> tuple[Any, ...]:
        return random.random(), random.gauss(0, 1), np.random.normal(), np.random.random(), torch.rand(3).tolist()

    random.seed(1)
    np.random.seed(1)
    draw()
    state = random_state(CPU)
    expected = [draw() for _ in range(3)]
    set_random_state(state, CPU)
    assert [draw() for _ in range(3)] == expected


def test_early_stopping_counts_on(tmp_path: Path) -> None:
    """Epochs 1, 2, 3 with losses 1, 2, 3: patience 2 ends after the third, wherever the run broke off."""
    for call in (4, 13, 22):
        losses = iter([1.0, 2.0, 3.0, 4.0])
        folder = tmp_path / str(call)
        run = Run(folder, loss=failing_at(call, PowerCut()), settings={"epochs": 4, "early_stopping": 2})
        run.figures = lambda losses=losses: {"loss": next(losses)}  # type: ignore[misc]
        with pytest.raises(PowerCut):
            run.start()
        history = run.go_on(figures=run.figures).start(resume=True)
        assert [record["loss"] for record in history] == [1.0, 2.0, 3.0]


def test_figures_that_are_no_number_are_kept(tmp_path: Path) -> None:
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
def test_another_setting_is_refused_by_name_with_both_values(
    tmp_path: Path, name: str, value: Any, before: str
) -> None:
    run = interrupted(tmp_path, 8)
    again = run.go_on()
    again.settings = {name: value}
    option = name.replace("_", "-")
    with pytest.raises(InputError, match=rf"^--resume: --{option} changed: was {before}, is now {value}\. Give"):
        again.start(resume=True)


def test_settings_that_change_no_step_may_change(tmp_path: Path, untouched: Run) -> None:
    again = interrupted(tmp_path, 8).go_on()
    again.settings = {"save_steps": 3, "keep_checkpoints": 5, "deterministic": True, "activation_checkpointing": True}
    again.start(resume=True)
    assert_same_end(again, untouched)


def test_what_a_task_says_must_be_the_same(tmp_path: Path) -> None:
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


# -- which are kept, and when -----------------------------------------------------------------------------------------


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    figures = iter([1.0, 2.0, 3.0])
    Run(tmp_path, figures=lambda: {"loss": next(figures)}, settings={"keep_checkpoints": 3}).start()
    assert steps(tmp_path) == [3, 6, 8, 9]  # saved at 2, 4, 6, 8, and after the epochs at 3, 6, 9; the first is best


def test_saving_by_the_clock(tmp_path: Path) -> None:
    Run(tmp_path, settings={"save_steps": None, "save_minutes": 1e-9, "keep_checkpoints": 100}).start()
    assert steps(tmp_path) == list(range(1, 10))


def test_without_an_interval_nothing_is_saved(tmp_path: Path) -> None:
    Run(tmp_path, settings={"save_steps": None}).start()
    assert steps(tmp_path) == []


def test_a_checkpoint_holds_no_code(tmp_path: Path, untouched: Run) -> None:
    names = {path.name for folder in untouched.folder.iterdir() for path in folder.iterdir()}
    tensors = {"model", "optimizer", "random", "ema"}
    assert names == {"manifest.json", "state.json"} | {f"{name}.safetensors" for name in tensors}
    saved = load_file(untouched.folder / "step-00000009" / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in untouched.model.named_parameters())


# -- damage -----------------------------------------------------------------------------------------------------------


def flip_bit(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ (1 << position % 8)]) + data[position + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "empty": lambda data: b"",
    "a bit at the start": lambda data: flip_bit(data, 0),
    "a bit in the middle": lambda data: flip_bit(data, len(data) // 2),
    "a bit at the end": lambda data: flip_bit(data, len(data) - 1),
}


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that broke off with checkpoints of steps 3 and 4."""
    run = interrupted(tmp_path_factory.mktemp("broken"), 14)
    assert steps(run.folder) == [3, 4]
    return run


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_any_file_is_detected_and_the_one_before_is_used(
    tmp_path: Path, broken_off: Run, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    names = [path.name for path in (broken_off.folder / "step-00000004").iterdir()]
    assert len(names) == 6
    for name in [*names, None]:
        folder = tmp_path / str(name)
        shutil.copytree(broken_off.folder, folder)
        newest = folder / "step-00000004"
        if name is None:
            (newest / "manifest.json").unlink()
        else:
            (newest / name).write_bytes(DAMAGE[damage]((newest / name).read_bytes()))
        caplog.clear()
        found = checkpoints.Checkpoints(folder, keep=2).read_newest()
        assert found is not None
        assert found.values["progress"]["step"] == 3
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert "step-00000004: not used, because it is damaged" in caplog.text


def test_every_single_bit_of_a_manifest_counts(tmp_path: Path, broken_off: Run) -> None:
    shutil.copytree(broken_off.folder, tmp_path / "copy")
    manifest = tmp_path / "copy" / "step-00000004" / "manifest.json"
    whole = manifest.read_bytes()
    for position in range(len(whole)):
        manifest.write_bytes(flip_bit(whole, position))
        assert checkpoints.find_damage(manifest.parent) is not None, position
    manifest.write_bytes(whole)
    assert checkpoints.find_damage(manifest.parent) is None


def test_a_run_goes_on_from_the_one_before_and_replaces_the_damaged_one(
    tmp_path: Path, broken_off: Run, untouched: Run
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(broken_off.folder, folder)
    file = folder / "step-00000004" / "optimizer.safetensors"
    file.write_bytes(flip_bit(file.read_bytes(), 5000))
    again = Run(folder, log=list(broken_off.log), best=list(broken_off.best))
    again.start(resume=True)
    assert_same_end(again, untouched)


def test_a_damaged_checkpoint_crowds_out_no_whole_one(tmp_path: Path, broken_off: Run) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(broken_off.folder, folder)
    shutil.copytree(folder / "step-00000004", folder / "step-00000009")
    (folder / "step-00000009" / "state.json").unlink()
    found = checkpoints.Checkpoints(folder, keep=2)
    snapshot = found.read_newest()
    assert snapshot is not None
    assert found.save(5, snapshot, best_step=None)
    assert steps(folder) == [4, 5]


def full_disk(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def bad_disk(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def read_only(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize(
    ("place", "fault"),
    [("os.fsync", full_disk), ("os.fsync", bad_disk), ("os.fsync", read_only), ("save_file", full_disk),
     ("os.rename", bad_disk), ("Path.mkdir", read_only), ("Path.write_bytes", full_disk)],
)  # fmt: skip
def test_a_disk_that_fails_ends_no_run_and_harms_no_checkpoint(
    tmp_path: Path,
    untouched: Run,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    fault: Callable[..., None],
) -> None:
    """It fails from the fifth step to the end."""
    run = Run(tmp_path)
    calls = iter(range(1000))

    def loss_on_a_failing_disk(model: nn.Module, batch: LabelledBatch) -> Tensor:
        if next(calls) == 5 * CALLS_PER_STEP:
            monkeypatch.setattr(f"minibert.training.checkpoints.{place}", fault)
        return loss(model, batch)

    run.loss = loss_on_a_failing_disk
    run.start()
    monkeypatch.undo()
    assert_same_end(run, untouched)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000003", "step-00000004"]
    number = {full_disk: errno.ENOSPC, bad_disk: errno.EIO, read_only: errno.EROFS}[fault]
    assert f"step-00000006: cannot be written ({os.strerror(number)})" in caplog.text
    assert all("the newest is step-00000004" in record.getMessage() for record in caplog.records)
    again = run.go_on()
    again.start(resume=True)
    assert_same_end(again, untouched)


def test_everything_is_on_the_disk_before_a_checkpoint_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    renamed: list[str] = []
    rename = os.rename

    def checking_rename(source: Path, target: Path) -> None:
        if renamed:
            assert synced.pop(0) == tmp_path.stat().st_ino, "the rename before was not synced"
        files = {path.stat().st_ino: path.name for path in [*source.iterdir(), source]}
        order = [files.pop(number) for number in synced]
        assert not files, "not synced"
        assert order[-2:] == ["manifest.json", source.name]
        synced.clear()
        renamed.append(target.name)
        rename(source, target)

    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    monkeypatch.setattr(os, "rename", checking_rename)
    Run(tmp_path, settings={"epochs": 1}).start()
    assert renamed == ["step-00000002", "step-00000003"]


def test_leftovers_of_a_kill_inside_a_save_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-step-00000099").mkdir()
    (tmp_path / ".unfinished-step-00000099" / "model.safetensors").write_bytes(b"half")
    Run(tmp_path).start(resume=True)
    assert all(path.name.startswith("step-") for path in tmp_path.iterdir())


def test_a_best_model_that_cannot_be_written_is_written_later(
    tmp_path: Path, untouched: Run, caplog: pytest.LogCaptureFixture
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
    """The newest checkpoint stays, from which the model can be written where there is room again."""
    run = Run(tmp_path / "a", on_best=lambda: full_disk())
    with pytest.raises(InputError, match=r"No space left.*make room, and --resume goes on from step-00000009"):
        run.start()
    assert len(run.log) == 6  # all epochs were trained: each has a record for its last step and one for itself
    again, whole = run.go_on(), Run(tmp_path / "b")
    again.start(resume=True)
    whole.start()
    assert torch.equal(again.best[0], whole.best[0])


def test_old_checkpoints_make_room_for_the_best_model_at_the_end(tmp_path: Path) -> None:
    """They are of no more use then, and may be what filled the disk."""
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


# -- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("save_steps", [2, None])
def test_a_signal_ends_the_step_saves_and_stops(
    tmp_path: Path, untouched: Run, number: signal.Signals, status: int, save_steps: int | None
) -> None:
    """With and without regular checkpoints, in the middle of the fifth step's accumulation."""
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
    assert_same_end(again, untouched)


def test_a_signal_in_an_evaluation_stops_after_it(tmp_path: Path, untouched: Run) -> None:
    run = Run(tmp_path)
    run.figures = lambda: os.kill(os.getpid(), signal.SIGTERM) or run._figures()
    with pytest.raises(Interrupted, match="after step 3; saved"):
        run.start()
    assert len(run.log) == 2
    again = run.go_on()
    again.start(resume=True)
    assert_same_end(again, untouched)


def test_a_second_signal_leaves_at_once(tmp_path: Path, untouched: Run) -> None:
    """SIGINT's own handler then acts, in the middle of the step; the checkpoints before it stay good."""
    calls = iter(range(1, 1000))

    def signalled_twice(model: nn.Module, batch: LabelledBatch) -> Tensor:
        if next(calls) == 3 * CALLS_PER_STEP + 2:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
        return loss(model, batch)

    run = Run(tmp_path, loss=signalled_twice)
    with pytest.raises(KeyboardInterrupt):
        run.start()
    assert steps(tmp_path) == [2, 3]
    again = run.go_on()
    again.start(resume=True)
    assert_same_end(again, untouched)


def test_signals_are_left_alone_without_checkpoints(tmp_path: Path) -> None:
    def interrupting(model: nn.Module, batch: LabelledBatch) -> Tensor:
        signal.raise_signal(signal.SIGINT)
        return loss(model, batch)

    run = Run(tmp_path, loss=interrupting)
    run.folder = None  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        run.start()


# -- kills ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the trained processes are forks")
def test_kills_at_random_moments_and_inside_saves() -> None:
    """A short form of the trial of two hundred."""
    command = [sys.executable, "-m", "benchmarks.kills", "--trials", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert '"bit_identical": 2' in done.stdout
