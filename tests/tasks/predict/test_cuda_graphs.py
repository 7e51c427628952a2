"""Answers by graphs of the encoder, on a tape of CPU operators in place of CUDA."""

from pathlib import Path
from typing import Any

import pytest
from tape import TapeRecorder, attention_by_bounds
from tiny_runs import TEXTS, close, make_run

from minibert.errors import InputError
from tasks.predict import load
from tasks.run import predictor

INPUTS: dict[str, list[Any]] = {
    "ner": TEXTS[:12],
    "crf": TEXTS[:12],
    "classification": TEXTS[:12],
    "span_qa": [{"question": "Who?", "context": text} for text in TEXTS[:12]],
    "fill_mask": [f"[MASK] and {text}" for text in TEXTS[:12]],
}


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "milliseconds"} for row in rows]


@pytest.mark.parametrize("name", INPUTS)
def test_answers_are_those_without_graphs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One text at a time, and many."""
    run = make_run(tmp_path / "run", name)
    options: dict[str, Any] = {"device": "cpu", "precision": "fp32"}
    recorder = TapeRecorder()
    monkeypatch.setattr(predictor, "CudaRecorder", lambda device: recorder)
    monkeypatch.setattr(predictor, "require_graphs", lambda *_: None)
    expected = without_times(load(run, **options)(INPUTS[name]))
    with attention_by_bounds():
        replayed = load(run, **options, cuda_graphs=True)
        assert close(without_times(replayed(INPUTS[name])), expected)
        assert close(without_times([replayed(given) for given in INPUTS[name]]), expected)
    assert 1 < len(recorder.tapes) < len(INPUTS[name])


def test_a_device_without_graphs_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "classification")
    with pytest.raises(InputError, match="--cuda-graphs: needs bf16 or fp16 on a GPU"):
        load(run, device="cpu", cuda_graphs=True)
