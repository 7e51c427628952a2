"""The command: survivors are exact runs, a search that was killed goes on, and a failure costs one trial."""

import contextlib
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ENVIRONMENT, use_narrow_models
from report_pages import Page

from minibert.errors import Diverged, InputError
from minibert.training import Trainer
from tasks import registry
from tasks.predict import load
from tasks.search.search import Search

pytestmark = pytest.mark.usefixtures("narrow_models")

SPACE = ["--lr", "1e-4..1e-2", "--batch-size", "8", "16"]
TIMES = ("train_seconds", "tokens_per_second")
EPOCHS, BUDGET = 9, 9


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Texts whose label is not easy to see, so that figures differ."""
    rows = [
        {"text": f"{'good' if i * i % 7 > 2 else 'bad'} thing {i % 5}", "label": str(i * i % 11 % 2)} for i in range(48)
    ]
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def options(train: str, *, epochs: int = EPOCHS) -> list[str]:
    """Of the task, the same for every trial."""
    fixed = ["--train", train, "--dev-share", "0.3", "--weights", "random", "--precision", "fp32", "--no-baseline"]
    return [*fixed, "--epochs", str(epochs)]


def search(train: str, out: Path, *more: str, budget: int = BUDGET, epochs: int = EPOCHS) -> Path:
    given = SPACE if not more or "--lr" not in more else []
    arguments = ["--task", "classification", "--budget", str(budget), *given, *options(train, epochs=epochs)]
    folder: Path = registry.run("search", [*arguments, "--out", str(out), *more])
    return folder


def record(folder: Path) -> Any:
    return json.loads((folder / "search.json").read_text(encoding="utf-8"))


def outcome(folder: Path) -> Any:
    """What must not depend on interruptions: all figures, the winner, and the bits of the weights that are left."""
    found = record(folder)
    trials = [
        {**trial, "history": [{k: v for k, v in epoch.items() if k not in TIMES} for epoch in trial["history"]]}
        for trial in found["trials"]
    ]
    weights = {path.parent.name: path.read_bytes() for path in folder.glob("*/model.safetensors")}
    return trials, found["winner"]["trial"], found["winner"]["final"], found["epochs_trained"], weights


@pytest.fixture(scope="module")
def counted(train: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """A search that nothing interrupts, and how often its trials called methods of the trainer."""
    counts = dict.fromkeys(("_train_epoch", "_take_step"), 0)
    with pytest.MonkeyPatch.context() as patch:
        use_narrow_models(patch)
        for name in counts:
            patch.setattr(Trainer, name, counting(getattr(Trainer, name), counts, name))
        return search(train, tmp_path_factory.mktemp("whole") / "out"), counts


def counting(method: Callable[..., None], counts: dict[str, int], name: str) -> Callable[..., None]:
    def counted(*arguments: Any) -> None:
        counts[name] += 1
        method(*arguments)

    return counted


@pytest.fixture(scope="module")
def whole(counted: tuple[Path, dict[str, int]]) -> Path:
    return counted[0]


@pytest.mark.slow
def test_the_winner_is_to_the_bit_the_run_that_its_command_makes(whole: Path, train: str, tmp_path: Path) -> None:
    """Whose schedule is that of all epochs from the start, and which nothing pauses."""
    winner = record(whole)["winner"]
    command = shlex.split(winner["command"])
    assert command[:3] == ["python", "-m", "tasks.classification"]
    alone = registry.run("classification", [*command[3:], "--out", str(tmp_path / "alone")])
    trial = whole / winner["trial"]
    assert (alone / "model.safetensors").read_bytes() == (trial / "model.safetensors").read_bytes()
    mine, its = (json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in (trial, alone))
    assert mine["final"] == its["final"]
    rows = [[{k: v for k, v in epoch.items() if k not in TIMES} for epoch in run["epochs"]] for run in (mine, its)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == EPOCHS


@pytest.mark.slow
def test_the_best_third_goes_on_and_the_rest_costs_no_more_epochs_or_disk(
    counted: tuple[Path, dict[str, int]],
) -> None:
    whole, counts = counted
    found = record(whole)
    assert [(each["trials"], each["epochs"]) for each in found["rounds"]] == [(9, 1), (3, 3), (1, 9)]
    epochs = sorted(len(trial["history"]) for trial in found["trials"])
    assert epochs == [1] * 6 + [3] * 2 + [9]
    assert found["epochs_trained"] == counts["_train_epoch"] == sum(epochs) <= BUDGET * EPOCHS / 3
    for limit, survivors in ((1, 3), (3, 1)):
        in_round = [trial for trial in found["trials"] if len(trial["history"]) >= limit]
        best = {trial["name"]: max(epoch["accuracy"] for epoch in trial["history"][:limit]) for trial in in_round}
        went_on = [trial["name"] for trial in in_round if len(trial["history"]) > limit]
        assert len(went_on) == survivors
        stopped = [best[name] for name in best if name not in went_on]
        assert min(best[name] for name in went_on) >= max(stopped)
    assert [path.parent.name for path in whole.glob("*/model.safetensors")] == [found["winner"]["trial"]]
    assert not list(whole.glob("*/checkpoints"))
    assert len(list(whole.glob("*/train_log.jsonl"))) == BUDGET


class PowerCut(BaseException):
    """Ends a search like a crash: only its files are left."""


def failing_at(call: int, method: Callable[..., None]) -> Callable[..., None]:
    """A method whose ``call``-th call, counted from 1, raises; later ones do not."""
    calls = iter(range(1, 1_000_000))

    def failing(*arguments: Any) -> None:
        if next(calls) == call:
            raise PowerCut
        method(*arguments)

    return failing


@pytest.mark.slow
@pytest.mark.parametrize("case", range(5))
def test_a_search_that_is_killed_in_any_step_ends_as_if_nothing_had_happened(
    case: int, counted: tuple[Path, dict[str, int]], train: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, counts = counted
    step = random.Random(case).randint(1, counts["_take_step"])
    monkeypatch.setattr(Trainer, "_take_step", failing_at(step, Trainer._take_step))
    with pytest.raises(PowerCut):
        search(train, tmp_path / "out")
    assert "winner" not in record(tmp_path / "out")
    search(train, tmp_path / "out", "--resume")
    assert outcome(tmp_path / "out") == outcome(whole)


@pytest.mark.slow
@pytest.mark.parametrize("call", [2, 11, 14])
def test_nothing_is_lost_or_trained_again_between_a_checkpoint_and_its_record(
    call: int, counted: tuple[Path, dict[str, int]], train: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a trial of the first round, of the second, and the last one."""
    whole, counts = counted
    again = {"_train_epoch": 0}
    monkeypatch.setattr(Trainer, "_train_epoch", counting(Trainer._train_epoch, again, "_train_epoch"))
    monkeypatch.setattr(Search, "_write", failing_at(call, Search._write))
    with pytest.raises(PowerCut):
        search(train, tmp_path / "out")
    search(train, tmp_path / "out", "--resume")
    assert outcome(tmp_path / "out") == outcome(whole)
    assert again == {"_train_epoch": counts["_train_epoch"]}


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_a_search_that_goes_on(train: str, tmp_path: Path) -> None:
    """With models of the usual size, since it is another process."""
    out = tmp_path / "out"
    arguments = ["--task", "classification", "--budget", "3", *SPACE, *options(train, epochs=3), "--out"]
    typed = [sys.executable, "-m", "tasks.search", *arguments, str(out)]
    process = subprocess.Popen(typed, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "trial-002" / "train_log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len([trial for trial in record(out)["trials"] if trial["history"]]) in (1, 2)
    subprocess.run([*typed, "--resume"], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*typed[:-1], str(tmp_path / "whole")], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    assert outcome(out) == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_a_trial_that_diverges_costs_itself_alone(
    train: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = search(train, tmp_path / "out", "--lr", "1e-3", "2e-3", "1e30", budget=3, epochs=3)
    found = record(folder)
    failed = next(trial for trial in found["trials"] if trial["settings"]["lr"] == 1e30)
    assert "is nan" in failed["failure"]
    assert [trial["failure"] for trial in found["trials"] if trial is not failed] == [None, None]
    assert found["winner"]["trial"] != failed["name"]
    assert f"note: {failed['name']} failed: {failed['failure']}" in capsys.readouterr().out
    assert not list((folder / failed["name"]).glob("checkpoints/*"))
    before = outcome(folder)
    search(train, tmp_path / "out", "--lr", "1e-3", "2e-3", "1e30", "--resume", budget=3, epochs=3)
    assert outcome(folder) == before  # a search that is over stays as it is, and the failed trial is not tried again


@pytest.mark.slow
def test_settings_that_the_model_refuses_cost_their_trial_alone(train: str, tmp_path: Path) -> None:
    """A length that special tokens fill."""
    options = ["--max-length", "2", "24", "--lr", "1e-3", "2e-3"]
    folder = search(train, tmp_path / "out", *options, budget=4, epochs=3)
    trials = record(folder)["trials"]
    failed = [trial for trial in trials if trial["failure"]]
    assert [trial["settings"]["max_length"] for trial in failed] == [2, 2]
    assert len(trials) == 4
    assert all("--max-length 2: leaves no room beside special tokens" in trial["failure"] for trial in failed)


@pytest.mark.slow
def test_if_all_trials_fail_the_search_says_why(train: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no trial could be trained; trial-002 failed: .* is nan"):
        search(train, tmp_path / "out", "--lr", "1e30", "1e31", budget=2, epochs=2)


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_trial_that_failed_for_another_reason_is_gone_on_with(
    epoch: int, train: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that should win. In the first round another takes its place; in the second it is alone."""
    whole, out = (tmp_path / name for name in ("whole", "out"))
    search(train, whole, budget=4, epochs=3)
    trials, winner, *others = outcome(whole)
    step = Trainer._take_step

    def step_unless_full(trainer: Trainer, indices: Any) -> None:
        if trainer.checkpoints == out / winner / "checkpoints" and trainer._state.progress.epoch == epoch:
            raise InputError("the disk is full; make room, and give --resume.")
        step(trainer, indices)

    with monkeypatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setattr(Trainer, "_take_step", step_unless_full)
        if epoch == 2:
            stack.enter_context(
                pytest.raises(InputError, match=f"no trial could be trained; {winner} failed: the disk")
            )
        search(train, out, budget=4, epochs=3)
    counts = {"_train_epoch": 0}
    monkeypatch.setattr(Trainer, "_train_epoch", counting(Trainer._train_epoch, counts, "_train_epoch"))
    search(train, out, "--resume", budget=4, epochs=3)
    again, new_winner, *new_others = outcome(out)
    assert new_winner == winner
    assert [trial for trial in again if trial["name"] == winner] == [
        trial for trial in trials if trial["name"] == winner
    ]
    assert new_others[0] == others[0]
    assert new_others[2].items() >= others[2].items()
    assert len(new_others[2]) == len(others[2]) + (epoch == 1)  # the model that was trained in its place stays
    assert counts == {"_train_epoch": 4 - epoch}


@pytest.mark.slow
def test_memory_that_runs_out_in_evaluation_costs_its_trial_alone(
    train: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Trainer._finish_epoch

    def finish_unless_full(trainer: Trainer) -> None:
        if trainer.checkpoints == tmp_path / "out" / "trial-001" / "checkpoints":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        finish(trainer)

    monkeypatch.setattr(Trainer, "_finish_epoch", finish_unless_full)
    search(train, tmp_path / "out", budget=2, epochs=1)
    first, second = record(tmp_path / "out")["trials"]
    assert first["failure"].startswith("out of memory; lower --max-length")
    assert second["complete"]


@pytest.mark.slow
def test_where_the_last_trial_diverges_the_next_best_is_trained(
    train: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = (tmp_path / name for name in ("whole", "out"))
    search(train, whole, budget=4, epochs=3)
    metric, (trials, first, *_) = record(whole)["metric"], outcome(whole)
    after_one_epoch = {
        trial["name"]: (trial["history"][0][metric], -trial["history"][0]["loss"])
        for trial in trials
        if trial["name"] != first
    }
    step = Trainer._take_step

    def step_unless_diverged(trainer: Trainer, indices: Any) -> None:
        if trainer.checkpoints == out / first / "checkpoints" and trainer._state.progress.epoch == 2:
            raise Diverged("the training loss is nan")
        step(trainer, indices)

    monkeypatch.setattr(Trainer, "_take_step", step_unless_diverged)
    search(train, out, budget=4, epochs=3)
    trials, winner, *_ = outcome(out)
    assert winner == max(after_one_epoch, key=lambda name: after_one_epoch[name])
    assert len(next(trial for trial in trials if trial["name"] == winner)["history"]) == 3
    weights = (out / winner / "model.safetensors").read_bytes()
    search(train, out, "--resume", budget=4, epochs=3)
    assert outcome(out)[:2] == (trials, winner)
    assert (out / winner / "model.safetensors").read_bytes() == weights


def test_a_fault_in_the_data_stops_the_search_before_it_writes(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": "x"}\nno', encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.jsonl, line 2"):
        search(str(tmp_path / "train.jsonl"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_another_search_in_the_folder_is_refused_by_name(whole: Path, train: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    before = outcome(folder)
    for changed, message in [
        (["--seed", "7"], "--seed changed: was 42, is now 7"),
        (["--lr", "1e-4..1e-3"], r"--lr changed"),
    ]:
        with pytest.raises(InputError, match=message):
            search(train, folder, *changed, "--resume")
    with pytest.raises(InputError, match="--budget changed: was 9, is now 8"):
        search(train, folder, "--resume", budget=8)
    with pytest.raises(InputError, match="is not empty; continue the run in it with --resume"):
        search(train, folder)
    with pytest.raises(InputError, match="contains no run of this kind"):
        registry.run("classification", [*options(train), "--out", str(folder), "--resume"])
    assert outcome(folder) == before


@pytest.mark.slow
def test_a_record_that_was_changed_is_refused(whole: Path, train: str, tmp_path: Path) -> None:
    """A name in it could lead out of the folder, to weights that would be removed."""
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    found = record(folder)
    first, *others = found["trials"]
    for changed in (
        {"trials": 3},
        {**found, "trials": [{**first, "name": "../elsewhere"}, *others]},
        {**found, "trials": [{**first, "settings": {"lr": 1}}, *others]},
        {**found, "trials": [{**first, "history": [3]}, *others]},
        {**found, "trials": [{**first, "history": [{"best": True}]}, *others]},
        {**found, "trials": others},
    ):
        (folder / "search.json").write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(InputError, match=r"search\.json: is not the record of this search"):
            search(train, folder, "--resume")


@pytest.mark.slow
def test_an_option_for_settings_files_is_searched_and_its_command_names_one(train: str, tmp_path: Path) -> None:
    folder = search(train, tmp_path / "out", "--lr", "1e-3", "--warmup-ratio", "0..0.5", budget=2, epochs=1)
    winner = record(folder)["winner"]
    assert winner["command"].endswith(f"--config {folder / winner['trial'] / 'settings.toml'}")
    alone = registry.run("classification", [*shlex.split(winner["command"])[3:], "--out", str(tmp_path / "alone")])
    weights = [path / "model.safetensors" for path in (alone, folder / winner["trial"])]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
def test_the_page_shows_every_trial_and_the_command_to_paste(whole: Path) -> None:
    found = record(whole)
    page = Page((whole / "report.html").read_text(encoding="utf-8"))
    rows = {row[0]: row for row in page.rows if row and row[0].startswith("trial-")}
    assert len(rows) == BUDGET
    for trial in found["trials"]:
        figure = max(epoch["accuracy"] for epoch in trial["history"])
        settings = [str(value) for value in trial["settings"].values()]
        assert rows[trial["name"]] == [trial["name"], f"{figure:.4f}", str(len(trial["history"])), *settings]
    assert found["winner"]["command"] in page.text
    assert f"{found['winner']['trial']}/report.html" in page.links
    assert f"all trials to the end would take {BUDGET * EPOCHS}" in page.text


@pytest.mark.slow
def test_who_asks_the_search_is_told_of_a_trial_that_answers(whole: Path) -> None:
    with pytest.raises(InputError, match="holds several runs; name one of them, such as ") as caught:
        load(str(whole))
    named = str(caught.value).rpartition(" such as ")[2].removesuffix(".")
    assert named == str(whole / record(whole)["winner"]["trial"])
    assert load(named)("fine")["label"]
