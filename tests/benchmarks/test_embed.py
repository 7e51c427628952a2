"""The comparison with sentence-transformers: its table, and that nothing is timed where vectors differ."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="transformers is the peer that is measured")

from tiny_runs import TEXTS, make_run

from benchmarks import embed
from minibert.errors import InputError
from tasks.embed import load


def encode(model: str, device: str, factor: float = 1.0) -> embed.Encode:
    """In the place of the peer, which is not installed everywhere: our own vectors."""
    ours = load(model, device=device)
    return lambda texts: np.float32(factor) * ours(texts)


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS), encoding="utf-8")
    return [make_run(tmp_path / "model", "fill_mask"), str(file), "--texts", "20", "--rounds", "2", "--device", "cpu"]


def test_speed_is_measured(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(embed, "sentence_transformers_encode", encode)
    embed.main(given)
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    ours, theirs = found["contenders"]["minibert"], found["contenders"]["sentence-transformers"]
    assert ours["texts_per_second"] == pytest.approx(20 / np.median(ours["seconds"]))
    assert ours["speed_relative_to_theirs"] == pytest.approx(np.median(theirs["seconds"]) / np.median(ours["seconds"]))


def test_nothing_is_timed_where_vectors_differ(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "sentence_transformers_encode", partial(encode, factor=1.001))
    with pytest.raises(SystemExit, match=r"minibert does not compute the same: .* Nothing was timed"):
        embed.main(given)


def test_a_missing_peer_is_one_sentence(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"sentence-transformers is missing, with which this benchmark compares"):
        embed.main(given)
