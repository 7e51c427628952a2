"""The figure that a run reports is that of the answers that ``predict`` gives, counted anew from its lines."""

import gzip
import json
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, SHARED, write
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from tasks import registry

SAMPLES = ROOT / "tasks" / "samples"
pytestmark = pytest.mark.slow


def trained(task: str, options: Sequence[str], out: Path) -> tuple[Path, dict[str, float]]:
    """A short run, on the sample unless ``options`` name other files, and its final figures on the dev file."""
    train, dev = (next((SAMPLES / task).glob(f"{part}.*")) for part in ("train", "dev"))
    if task != "span_qa":  # a third teaches enough
        between = "\n\n" if task == "ner" else "\n"
        examples = train.read_text("utf-8").strip().split(between)[::3]
        train = out.with_name(train.name)
        train.write_text(between.join(examples) + "\n", encoding="utf-8")
    run = registry.run(task, ["--train", str(train), "--dev", str(dev), "--out", str(out), *options])
    figures: dict[str, float] = json.loads((run / "metrics.json").read_text("utf-8"))["final"]["dev"]
    return run, figures


def predicted(run: Path, inputs: Iterable[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
    answers = folder / "answers.jsonl"
    registry.run("predict", [str(run), write(folder / "inputs.jsonl", inputs), "--out", str(answers)])
    return [json.loads(line) for line in answers.read_text("utf-8").splitlines()]


def read_tags(path: Path) -> list[list[tuple[str, str]]]:
    lines = path.read_text("utf-8").splitlines()
    blocks = [list(block) for filled, block in groupby(lines, key=bool) if filled]
    return [[(line.split(" ")[0], line.split(" ")[1]) for line in block] for block in blocks]


def to_tags(words: Sequence[str], answer: Mapping[str, Any]) -> list[str]:
    """BIO tags of the words, from the characters of the answer's entities."""
    tags, end = [], 0
    for word in words:
        start = answer["text"].index(word, end)
        end = start + len(word)
        of_word = [entity for entity in answer["entities"] if entity["start"] <= start and end <= entity["end"]]
        assert len(of_word) <= 1
        tags.append("".join(f"{'B' if e['start'] == start else 'I'}-{e['type']}" for e in of_word) or "O")
    return tags


def repaired(tags: Sequence[str]) -> list[str]:
    """BIO tags with a B- where an I- continues nothing, as MSRA has a few."""
    before = ["O", *tags]
    return [f"B{t[1:]}" if t[0] == "I" and p[1:] != t[1:] else t for p, t in zip(before, tags, strict=False)]


def delivered_f1(run: Path, dev: Path, folder: Path) -> float:
    """seqeval's strict F1 of the entities that ``predict`` gives for the words of a file."""
    sentences = read_tags(dev)
    words = [[word for word, _ in sentence] for sentence in sentences]
    answers = predicted(run, [{"tokens": tokens} for tokens in words], folder)
    gold = [repaired([tag for _, tag in sentence]) for sentence in sentences]
    tags = [to_tags(tokens, answer) for tokens, answer in zip(words, answers, strict=True)]
    return float(f1_score(gold, tags, mode="strict", scheme=IOB2))


@pytest.mark.parametrize("head", ["linear", "crf"])
def test_the_f1_is_that_of_the_predicted_entities(head: str, tmp_path: Path) -> None:
    options = ["--epochs", "1", "--precision", "fp32", "--batch-size", "8", "--head", head]
    run, figures = trained("ner", options, tmp_path / "run")
    delivered = delivered_f1(run, SAMPLES / "ner" / "dev.txt", tmp_path)
    assert 0.1 < delivered < 0.99
    assert figures["strict_f1"] == pytest.approx(delivered, abs=1e-12)


@pytest.mark.parametrize("head", ["linear", "crf"])
def test_the_f1_is_that_of_the_predicted_entities_on_msra(head: str, tmp_path: Path) -> None:
    folder = SHARED / "data" / "ner" / "msra"
    if not folder.is_dir():
        pytest.skip(f"MSRA is not at {folder}")
    for part, count in (("train", 400), ("dev", 300)):
        text = gzip.decompress((folder / f"{part}.txt.gz").read_bytes()).decode()
        (tmp_path / f"{part}.txt").write_text("\n\n".join(text.split("\n\n")[:count]) + "\n", encoding="utf-8")
    files = ["--train", str(tmp_path / "train.txt"), "--dev", str(tmp_path / "dev.txt")]
    run, figures = trained("ner", [*files, "--epochs", "2", "--batch-size", "4", "--head", head], tmp_path / "run")
    delivered = delivered_f1(run, tmp_path / "dev.txt", tmp_path)
    assert 0.1 < delivered < 0.99
    assert figures["strict_f1"] == pytest.approx(delivered, abs=1e-12)


@pytest.mark.parametrize(("task", "field"), [("classification", "text"), ("qa", "question")])
def test_the_accuracy_is_that_of_the_predicted_labels(task: str, field: str, tmp_path: Path) -> None:
    run, figures = trained(task, ["--epochs", "1", "--precision", "fp32"], tmp_path / "run")
    if task == "qa":
        rows = [line.split(" ", 1) for line in (SAMPLES / "qa" / "dev.txt").read_text("utf-8").splitlines()]
    else:
        lines = (SAMPLES / task / "dev.jsonl").read_text("utf-8").splitlines()
        rows = [[row["label"], row["text"]] for row in map(json.loads, lines)]
    answers = predicted(run, [{field: text} for _, text in rows], tmp_path)
    right = [answer["label"] == label for answer, (label, _) in zip(answers, rows, strict=True)]
    assert 0 < sum(right) < len(right)
    assert figures["accuracy"] == pytest.approx(sum(right) / len(right), abs=1e-12)


def normalised(answer: str) -> str:
    """As SQuAD's scorer compares answers; of Chinese ones, as DRCD's and CMRC's do."""
    bare = "".join(c for c in answer.lower() if c not in string.punctuation + "，。、；：？！「」『』（）《》“”‘’·")
    return "".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def test_the_exact_match_is_that_of_the_predicted_spans(tmp_path: Path) -> None:
    run, figures = trained("span_qa", ["--epochs", "2", "--precision", "fp32"], tmp_path / "run")
    document = json.loads((SAMPLES / "span_qa" / "dev.json").read_text("utf-8"))
    rows = [
        ({"question": qa["question"], "context": paragraph["context"]}, [answer["text"] for answer in qa["answers"]])
        for article in document["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]
    answers = predicted(run, [given for given, _ in rows], tmp_path)
    right = [
        normalised(answer["answer"]) in [normalised(text) for text in gold or [""]]
        for answer, (_, gold) in zip(answers, rows, strict=True)
    ]
    assert 0 < sum(right) < len(right)
    assert figures["exact_match"] == pytest.approx(sum(right) / len(right), abs=1e-12)
