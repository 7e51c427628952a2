"""Texts of large files: stored, they are those that are read into memory, and so is what is counted of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from minibert.errors import InputError
from tasks.classification import stored
from tasks.classification.data import LabelledText, read_texts
from tasks.classification.settings import ClassificationSettings
from tasks.classification.stored import Texts
from tasks.classification.task import ClassificationTask
from tasks.data import Split
from tasks.run import store

ROWS: dict[str, Sequence[dict[str, Any]]] = {
    "single": [{"text": f"text {n % 17} ü 你好 \U0001f600 \x00", "label": "abc"[n % 3]} for n in range(60)],
    "pair": [{"text1": f"text {n % 7}", "text2": f"other {n % 5}", "label": n % 3} for n in range(60)],
    "multi": [{"text": f"text {n % 40}", "label": ["a", "b", "c"][: n % 4]} for n in range(60)],
    "regression": [{"text": f"text {n % 40}", "label": n / 7} for n in range(60)],
    "mixed": [{"text": f"text {n}", "label": [1, True, "1", 0, " 0"][n % 5]} for n in range(60)],
    "odd": [{"text": ["in a list"] if n == 3 else f"text {n}", "label": ["'a'", "b"][n % 2]} for n in range(60)],
}
KINDS = {"multi": "multi", "regression": "regression"}


@pytest.fixture(autouse=True)
def small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tasks.classification.stored._BLOCK", 7)
    monkeypatch.setattr("tasks.classification.rows._BLOCK", 11)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def read(path: str, *, large: bool, **settings: Any) -> tuple[ClassificationTask, Split[LabelledText]]:
    task = ClassificationTask(ClassificationSettings(**settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "LARGE", 1 if large else 1 << 30)
        split = task.read(path)
    assert isinstance(split.items, Texts) == large
    return task, split


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("clean", [(), (r"\d -> NUMBER",)])
def test_stored_texts_are_those_in_memory(name: str, clean: tuple[str, ...], tmp_path: Path) -> None:
    path, kind = write(tmp_path / "a.jsonl", ROWS[name]), KINDS.get(name, "single")
    task, expected = read(path, large=False, kind=kind, clean=clean)
    for _ in range(2):
        _, found = read(path, large=True, kind=kind, clean=clean)
        assert [*found.items] == [*expected.items]
        assert [type(item.label) for item in found.items] == [type(item.label) for item in expected.items]
        for field in ("path", "sha256", "notes", "understood"):
            assert list(getattr(found, field)) == list(getattr(expected, field))
    assert found.items[-1] == expected.items[-1]
    assert found.items[3:20:4] == expected.items[3:20:4]
    assert isinstance(found.items, Texts)
    chosen = [9, 4, 4, 30, 0, 59]
    some, same = found.items.take(chosen), [expected.items[index] for index in chosen]
    assert [*some] == same
    for kept, in_memory in ((found.items, expected.items), (some, same)):
        one, other = (Split(path="", sha256="", items=items) for items in (kept, in_memory))
        assert task.count_labels(one) == task.count_labels(other)
        assert list(task.count_labels(one)) == list(task.count_labels(other))
        assert task.count_oddities(kept) == task.count_oddities(in_memory)
        assert task.group_numbers(kept).tolist() == task.group_numbers(in_memory).tolist()
        strata = list(zip(task.stratum_numbers(kept).tolist(), map(task.stratum, in_memory), strict=True))
        assert len(set(strata)) == len({number for number, _ in strata}) == len({name for _, name in strata})
        splits = {"train": expected, "dev": other}
        counts = task.count_duplicates(splits)
        assert task.count_duplicates({"train": found, "dev": one}) == counts
        assert task.count_duplicates({"train": found, "dev": other}) == counts


def test_digests_tell_different_parts_apart(tmp_path: Path) -> None:
    items = read(write(tmp_path / "a.jsonl", ROWS["single"]), large=True)[1].items
    others = read(write(tmp_path / "b.jsonl", ROWS["pair"]), large=True)[1].items
    assert isinstance(items, Texts)
    assert isinstance(others, Texts)
    parts = [items, items.take([1, 2]), items.take([2, 1]), others, others.take([1, 2])]
    assert len({part.digest for part in parts}) == len(parts)
    assert items.take([1, 2]).digest == items.take([0, 1, 2]).take([1, 2]).digest


def test_the_separator_of_the_training_file_is_remembered(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [{"text": f"text {n}", "label": "a;b"} for n in range(4)])
    dev = write(tmp_path / "dev.jsonl", [{"text": f"text {n}", "label": "a,b"} for n in range(4)])
    for _ in range(2):
        task, split = read(train, large=True, kind="multi")
        assert split.items[0].label == ("a", "b")
        assert task.read(dev).items[0].label == ("a,b",)


@pytest.mark.parametrize("writable", [True, False])
def test_whether_there_are_ngrams_does_not_depend_on_the_cache(
    writable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file has none by default, be it stored or in memory."""
    path = write(tmp_path / "a.jsonl", ROWS["single"])
    if not writable:
        (tmp_path / "file").touch()
        monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "file"))
    for large in (True, False):
        monkeypatch.setattr(store, "LARGE", 1 if large else 1 << 30)
        task = ClassificationTask(ClassificationSettings())
        split = task.read(path)
        assert isinstance(split.items, Texts) == (large and writable)
        task.resolve_settings(split)
        assert task.settings.ngrams == (not large)


def test_errors_are_those_of_small_files_and_leave_no_store(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [*ROWS["single"], {"text": " ", "label": "a"}])
    for large in (False, True):
        with pytest.raises(InputError, match=r"a\.jsonl, line 61: text is empty; fill it in"):
            read(path, large=large)
    assert not [*(tmp_path / "cache").rglob("*.bin")]
    _, found = read(path, large=True, skip_invalid=True)
    assert len(found.items) == 60
    assert found.notes["left_out"] == {"invalid rows": 1}


def test_a_broken_row_far_below_is_named_before_unknown_columns(tmp_path: Path) -> None:
    rows = "\n".join('{"a": 1, "b": 2}' for _ in range(2000))
    path = tmp_path / "a.jsonl"
    path.write_text(f"{rows}\n{{broken\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"line 2001: not JSON"):
        read_texts(str(path), ClassificationSettings().text_options())


@pytest.mark.parametrize("skip", [False, True])
def test_missing_labels_are_named_or_left_out(skip: bool, tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "label": "nan" if n in (4, 9) else "ab"[n % 2]} for n in range(20)]
    path = write(tmp_path / "a.jsonl", rows)
    for large in (False, True):
        _, split = read(path, large=large, skip_invalid=skip)
        assert len(split.items) == (18 if skip else 20)
        if skip:
            assert split.notes["left_out"] == {"rows whose label looks like a missing value": 2}
        else:
            assert "2 labels look like missing values: nan (line 5)" in split.understood[-1]


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.jsonl", ROWS["single"])
    before = stored.file_sha256(path)
    monkeypatch.setattr(stored, "file_sha256", lambda path: before)
    write(tmp_path / "a.jsonl", ROWS["pair"])
    with pytest.raises(InputError, match=r"a\.jsonl: has changed while it was read"):
        read(path, large=True)
    assert not [*(tmp_path / "cache").rglob("*.bin")]


def test_no_number_of_labels_is_too_large_for_the_manifest(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "label": [f"zebra {n}", "b"]} for n in range(300)]
    read(write(tmp_path / "a.jsonl", rows), large=True, kind="multi")
    (manifest,) = (tmp_path / "cache").rglob("manifest.json")
    assert "zebra" not in manifest.read_text(encoding="utf-8")
