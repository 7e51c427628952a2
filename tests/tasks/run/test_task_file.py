"""A model's folder is all that its answers need: a copy without the run's own files answers the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, rows, write
from ner_files import DEV, TRAIN
from ner_files import write as write_sentences

from tasks import registry
from tasks.registry import TASKS

pytestmark = pytest.mark.usefixtures("narrow_models")

OF_THE_RUN = ("settings.toml", "metrics.json", "train_log.jsonl", "report.html", "*.png", "checkpoints", "*.jsonl")
QUICK = ["--epochs", "1", "--batch-size", "8", "--precision", "fp32"]
NEW = ["--weights", "random", "--lr", "2e-3"]
CONTEXT = "Ann went to Rome, and Bob saw her in York after the long war."
TEXTS = [{"headline": f"see http://{word}.com a {word} thing", "n": n} for n, word in enumerate(("fine", "dull"))]


def questions(count: int) -> list[dict[str, Any]]:
    answers = [[{"text": "Ann", "answer_start": 0}], []]
    return [
        {"id": str(i), "question": f"Who went {i}?", "context": f"{CONTEXT} {i}", "answers": answers[i % 2]}
        for i in range(count)
    ]


def make_run(task: str, folder: Path) -> tuple[Path, str]:
    """A run whose answers depend on settings, and a file of inputs."""
    inputs = TEXTS
    if task == "ner":
        data = write_sentences(folder / "train.txt", TRAIN)
        more = [*NEW, "--dev", write_sentences(folder / "dev.txt", DEV), "--epochs", "12", "--head", "crf"]
        more += ["--max-length", "12", "--overlap", "2"]
        inputs = [{"text": f"{CONTEXT} {CONTEXT}"}]
    elif task == "span_qa":
        data = write(folder / "train.jsonl", questions(20))
        more = [*NEW, "--null-threshold", "-100", "--max-answer", "1", "--n-best", "2", "--max-question", "2"]
        inputs = questions(2)
    elif task == "multiple_choice":
        asked = [{"question": f"Is {i} odd?", "choices": ["yes", "no"], "label": i % 2} for i in range(40)]
        data, more, inputs = write(folder / "train.jsonl", asked), [*NEW, "--max-length", "9"], asked[:2]
    else:
        labelled = [{**row, "is_good": [str(row["is_good"])]} if task == "classification" else row for row in rows(40)]
        data = write(folder / "train.jsonl", labelled)
        more = ["--no-baseline", "--clean", "http\\S+ ->", "--text-column", "headline", "--max-length", "9"]
        inputs = [{**row, "text": "nothing of the kind"} for row in TEXTS]
        if task == "qa":
            more += [*NEW, "--prompt", "is {question} so?", "--unknown", "0.9999", "--top-k", "1"]
        elif task == "cloze":
            more += ["--weights", str(ROOT / "weights" / "bert-tiny"), "--template", "{text} so [MASK]."]
            more += ["--words", "1=好", "0=不"]
        else:
            more += [*NEW, "--kind", "multi"]
    out = registry.run(task, ["--train", data, "--out", str(folder / "run"), *QUICK, *more])
    return out, write(folder / "in.jsonl", inputs)


def answers(run: Path, inputs: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    registry.run("predict", [str(run), inputs])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [{name: value for name, value in row.items() if name != "milliseconds"} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("task", [name for name in TASKS if name != "pretraining"])
def test_the_models_folder_alone_answers_the_same(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, inputs = make_run(task, tmp_path)
    expected = answers(run, inputs, capsys)
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns(*OF_THE_RUN))
    shutil.move(run, tmp_path / "gone")
    assert answers(copy, inputs, capsys) == expected
    assert task != "ner" or expected[0]["entities"]
    if "headline" in expected[0]:
        assert [row["headline"] for row in expected] == [row["headline"] for row in TEXTS]
        assert [row["question" if task == "qa" else "text"] for row in expected] == [row["headline"] for row in TEXTS]
        assert [row["input_text"] if task != "qa" else row["text"] for row in expected] == ["nothing of the kind"] * 2
    if task == "qa":
        registry.run("qa", ["--ask", "http://x a thing", "--weights", str(copy)])
        shown = capsys.readouterr().out.splitlines()
        assert shown[:2] == ["http://x a thing", "  -> unknown"]
        assert len(shown) == 3  # --top-k 1
