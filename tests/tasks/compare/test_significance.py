"""Compared models: intervals, paired tests, and the tables for a paper, from the answers that runs have kept."""

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import registry
from tasks.classification.settings import ClassificationSettings
from tasks.classification.task import ClassificationTask
from tasks.report.export import write_tables
from tasks.run.significance import mean_intervals, paired_tests

TASK = ClassificationTask(ClassificationSettings(seed=1))


def answers(gold: np.ndarray, rate: float, seed: int, lines: Any = None) -> list[dict[str, Any]]:
    """Predictions of which about this share is right."""
    generator = np.random.default_rng(seed)
    predicted = np.where(generator.random(len(gold)) < rate, gold, 1 - gold)
    lines = range(1, len(gold) + 1) if lines is None else lines
    return [
        {"line": line, "gold": str(a), "predicted": str(b)} for line, a, b in zip(lines, gold, predicted, strict=True)
    ]


def accuracy(records: list[dict[str, Any]]) -> float:
    return float(np.mean([record["gold"] == record["predicted"] for record in records]))


def run_of(seed: int, records: list[dict[str, Any]]) -> dict[str, Any]:
    return {"seed": seed, "final": {"test": {"accuracy": accuracy(records)}}}


def test_the_interval_of_a_mean_over_seeds_is_scipys() -> None:
    """Each item is drawn for all seeds at once, as scipy draws it if its mean over the seeds is the observation."""
    scipy_stats = pytest.importorskip("scipy.stats")
    gold = np.random.default_rng(0).integers(0, 2, 120)
    by_seed = {seed: answers(gold, 0.8, seed) for seed in (1, 2, 3)}
    runs = [run_of(seed, records) for seed, records in by_seed.items()]
    found = mean_intervals(TASK, runs, by_seed, "test")["accuracy"]
    by_item = np.mean([[r["gold"] == r["predicted"] for r in records] for records in by_seed.values()], axis=0)
    theirs = scipy_stats.bootstrap((by_item,), np.mean, method="percentile", rng=np.random.default_rng(1))
    assert found == pytest.approx(tuple(theirs.confidence_interval), abs=0.012)


def test_a_figure_that_the_answers_do_not_give_has_no_interval() -> None:
    records = answers(np.array([0, 1] * 20), 0.7, 1)
    wrong = {"seed": 1, "final": {"test": {"accuracy": accuracy(records) + 0.01, "macro_f1": -1.0, "loss": 0.5}}}
    assert mean_intervals(TASK, [wrong], {1: records}, "test") == {}


def test_pairs_are_tested_on_the_same_items() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    gold = np.array([0, 1] * 4 + [0])
    good, poor = {5: answers(gold, 0.95, 1)}, {5: answers(gold, 0.3, 2)}
    (found,) = paired_tests(TASK, {"good": good, "poor": poor}, "accuracy")
    right = [[record["gold"] == record["predicted"] for record in of[5]] for of in (good, poor)]
    only = [sum(a and not b for a, b in zip(*pair, strict=True)) for pair in (right, right[::-1])]
    assert found["difference"] == pytest.approx(accuracy(good[5]) - accuracy(poor[5]), abs=1e-12)
    assert found["mcnemar"] == {"5": pytest.approx(scipy_stats.binomtest(only[0], sum(only)).pvalue)}

    gaps = np.array(right[0], float) - np.array(right[1], float)
    swaps = np.array(list(itertools.product((1, -1), repeat=len(gold))))
    share = np.mean(np.abs(swaps @ gaps) >= abs(gaps.sum()) - 1e-9)
    assert found["p_value"] == pytest.approx(share, abs=0.04)

    others = {5: answers(gold, 0.5, 3, lines=range(10, 19))}
    assert paired_tests(TASK, {"good": good, "others": others}, "accuracy") == []
    assert paired_tests(TASK, {"good": good, "no": {}}, "accuracy") == []


def test_a_class_that_one_model_alone_predicts_is_no_part_of_the_others_mean() -> None:
    """So that the difference is that of the two figures."""
    from sklearn.metrics import f1_score

    gold = np.array([0, 1] * 20)
    careful, bold = ([*records] for records in (answers(gold, 0.9, 1), answers(gold, 1.0, 2)))
    bold[3] = {**bold[3], "predicted": "2"}
    figures = [
        f1_score([r["gold"] for r in records], [r["predicted"] for r in records], average="macro", zero_division=0)
        for records in (careful, bold)
    ]
    (found,) = paired_tests(TASK, {"careful": {5: careful}, "bold": {5: bold}}, "macro_f1")
    assert found["difference"] == pytest.approx(figures[0] - figures[1], abs=1e-12)
    assert found["difference"] > 0.1


def test_equal_models_do_not_differ() -> None:
    same = {seed: answers(np.array([0, 1] * 30), 0.7, seed) for seed in (1, 2)}
    (found,) = paired_tests(TASK, {"a": same, "b": same}, "macro_f1")
    assert (found["difference"], found["p_value"]) == (0, 1)
    assert "mcnemar" not in found


def test_tables_for_a_paper(tmp_path: Path) -> None:
    def line(weights: str, mean: float) -> dict[str, Any]:
        spread = {"mean": mean, "std": None, "worst": mean, "values": [mean], "interval": [0.25, 0.75]}
        return {"arch": "bert", "weights": weights, "figures": {"strict_f1": spread}}

    rows = [line("a/x_1", 0.5), line('b/50%, "new"', 0.625)]
    write_tables(tmp_path, {"task": "ner", "split": "test", "rows": rows})
    with open(tmp_path / "comparison.csv", encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["weights"] for row in found] == ["a/x_1", 'b/50%, "new"']
    assert [(row["figure"], row["mean"], row["std"], row["low"]) for row in found] == [
        ("strict_f1", "0.5", "", "0.25"), ("strict_f1", "0.625", "", "0.25"),
    ]  # fmt: skip
    latex = (tmp_path / "comparison.tex").read_text(encoding="utf-8")
    assert r"bert x\_1 & 0.5000 [0.2500, 0.7500] \\" in latex
    assert r"bert 50\%, " in latex


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_models")
def test_a_comparison_has_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [{"text": f"{'good' if i % 2 else 'bad'} thing {i}", "label": str(i % 2)} for i in range(60)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, texts)), encoding="utf-8")
    small = ["--weights", "random", "--epochs", "1", "--batch-size", "8", "--precision", "fp32"]
    options = ["--train", str(tmp_path / "train.jsonl"), "--dev-share", "0.4", "--seeds", "2", *small]
    arguments = ["--task", "classification", "--arch", "bert", "roberta", *options, "--out", str(tmp_path / "out")]
    folder = registry.run("compare", arguments)
    comparison = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    for row in comparison["rows"]:
        for name, spread in row["figures"].items():
            assert spread["values"] == [
                json.loads((folder / run / "metrics.json").read_text(encoding="utf-8"))["final"]["dev"][name]
                for run in row["runs"]
            ]
            assert (spread["interval"] is None) == (name == "loss")
        assert row["interval"] == row["figures"]["accuracy"]["interval"]
    test, *with_linear = comparison["tests"]
    assert [(each["first"], each["second"]) for each in with_linear] == [("bert", "linear"), ("roberta", "linear")]
    means = [row["mean"] for row in comparison["rows"]]
    assert test["difference"] == pytest.approx(means[0] - means[1], abs=1e-12)
    assert list(test["mcnemar"]) == ["42", "43"]
    assert "bert - roberta: difference" in capsys.readouterr().out
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "approximate randomisation" in page
    assert "All figures" in page
    assert (folder / "comparison.tex").is_file()
