"""The checks for a GPU, tried on a CPU: what they report, and that a stage that fails costs itself alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report
from benchmarks.gpu.stages import attention, memory, repeats
from minibert import attention as attentions
from minibert.batch import PackedBatch

PLAN = Plan(device=torch.device("cpu"))


def findings(stage: Any, folder: Path) -> dict[str, Any]:
    Report(folder / "report.json", "stage").run(lambda report: stage.run(report, PLAN))
    found: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return found


def failed(found: dict[str, Any]) -> list[str]:
    return [name for name, check in found["checks"].items() if not check["holds"]]


def test_attention_passes(tmp_path: Path) -> None:
    found = findings(attention, tmp_path)
    assert found["outcome"] == "passed"
    assert len(found["checks"]) == 9


def test_dropout_that_changes_the_mean_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = attentions.BACKENDS["grouped"]

    def unscaled(qkv: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
        return right(qkv, batch, dropout) * (1 - dropout)

    monkeypatch.setitem(attentions.BACKENDS, "grouped", unscaled)
    found = findings(attention, tmp_path)
    assert found["outcome"] == "failed"
    assert [name.partition(": ")[2] for name in failed(found)] == ["mean with dropout"] * 3


@pytest.mark.parametrize("stage", [memory, repeats])
def test_runs_pass(stage: Any, tmp_path: Path) -> None:
    found = findings(stage, tmp_path)
    assert found["outcome"] == "passed"
    assert found["checks"]


STAGES = {
    "wrong": "report.check('a claim', False, 'seen')",
    "raises": "report.figure('before', 1); raise ValueError('broken')",
    "dies": "report.figure('before', 2); import os; os._exit(7)",
    "endless": "report.check('first', True); import time; time.sleep(600)",
    "skips": "from benchmarks.gpu.report import Skipped; raise Skipped('no such thing')",
    "good": "report.check('a claim', True)",
}


@pytest.mark.slow
def test_a_stage_that_fails_or_is_too_slow_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, body in STAGES.items():
        (tmp_path / f"stage_{name}.py").write_text(f"def run(report, plan):\n    {body}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(command.__file__).parents[2]}")
    stages = {name: command.Stage(module=f"stage_{name}", seconds=60) for name in STAGES}
    stages["endless"] = command.Stage(module="stage_endless", seconds=12)
    monkeypatch.setattr(command, "STAGES", stages)
    with pytest.raises(SystemExit) as stop:
        command.main(["--out", str(tmp_path / "out"), "--device", "cpu"])
    assert stop.value.code == 1

    found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["stages"]
    outcomes = {name: result["outcome"] for name, result in found.items()}
    assert outcomes == {
        "wrong": "failed", "raises": "failed", "dies": "stopped", "endless": "stopped", "skips": "skipped",
        "good": "passed",
    }  # fmt: skip
    assert found["raises"]["detail"] == "ValueError: broken"
    assert [found[name]["figures"]["before"] for name in ("raises", "dies")] == [1, 2]
    assert found["dies"]["detail"] == "ended with status 7"
    assert found["endless"]["detail"] == "stopped after 12 s"
    assert found["endless"]["checks"]["first"]["holds"]
    assert found["skips"]["detail"] == "no such thing"
    printed = capsys.readouterr().out
    assert "| good | passed | 1 of 1 |" in printed
    assert "FAILED in wrong: a claim: seen" in printed
    assert "ValueError: broken" in (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")


def test_stages_for_which_no_time_is_left_are_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main(["--out", str(tmp_path), "--device", "cpu", "--minutes", "0.01"])
    assert stop.value.code == 1
    assert capsys.readouterr().out.count("not run") == 2 * len(command.STAGES)
