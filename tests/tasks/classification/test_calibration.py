"""Temperature, thresholds, calibration error and weights, against scikit-learn and brute force."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.calibration
import torch
import torch.nn.functional as F
from conftest import rows, write
from scipy.special import expit, log_softmax, logit, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from minibert.errors import InputError
from tasks import registry
from tasks.classification.calibration import (
    Calibration,
    best_threshold,
    best_thresholds,
    expected_calibration_error,
    fit_temperature,
    probabilities,
    reliability,
)
from tasks.classification.curves import precision_recall_chart, ranking_figures, reliability_chart
from tasks.classification.data import LabelledText
from tasks.classification.losses import balanced_weights, text_losses
from tasks.classification.prediction import predictions_from_logits
from tasks.classification.settings import ClassificationSettings
from tasks.classification.task import ClassificationTask
from tasks.classification.weighted import weighted_probability_figures
from tasks.predict.loading import load_predictor

NAMES = ("a", "b", "c", "d")


def overconfident(seed: int, count: int = 400, labels: int = 4) -> tuple[npt.NDArray[np.float32], Any]:
    """Logits three times as large as those from which the labels were drawn."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, labels)) * 1.5
    gold = np.array([generator.choice(labels, p=softmax(row)) for row in logits])
    return (3 * logits).astype(np.float32), gold


