"""The attack counts what must not happen, and a few inputs of each kind are refused or read."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.attack import worker
from benchmarks.attack.kinds import KINDS, Kind
from benchmarks.attack.weights import MARKER
from minibert.errors import InputError

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")


def refuses() -> None:
    raise InputError("no.")


def fails() -> None:
    raise ZeroDivisionError("no.")


def takes_memory() -> None:
    assert len(bytearray(b"x") * (40 << 20))


EXPECTED: dict[str, Callable[[Path], Callable[[], object]]] = {
    "refused": lambda _: refuses,
    "read": lambda _: lambda: None,
    "traceback": lambda _: fails,
    "abort": lambda _: os.abort,
    "large": lambda _: takes_memory,
    "executed": lambda folder: lambda: (folder / f"{MARKER}-1").mkdir(),
    "slow": lambda _: lambda: sum(range(3_000_000)),
}


@pytest.mark.parametrize("what", EXPECTED)
def test_what_must_not_happen_is_counted(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MEGABYTES", 20.0)
    monkeypatch.setattr(worker, "SECONDS", 0.01 if what == "slow" else 5.0)

    def make(folder: Path, chance: random.Random) -> Callable[[], object]:
        return EXPECTED[what](folder)

    monkeypatch.setitem(KINDS, "made up", Kind(make, 1))
    outcome = worker.run_batch("made up", 0, 0, 2, tmp_path)
    assert outcome.counts["inputs"] == 2
    assert outcome.counts[what] == 2
    assert len(outcome.failures) == (0 if what in ("refused", "read") else 2)


@pytest.mark.parametrize("kind", KINDS)
def test_no_input_of_a_few_does_harm(kind: str, tmp_path: Path) -> None:
    """As ``python -m benchmarks.attack`` does with many."""
    outcome = worker.run_batch(kind, 1, 0, 8, tmp_path)
    assert outcome.failures == []
    assert outcome.counts["refused"] + outcome.counts["read"] == outcome.counts["inputs"] == 8
