"""What the tests of reports share."""

import sys

import pytest


@pytest.fixture(autouse=True, scope="module")
def _without_plots() -> None:
    """Not here."""


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # what an import of a missing package meets
