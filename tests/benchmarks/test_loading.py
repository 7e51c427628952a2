"""The time to the first answer: all contenders answer, and what is counted."""

import json
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="transformers is the peer that is measured")

from benchmarks import loading


@pytest.mark.slow
def test_all_contenders_give_the_same_answer(capfd: pytest.CaptureFixture[str]) -> None:
    loading.main(["--size", "trial", "--rounds", "1"])
    out, err = capfd.readouterr()
    assert "unknown tokens" not in err
    found = json.loads(out.splitlines()[-1])["contenders"]
    assert list(found) == ["minibert", "minibert-modules", "transformers", "minibert-command"]
    for name, figures in found.items():
        assert figures["part_of_transformers"] == figures["seconds"][0] / found["transformers"]["seconds"][0]
        if name != "minibert-command":
            assert 0 < figures["seconds_after_imports"][0] < figures["seconds"][0]


def test_nothing_is_reported_where_answers_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_of(name: str, folder: Path) -> loading.Run:
        probability = 0.6 if name == "minibert-command" else 0.5
        return loading.Run(seconds=2.0, seconds_after_imports=1.0, probability=probability)

    monkeypatch.setattr(loading, "run_of", run_of)
    monkeypatch.setattr(loading, "write_classifier", lambda *_: None)
    with pytest.raises(SystemExit, match=r"minibert-command does not answer the same: 0\.6000, transformers 0\.5000"):
        loading.main(["--rounds", "1"])
