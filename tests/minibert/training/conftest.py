"""What the tests of the training engine share."""

import os

import pytest
from training_runs import Run


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without any interruption."""
    run = Run(tmp_path_factory.mktemp("uninterrupted"))
    run.start()
    return run
