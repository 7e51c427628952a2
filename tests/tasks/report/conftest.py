"""What the tests of reports share."""

import sys

import pytest


@pytest.fixture(autouse=True, scope="module")
def _plots_in_the_page_alone() -> None:
    """Not here: the files of plots are written, too."""


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # what an import of a missing package meets
