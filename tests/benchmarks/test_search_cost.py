"""A search beside the full grid of its trials."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import search_cost
from minibert.errors import Diverged, InputError
from tasks import registry

BUDGET, EPOCHS = 4, 3


@pytest.fixture
def search(tmp_path: Path, narrow_models: None) -> Path:
    rows = [
        {"text": f"{'good' if i * i % 7 > 2 else 'bad'} thing {i % 5}", "label": str(i * i % 11 % 2)} for i in range(48)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    arguments = [
        *("--task", "classification", "--train", str(tmp_path / "train.jsonl"), "--dev-share", "0.3"),
        *("--weights", "random", "--precision", "fp32", "--no-baseline", "--epochs", str(EPOCHS)),
        *("--lr", "1e-4..1e-1", "--warmup-ratio", "0..0.5", "--budget", str(BUDGET), "--out", str(tmp_path / "search")),
    ]  # fmt: skip
    folder: Path = registry.run("search", arguments)
    return folder


def test_all_trials_to_the_end(search: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    search_cost.main([str(search), "--out", str(tmp_path / "grid")])
    *shown, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    record = json.loads((search / "search.json").read_text(encoding="utf-8"))
    best = {}
    for trial in record["trials"]:
        run = search / trial["name"] if trial["complete"] else tmp_path / "grid" / trial["name"]
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        assert {name: metrics["settings"][name] for name in trial["settings"]} == trial["settings"]
        assert [epoch["loss"] for epoch in metrics["epochs"]][: len(trial["history"])] == [
            epoch["loss"] for epoch in trial["history"]
        ]
        best[trial["name"]] = max((epoch["accuracy"], -epoch["loss"]) for epoch in metrics["epochs"])
    assert found["best"] == {name: accuracy for name, (accuracy, _) in best.items()}
    assert list(found["best"]) == sorted(best, key=lambda name: best[name], reverse=True)
    assert found["place_of_winner"] == 1 + sum(each > best[record["winner"]["trial"]] for each in best.values())
    assert (
        found["share_of_epochs"]
        == record["epochs_trained"] / (BUDGET * EPOCHS)
        == (BUDGET + EPOCHS - 1) / (BUDGET * EPOCHS)
    )
    assert sum(line.startswith("| trial-") for line in shown) == BUDGET


def test_a_trial_that_cannot_be_trained_is_left_out(
    search: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((search / "search.json").read_text(encoding="utf-8"))
    failing = next(trial["name"] for trial in record["trials"] if not trial["complete"])
    run = registry.run

    def train(task: str, arguments: list[str]) -> Any:
        if failing in " ".join(arguments):
            raise Diverged("the loss is not finite.")
        return run(task, arguments)

    monkeypatch.setattr(search_cost.registry, "run", train)
    capsys.readouterr()
    search_cost.main([str(search), "--out", str(tmp_path / "grid")])
    *shown, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert len(found["best"]) == BUDGET - 1
    assert failing not in found["best"]
    assert f"{failing} failed and is left out: the loss is not finite." in shown
    assert found["share_of_epochs"] == (BUDGET - 1 + EPOCHS - 1) / ((BUDGET - 1) * EPOCHS)


def test_an_unfinished_search_is_refused(search: Path, tmp_path: Path) -> None:
    record = json.loads((search / "search.json").read_text(encoding="utf-8"))
    del record["winner"]
    (search / "search.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(InputError, match=r"is not finished; go on with .*tasks\.search .* --resume"):
        search_cost.main([str(search), "--out", str(tmp_path / "grid")])
