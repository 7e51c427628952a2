"""Parts of the data: what a random split keeps together, in proportion, and out of the other side."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibert.errors import InputError
from tasks.classification.data import LabelledText
from tasks.classification.settings import ClassificationSettings
from tasks.classification.task import ClassificationTask
from tasks.data import Split
from tasks.ner.data import entity_counts
from tasks.ner.settings import NerSettings
from tasks.ner.task import NerTask
from tasks.run.splits import hold_out, read_splits
from tasks.span_qa.settings import SpanQaSettings
from tasks.span_qa.task import SpanQaTask


def texts(labels: str) -> Split[LabelledText]:
    """An item for each letter, which is its label; equal letters that stand side by side have equal texts."""
    rows = []
    for index, label in enumerate(labels):
        equal = index and labels[index - 1] == label
        rows.append(LabelledText(rows[-1].text if equal else f"text {index}", None, label, index + 1))
    return Split(path="a.jsonl", sha256="", items=rows)


CLASSIFY = ClassificationTask(ClassificationSettings())


@given(labels=st.text(alphabet="abc", min_size=4, max_size=60), seed=st.integers(0, 3), share=st.floats(0.1, 0.6))
def test_nothing_is_lost_equal_texts_stay_together_and_every_label_can_be_learnt(
    labels: str, seed: int, share: float
) -> None:
    split = texts(labels)
    try:
        kept, held = hold_out(CLASSIFY, split, name="dev", share=share, count=share * len(labels), seed=seed)
    except InputError:
        assert len({item.text for item in split.items}) <= 3 or share * len(labels) < 2
        return
    assert sorted([*kept.items, *held.items], key=lambda item: item.line) == split.items
    assert not {item.text for item in kept.items} & {item.text for item in held.items}
    assert {item.label for item in held.items} <= {item.label for item in kept.items}


def plain_hold_out(items: list[LabelledText], name: str, count: float, seed: int) -> set[int]:
    """The indices of the held-out items, as the same seed has always drawn them."""
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(item.text, []).append(index)
    shuffled = list(groups.values())
    random.Random(f"{name} {seed}").shuffle(shuffled)
    strata: dict[object, list[list[int]]] = {}
    for group in shuffled:
        strata.setdefault(items[group[0]].label, []).append(group)
    left = Counter(item.label for item in items)
    held: set[int] = set()
    passed = 0
    for groups_of_stratum in strata.values():
        passed += sum(map(len, groups_of_stratum))
        for group in groups_of_stratum:
            labels = Counter(items[index].label for index in group)
            fits = len(held) + len(group) / 2 <= count * passed / len(items)
            if fits and all(left[label] > n for label, n in labels.items()):
                left -= labels
                held.update(group)
    return held


@given(
    rows=st.lists(st.tuples(st.integers(0, 15), st.sampled_from("abc")), min_size=1, max_size=60),
    seed=st.integers(0, 3),
    share=st.floats(0.05, 0.6),
    block=st.integers(1, 9),
)
def test_a_seed_draws_what_it_has_always_drawn(
    rows: list[tuple[int, str]], seed: int, share: float, block: int
) -> None:
    items = [LabelledText(f"text {text}", None, label, line) for line, (text, label) in enumerate(rows, 1)]
    expected = plain_hold_out(items, "dev", share * len(items), seed)
    split = Split(path="a", sha256="", items=items)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.run.splits._BLOCK", block)
        try:
            kept, held = hold_out(CLASSIFY, split, name="dev", share=share, count=share * len(items), seed=seed)
        except InputError:
            assert not expected
            return
    assert held.indices is not None
    assert kept.indices is not None
    assert [*held.indices] == sorted(expected)
    assert [*kept.indices] == [index for index in range(len(items)) if index not in expected]
    assert held.items == [items[index] for index in sorted(expected)]


def test_a_split_has_every_label_in_proportion() -> None:
    split = texts("ab" * 100 + "ac" * 50)
    kept, held = hold_out(CLASSIFY, split, name="dev", share=0.2, count=60, seed=1)
    assert Counter(item.label for item in held.items) == {"a": 30, "b": 20, "c": 10}
    assert (len(kept.items), held.source) == (240, "a.jsonl (20% held out, seed 1)")


def test_many_small_classes_still_add_up_to_the_share() -> None:
    names = [f"c{index % 149}" for index in range(600)]
    rows = [LabelledText(f"text {index}", None, name, index + 1) for index, name in enumerate(names)]
    _, held = hold_out(CLASSIFY, Split(path="a", sha256="", items=rows), name="dev", share=0.1, count=60, seed=3)
    assert len(held.items) == 60
    assert max(Counter(item.label for item in held.items).values()) == 1


def test_the_seed_alone_decides() -> None:
    split = texts("ab" * 40)
    parts = [hold_out(CLASSIFY, split, name="dev", share=0.2, count=16, seed=seed)[1].items for seed in (1, 1, 2)]
    assert parts[0] == parts[1] != parts[2]


@pytest.mark.parametrize("seed", range(8))
def test_the_only_entity_of_a_type_is_left_to_learn_from(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(f"w{i} B-{'RARE' if i == 3 else 'X'}" for i in range(10)), encoding="utf-8")
    task = NerTask(NerSettings())
    kept, held = hold_out(task, task.read(str(path)), name="dev", share=0.5, count=5, seed=seed)
    assert entity_counts(kept.items)["RARE"] == 1
    assert entity_counts(held.items) == {"X": 5}


def test_questions_of_one_context_stay_together(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"context": f"{i // 4} here", "question": f"q{i}", "answers": [{"text": "here", "answer_start": 2}]}
        for i in range(40)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task = SpanQaTask(SpanQaSettings())
    kept, held = hold_out(task, task.read(str(path)), name="dev", share=0.2, count=8, seed=1)
    assert len(held.items) == 8
    assert not {item.context for item in kept.items} & {item.context for item in held.items}


def write_texts(path: Path, labels: str) -> str:
    path.write_text("\n".join(f'{{"text": "text {i}", "label": "{label}"}}' for i, label in enumerate(labels)))
    return str(path)


def test_a_test_part_and_a_dev_part_are_cut_from_one_file(tmp_path: Path) -> None:
    settings = ClassificationSettings(train=write_texts(tmp_path / "a.jsonl", "ab" * 50), dev_share=0.2, test_share=0.1)
    splits = read_splits(ClassificationTask(settings))
    assert {name: len(split.items) for name, split in splits.items()} == {"train": 70, "dev": 20, "test": 10}
    seen = [item.text for split in splits.values() for item in split.items]
    assert len(set(seen)) == len(seen) == 100


def test_without_files_the_sample_is_used_whole() -> None:
    assert list(read_splits(ClassificationTask(ClassificationSettings()))) == ["train", "dev", "test"]


def test_too_little_data_and_unknown_labels_are_refused(tmp_path: Path) -> None:
    few = write_texts(tmp_path / "few.jsonl", "ab")
    with pytest.raises(InputError, match=r"few\.jsonl: too few examples \(2\) .* --dev"):
        read_splits(ClassificationTask(ClassificationSettings(train=few)))
    larger = r"too few examples \(2\) .*, or a larger --dev-share than 0\.01"
    with pytest.raises(InputError, match=larger):
        read_splits(ClassificationTask(ClassificationSettings(train=few, dev_share=0.01)))
    alike = ClassificationSettings(train=few, clean=(".* -> same",))
    with pytest.raises(InputError, match=r"few\.jsonl: too few examples \(2, grouped into 1\)"):
        read_splits(ClassificationTask(alike))
    train, dev = write_texts(tmp_path / "t.jsonl", "ab"), write_texts(tmp_path / "d.jsonl", "abc")
    with pytest.raises(InputError, match=r"d\.jsonl, line 3: c does not occur in the training data \(it has a, b\)"):
        read_splits(ClassificationTask(ClassificationSettings(train=train, dev=dev)))
