"""A run that starts from another one takes over its head and what else its answers depend on."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import rows, tiny_config, write
from ner_files import DEV, TRAIN
from ner_files import write as write_sentences
from safetensors.torch import load_file, save_file

from minibert import CrfTokenClassifier, MeanSequenceClassifier, TokenClassifier
from minibert.checkpoint import open_checkpoint
from tasks import registry
from tasks.classification.data import LabelledText
from tasks.classification.settings import ClassificationSettings
from tasks.ner.settings import NerSettings
from tasks.ner.task import NerTask
from tasks.predict.loading import load_predictor
from tasks.run import start_model
from tasks.run.options import parse

pytestmark = pytest.mark.usefixtures("narrow_models")

STILL = ["--lr", "1e-12", "--head-lr", "1e-12", "--epochs", "1", "--precision", "fp32"]
"""A run that keeps the weights it starts from, but for the last digit."""


def metrics_of(folder: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    return record


@pytest.mark.slow
def test_a_crf_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, dev = write_sentences(tmp_path / "train.txt", TRAIN), write_sentences(tmp_path / "dev.txt", DEV)
    data = ["--train", train, "--dev", dev]
    first = registry.run("ner", [
        *data, "--weights", "random", "--head", "crf", "--overlap", "7", "--epochs", "12", "--lr", "2e-3",
        "--batch-size", "8", "--precision", "fp32", "--out", str(tmp_path / "first"),
    ])  # fmt: skip
    expected = metrics_of(first)["final"]["dev"]
    assert expected["strict_f1"] > 0
    bare = shutil.copytree(first, tmp_path / "bare", ignore=shutil.ignore_patterns("task.json", "settings.toml"))
    words = tmp_path / "2"  # the run of the third round, which the fourth one continues
    for number, (weights, more) in enumerate([(first, []), (bare, []), (first, ["--head", "linear"]), (words, [])]):
        capsys.readouterr()
        out = registry.run(
            "ner", [*data, "--weights", str(weights), *STILL, *more, "--out", str(tmp_path / str(number))]
        )
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("model ")]
        found = metrics_of(out)
        settings = [("crf", 7), ("crf", 64), ("linear", 7), ("linear", 7)][number]
        assert (found["settings"]["head"], found["settings"]["overlap"]) == settings
        assert (CrfTokenClassifier.from_pretrained(out).crf.transitions.abs().sum() > 0) == (number < 2)
        if number < 2:
            assert found["final"]["dev"]["loss"] == pytest.approx(expected["loss"], rel=1e-5)
            assert found["final"]["dev"]["strict_f1"] == expected["strict_f1"]
            assert ("continues that run with its overlap = 7 (" in line) == (number == 0)
        elif number == 2:
            assert "continues that run with its overlap = 7; does not take over its head = crf" in line
        else:
            assert "continues that run with its head = linear, overlap = 7" in line


def test_a_checkpoint_without_settings_answers_with_the_head_that_its_tensors_are(tmp_path: Path) -> None:
    """Also in a checkpoint of several files. Training from it has a CRF in both cases, unless told otherwise."""
    labels = {0: "O", 1: "B-X", 2: "I-X"}
    for model_class, head in ((CrfTokenClassifier, "crf"), (TokenClassifier, "linear")):
        whole, parts = tmp_path / head, tmp_path / f"{head}-in-parts"
        model_class(tiny_config("bert").with_labels(labels)).save_pretrained(whole)
        tensors = load_file(whole / "model.safetensors")
        shutil.copytree(whole, parts, ignore=shutil.ignore_patterns("*.safetensors"))
        files = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(tensors)}
        for file in set(files.values()):
            save_file({name: tensors[name] for name in tensors if files[name] == file}, parts / file)
        (parts / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}), encoding="utf-8")
        for folder in (whole, parts):
            assert NerTask.settings_from_checkpoint(open_checkpoint(folder)) == {"head": head}
            assert parse(NerSettings, ["--weights", str(folder)], task="ner").settings.head == "crf"


@pytest.mark.slow
def test_kind_order_of_labels_and_clean_ups_go_on(tmp_path: Path) -> None:
    """The order of the labels, too, which is not that of the alphabet here."""
    labelled = [{**row, "is_good": [["b", "a"][row["is_good"]]]} for row in rows(40)]
    options = ["--train", write(tmp_path / "t.jsonl", labelled), "--no-baseline", "--precision", "fp32"]
    first = registry.run("classification", [
        *options, "--weights", "random", "--kind", "multi", "--clean", "number -> no.", "--text-column", "headline",
        "--epochs", "1", "--out", str(tmp_path / "first"),
    ])  # fmt: skip
    config = json.loads((first / "config.json").read_text(encoding="utf-8"))
    config |= {"id2label": {"0": "b", "1": "a"}, "label2id": {"b": 0, "a": 1}}
    (first / "config.json").write_text(json.dumps(config), encoding="utf-8")
    again = [{"sentence": row["headline"], "is_good": row["is_good"]} for row in labelled]
    options[1] = write(tmp_path / "again.jsonl", again)
    out = registry.run("classification", [*options, "--weights", str(first), *STILL, "--out", str(tmp_path / "again")])
    settings = metrics_of(out)["settings"]
    assert (settings["kind"], settings["clean"], settings["text_column"]) == ("multi", ["number -> no."], "sentence")
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["id2label"] == {"0": "b", "1": "a"}


def test_a_threshold_goes_on_with_its_kind_alone(tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text('{"task": "classification", "kind": "multi", "threshold": "each"}')
    weights = ["--weights", str(tmp_path)]
    assert parse(ClassificationSettings, weights, task="classification").settings.threshold == "each"
    single = parse(ClassificationSettings, [*weights, "--kind", "single"], task="classification").settings
    assert (single.kind, single.threshold) == ("single", "one")


def test_a_run_of_another_task_gives_nothing_over(tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text('{"task": "qa", "clean": ["a -> b"], "unknown": 0.5}')
    assert parse(ClassificationSettings, ["--weights", str(tmp_path)], task="classification").settings.clean == ()


def test_nothing_is_left_behind_in_silence(tmp_path: Path) -> None:
    """A run on the hub is not known before it is fetched."""
    (tmp_path / "task.json").write_text('{"task": "ner", "head": "linear"}')
    assert parse(NerSettings, ["--weights", str(tmp_path)], task="ner").settings.head == "linear"
    settings = parse(NerSettings, ["--weights", "someone/run"], task="ner").settings
    said = start_model._continued(settings, tmp_path, "ner")
    assert said == f"; does not take over its head = linear (to do so, give --weights {tmp_path})"


@pytest.mark.slow
def test_a_mean_goes_on_and_answers_from_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the settings and without any: the class in ``config.json`` says how it pools."""
    options = ["--train", write(tmp_path / "t.jsonl", rows(40)), "--no-baseline", "--precision", "fp32"]
    first = registry.run("classification", [
        *options, "--weights", "random", "--pooling", "mean", "--epochs", "1", "--out", str(tmp_path / "first"),
    ])  # fmt: skip
    expected = metrics_of(first)["final"]["dev"]["loss"]
    for name, more, pooling in (("mean", [], "mean"), ("first-token", ["--pooling", "first"], "first")):
        out = registry.run(
            "classification", [*options, "--weights", str(first), *STILL, *more, "--out", str(tmp_path / name)]
        )
        assert metrics_of(out)["settings"]["pooling"] == pooling
        assert (metrics_of(out)["final"]["dev"]["loss"] == pytest.approx(expected, rel=1e-5)) == (pooling == "mean")
    assert "does not take over its pooling = mean" in capsys.readouterr().out
    bare = shutil.copytree(first, tmp_path / "bare", ignore=shutil.ignore_patterns("task.json", "settings.toml"))
    (first / "task.json").write_text(
        json.dumps({key: value for key, value in record_of(first).items() if key != "calibration"}), encoding="utf-8"
    )
    answers = [
        load_predictor(str(folder), device="cpu", precision="fp32").answer(
            [LabelledText("a fine thing", None, None, 1)]
        )
        for folder in (first, bare)
    ]
    assert answers[0][0]["probabilities"] == answers[1][0]["probabilities"]
    assert type(MeanSequenceClassifier.from_pretrained(bare)) is MeanSequenceClassifier
