"""What the tests of the server share: small models, and a server with all of them."""

from collections.abc import Iterator

import pytest
from serving import serving
from tiny_runs import MODELS, make_run

from tasks.predict import Answerer, load


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: make_run(folder / name, name) for name in MODELS}


@pytest.fixture(scope="session")
def models(runs: dict[str, str]) -> dict[str, Answerer]:
    return {name: load(run, device="cpu", precision="fp32") for name, run in runs.items()}


@pytest.fixture(scope="session")
def url(models: dict[str, Answerer], runs: dict[str, str]) -> Iterator[str]:
    """Of a server with all models; the first is that of named entities."""
    with serving(models, runs) as found:
        yield found
