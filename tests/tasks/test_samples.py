"""The bundled samples: written byte for byte by tools.samples, disjoint splits, answers at the right characters."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from tools.samples.__main__ import main

SAMPLES = ROOT / "tasks" / "samples"
SPLITS = ("train", "dev", "test")
FILES = [
    *(f"ner/{split}.txt" for split in SPLITS),
    *(f"classification/{split}.jsonl" for split in SPLITS),
    *(f"qa/{split}.txt" for split in SPLITS),
    *(f"span_qa/{split}.json" for split in SPLITS),
    *(f"multiple_choice/{split}.jsonl" for split in SPLITS),
]


def labelled(task: str, split: str) -> list[tuple[str, str]]:
    """The (text, label) of each example of a classification task."""
    if task == "qa":
        rows = [line.split(" ") for line in (SAMPLES / f"qa/{split}.txt").read_text("utf-8").splitlines()]
        return [(question, department) for department, question in rows]
    lines = (SAMPLES / f"classification/{split}.jsonl").read_text("utf-8").splitlines()
    return [(row["text"], row["label"]) for row in map(json.loads, lines)]


def paragraphs(split: str) -> Iterator[dict[str, Any]]:
    document = json.loads((SAMPLES / f"span_qa/{split}.json").read_text("utf-8"))
    return (paragraph for article in document["data"] for paragraph in article["paragraphs"])


def is_chinese(text: str) -> bool:
    return re.search("[一-鿿]", text) is not None


def texts(task: str, split: str) -> list[str]:
    """What no two splits may share; of paragraphs, the questions too."""
    if task == "span_qa":
        return [text for p in paragraphs(split) for text in (p["context"], *(q["question"] for q in p["qas"]))]
    return [text for text, _ in labelled(task, split)]


def test_the_command_writes_the_bundled_bytes(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path)]) == 0
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (SAMPLES / name).read_bytes(), name


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err == f"Cannot write the samples to {tmp_path / 'file'}: Not a directory.\n"


@pytest.mark.parametrize(
    ("task", "sizes"), [("classification", (900, 200, 200)), ("qa", (480, 120, 120)), ("span_qa", (60, 20, 20))]
)
def test_sizes(task: str, sizes: tuple[int, ...]) -> None:
    read = (lambda split: list(paragraphs(split))) if task == "span_qa" else lambda split: labelled(task, split)
    assert tuple(len(read(split)) for split in SPLITS) == sizes
    assert sum(path.stat().st_size for path in (SAMPLES / task).iterdir()) < 250_000


@pytest.mark.parametrize("task", ["classification", "qa", "span_qa"])
def test_no_text_occurs_twice(task: str) -> None:
    found = [text for split in SPLITS for text in texts(task, split)]
    assert len(set(found)) == len(found)
    assert not [text for text in found if re.search(r"[{}|]|^\s|\s$", text)]  # left over from a template


@pytest.mark.parametrize(("task", "labels"), [("classification", 3), ("qa", 12)])
def test_every_label_occurs_in_every_split(task: str, labels: int) -> None:
    known = {label for _, label in labelled(task, "train")}
    assert len(known) == labels
    for split in ("dev", "test"):
        assert {label for _, label in labelled(task, split)} == known


@pytest.mark.parametrize("split", SPLITS)
def test_half_of_the_reviews_and_paragraphs_are_chinese(split: str) -> None:
    for found in ([text for text, _ in labelled("classification", split)], [p["context"] for p in paragraphs(split)]):
        assert sum(map(is_chinese, found)) * 2 == len(found)


@pytest.mark.parametrize("split", SPLITS)
def test_answers_begin_where_they_claim_to(split: str) -> None:
    questions = [(p["context"], q) for p in paragraphs(split) for q in p["qas"]]
    assert len({q["id"] for _, q in questions}) == len(questions)
    for number, (context, question) in enumerate(questions, 1):
        assert question["is_impossible"] == (number % 5 == 0)
        assert len(question["answers"]) == (not question["is_impossible"])
        for answer in question["answers"]:
            start = answer["answer_start"]
            assert answer["text"]
            assert context[start : start + len(answer["text"])] == answer["text"]


@pytest.mark.parametrize("split", SPLITS)
def test_paragraphs_have_three_to_six_sentences_and_three_to_five_questions(split: str) -> None:
    for paragraph in paragraphs(split):
        assert 3 <= len(re.findall(r"。|\.(?= |$)", paragraph["context"])) <= 6
        assert 3 <= len(paragraph["qas"]) <= 5


@pytest.mark.parametrize("split", SPLITS)
def test_questions_have_two_to_five_different_choices_one_of_them_right(split: str) -> None:
    rows = [json.loads(line) for line in (SAMPLES / f"multiple_choice/{split}.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == {"train": 600, "dev": 150, "test": 150}[split]
    assert {len(row["choices"]) for row in rows} == {2, 3, 4, 5}
    for row in rows:
        assert len(set(row["choices"])) == len(row["choices"])
        assert 0 <= row["label"] < len(row["choices"])
        assert not re.search(r"[{}|]", "".join([row["context"], row["question"], *row["choices"]]))
    right = {(row["context"], row["choices"][row["label"]]) for row in rows}
    assert len(right) == len(rows)
    assert sum(is_chinese(row["context"]) for row in rows) * 2 == len(rows)


def test_some_endings_of_scenes_are_not_in_train() -> None:
    def endings(split: str) -> set[str]:
        lines = (SAMPLES / f"multiple_choice/{split}.jsonl").read_text("utf-8").splitlines()
        return {row["choices"][row["label"]] for row in map(json.loads, lines)}

    assert len(endings("dev") - endings("train")) > 10
    assert len(endings("test") - endings("train")) > 10


def test_people_and_towns_of_dev_and_test_are_not_in_train() -> None:
    """The answers to who and where, which are the names that the splits do not share."""
    asks_for_a_name = re.compile(r"^(?:Who |Where )|谁|誰|哪里|哪裡|什么地方|什麼地方")
    answers = {
        split: {q["answers"][0]["text"] for p in paragraphs(split) for q in p["qas"]
                if q["answers"] and asks_for_a_name.search(q["question"])}
        for split in SPLITS
    }  # fmt: skip
    assert all(len(found) > 10 for found in answers.values())
    assert not answers["train"] & answers["dev"]
    assert not answers["train"] & answers["test"]
