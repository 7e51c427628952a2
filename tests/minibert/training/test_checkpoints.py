"""Checkpoints: which are kept, when they are damaged, and what a failing disk does."""

import errno
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from training_runs import (
    CALLS_PER_STEP,
    Run,
    assert_same_end,
    interrupted,
    loss,
    saved_steps,
)

from minibert.training import LabelledBatch, checkpoints


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    figures = iter([1.0, 2.0, 3.0])
    Run(tmp_path, figures=lambda: {"loss": next(figures)}, settings={"keep_checkpoints": 3}).start()
    assert saved_steps(tmp_path) == [
        3,
        6,
        8,
        9,
    ]  # saved at 2, 4, 6, 8, and after the epochs at 3, 6, 9; the first is best


def test_a_checkpoint_holds_no_code(tmp_path: Path, uninterrupted: Run) -> None:
    names = {path.name for folder in uninterrupted.folder.iterdir() for path in folder.iterdir()}
    tensors = {"model", "optimizer", "random", "ema"}
    assert names == {"manifest.json", "state.json"} | {f"{name}.safetensors" for name in tensors}
    saved = load_file(uninterrupted.folder / "step-00000009" / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in uninterrupted.model.named_parameters())


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
def interrupted_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was interrupted with checkpoints of steps 3 and 4."""
    run = interrupted(tmp_path_factory.mktemp("broken"), 14)
    assert saved_steps(run.folder) == [3, 4]
    return run


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_any_file_is_detected_and_the_previous_checkpoint_is_used(
    tmp_path: Path, interrupted_run: Run, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    names = [path.name for path in (interrupted_run.folder / "step-00000004").iterdir()]
    assert len(names) == 6
    for name in [*names, None]:
        folder = tmp_path / str(name)
        shutil.copytree(interrupted_run.folder, folder)
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


@pytest.mark.slow
def test_every_single_bit_of_a_manifest_counts(tmp_path: Path, interrupted_run: Run) -> None:
    shutil.copytree(interrupted_run.folder, tmp_path / "copy")
    manifest = tmp_path / "copy" / "step-00000004" / "manifest.json"
    whole = manifest.read_bytes()
    for position in range(len(whole)):
        manifest.write_bytes(flip_bit(whole, position))
        assert checkpoints.find_damage(manifest.parent) is not None, position
    manifest.write_bytes(whole)
    assert checkpoints.find_damage(manifest.parent) is None


def test_a_run_resumes_from_the_previous_checkpoint_and_replaces_the_damaged_one(
    tmp_path: Path, interrupted_run: Run, uninterrupted: Run
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(interrupted_run.folder, folder)
    file = folder / "step-00000004" / "optimizer.safetensors"
    file.write_bytes(flip_bit(file.read_bytes(), 5000))
    again = Run(folder, log=list(interrupted_run.log), best=list(interrupted_run.best))
    again.start(resume=True)
    assert_same_end(again, uninterrupted)


def test_a_damaged_checkpoint_does_not_displace_an_intact_one(tmp_path: Path, interrupted_run: Run) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(interrupted_run.folder, folder)
    shutil.copytree(folder / "step-00000004", folder / "step-00000009")
    (folder / "step-00000009" / "state.json").unlink()
    found = checkpoints.Checkpoints(folder, keep=2)
    snapshot = found.read_newest()
    assert snapshot is not None
    assert found.save(5, snapshot, best_step=None)
    assert saved_steps(folder) == [4, 5]


def bad_disk(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def read_only(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def full_disk(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "fault"),
    [("os.fsync", full_disk), ("os.fsync", bad_disk), ("os.fsync", read_only), ("save_file", full_disk),
     ("os.rename", bad_disk), ("Path.mkdir", read_only), ("Path.write_bytes", full_disk)],
)  # fmt: skip
def test_a_failing_disk_stops_no_run_and_harms_no_checkpoint(
    tmp_path: Path,
    uninterrupted: Run,
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
    assert_same_end(run, uninterrupted)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000003", "step-00000004"]
    number = {full_disk: errno.ENOSPC, bad_disk: errno.EIO, read_only: errno.EROFS}[fault]
    assert f"step-00000006: cannot be written ({os.strerror(number)})" in caplog.text
    assert all("the newest is step-00000004" in record.getMessage() for record in caplog.records)
    again = run.go_on()
    again.start(resume=True)
    assert_same_end(again, uninterrupted)


def test_everything_is_synced_before_a_checkpoint_gets_its_name(
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


def test_a_kill_between_the_renames_of_a_save_loses_nothing(
    tmp_path: Path, interrupted_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint of the same step takes another's place: for a moment neither has its name."""
    shutil.copytree(interrupted_run.folder, tmp_path, dirs_exist_ok=True)
    folder = checkpoints.Checkpoints(tmp_path, keep=2)
    before = folder.read(4)
    assert before is not None
    after = checkpoints.Snapshot(tensors=before.tensors, values={**before.values, "progress": "evaluated"})
    rename = os.rename

    def killed(source: Any, target: Any) -> None:
        if Path(target).name == "step-00000004":
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            folder.save(4, after, best_step=None)
    assert folder.steps() == [3]
    found = folder.read_newest()
    assert found is not None
    assert found.values == after.values
    assert folder.steps() == [4, 3]


def test_leftovers_of_a_kill_during_a_save_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-step-00000099").mkdir()
    (tmp_path / ".unfinished-step-00000099" / "model.safetensors").write_bytes(b"half")
    Run(tmp_path).start(resume=True)
    assert all(path.name.startswith("step-") for path in tmp_path.iterdir())
