"""The trials of a server find what must not happen, and find nothing in a short run."""

import json
import random
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytest.importorskip("transformers", reason="the benchmark's peer is transformers")

from benchmarks.attack.bodies import hostile_body
from benchmarks.serving import __main__ as serving
from benchmarks.serving import trials
from benchmarks.serving.speed import make_texts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.slow
def test_a_short_run_is_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lengths = tmp_path / "lengths.txt"
    lengths.write_text("4\n9\n", encoding="ascii")
    short = ["--requests", "40", "--bodies", "30", "--clients", "4", "--parts", "endurance", "hostile"]
    with pytest.raises(SystemExit) as stop:
        serving.main(["--tokenizer", str(ROOT / "weights" / "bert-tiny"), "--lengths", str(lengths), *short])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert stop.value.code == 0
    assert (found["endurance"]["lost"], found["endurance"]["wrong"]) == (0, 0)
    assert sum(found["hostile"]["statuses"].values()) == 30
    assert found["hostile"]["others_answered"] > 0


def test_what_must_not_happen_is_a_failure() -> None:
    assert serving.is_sound({"endurance": {"lost": 0, "wrong": 0}, "hostile": {"server_errors": 0, "alive": True}})
    for part, name, value in (
        ("endurance", "lost", 1), ("endurance", "wrong", 1), ("stops", "unanswered", 1),
        ("hostile", "server_errors", 1), ("hostile", "others_refused", 1), ("hostile", "alive", False),
    ):  # fmt: skip
        assert not serving.is_sound({part: {name: value}})


def test_answers_are_compared_to_the_last_decimal() -> None:
    right = {"masks": [{"start": 0, "words": [{"text": "a", "probability": 0.25}]}]}
    assert trials.close({"masks": [{"start": 0, "words": [{"text": "a", "probability": 0.250001}]}]}, right)
    for wrong in ({"text": "b", "probability": 0.25}, {"text": "a", "probability": 0.250003}, {"text": "a"}):
        assert not trials.close({"masks": [{"start": 0, "words": [wrong]}]}, right)


def test_texts_have_the_lengths_that_fit() -> None:
    assert [len(text) for text in make_texts([1, 20, 2427], seed=0)] == [1, 20, 510]


def test_hostile_requests_repeat() -> None:
    assert hostile_body(random.Random("0 7")) == hostile_body(random.Random("0 7"))
    assert len({hostile_body(random.Random(f"0 {number}")) for number in range(50)}) > 40