def several(seed: int, count: int = 400, labels: int = 4) -> tuple[npt.NDArray[np.float32], Any]:
    """The same for several labels, ever rarer."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, labels)) * 1.5 - np.arange(labels)
    gold = generator.random(logits.shape) < expit(logits)
    return (3 * logits).astype(np.float32), gold


# -- temperature -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_is_the_likeliest_one(seed: int) -> None:
    """Of 4,000 temperatures, for one label and for several."""
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 4000))
    logits, gold = overconfident(seed)
    found = fit_temperature(logits[:, None], gold, "single")
    losses = [-log_softmax(logits / t, axis=1)[np.arange(len(gold)), gold].mean() for t in grid]
    assert found == pytest.approx(grid[np.argmin(losses)], rel=2e-3)
    assert found == pytest.approx(3, rel=0.35)  # what it was made with

    logits, gold = several(seed)
    found = fit_temperature(logits[:, None], gold, "multi")
    losses = [np.logaddexp(0, np.where(gold, -logits, logits) / t).mean() for t in grid]
    assert found == pytest.approx(grid[np.argmin(losses)], rel=2e-3)


def test_the_temperature_is_that_of_scikit_learn() -> None:
    if not hasattr(sklearn.calibration, "_TemperatureScaling"):
        pytest.skip("this scikit-learn is older than 1.8, and has no temperature scaling")
    logits, gold = overconfident(7, count=2000)
    theirs = sklearn.calibration._TemperatureScaling().fit(logits.astype(np.float64), gold)
    assert fit_temperature(logits[:, None], gold, "single") == pytest.approx(1 / theirs.beta_, rel=1e-3)


def test_with_prompts_the_mean_probability_is_made_likely() -> None:
    logits, gold = overconfident(1)
    prompts = np.stack([logits, np.roll(logits, 1, axis=0)], axis=1)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 2000))
    means = [softmax(prompts / t, axis=-1).mean(1)[np.arange(len(gold)), gold] for t in grid]
    best = grid[np.argmin([-np.log(mean).mean() for mean in means])]
    assert fit_temperature(prompts, gold, "single") == pytest.approx(best, rel=5e-3)


def test_where_all_is_right_the_temperature_stays() -> None:
    logits, _ = overconfident(0)
    assert fit_temperature(logits[:, None], logits.argmax(1), "single") == 1
    assert fit_temperature(logits[:, None], logits > 0, "multi") == 1


# -- thresholds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_no_threshold_has_a_higher_f1(seed: int) -> None:
    """Probabilities with many equals; every threshold between and beside them is tried."""
    generator = np.random.default_rng(seed)
    probability = generator.integers(1, 13, size=40) / 13
    gold = generator.random(40) < 0.3
    tried = np.concatenate([np.unique(probability), np.unique(probability) + 1e-6])
    best = max(f1_score(gold, probability >= threshold, zero_division=0) for threshold in tried)
    found = best_threshold(probability, gold)
    assert f1_score(gold, probability >= found, zero_division=0) == pytest.approx(best, abs=1e-12)
    assert abs(probability - found).min() > 1e-6 or not gold.any()  # half way, so that rounding does not matter


def test_of_equal_thresholds_the_one_nearest_to_one_half_is_taken() -> None:
    assert best_threshold(np.array([0.9, 0.1]), np.array([True, False])) == pytest.approx(0.5)
    assert best_threshold(np.array([0.9, 0.1]), np.array([False, False])) == 0.5


def test_one_threshold_for_all_labels_or_one_for_each() -> None:
    probability, gold = np.array([[0.9, 0.3], [0.2, 0.1]]), np.array([[True, True], [False, False]])
    assert best_thresholds(probability, gold, each=True) == pytest.approx([0.55, 0.2])
    assert best_thresholds(probability, gold, each=False) == pytest.approx([0.25, 0.25])


# -- calibration error, ranking ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_reliability_and_its_error_are_those_of_scikit_learn(seed: int) -> None:
    logits, gold = overconfident(seed)
    values = probabilities(logits, "single")
    confidence, right = values.max(1), values.argmax(1) == gold
    share, mean = calibration_curve(right, confidence, n_bins=15)
    found = reliability(confidence, right)
    assert [bin_[0] for bin_ in found] == pytest.approx(mean)
    assert [bin_[1] for bin_ in found] == pytest.approx(share)
    assert sum(count for _, _, count in found) == len(gold)
    sizes = [np.sum((confidence > low / 15) & (confidence <= (low + 1) / 15)) for low in range(15)]
    sizes = [size for size in sizes if size]
    assert expected_calibration_error(found) == pytest.approx(np.average(abs(share - mean), weights=sizes))


def test_average_precision_and_auc_leave_out_labels_that_all_or_no_texts_have() -> None:
    logits, gold = several(3, count=60)
    gold[:, 1], gold[:, 2] = True, False
    labels = [tuple(name for name, has in zip(NAMES, row, strict=True) if has) for row in gold]
    outputs = predictions_from_logits("multi", NAMES, logits[:, None], Calibration())
    found = ranking_figures(labels, outputs)
    assert found.keys() == {"a", "d"}
    for column in (0, 3):
        of_label = found[NAMES[column]]
        assert of_label["average_precision"] == pytest.approx(
            average_precision_score(gold[:, column], logits[:, column])
        )
        assert of_label["auc"] == pytest.approx(roc_auc_score(gold[:, column], logits[:, column]))
    chart = precision_recall_chart(labels, outputs)
    assert chart is not None
    assert list(chart.lines) == ["all labels", "b", "a", "d"]
    assert all(0 <= value <= 1 for line in chart.lines.values() for point in line for value in point)
    assert precision_recall_chart([()] * 60, outputs) is None


def test_the_chart_of_reliability_says_both_errors() -> None:
    before, after = [(0.9, 0.6, 10)], [(0.65, 0.6, 10)]
    chart = reliability_chart(before, after, 2.0)
    assert list(chart.lines) == ["as trained", "with temperature 2.00"]
    assert "0.3000 as trained, 0.0500 with" in chart.caption


def test_weighted_figures_are_those_of_scikit_learn_with_weights() -> None:
    """As often as a text counts, there might as well be copies of it."""
    logits, gold = several(5, count=80)
    logits = logits.round()  # with equal probabilities
    weights = np.random.default_rng(0).integers(0, 4, 80)
    outputs = predictions_from_logits("multi", NAMES, logits[:, None], Calibration(temperature=2.0))
    labels = [tuple(name for name, has in zip(NAMES, row, strict=True) if has) for row in gold]
    records = [{"gold": g, "probabilities": dict(o.ranked())} for g, o in zip(labels, outputs, strict=True)]
    found = weighted_probability_figures("multi", records)(weights)
    values = np.array([output.mean for output in outputs])
    precision, auc = (
        np.mean([score(gold[:, k], values[:, k], sample_weight=weights) for k in range(4)])
        for score in (average_precision_score, roc_auc_score)
    )
    assert found["macro_average_precision"] == pytest.approx(precision, abs=1e-12)
    assert found["macro_auc"] == pytest.approx(auc, abs=1e-12)
    bins = reliability(values.repeat(weights, axis=0).ravel(), gold.repeat(weights, axis=0).ravel())
    assert found["calibration_error"] == pytest.approx(expected_calibration_error(bins), abs=1e-12)


# -- weights -----------------------------------------------------------------------------------------------------------


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    gold = [*"aaaaabbbc"]
    found = balanced_weights([LabelledText("x", None, label, 1) for label in gold])
    expected = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=np.array(gold))
    assert [found[name][1] for name in "abc"] == pytest.approx(expected)

    labels = [("a", "b"), ("a",), (), ("a",)]
    found = balanced_weights([LabelledText("x", None, label, 1) for label in labels])
    for name in "ab":
        has = np.array([name in of_text for of_text in labels])
        by_text = compute_sample_weight("balanced", has)
        assert [found[name][int(value)] for value in has] == pytest.approx(by_text)


def test_losses_are_weighted() -> None:
    torch.manual_seed(0)
    logits, weights = torch.randn(5, 3), torch.tensor([[0.5, 2.0, 1.0], [4.0, 1.0, 3.0]])
    targets = torch.tensor([0, 1, 2, 0, 1])
    plain = F.cross_entropy(logits, targets, reduction="none")
    assert torch.allclose(text_losses("single", logits, targets, weights), plain * weights[1][targets])
    targets = torch.randint(2, (5, 3)).float()
    plain = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    expected = (plain * torch.where(targets > 0, weights[1], weights[0])).mean(-1)
    assert torch.allclose(text_losses("multi", logits, targets, weights), expected)


# -- settings, files and runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshold": "0.4"}, "--threshold 0.4: only several labels have one; add --kind multi"),
        ({"kind": "multi", "threshold": "1.5"}, "--threshold 1.5: give one, each or a probability from 0 to 1"),
        ({"kind": "multi", "threshold": "nan"}, "--threshold nan: give one, each or a probability"),
        ({"kind": "multi", "threshold": "all"}, "--threshold all: give one, each or a probability"),
        ({"kind": "regression", "class_weights": "balanced"}, "--class-weights: numbers have no classes"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        ClassificationSettings(**values)
    assert message in str(error.value)


@pytest.mark.parametrize("threshold", ["0", "1", "0.25"])
def test_a_probability_is_a_threshold_for_all(threshold: str) -> None:
    task = ClassificationTask(ClassificationSettings(kind="multi", threshold=threshold))
    assert task._with_fixed_threshold(["a"]).thresholds == {"a": float(threshold)}


@pytest.mark.parametrize(
    "record",
    [
        {"temperature": 0.0},
        {"temperature": "1"},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"thresholds": {}},
        {"temperature": 1.0, "thresholds": {"a": 2.0}},
        {"temperature": 1.0, "thresholds": [0.5]},
        {"temperature": 1.0, "scale": 2.0},
    ],
)
def test_a_calibration_that_cannot_be_is_refused_by_name(record: dict[str, Any]) -> None:
    task = ClassificationTask(ClassificationSettings())
    with pytest.raises(InputError, match=r"folder/task\.json: .* temperature above 0 and thresholds from 0 to 1"):
        task.load_calibration(record, "folder/task.json")


def test_several_labels_answer_from_the_folder_as_they_were_scored(
    narrow_models: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rare labels that are often missed at one half: the thresholds are chosen on dev, and go with the folder."""
    labelled = [
        {"text": row["headline"], "labels": ["good", *(["rare"] if number % 10 == 1 else [])] if row["is_good"] else []}
        for number, row in enumerate(rows(80))
    ]
    dev = write(tmp_path / "dev.jsonl", labelled[60:])
    options = ["--kind", "multi", "--train", write(tmp_path / "train.jsonl", labelled[:60]), "--dev", dev, "--weights"]
    options += ["random", "--epochs", "2", "--batch-size", "8", "--precision", "fp32", "--threshold", "each"]
    out = registry.run("classification", [*options, "--class-weights", "balanced", "--out", str(tmp_path / "run")])
    shown = capsys.readouterr().out
    assert "thresholds: good 0." in shown
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    final = metrics["final"]["dev"]
    assert {"calibration_error", "macro_auc", "macro_average_precision"} <= final["intervals"].keys()
    record = json.loads((out / "task.json").read_text(encoding="utf-8"))["calibration"]
    assert record["thresholds"].keys() == {"good", "rare"}
    assert {chart["name"] for chart in metrics["details"]["dev"]["charts"]} == {"precision-recall", "reliability"}

    items = [LabelledText(row["text"], None, None, 1) for row in labelled[60:]]
    gold = [set(row["labels"]) for row in labelled[60:]]
    answers = load_predictor(str(out), device="cpu", precision="fp32").answer(items)
    right = sum(len(set(answer["labels"]) & want) for answer, want in zip(answers, gold, strict=True))
    given = sum(len(answer["labels"]) for answer in answers)
    assert final["micro_f1"] == pytest.approx(2 * right / (given + sum(map(len, gold))), abs=1e-12)
    kept = [json.loads(line) for line in (out / "predictions-dev.jsonl").read_text(encoding="utf-8").splitlines()]
    for answer, line in zip(answers, kept, strict=True):
        assert answer["labels"] == line["predicted"]
        assert list(answer["probabilities"].values()) == pytest.approx(list(line["probabilities"].values()), abs=2e-6)

    lowest = load_predictor(str(out), device="cpu", precision="fp32", threshold="0").answer(items[:1])
    assert lowest[0]["labels"] == ["good", "rare"]
    for threshold, message in (("x", "give a probability"), ("2", "from 0 to 1")):
        with pytest.raises(InputError, match=message):
            load_predictor(str(out), device="cpu", precision="fp32", threshold=threshold)


def test_a_temperature_changes_probabilities_alone() -> None:
    logits = logit(np.array([[[0.2, 0.7]]], np.float32))
    task = ClassificationTask(ClassificationSettings(kind="multi"))
    task.load_calibration({"temperature": 2.0}, "task.json")
    (output,) = predictions_from_logits("multi", "ab", logits, task.calibration)
    assert output.prediction == ("b",)
    assert output.mean == pytest.approx(expit(logits[0, 0] / 2), rel=1e-6)
