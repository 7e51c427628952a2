"""A teacher's answers to many texts: those from the store are those in memory, and further runs share them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import scramble, write
from ner_files import DEV, TRAIN
from ner_files import write as write_sentences
from teachers import SMALL, TAGS, TEXTS, lines_file, make_teacher, prepared, texts_file

from minibert import CrfTokenClassifier, MultipleChoiceClassifier, SequenceClassifier
from tasks.run import teacher as module

pytestmark = pytest.mark.usefixtures("narrow_models")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts teachers were asked about, each time; answers to any number are stored."""
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "MANY", 1)
    computed, found = module._computed, list[int]()

    def counted(teacher: Any, items: Sequence[Any], precision: str) -> Any:
        found.append(len(items))
        return computed(teacher, items, precision)

    monkeypatch.setattr(module, "_computed", counted)
    return found


def classification(folder: Path) -> list[str]:
    make_teacher(folder / "teacher", SequenceClassifier, {0: "good", 1: "bad"}, "bert", [[text] for text in TEXTS])
    data = ["--train", texts_file(folder / "train.jsonl"), "--dev", texts_file(folder / "dev.jsonl")]
    return [*data, "--teacher", str(folder / "teacher"), "--unlabelled", lines_file(folder / "more.txt", ["a day"])]


def ner(folder: Path) -> list[str]:
    """With a CRF, whose answers are marginals, and a sentence in several windows."""
    make_teacher(folder / "teacher", CrfTokenClassifier, TAGS, "bert", [["a", "b"]])
    long = (" ".join(text for text, _ in TRAIN[:4]), " ".join(tags for _, tags in TRAIN[:4]))
    data = ["--train", write_sentences(folder / "train.txt", [*TRAIN, long]), "--max-length", "12", "--overlap", "4"]
    return [*data, "--dev", write_sentences(folder / "dev.txt", DEV), "--teacher", str(folder / "teacher")]


def multiple_choice(folder: Path) -> list[str]:
    """Questions with two choices, and with three."""
    make_teacher(
        folder / "teacher", MultipleChoiceClassifier, None, "bert", [["Is it even?", "yes", "no", "who knows"]]
    )
    questions = [
        {"question": f"Is {i} even?", "choices": ["yes", "no", "who knows"][: 2 + i % 2], "label": i % 2}
        for i in range(8)
    ]
    return ["--train", write(folder / "train.jsonl", questions), "--teacher", str(folder / "teacher")]


def answers(name: str, options: list[str], *more: str) -> list[Any]:
    _, found = prepared(name, [*options, *SMALL, *more])
    return [(soft.logits.dtype.str, soft.logits.tolist(), soft.labelled) for soft in found.training.items]


@pytest.mark.parametrize("task", [classification, ner, multiple_choice])
def test_stored_answers_are_those_in_memory(
    task: Any, asked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = task(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "MANY", 10**9)
        expected = answers(task.__name__, options)
        assert not (tmp_path / "cache" / "corpora").exists()
        assert "answers" not in capsys.readouterr().out
    assert answers(task.__name__, options) == expected
    assert f"teacher {tmp_path / 'teacher'}: answers {asked[0]} texts before training starts" in capsys.readouterr().out
    asked.clear()
    assert answers(task.__name__, options) == expected
    assert asked == []
    assert "answers" not in capsys.readouterr().out


def test_runs_of_other_seeds_rates_and_architectures_share_them(asked: list[int], tmp_path: Path) -> None:
    options = classification(tmp_path)
    expected = answers("classification", options)
    assert asked == [24, 1]
    more = ["--seed", "7", "--lr", "0.5", "--epochs", "9", "--arch", "roberta"]
    assert answers("classification", options, *more) == expected
    assert asked == [24, 1]


def test_what_answers_depend_on_makes_others(asked: list[int], tmp_path: Path) -> None:
    """Other texts, another precision, another teacher, the labels in another order."""
    options = classification(tmp_path)
    first = answers("classification", options)
    lines_file(tmp_path / "more.txt", ["a night", "a day"])
    assert len(answers("classification", options)) == len(first) + 1
    assert asked == [24, 1, 2]
    answers("classification", options, "--precision", "bf16")
    assert asked == [24, 1, 2, 24, 2]
    other_order = answers("classification", options, "--weights", str(tmp_path / "teacher"))
    assert [rows[0][::-1] for _, rows, _ in other_order[:24]] == [rows[0] for _, rows, _ in first[:24]]
    model = SequenceClassifier.from_pretrained(tmp_path / "teacher")
    scramble(model, seed=7)
    model.save_pretrained(tmp_path / "teacher")
    assert answers("classification", options)[:24] != first[:24]


def test_without_room_for_a_store_the_teacher_is_asked_once(
    asked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "file"))
    answers("classification", classification(tmp_path))
    assert asked == [24, 1]
    assert "Going on in memory." in caplog.text
