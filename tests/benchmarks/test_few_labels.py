"""Classifiers on frozen vectors beside fine-tuning, on the draws of a comparison."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import TEXTS, make_run

from benchmarks import few_labels
from minibert.errors import InputError
from tasks.embed import load


def write(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    path.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in rows), encoding="utf-8")


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """What tasks.cloze --shots leaves, as far as it is read."""
    folder = tmp_path / "shots"
    (folder / "data").mkdir(parents=True)
    rows = [(f"{text} {text}", str("Rome" in text)) for text in TEXTS[:24]]
    write(folder / "data" / "test.jsonl", rows)
    for draw, start in (("1-42", 0), ("1-43", 6), ("4-42", 0)):
        count = int(draw[0])
        drawn = [row for label in ("True", "False") for row in [r for r in rows if r[1] == label][start:][:count]]
        for part in ("train", "dev"):
            write(folder / "data" / f"{draw}-{part}.jsonl", drawn)
    row = {"shots": "1", "method": "prompt", "accuracy": {"values": [0.25, 0.75]}}
    (folder / "comparison.json").write_text(json.dumps({"rows": [row], "command": "x"}), encoding="utf-8")
    return folder


def test_methods_on_the_same_draws(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_run(tmp_path / "model", "fill_mask")
    few_labels.main([str(shots), "--weights", model, "--out", str(tmp_path / "out")])
    *shown, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)["accuracies"]
    assert list(found) == [
        "shots: prompt", "model: nearest neighbour", "model: logistic regression", "model: fine-tuned, first",
        "model: fine-tuned, mean",
    ]  # fmt: skip
    assert found["shots: prompt"] == {"1": [0.25, 0.75]}
    assert any(line == "| shots: prompt | 0.5000 ± 0.3536 | - |" for line in shown)
    embed = load(model, pooling="mean", normalize=True)
    texts, labels = few_labels.read(shots / "data" / "test.jsonl")
    given, of_given = few_labels.read(shots / "data" / "4-42-train.jsonl")
    nearest = (embed(texts) @ embed(given).T).argmax(1)
    accuracy = np.mean([of_given[index] == label for index, label in zip(nearest, labels, strict=True)])
    assert found["model: nearest neighbour"]["4"] == [pytest.approx(accuracy, abs=1e-9)]
    for method in ("first", "mean"):
        of_method = found[f"model: fine-tuned, {method}"]
        assert {each: len(values) for each, values in of_method.items()} == {"1": 2, "4": 1}
        run = tmp_path / "out" / f"1-{method}" / "4-42"
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        assert metrics["settings"]["pooling"] == method
        assert of_method["4"] == [metrics["final"]["test"]["accuracy"]]


def test_names_tell_folders_apart() -> None:
    assert few_labels.short_names(["a/x", "/b/y/"]) == ["x", "y"]
    assert few_labels.short_names(["/a/x/model", "/a/y/model", "/c"]) == ["x/model", "y/model", "/c"]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text('{"rows": []}', encoding="utf-8")
    with pytest.raises(InputError, match=r"holds no draws; name a folder of tasks\.cloze --shots"):
        few_labels.main([str(tmp_path), "--weights", "x", "--out", str(tmp_path / "out")])
