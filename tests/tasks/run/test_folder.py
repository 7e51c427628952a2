"""A run owns its folder: a second one is refused, a failed one takes nothing away but its own files. And its log."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import rows, write

from minibert.errors import InputError
from tasks import registry
from tasks.run import folder as run_folder
from tasks.run import train as training
from tasks.run.lock import LOCK_FILE, locked

OPTIONS = ["--weights", "random", "--epochs", "1", "--precision", "fp32", "--no-baseline", "--text-column", "headline"]
OPTIONS += ["--label-column", "is_good"]


@pytest.fixture
def train(tmp_path: Path, narrow_models: None) -> list[str]:
    return ["--train", write(tmp_path / "train.jsonl", rows(40)), *OPTIONS]


def names(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def test_a_second_run_is_refused_by_name_and_changes_nothing(train: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    for options in ([], ["--resume"], ["--seeds", "2"], ["--seeds", "2", "--resume"]):
        out.mkdir(exist_ok=True)
        with (
            locked(out),
            pytest.raises(InputError, match=rf"--out .*out: process {os.getpid()} on .* is running in it"),
        ):
            registry.run("classification", [*train, "--out", str(out), *options])
        assert names(out) == set()


def test_a_run_of_a_grid_is_locked_as_well(train: list[str], tmp_path: Path) -> None:
    cell = tmp_path / "out" / "run-42"
    cell.mkdir(parents=True)
    (cell / "settings.toml").touch()
    with locked(cell), pytest.raises(InputError, match=r"run-42: process .* is running in it"):
        registry.run("classification", [*train, "--out", str(tmp_path / "out"), "--seeds", "2", "--resume"])


def test_the_folder_is_locked_while_a_run_trains_and_reports(
    train: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, refused = tmp_path / "out", []

    def check(*arguments: Any) -> Any:
        with pytest.raises(InputError, match="is running in it") as error, locked(out):
            pass
        refused.append(error)
        return out

    monkeypatch.setattr(training, "write_run_report", check)
    registry.run("classification", [*train, "--out", str(out)])
    assert refused
    assert LOCK_FILE not in names(out)
    with locked(out):
        pass


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with locked(tmp_path):
            os.write(writer, b"x")
            signal.pause()
        os._exit(0)
    os.read(reader, 1)
    try:
        with pytest.raises(InputError, match=f"process {pid} on"), locked(tmp_path):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    with locked(tmp_path):  # though the file of the killed process is still there
        pass
    assert names(tmp_path) == set()


def test_the_place_of_a_lock_cannot_lead_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "victim").write_text("theirs", encoding="utf-8")
    (tmp_path / "out" / LOCK_FILE).symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "out"):
        pass
    assert (tmp_path / "victim").read_text(encoding="utf-8") == "theirs"


class Reached(Exception):
    """Training would begin now."""


def test_settings_are_compared_where_there_is_no_checkpoint_yet(
    train: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, left = tmp_path / "out", tmp_path / "left.toml"

    def killed(run: Any) -> Any:
        left.write_bytes((run.folder / "settings.toml").read_bytes())
        raise Reached

    monkeypatch.setattr(training, "fit", killed)
    with pytest.raises(Reached):
        registry.run("classification", [*train, "--out", str(out)])
    out.mkdir()
    (out / "settings.toml").write_bytes(left.read_bytes())  # as a kill in the first epoch leaves it
    with pytest.raises(InputError, match=r"--resume: --lr changed: was .*, is now 0\.002"):
        registry.run("classification", [*train, "--out", str(out), "--resume", "--lr", "2e-3"])
    assert names(out) == {"settings.toml"}
    with pytest.raises(Reached):
        registry.run("classification", [*train, "--out", str(out), "--resume"])


def test_a_failed_run_takes_nothing_away_but_its_own_files(
    train: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def fails(run: Any) -> Any:
        run_folder.RunLog(run.folder).write({"step": 1})
        assert {"settings.toml", "tokenizer.json", "train_log.jsonl"} <= names(run.folder)
        (run.folder / "notes").mkdir()
        (run.folder / "notes" / "mine.txt").write_text("hours of work", encoding="utf-8")
        (run.folder / "labels.jsonl").touch()
        raise InputError("the run fails.")

    monkeypatch.setattr(training, "fit", fails)
    with pytest.raises(InputError, match="the run fails"):
        registry.run("classification", [*train, "--out", str(out)])
    assert names(out) == {"notes", "labels.jsonl"}
    assert (out / "notes" / "mine.txt").read_text(encoding="utf-8") == "hours of work"


def test_a_folder_that_was_there_stays_though_the_run_fails(
    train: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()

    def fails(run: Any) -> Any:
        raise InputError("the run fails.")

    monkeypatch.setattr(training, "fit", fails)
    with pytest.raises(InputError, match="the run fails"):
        registry.run("classification", [*train, "--out", str(tmp_path / "out")])
    assert names(tmp_path / "out") == set()


@pytest.mark.parametrize("content", ["{}", '{"settings": 3, "data": {}}', '{"settings": {}, "data": {"dev": 1}}', "[]"])
def test_a_record_with_another_schema_is_refused_by_name(content: str, train: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "settings.toml").touch()
    (out / "metrics.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"metrics\.json: ") as error:
        registry.run("classification", [*train, "--out", str(out), "--resume"])
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8")) == json.loads(content)
    assert "KeyError" not in str(error.value)


@pytest.mark.slow
def test_a_limit_of_infinity_is_recorded_as_text(train: list[str], tmp_path: Path) -> None:
    """JSON has no number for it."""
    out = tmp_path / "out"
    (tmp_path / "more.toml").write_text("max_grad_norm = inf\n", encoding="utf-8")
    command = [*train, "--config", str(tmp_path / "more.toml"), "--out", str(out)]
    registry.run("classification", command)
    registry.run("classification", [*command, "--resume"])  # the same settings
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["settings"]["max_grad_norm"] == "inf"


def test_a_log_that_cannot_be_written_is_written_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = run_folder.RunLog(tmp_path)
    log.write({"step": 1})
    (tmp_path / "train_log.jsonl").rename(tmp_path / "moved")
    (tmp_path / "train_log.jsonl").mkdir()
    log.write({"step": 2})
    assert "train_log.jsonl: cannot be written" in caplog.text
    (tmp_path / "train_log.jsonl").rmdir()
    (tmp_path / "moved").rename(tmp_path / "train_log.jsonl")
    log.write({"step": 3})
    records = [json.loads(line) for line in (tmp_path / "train_log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3]


def test_the_seconds_of_a_log_go_on(tmp_path: Path) -> None:
    path = tmp_path / "train_log.jsonl"
    path.write_text('{"step": 1, "seconds": 500.0}\n{"step": 2, "seconds": 1000.0}\n', encoding="utf-8")
    log = run_folder.RunLog(tmp_path)
    log.truncate(1)
    log.write({"step": 2})
    first, second = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert first == {"step": 1, "seconds": 500.0}
    assert 500 <= second["seconds"] < 1000
