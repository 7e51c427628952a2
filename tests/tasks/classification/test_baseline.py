"""The linear baseline: what it must be able to learn, and that it is the same each time."""

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from conftest import SHARED

from tasks.classification.baseline import linear_baseline
from tasks.classification.data import LabelledText, TextOptions, read_texts

DATA = SHARED / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")


def items(*rows: tuple[str, Any]) -> list[LabelledText]:
    return [LabelledText(text, None, label, line) for line, (text, label) in enumerate(rows, 1)]


def figures(train: Sequence[LabelledText], test: Sequence[LabelledText], kind: str) -> dict[str, float]:
    result = linear_baseline(train, {"test": test}, kind=kind, seed=0)
    assert list(result.record) == ["name", "seconds", "test"]
    assert len(result.answers["test"]) == len(test)
    return dict(result.record["test"])


def test_words_and_characters_of_both_languages_are_learnt() -> None:
    """The label hangs on one word of several, on one character inside a run, on a mark, and on an order of words."""
    rng = random.Random(0)
    english, chinese = ["red", "green", "blue", "day", "night", "sea"], list("日月山水火木")

    def texts(count: int) -> list[LabelledText]:
        rows: list[tuple[str, Any]] = []
        for _ in range(count):
            positive = rng.random() < 0.5
            words = rng.sample(english, 4) + (["not good"] if positive else ["good not"])
            rows.append((" ".join(words), f"order {positive}"))
            characters = [*rng.sample(chinese, 4), "喜" if positive else "惡"]
            rng.shuffle(characters)
            rows.append(("".join(characters), f"character {positive}"))
            rows.append((" ".join(rng.sample(english, 4)) + ("!" if positive else "?"), f"mark {positive}"))
        return items(*rows)

    assert figures(texts(60), texts(30), "single")["accuracy"] == 1


def test_the_second_text_of_a_pair_is_read() -> None:
    train = [LabelledText("same", word, label, 1) for word, label in (("cat", "a"), ("dog", "b")) for _ in range(3)]
    assert figures(train, train, "single")["accuracy"] == 1


def test_several_labels() -> None:
    """Each label has its word; one label stands everywhere, and one text has no other."""
    words = {"a": "red", "b": "green", "c": "blue"}
    subsets: list[tuple[str, ...]] = [(), ("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]
    rows = [(" ".join(["text", *(words[label] for label in subset)]), (*subset, "every")) for subset in subsets * 4]
    result = figures(items(*rows), items(*rows), "multi")
    assert result == pytest.approx({"micro_f1": 1, "macro_f1": 1, "subset_accuracy": 1})


def test_numbers() -> None:
    grades = {"awful": -2.0, "poor": -1.0, "fair": 0.0, "good": 1.0, "superb": 2.0}
    rows = [
        (f"a {word} {thing}", value) for word, value in grades.items() for thing in ("film", "book", "song", "play")
    ]
    result = figures(items(*rows), items(*rows), "regression")
    assert result["spearman"] > 0.95
    assert result["mse"] < 0.5  # from a variance of 2


def test_what_there_is_nothing_to_learn_from() -> None:
    assert figures(items(("x", "a"), ("\u200b", "a")), items(("y", "a"), ("z", "b")), "single")["accuracy"] == 0.5
    assert figures(items(("x", ()), ("y", ())), items(("x", ()), ("y", ("a",))), "multi")["subset_accuracy"] == 0.5


def test_the_same_seed_gives_the_same_figures() -> None:
    """On labels drawn at random, where each answer hangs by a thread."""
    rng = random.Random(0)
    rows = [(" ".join(rng.choices("abcdefgh", k=6)), rng.choice("xyz")) for _ in range(400)]
    train, test = items(*rows[:200]), items(*rows[200:])
    first, second = (linear_baseline(train, {"train": train, "test": test}, kind="single", seed=3) for _ in range(2))
    assert {**first.record, "seconds": 0} == {**second.record, "seconds": 0}
    assert first.answers == second.answers


# -- real files -------------------------------------------------------------------------------------------------------


def split(texts: Sequence[LabelledText], share: float, seed: int) -> tuple[list[LabelledText], list[LabelledText]]:
    """The share of each label at random; equal texts stay on one side."""
    by_text = defaultdict(list)
    for item in texts:
        by_text[item.text].append(item)
    by_label = defaultdict(list)
    for same in by_text.values():
        by_label[same[0].label].append(same)
    train, test = [], []
    rng = random.Random(seed)
    for groups in by_label.values():
        rng.shuffle(groups)
        cut = round(len(groups) * share)
        test += [item for same in groups[:cut] for item in same]
        train += [item for same in groups[cut:] for item in same]
    return train, test


@pytest.mark.slow
@needs_data
def test_taipei_qa_stands_where_it_was_measured() -> None:
    """Three seeds gave 82.1 to 83.1 %."""
    texts = read_texts(str(DATA / "taipei_qa" / "Taipei_QA_new.txt"), TextOptions(layout="label-first")).items
    train, test = split(texts, 0.1, 0)
    assert 0.80 < figures(train, test, "single")["accuracy"] < 0.85


@pytest.mark.slow
@needs_data
def test_sarcasm_stands_where_it_was_measured() -> None:
    """Three seeds gave 87.9 to 88.4 %."""
    train, test = split(read_texts(str(DATA / "sarcasm" / "sarcasm.jsonl.gz"), TextOptions()).items, 0.2, 0)
    assert 0.86 < figures(train, test, "single")["accuracy"] < 0.90
