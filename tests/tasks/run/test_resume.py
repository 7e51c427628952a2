"""The commands when something comes between: signals, kills, restarts, and more processes than one."""

import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import ENVIRONMENT
from safetensors.torch import load_file

from minibert import files
from minibert.errors import InputError
from minibert.training import checkpoints, distributed
from tasks import registry
from tasks.run import train as training
from tasks.run.console import run_main

SMALL = ["--weights", "random", "--epochs", "4", "--batch-size", "8", "--precision", "fp32", "--no-baseline"]


# What is left of a kill before the first checkpoint: the settings of SMALL.
LEFT = """
weights = "random"
pooling = "first"
epochs = 4
batch_size = 8
precision = "fp32"
r_drop = 1.0
baseline = false
text_column = "text"
"""


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """``run_main`` changes the handler of the whole process."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def train(tmp_path: Path) -> str:
    rows = [{"text": f"{'good' if i % 2 else 'bad'} thing number {i}", "label": str(i % 2)} for i in range(200)]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def figures(out: Path) -> Any:
    """What must not depend on interruptions: the final figures, and those of each epoch but the times."""
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    times = ("train_seconds", "tokens_per_second")
    epochs = [{key: value for key, value in epoch.items() if key not in times} for epoch in metrics["epochs"]]
    return metrics["final"], epochs


def same_weights(a: Path, b: Path) -> bool:
    return (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def log_steps(out: Path) -> list[tuple[Any, Any]]:
    records = [json.loads(line) for line in (out / "train_log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(record.get("step"), record["epoch"]) for record in records]


@pytest.mark.slow
def test_a_stopped_command_says_how_to_go_on_and_ends_as_if_nothing_had_happened(train: str, tmp_path: Path) -> None:
    options = ["--train", train, *SMALL]
    whole = registry.run("classification", [*options, "--out", str(tmp_path / "whole")])
    assert whole is not None

    out = tmp_path / "out"
    typed = [sys.executable, "-m", "tasks.classification", *options, "--out", str(out), "--save-steps", "3"]
    process = subprocess.Popen(typed, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "stopped by SIGTERM after step" in error
    assert f"To resume: python -m tasks.classification --train {train}" in error
    assert error.rstrip().endswith("--save-steps 3 --resume")
    assert not (out / "metrics.json").exists()

    registry.run("classification", [*options, "--out", str(out), "--save-steps", "3", "--resume"])
    assert figures(out) == figures(whole)
    assert same_weights(out, whole)
    assert log_steps(out) == log_steps(whole)


@pytest.mark.usefixtures("narrow_models")
@pytest.mark.slow
def test_resume_starts_where_there_is_nothing_and_is_harmless_where_all_is_done(train: str, tmp_path: Path) -> None:
    options = ["--train", train, *SMALL, "--out", str(tmp_path / "out"), "--save-steps", "30", "--resume"]
    out = registry.run("classification", options)
    assert out is not None
    before = figures(out)
    registry.run("classification", options)
    assert figures(out) == before
    assert log_steps(out).count((None, 4)) == 1


@pytest.mark.usefixtures("narrow_models")
@pytest.mark.slow
def test_what_changed_is_refused_by_name_and_nothing_is_lost(train: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--train", train, *SMALL, "--out", str(out), "--save-steps", "30"]
    registry.run("classification", options)
    kept = contents(out)
    with pytest.raises(InputError, match=r"--resume: --lr changed: was 0\.0005, is now 0\.002"):
        registry.run("classification", [*options, "--resume", "--lr", "2e-3"])
    with open(train, "a", encoding="utf-8") as file:
        file.write('\n{"text": "a good new thing", "label": "1"}')
    with pytest.raises(InputError, match=r"--resume: the .* changed"):
        registry.run("classification", [*options, "--resume"])
    with pytest.raises(
        InputError, match=r"--out .*: is not empty; continue the run in it with --resume, or name a new folder"
    ):
        registry.run("classification", options)
    assert contents(out) == kept
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    with pytest.raises(InputError, match="contains no run of this kind"):
        registry.run("classification", ["--train", train, *SMALL, "--out", str(tmp_path / "other"), "--resume"])
    with pytest.raises(InputError, match="--resume: needs --out"):
        registry.run("classification", ["--train", train, *SMALL, "--resume"])


@pytest.mark.usefixtures("narrow_models")
@pytest.mark.slow
def test_a_finished_run_without_checkpoints_is_not_trained_over(train: str, tmp_path: Path) -> None:
    options = ["--train", train, *SMALL, "--epochs", "1", "--out", str(tmp_path / "out"), "--resume"]
    out = registry.run("classification", options)
    assert out is not None
    kept = contents(out)
    registry.run("classification", options)
    assert contents(out) == kept
    with pytest.raises(InputError, match="--resume: --lr changed"):
        registry.run("classification", [*options, "--lr", "2e-3"])
    assert contents(out) == kept
    for name, advice in (("report.html", f"python -m tasks.report {out} makes it again"), ("metrics.json", "--out")):
        (out / name).unlink()
        del kept[name]
        with pytest.raises(InputError, match=f"holds a finished run without its {name}.*{advice}"):
            registry.run("classification", options)
        assert contents(out) == kept


@pytest.mark.usefixtures("narrow_models")
@pytest.mark.slow
def test_one_run_and_several_are_not_taken_for_each_other(train: str, tmp_path: Path) -> None:
    one, several = tmp_path / "one", tmp_path / "several"
    options = ["--train", train, *SMALL, "--epochs", "1"]
    registry.run("classification", [*options, "--out", str(one)])
    registry.run("classification", [*options, "--out", str(several), "--seeds", "2"])
    kept = contents(one), contents(several)
    with pytest.raises(InputError, match="contains no run of this kind"):
        registry.run("classification", [*options, "--out", str(several), "--resume"])
    with pytest.raises(InputError, match="contains no run of this kind"):
        registry.run("classification", [*options, "--out", str(one), "--resume", "--seeds", "2"])
    with pytest.raises(InputError, match="--lr changed"):
        registry.run("classification", [*options, "--out", str(several), "--resume", "--seeds", "3", "--lr", "2e-3"])
    assert (contents(one), contents(several)) == kept


@pytest.mark.usefixtures("narrow_models")
def test_a_failed_run_takes_only_its_own_new_folder_away(train: str, tmp_path: Path) -> None:
    out, options = tmp_path / "out", ["--train", train, *SMALL, "--lr", "1e30"]
    with pytest.raises(InputError, match="diverged"):
        registry.run("classification", [*options, "--out", str(out)])
    assert not out.exists()
    out.mkdir()
    (out / "settings.toml").write_text(LEFT + f"train = {json.dumps(train)}\nlr = 1e30\n", encoding="utf-8")
    (out / ".model.safetensors.123.tmp").touch()
    (out / "notes.txt").touch()
    with pytest.raises(InputError, match="diverged"):
        registry.run("classification", [*options, "--out", str(out), "--resume"])
    assert {"notes.txt", "settings.toml"} <= {path.name for path in out.iterdir()}
    assert not list(out.glob(".*"))


@pytest.mark.usefixtures("narrow_models")
@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_after_training_says_what_is_left(
    train: str, tmp_path: Path, number: int, status: int, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A checkpoint of the end of training, which goes when the report is there unless checkpoints were asked for."""
    options = ["--train", train, *SMALL, "--epochs", "1"]
    for place, saving in (("_load_best", ["--save-steps", "9"]), ("_load_best", []), ("write_run_report", [])):
        out = tmp_path / f"{place}{len(saving)}"
        command = [*options, "--out", str(out), *saving]
        with monkeypatch.context() as patch:
            patch.setattr(training, place, lambda *_: signal.raise_signal(number))
            with pytest.raises(SystemExit) as stop:
                run_main(partial(registry.run, "classification", command))
        assert stop.value.code == status
        error = capsys.readouterr().err
        assert f"saved to {out}/checkpoints/step-00000023.\nTo resume: python -m tasks.classification" in error
        logged = log_steps(out)
        registry.run("classification", [*command, "--resume"])
        assert "resumes after epoch 1\n" in capsys.readouterr().out
        assert log_steps(out) == logged  # nothing was trained again
        assert (out / "report.html").exists()
        assert (out / "checkpoints").exists() == bool(saving)


