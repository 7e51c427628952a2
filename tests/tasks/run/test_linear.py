"""The linear model beside a run: its answers are kept, and the difference is tested on them."""

import json
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from tasks import registry
from tasks.classification import task as classification
from tasks.classification.settings import ClassificationSettings
from tasks.run.linear import linear_model
from tasks.run.prepare import prepare

pytestmark = pytest.mark.usefixtures("narrow_models")

SMALL = ["--weights", "random", "--epochs", "1", "--batch-size", "8", "--precision", "fp32"]


def write_texts(path: Path) -> str:
    """The linear model finds most labels; an epoch of a narrow encoder does not."""
    rows = [
        {"text": f"{'good' if i % 3 else 'bad'} {'a thing' if i % 7 else 'good bad'} {i}", "label": str(i % 3 > 0)}
        for i in range(120)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def lines_of(run: Path, split: str = "dev") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / f"predictions-{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def metrics_of(run: Path) -> Any:
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def share(lines: list[dict[str, Any]], field: str) -> float:
    return sum(line[field] == line["gold"] for line in lines) / len(lines)


def test_answers_and_the_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = write_texts(tmp_path / "train.jsonl")
    options = ["--train", train, "--dev-share", "0.2", "--test-share", "0.3", "--out", str(tmp_path / "run")]
    run = registry.run("classification", [*options, *SMALL])
    metrics = metrics_of(run)
    for split in ("dev", "test"):
        lines = lines_of(run, split)
        assert share(lines, "linear") == pytest.approx(metrics["baseline"][split]["accuracy"], abs=1e-12)
        test = metrics["final"][split]["against_linear"]
        wanted = share(lines, "predicted") - share(lines, "linear")
        assert test["difference"] == pytest.approx(wanted, abs=1e-12)
        only = [line for line in lines if (line["predicted"] == line["gold"]) != (line["linear"] == line["gold"])]
        wins = sum(line["predicted"] == line["gold"] for line in only)
        exact = binomtest(wins, len(only)).pvalue if only else 1.0
        assert test["p_value"] == pytest.approx(exact, abs=0.04)  # by chance: 1,000 shuffles
        assert next(iter(test["mcnemar"].values())) == pytest.approx(exact, abs=1e-9)
    final = metrics["final"]["test"]["against_linear"]
    assert f"(difference {final['difference']:+.4f}, p = {final['p_value']:.4f})" in capsys.readouterr().out
    assert f"difference, p = {final['p_value']:.4f}" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("qa", ["--metric", "macro_f1"]),
        ("qa", ["--metric", "loss"]),
        ("cloze", ["--template", "[MASK]: {text}", "--words", "True=true", "False=fiction"]),
    ],
)
def test_other_tasks_that_have_one(task: str, options: list[str], tmp_path: Path) -> None:
    train = write_texts(tmp_path / "train.jsonl")
    small = SMALL if task == "qa" else SMALL[2:]  # only a model that was trained fills gaps
    given = ["--train", train, "--dev-share", "0.3", *options, "--out", str(tmp_path / "run"), *small]
    metrics = metrics_of(registry.run(task, given))
    figures = metrics["final"]["dev"]
    if "loss" in options:  # the linear model has none
        assert "against_linear" not in figures
        return
    wanted = figures[metrics["metric"]] - metrics["baseline"]["dev"][metrics["metric"]]
    assert figures["against_linear"]["difference"] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("kind", ["multi", "regression"])
def test_several_labels_and_numbers(kind: str, tmp_path: Path) -> None:
    labels = [i % 5 / 2 if kind == "regression" else [["a"], [], ["a", "b"]][i % 3] for i in range(60)]
    rows = [{"text": f"thing {i % 15}", "label": label} for i, label in enumerate(labels)]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    options = ["--kind", kind, "--train", str(data), "--dev-share", "0.5", "--out", str(tmp_path / "run")]
    metrics = metrics_of(registry.run("classification", [*options, *SMALL]))
    figure = metrics["metric"]
    wanted = metrics["final"]["dev"][figure] - metrics["baseline"]["dev"][figure]
    assert metrics["final"]["dev"]["against_linear"]["difference"] == pytest.approx(wanted, abs=1e-9)


def test_a_comparison_fits_it_once_for_each_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = []
    fit = classification.linear_baseline
    monkeypatch.setattr(classification, "linear_baseline", lambda *data, **how: fitted.append(how) or fit(*data, **how))
    train = write_texts(tmp_path / "train.jsonl")
    options = ["--train", train, "--seeds", "2", "--out", str(tmp_path / "out"), *SMALL, "--arch", "bert", "albert"]
    folder = registry.run("compare", ["--task", "classification", *options])
    assert len(fitted) == 2
    assert [line["linear"] for line in lines_of(folder / "albert-42")] == [
        line["linear"] for line in lines_of(folder / "bert-42")
    ]
    comparison = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    of_pair = {(test["first"], test["second"]): test for test in comparison["tests"]}
    assert of_pair.keys() == {("bert", "albert"), ("bert", "linear"), ("albert", "linear")}
    for row in comparison["rows"]:
        wanted = row["mean"] - comparison["baseline"]["mean"]
        assert of_pair[row["name"], "linear"]["difference"] == pytest.approx(wanted, abs=1e-12)
    assert "bert − linear" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["an older run", "no file", "cut", "other items", "damaged"])
def test_a_run_without_these_answers_does_not_stand_in(damage: str, tmp_path: Path) -> None:
    train = write_texts(tmp_path / "train.jsonl")
    options = ["--task", "classification", "--train", train, "--out", str(tmp_path / "out"), *SMALL]
    folder = registry.run("compare", [*options, "--arch", "bert"])
    assert folder is not None
    kept = folder / "bert-42" / "predictions-dev.jsonl"
    lines = lines_of(folder / "bert-42")
    expected = [line["linear"] for line in lines]
    if damage == "an older run":
        lines = [{name: line[name] for name in line if name != "linear"} for line in lines]
    elif damage == "other items":
        lines = [{**line, "line": line["line"] + 1} for line in lines]
    text = "\n".join(map(json.dumps, lines[: 5 if damage == "cut" else None]))
    kept.write_text(text + ("{" if damage == "damaged" else "\n"), encoding="utf-8")
    if damage == "no file":
        kept.unlink()
    task = classification.ClassificationTask(ClassificationSettings(train=train, weights="random"))
    found = linear_model(task, prepare(task).splits, folder / "bert-42")
    assert found is not None
    assert found.answers["dev"] == expected
