"""Runs that end with the same bits, and steps that overflow in fp16."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.gpu.heads import head
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report
from benchmarks.gpu.runs import Run, train
from benchmarks.ours import optimizer_step
from minibert.training import Examples, LabelledBatch, TrainingSettings


class _Stopped(Exception):
    pass


def run(report: Report, plan: Plan) -> None:
    with report.checked("deterministic runs end"):
        _deterministic(report, plan)
    with report.checked("overflows end"):
        _overflow(report, plan)


def _deterministic(report: Report, plan: Plan) -> None:
    """Two runs, and one that is stopped in the middle and resumed."""

    def run_to_the_end(folder: Path | None = None, *, stop_at: int | None = None, resume: bool = False) -> Run:
        def stop(number: int) -> None:
            if number == stop_at:
                raise _Stopped

        sizes = plan.sizes
        settings = TrainingSettings(
            epochs=1, batch_size=sizes.checked, precision="bf16", deterministic=True, lr=1e-3,
            save_steps=None if folder is None else sizes.steps // 2,
        )  # fmt: skip
        return train(
            plan, size=sizes.small, batch=sizes.checked, steps=sizes.steps, settings=settings, before_step=stop,
            checkpoints=folder, resume=resume,
        )  # fmt: skip

    first, second = run_to_the_end(), run_to_the_end()
    report.check("two deterministic runs have the same losses", first.losses == second.losses)
    report.check("two deterministic runs end with the same weights", torch.equal(first.weights, second.weights))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "checkpoints"
        try:
            # The run measures what determinism costs by some passes before its first step.
            run_to_the_end(folder, stop_at=len(first.losses) - plan.sizes.steps // 4)
        except _Stopped:
            resumed = run_to_the_end(folder, resume=True)
            report.check(
                "a run that was stopped and resumed ends with the same weights",
                torch.equal(first.weights, resumed.weights),
                f"{len(resumed.losses)} steps were made again",
            )
        else:
            report.check("a run is stopped", False)


def _overflow(report: Report, plan: Plan) -> None:
    """In fp16, an infinite gradient skips the step and halves the scale; the next step is taken."""
    which, config = head("words", plan)
    model, factor = which.model(config).to(plan.device), torch.ones((), device=plan.device)

    def loss(module: nn.Module, batch: LabelledBatch) -> Tensor:
        return which.losses(model, module, batch).sum() * factor

    step, state = optimizer_step(
        model, device=plan.device, data=Examples(which.examples, which.collate), size=len(which.examples), loss=loss,
        precision="fp16", settings=TrainingSettings(warmup_ratio=0.0),
    )  # fmt: skip
    examples = range(len(which.examples))
    step(examples)
    before, scale = nn.utils.parameters_to_vector(model.parameters()).clone(), state.scaler.get_scale()
    factor.fill_(1e30)
    step(examples)
    after = nn.utils.parameters_to_vector(model.parameters()).clone()
    report.check("an overflow leaves the weights", torch.equal(before, after))
    halved = state.scaler.get_scale()
    report.check("an overflow halves the scale", halved == scale / 2, f"{scale} to {halved}")
    factor.fill_(1.0)
    step(examples)
    changed = nn.utils.parameters_to_vector(model.parameters())
    report.check("the step after it is taken", bool(changed.isfinite().all()) and not torch.equal(changed, after))
