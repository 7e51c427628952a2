"""Texts that are made up of those of the training data, which a teacher labels."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write
from ner_files import options as ner_options
from teachers import SMALL, TAGS, TEXTS, make_teacher, prepared, texts_file

from minibert import MultipleChoiceClassifier, SequenceClassifier, TokenClassifier, pack
from minibert.errors import InputError
from tasks import registry
from tasks.run.made_up import made_up

pytestmark = pytest.mark.usefixtures("narrow_models")

LETTERS = "abcdefgh"
WORDS = {letter: [f"{letter}{number}" for number in range(10)] for letter in LETTERS}
"""Each word tells its text, and its place there."""


def check(found: list[list[str]]) -> None:
    """Of four texts for each given one, three are halves of two, and one has its own words at three places of four."""
    assert len(found) == 4 * len(LETTERS)
    for words, letter in zip(found[: 3 * len(LETTERS)], LETTERS * 3, strict=True):
        cut = next((place for place, word in enumerate(words) if word != WORDS[letter][place]), 5)
        assert 3 <= cut <= 7
        assert words[cut:] == WORDS[words[-1][0]][-len(words[cut:]) :]
        assert 3 <= len(words[cut:]) <= 7
    assert len({words[-1][0] for words in found[: 3 * len(LETTERS)]}) > 4
    replaced = found[3 * len(LETTERS) :]
    known = {word for words in WORDS.values() for word in words}
    assert all(set(words) <= known for words in replaced)
    own = [WORDS[letter] for letter in LETTERS]
    same = [
        mine == its
        for words, of_text in zip(replaced, own, strict=True)
        for mine, its in zip(words, of_text, strict=True)
    ]
    assert 0.6 < sum(same) / len(same) < 0.9


def made_of(name: str, records: list[dict[str, Any]], count: int = 4) -> list[Any]:
    task = registry.task_class(name)(registry.settings_class(name)())
    items = [task.parse_input(record, "") for record in records]
    assert made_up(task, items, count) == made_up(task, items, count)
    return made_up(task, items, count)


@pytest.mark.parametrize("name", ["classification", "qa"])
def test_halves_of_two_texts_and_texts_with_some_other_words(name: str) -> None:
    check([item.text.split() for item in made_of(name, [{"text": " ".join(words)} for words in WORDS.values()])])


def test_words_stay_words_in_named_entities() -> None:
    check([item.words for item in made_of("ner", [{"tokens": words} for words in WORDS.values()])])


def test_spaces_stand_before_the_same_words() -> None:
    """Chinese has none, and a mark stands at its word."""
    chinese = [{"text": "今天天氣很好，我們出去走走"}, {"text": "他說明天會下雨，所以不來了"}]
    assert not any(" " in item.text for item in made_of("classification", chinese, 40))
    english = [{"text": "One, two, three, four, five"}, {"text": ""}, {"text": " six,  seven, eight"}] * 15
    halves = [item.text for item in made_of("classification", english, 3)]
    assert len(halves) == 90
    assert not any(" ," in text or text.endswith(" ") for text in halves)


def test_the_teacher_answers_to_them_and_they_are_of_the_training_part(tmp_path: Path) -> None:
    model, tokenizer = make_teacher(
        tmp_path / "teacher", SequenceClassifier, {0: "bad", 1: "good"}, "bert", [[text] for text in TEXTS]
    )
    options = ["--train", texts_file(tmp_path / "train.jsonl"), "--dev-share", "0.25", *SMALL]
    task, found = prepared("classification", [*options, "--teacher", str(tmp_path / "teacher"), "--made-up", "4"])
    items = made_up(task, found.splits["train"].items, 4)
    held_out = {item.text.split()[-1] for item in found.splits["dev"].items}  # the number of a text
    assert not held_out & {word for item in items for word in item.text.split()}
    soft = found.training.items[len(found.splits["train"].items) :]
    assert len(soft) == len(items) == 4 * 18
    assert not any(example.labelled for example in soft)
    for item, example in zip(items, soft, strict=True):
        ids, _ = tokenizer.with_special_tokens(tokenizer.encode(item.text).ids)
        torch.testing.assert_close(torch.from_numpy(example.logits), model(pack([ids])), atol=1e-5, rtol=1e-4)
    assert found.described["made_up"]["items"] == len(items)


@pytest.mark.slow
def test_a_run_learns_from_them_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_teacher(tmp_path / "teacher", TokenClassifier, TAGS, "bert", [["a", "b"]])
    more = ["--teacher", str(tmp_path / "teacher"), "--made-up", "2", "--out", str(tmp_path / "run")]
    run = registry.run("ner", [*ner_options(tmp_path), *SMALL, *more])
    assert "also for 32 made-up texts" in capsys.readouterr().out
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["data"]["made_up"]["items"] == 32
    steps = [
        json.loads(line).get("step", 0) for line in (run / "train_log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert max(steps) == 2 * (16 + 32) / 8


def test_what_has_several_texts_is_refused(tmp_path: Path) -> None:
    questions = [{"question": f"Is {i} it?", "choices": ["yes", "no"], "label": 0} for i in range(8)]
    make_teacher(tmp_path / "teacher", MultipleChoiceClassifier, None, "bert", [["Is it?", "yes", "no"]])
    options = ["--train", write(tmp_path / "train.jsonl", questions), *SMALL, "--teacher", str(tmp_path / "teacher")]
    with pytest.raises(InputError, match="--made-up 1: is for single texts, and multiple_choice has several here"):
        prepared("multiple_choice", [*options, "--made-up", "1"])
    with pytest.raises(InputError, match="--made-up 0: must be 1 or more"):
        prepared("multiple_choice", [*options, "--made-up", "0"])
    with pytest.raises(InputError, match="--made-up: needs --teacher"):
        prepared("classification", ["--made-up", "1", "--train", texts_file(tmp_path / "texts.jsonl")])
    with pytest.raises(InputError, match="--made-up 3: there are no words"):
        made_of("classification", [{"text": " "}], 3)
