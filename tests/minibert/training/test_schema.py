"""Checkpoints whose hashes are right and whose content is not: skipped with the reason, like damaged ones."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_runs import Run, interrupted, saved_steps

from minibert.training.checkpoints import _manifest

Change = Callable[[Any], Any]


def values(**changes: Any) -> Callable[[Path], None]:
    """Changes fields of state.json; a name such as progress__epoch is a field within a field."""

    def change(folder: Path) -> None:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        for name, value in changes.items():
            *outer, last = name.split("__")
            place = state
            for key in outer:
                place = place[key]
            if value is DELETED:
                del place[last]
            else:
                place[last] = value
        (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")

    return change


def tensors(file: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        found = load_file(folder / f"{file}.safetensors")
        change(found)
        save_file(found, folder / f"{file}.safetensors")

    return apply


def text(content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "state.json").write_text(content, encoding="utf-8") and None


def first(found: dict[str, torch.Tensor]) -> str:
    return next(iter(found))


DELETED = object()
DAMAGE: dict[str, Callable[[Path], None]] = {
    "an empty object": text("{}"),
    "a list": text("[1]"),
    "nested": text("[" * 100_000),
    "no progress": values(progress=DELETED),
    "an odd progress": values(progress=[1]),
    "a field too many": values(progress__more=1),
    "an epoch of text": values(progress__epoch="3"),
    "a step without end": values(progress__step=10**400),
    "no micro-batch": values(progress__micro_batch_size=0),
    "a history of numbers": values(progress__history=[1, 2]),
    "a step behind the last one": values(progress__step=10**6),
    "a scaler of text": values(scaler={"scale": "x"}),
    "no fingerprint": values(fingerprint=7),
    "no weights": tensors("model", lambda found: found.pop(first(found))),
    "weights of another shape": tensors("model", lambda found: found.update({first(found): torch.zeros(1)})),
    "whole numbers": tensors("model", lambda found: found.update({first(found): found[first(found)].int()})),
    "moments of another": tensors("optimizer", lambda found: found.update({"x/step": torch.zeros(())})),
    "one moment of three": tensors("optimizer", lambda found: found.pop(first(found))),
    "a short random state": tensors("random", lambda found: found.update({"0/torch": torch.zeros(3).byte()})),
    "no random state": tensors("random", lambda found: found.pop("0/python")),
    "random numbers out of range": tensors("random", lambda found: found["0/numpy"].fill_(-1)),
    "no average": lambda folder: (folder / "ema.safetensors").unlink(),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of a run that was interrupted: of the second and the fourth step."""
    folder = tmp_path_factory.mktemp("source")
    interrupted(folder, 15)
    return folder


@pytest.mark.parametrize("name", DAMAGE)
def test_a_wrong_schema_is_skipped_and_the_one_before_is_taken(
    name: str, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            (tmp_path / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path.relative_to(source)).write_bytes(path.read_bytes())
    newest = tmp_path / f"step-{saved_steps(tmp_path)[-1]:08}"
    DAMAGE[name](newest)
    (newest / "manifest.json").write_bytes(_manifest(newest))
    trainer = Run(tmp_path).trainer(resume=True)
    with caplog.at_level(logging.WARNING):
        assert trainer._saver.restore_newest()
    assert f"{newest.name}: not used, because it is damaged" in caplog.text
    assert trainer._state.progress.step == saved_steps(tmp_path)[-2]


def test_a_pipe_in_a_checkpoint_does_not_stop_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "step-00000002").mkdir()
    os.mkfifo(tmp_path / "step-00000002" / "model.safetensors")
    (tmp_path / "step-00000002" / "manifest.json").write_text("{}", encoding="utf-8")
    assert not Run(tmp_path).trainer(resume=True)._saver.restore_newest()
    assert "not a regular file" in caplog.text


def test_what_a_run_saves_has_the_schema(source: Path) -> None:
    trainer = Run(source).trainer(resume=True)
    assert trainer._saver.restore_newest()
    assert trainer._state.progress.step == saved_steps(source)[-1]


@pytest.mark.parametrize(("threads", "warned"), [(1, False), (7, True), ("many", True), (None, False)])
def test_another_number_of_threads_is_warned_of(
    threads: Any, warned: bool, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Sums in another order differ in the last bits; None stands for a checkpoint of an older version."""
    newest = f"step-{saved_steps(source)[-1]:08}"
    shutil.copytree(source / newest, tmp_path / newest)
    values(threads=DELETED if threads is None else threads)(tmp_path / newest)
    (tmp_path / newest / "manifest.json").write_bytes(_manifest(tmp_path / newest))
    assert Run(tmp_path).trainer(resume=True)._saver.restore_newest()
    assert ("OMP_NUM_THREADS" in caplog.text) is warned
