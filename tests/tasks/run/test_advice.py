"""What a report says of a run that ended too early, and of the parts of its data."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import rows, write

from minibert.families import BERT
from minibert.training import collapse_warning
from tasks import registry
from tasks.run.advice import num_steps, schedule_warnings


def a_run(**settings: Any) -> Any:
    given = {"epochs": 5, "lr": 5e-5, "batch_size": 32, "batch_tokens": None, "weights": None, **settings}
    return SimpleNamespace(
        task=SimpleNamespace(
            settings=SimpleNamespace(**given),
            metric_names=("accuracy",),
            metric=SimpleNamespace(name="loss"),
            answers_inputs=True,
        ),
        model=SimpleNamespace(config=SimpleNamespace(family=BERT)),
        prepared=SimpleNamespace(training=SimpleNamespace(items=[0] * 65, lengths=[10] * 65)),
    )


def losses(*values: float) -> list[dict[str, float]]:
    return [{"loss": value} for value in values]


@pytest.mark.parametrize(
    ("history", "accuracy", "linear", "expected"),
    [
        (losses(0.7, 0.4, 0.3), 0.9, 0.8, "The dev loss still fell by 25% in the last epoch, from 0.4000 to 0.3000: "),
        (losses(0.7, 0.4, 0.39), 0.9, 0.9, None),
        (losses(0.7, 0.3, 0.4), 0.9, 0.9, None),
        (losses(0.7, 0.4, 0.3), 1.0, 0.9, None),
        (losses(0.7), 0.9, None, None),
        (losses(0.7), 0.7, 0.85, "Accuracy 0.7000 is below that of TF-IDF, 0.8500: try"),
        (losses(0.7, 0.4, 0.3), 0.7, 0.85, "0.3000, and accuracy 0.7000 is below that of TF-IDF, 0.8500: try"),
    ],
)  # fmt: skip
def test_an_unfinished_run_is_named_and_what_to_try(
    history: list[dict[str, float]], accuracy: float, linear: float | None, expected: str | None
) -> None:
    baseline = None if linear is None else {"name": "TF-IDF", "dev": {"accuracy": 0.0}, "test": {"accuracy": linear}}
    found = schedule_warnings(a_run(), history, {"accuracy": accuracy}, baseline, "test")
    assert len(found) == (expected is not None)
    if expected is not None:
        assert expected in found[0]
        for tip in ("more epochs (--epochs 10)", "a higher --lr than 5e-05", "a smaller --batch-size than 32"):
            assert tip in found[0]
        assert re.search(r"official weights \(--weights .*bert", found[0])
        (other,) = schedule_warnings(a_run(weights="x/y"), history, {"accuracy": accuracy}, baseline, "test")
        assert "official" not in other


def test_who_is_below_the_linear_model_is_told_to_add_its_scores() -> None:
    """Where they are not there yet, and the task has them."""
    baseline = {"name": "TF-IDF", "dev": {"accuracy": 0.85}}
    without = {"may_have_ngrams": True, "ngrams": False}
    others: list[dict[str, bool]] = [{**without, "ngrams": True}, {**without, "may_have_ngrams": False}, {}]
    for settings in (without, *others):
        said = settings is without
        (found,) = schedule_warnings(a_run(**settings), losses(0.7), {"accuracy": 0.7}, baseline, "dev")
        assert ("try --ngrams, which adds its scores, more epochs" in found) == said
    (found,) = schedule_warnings(a_run(**without), losses(0.7, 0.3), {"accuracy": 0.9}, baseline, "dev")
    assert "--ngrams" not in found


def test_steps_are_counted() -> None:
    assert num_steps(a_run(), 4) == 4 * 3
    by_tokens = a_run(batch_size=None, batch_tokens=100)
    assert num_steps(by_tokens, 2) == 2 * 7
    by_tokens.prepared.training.lengths = np.full(65, 10)  # as of a large file
    assert num_steps(by_tokens, 2) == 2 * 7


def test_a_run_that_collapsed_in_few_steps_needs_more() -> None:
    same: dict[str, Any] = {"train_loss": 0.3, "num_classes": 2, "predicted": ["A"] * 4, "gold": ["A", "B"] * 2}
    advice = collapse_warning(**same, few_steps=12)
    assert advice is not None
    assert "try more --epochs or a smaller --batch-size (it took only 12 steps), another --seed" in advice
    assert "--epochs" not in str(collapse_warning(**same))


@pytest.mark.slow
def test_a_run_records_the_advice(tmp_path: Path, narrow_models: None) -> None:
    out = registry.run("classification", [
        "--train", write(tmp_path / "t.jsonl", rows(60)), "--weights", "random", "--lr", "1e-9", "--epochs", "1",
        "--precision", "fp32", "--out", str(tmp_path / "run"),
    ])  # fmt: skip
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["final"]["dev"]["accuracy"] < metrics["baseline"]["dev"]["accuracy"]
    assert re.search("more --epochs or a smaller --batch-size|more epochs", metrics["warnings"][0])


@pytest.mark.slow
def test_counts_are_of_the_part_that_they_stand_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three disjoint parts of one file: their counts add up to the file's."""
    texts = [{"text": f"text number {n}!", "label": str(label)} for n in range(60) for label in {0, int(n < 20)}]
    registry.run("classification", [
        "--train", write(tmp_path / "t.jsonl", texts), "--dev-share", "0.3", "--test-share", "0.3", "--clean", "! ->",
        "--dry-run",
    ])  # fmt: skip
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("train", "dev", "test"))]
    assert len(lines) == 3
    for what, total in (("texts with several labels", 20), ("cleaned texts", 80)):
        counts = [int(found[1]) if (found := re.search(rf"(\d+) {what}", line)) else 0 for line in lines]
        assert sum(counts) == total
        assert max(counts) < total
