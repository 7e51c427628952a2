"""File systems without locks, such as some network ones: work goes on, and a warning says what not to do."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.run import lock
from tasks.run.store import stored

fcntl = pytest.importorskip("fcntl", reason="Windows has no locks of this kind.")


@pytest.fixture(autouse=True)
def _no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)


def test_a_run_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with lock.locked(tmp_path):
        (warning,) = caplog.messages
        assert warning.startswith(f"{tmp_path / lock.LOCK_FILE}: cannot be locked (No locks available); start no other")
    assert not any(tmp_path.iterdir())


def test_a_store_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path))
    made = stored({"key": 1}, lambda writer: writer.append("values", np.arange(3)), "numbers")
    assert made.arrays["values"].tolist() == [0, 1, 2]
    assert "cannot be locked" in caplog.text
