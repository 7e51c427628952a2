"""CUDA graphs: the same losses and gradients as without, and the time of a step."""

import dataclasses
import statistics
from typing import Any

from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report, Skipped
from benchmarks.gpu.runs import Run, train
from minibert.errors import InputError
from minibert.training import TrainingSettings

_TOLERANCE = 1e-3  # relative: sums in another order
_UNMOVED = 1e-12  # a learning rate at which the weights stay, so that differences do not add up


def run(report: Report, plan: Plan) -> None:
    if "cuda_graphs" not in {field.name for field in dataclasses.fields(TrainingSettings)}:
        raise Skipped("there is no setting cuda_graphs")
    try:
        replayed, eager = (
            _trained(plan, graphs, steps=plan.sizes.steps, lr=_UNMOVED, dropout=0.0, keep_gradients=True)
            for graphs in (True, False)
        )
    except InputError as reason:
        raise Skipped(str(reason)) from None
    for number in range(plan.sizes.steps):
        loss, expected = replayed.losses[number], eager.losses[number]
        holds = abs(loss - expected) <= _TOLERANCE * abs(expected)
        report.check(f"step {number + 1}: the loss", holds, f"{loss} and {expected}")
        difference = (replayed.gradients[number] - eager.gradients[number]).norm()
        error = float(difference / eager.gradients[number].norm())
        report.check(f"step {number + 1}: the gradient", error <= _TOLERANCE, f"error {error:.1e}")
    for graphs in (False, True):
        timed = _trained(plan, graphs, steps=3 * plan.sizes.steps, lr=5e-5, dropout=0.1)
        name = "with graphs" if graphs else "without"
        report.figure(f"milliseconds a step, {name}", statistics.median(timed.milliseconds[plan.sizes.steps :]))


def _trained(plan: Plan, graphs: bool, *, steps: int, lr: float, dropout: float, **options: Any) -> Run:
    settings: dict[str, Any] = {"cuda_graphs": graphs}
    return train(
        plan, size=plan.sizes.base, batch=32, steps=steps, dropout=dropout,
        settings=TrainingSettings(epochs=1, batch_size=32, precision="bf16", lr=lr, warmup_ratio=0.0, **settings),
        **options,
    )  # fmt: skip
