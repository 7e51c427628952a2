"""An optimizer step of every family, head and precision, in which the host never waits for the device."""

from typing import Any

import torch

from benchmarks.gpu.device import no_synchronisation
from benchmarks.gpu.heads import HEADS, head
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report

_OPTIONS: dict[str, dict[str, Any]] = {
    "R-Drop": {"r_drop": 1.0},
    "FGM": {"fgm": 1.0},
    "micro-batches": {"micro_batch_size": 2},
}


def run(report: Report, plan: Plan) -> None:
    for family in ("bert", "albert", "roberta"):
        for name in HEADS:
            for precision in ("bf16", "fp16", "fp32"):
                with report.checked(f"{family}, {name}, {precision}"):
                    _step(plan, family, name, precision)
    for option, settings in _OPTIONS.items():
        with report.checked(option):
            _step(plan, "bert", "words", "bf16", **settings)


def _step(plan: Plan, family: str, name: str, precision: str, **settings: Any) -> None:
    """The second step of a run, since the first one sets up libraries and the optimizer."""
    which, config = head(name, plan, arch=family)
    model = which.model(config)
    step, _ = which.step(model, precision, plan.device, **settings)
    examples = range(len(which.examples))
    step(examples)
    with no_synchronisation(plan.device):
        result = step(examples)
    assert torch.isfinite(result.loss_and_norm).all(), f"loss and norm are {result.loss_and_norm.tolist()}"
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters()), "a weight is not finite"
