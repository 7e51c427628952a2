"""What the tests of reports share."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def _plots_in_the_page_alone() -> None:
    """Not here: the files of plots are written, too."""
