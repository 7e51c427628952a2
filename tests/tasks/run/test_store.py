"""Stores: arrays that are made once, checked before use, and whole or not there."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from full_disk import largest_file

from minibert.errors import InputError
from tasks.run import store as module
from tasks.run.store import Store, Writer, cache_folder, release, stored

NUMBERS = np.arange(5000, dtype=np.int64)
KEY = {"corpus": "a"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path))
    return tmp_path / "corpora"


class Maker:
    """Writes the numbers in two parts, and counts how often."""

    def __init__(self, between: Callable[[], object] = lambda: None) -> None:
        self.times = 0
        self._between = between

    def __call__(self, writer: Writer) -> None:
        self.times += 1
        writer.append("numbers", NUMBERS[:100])
        self._between()
        writer.append("numbers", NUMBERS[100:])
        writer.append("none", np.empty(0, np.uint16))
        writer.facts["name"] = "ä"


def assert_whole(store: Store) -> None:
    assert {name: values.dtype for name, values in store.arrays.items()} == {"numbers": np.int64, "none": np.uint16}
    assert np.array_equal(store.arrays["numbers"], NUMBERS)
    assert len(store.arrays["none"]) == 0
    assert store.facts == {"name": "ä"}


def test_a_store_is_made_once_and_each_key_has_its_own(cache: Path) -> None:
    make = Maker()
    for _ in range(2):
        assert_whole(stored(KEY, make, "numbers"))
    assert make.times == 1
    assert stored({"corpus": "b"}, make, "numbers").key != stored(KEY, make, "numbers").key
    assert make.times == 2
    with pytest.raises(ValueError, match="read-only"):
        stored(KEY, make, "numbers").arrays["numbers"][0] = 1


def test_pages_that_were_released_are_read_again() -> None:
    values = stored(KEY, Maker(), "numbers").arrays["numbers"]
    assert int(values.sum()) == int(NUMBERS.sum())
    release(values)
    release(NUMBERS)  # in memory: nothing to release
    assert np.array_equal(values, NUMBERS)


def files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.suffix != ".lock")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("numbers.bin", flip),
        ("numbers.bin", lambda path: path.write_bytes(path.read_bytes()[:-8])),
        ("none.bin", Path.unlink),
        ("manifest.json", Path.unlink),
        ("manifest.json", lambda path: path.write_text('{"arrays": 1}')),
        ("manifest.json", lambda path: path.write_text("{")),
    ],
)
def test_a_damaged_store_is_made_again(
    cache: Path, name: str, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    folder = cache / stored(KEY, Maker(), "numbers").key
    damage(folder / name)
    make = Maker()
    assert_whole(stored(KEY, make, "numbers"))
    assert make.times == 1
    assert f"{folder} is damaged, and made again" in caplog.text


def test_what_was_interrupted_leaves_nothing_that_is_taken_for_whole(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored(KEY, Maker(interrupt), "numbers")
    assert files(cache) == []
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # a killed process removes nothing
        with pytest.raises(KeyboardInterrupt):
            stored(KEY, Maker(interrupt), "numbers")
    assert files(cache) != []
    make = Maker()
    store = stored(KEY, make, "numbers")
    assert_whole(store)
    assert {path.parent for path in files(cache)} == {cache, cache / store.key}, "what was left is removed"


def test_makers_at_one_time_use_the_work_of_one(cache: Path) -> None:
    """Threads, whose locks exclude one another as those of processes do."""
    started = threading.Barrier(4)
    make = Maker()
    found = []

    def start() -> None:
        started.wait()
        found.append(stored(KEY, make, "numbers"))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert make.times == 1
    for store in found:
        assert_whole(store)


def test_a_full_disk_says_what_to_do_and_leaves_nothing(cache: Path) -> None:
    with largest_file(2000), pytest.raises(InputError, match=r"numbers cannot be written \(.*\); .*MINIBERT_CACHE"):
        stored(KEY, Maker(), "numbers")
    assert files(cache) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"file/corpora/.*MINIBERT_CACHE"):
        stored(KEY, Maker(), "numbers")


def test_the_cache_folder_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path
    monkeypatch.delenv(module.CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "minibert"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "minibert"