@pytest.mark.usefixtures("narrow_models")
def test_a_signal_after_training_without_a_checkpoint_says_that_the_model_is_there(
    train: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "_write", full)
    monkeypatch.setattr(training, "_load_best", lambda *_: signal.raise_signal(signal.SIGTERM))
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stop:
        run_main(lambda: registry.run("classification", ["--train", train, *SMALL, "--epochs", "1", "--out", str(out)]))
    assert stop.value.code == 143
    error = capsys.readouterr().err
    assert "holds the trained model, but no figures, no report and no checkpoint" in error
    assert "To resume" not in error
    assert (out / "model.safetensors").exists()


@pytest.mark.usefixtures("narrow_models")
@pytest.mark.slow
def test_several_runs_stopped_between_two_say_how_to_go_on(
    train: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out = tmp_path / "out"

    prepare = training.prepare

    def stopped_in_the_second(task: Any) -> Any:
        if task.settings.seed == 43:
            signal.raise_signal(signal.SIGTERM)
        return prepare(task)

    monkeypatch.setattr(training, "prepare", stopped_in_the_second)
    options = ["--train", train, *SMALL, "--epochs", "1", "--seeds", "2", "--out", str(out)]
    with pytest.raises(SystemExit) as stop:
        run_main(lambda: registry.run("classification", options))
    assert stop.value.code == 143
    assert f"--seeds 2 --out {out} --resume" in capsys.readouterr().err
    assert (out / "run-42" / "metrics.json").exists()


@pytest.mark.usefixtures("narrow_models")
@pytest.mark.parametrize("name", ["metrics.json", "predictions-dev.jsonl", "report.html"])
def test_a_full_disk_after_training_says_how_to_go_on(
    name: str, train: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    replace_whole = files.replace_whole

    def full(target: Path, temporary: Path) -> None:
        if target.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace_whole(target, temporary)

    options = ["--train", train, *SMALL, "--epochs", "1", "--out", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(files, "replace_whole", full)
        with pytest.raises(InputError, match=rf"{name}: .*No space left.*; make room, and --resume goes on from step-"):
            registry.run("classification", options)
    shown = capsys.readouterr().out
    assert "accuracy" in shown
    assert f"saved to {tmp_path / 'out'}" in shown
    registry.run("classification", [*options, "--resume"])
    shown = capsys.readouterr().out
    assert "resumes after epoch 1\n" in shown
    assert "epoch  1:" not in shown  # nothing was trained again


@pytest.mark.usefixtures("narrow_models")
@pytest.mark.slow
def test_a_comparison_goes_on_where_it_stopped(train: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = ["--task", "classification", "--arch", "bert", "albert", "--train", train, *SMALL, "--epochs", "1"]
    registry.run("compare", [*options, "--out", str(out)])
    before = json.loads((out / "comparison.json").read_text(encoding="utf-8"))["rows"]
    shutil.rmtree(out / "albert-42")
    (out / "comparison.json").unlink()
    capsys.readouterr()
    registry.run("compare", [*options, "--out", str(out), "--resume"])
    assert capsys.readouterr().out.count("already complete") == 1
    after = json.loads((out / "comparison.json").read_text(encoding="utf-8"))["rows"]
    assert [row["values"] for row in after] == [row["values"] for row in before]


def torchrun(processes: int, arguments: list[str], restarts: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command += ["--max-restarts", str(restarts), *arguments]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.usefixtures("narrow_models")
@pytest.mark.slow
def test_two_processes_leave_the_run_of_one(tmp_path: Path) -> None:
    """Without dropout, so that their random numbers do not matter; windows and words of entities are shared out.

    From random weights, whose gradients stand well above rounding: Adam divides by their size.
    """
    words = [("Ann went to Rome .", "B-PER O O B-LOC O"), ("Bob saw York and Ann .", "B-PER O B-LOC O B-PER O")] * 20
    text = "\n\n".join(
        "\n".join(f"{w} {t}" for w, t in zip(text.split(), tags.split(), strict=True)) for text, tags in words
    )
    (tmp_path / "train.txt").write_text(text, encoding="utf-8")
    files = ["--train", str(tmp_path / "train.txt"), "--dev", str(tmp_path / "train.txt")]
    once = ["--epochs", "1", "--weights", "random", "--precision", "fp32", "--out", str(tmp_path / "start")]
    start = registry.run("ner", [*files, *once])
    config = json.loads((start / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
    (start / "config.json").write_text(json.dumps(config))
    options = ["--weights", str(start), *files]
    options += ["--epochs", "2", "--batch-size", "7", "--precision", "fp32", "--lr", "1e-4"]
    one = registry.run("ner", [*options, "--out", str(tmp_path / "one")])
    run = torchrun(2, ["-m", "tasks.ner", *options, "--out", str(tmp_path / "two")])
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("saved to") == 1
    two = tmp_path / "two"
    assert "2 processes" in json.loads((two / "metrics.json").read_text())["device"]
    for mine, theirs in zip(figures(one)[1], figures(two)[1], strict=True):
        assert theirs["train_loss"] == pytest.approx(mine["train_loss"], rel=1e-5)
        assert theirs["strict_f1"] == mine["strict_f1"]
    ours, others = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert all((ours[name] - others[name]).abs().max() < 1e-5 for name in ours)


@pytest.mark.slow
def test_processes_with_different_data_are_refused(train: str, tmp_path: Path) -> None:
    """They would take different numbers of steps, and wait for each other for ever."""
    lines = Path(train).read_text(encoding="utf-8").splitlines()
    (tmp_path / "train-1.jsonl").write_text("\n".join(lines + lines), encoding="utf-8")
    Path(train).rename(tmp_path / "train-0.jsonl")
    script = (
        "import os; from tasks.registry import run; "
        f"run('classification', ['--train', '{tmp_path}/train-' + os.environ['RANK'] + '.jsonl', "
        f"'--out', '{tmp_path}/out', *{SMALL}])"
    )
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    run = torchrun(2, [str(tmp_path / "script.py")])
    assert run.returncode != 0
    assert (
        "the train file differs between processes 0 and 1" in run.stderr or "number of training examples" in run.stderr
    )


def test_torchrun_needs_a_folder_by_name(train: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(InputError, match="--out: needed under torchrun"):
        registry.run("classification", ["--train", train, *SMALL])


@pytest.mark.slow
def test_a_restart_does_not_go_on_with_a_run_that_was_refused(train: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "settings.toml").write_text("lr = 0.1", encoding="utf-8")
    options = ["--train", train, *SMALL, "--epochs", "1", "--out", str(out)]
    run = torchrun(1, ["-m", "tasks.classification", *options], restarts=1)
    assert run.returncode != 0
    assert run.stderr.count("is not empty") == 2
    assert contents(out) == {"settings.toml": b"lr = 0.1"}


@pytest.mark.usefixtures("narrow_models")
@pytest.mark.slow
def test_tensorboard_shows_each_step_once_after_a_resume(train: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "out"
    options = ["--train", train, *SMALL, "--out", str(out), "--save-steps", "30", "--tensorboard"]
    registry.run("classification", options)
    (out / "metrics.json").unlink()
    for path in sorted(out.glob("checkpoints/step-*"))[1:]:
        shutil.rmtree(path)
    registry.run("classification", [*options, "--resume"])
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("epoch/train_loss")]
    losses = [epoch["train_loss"] for epoch in figures(out)[1]]
    assert [step for step, _ in shown] == [23, 46, 69, 92]
    assert [value for _, value in shown] == pytest.approx(losses)
