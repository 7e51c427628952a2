"""A batch that does not fit into memory: its halves give the same gradient."""

import torch
from torch import Tensor, nn

from benchmarks.gpu.device import Limit, reserved_by
from benchmarks.gpu.heads import head
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report
from benchmarks.ours import optimizer_step
from minibert.training import Examples, LabelledBatch, TrainingSettings

_TOLERANCE = 1e-2  # of the gradient's norm: a CPU rounds that of each micro-batch to bf16


def run(report: Report, plan: Plan) -> None:
    count = plan.sizes.filling
    which, config = head("words", plan, lengths=f"fixed:{plan.sizes.long}", sequences=count)
    model = which.model(config).eval()
    limits: list[Limit] = []

    def loss(module: nn.Module, batch: LabelledBatch) -> Tensor:
        for limit in limits:
            limit.take(batch.inputs.num_sequences)
        return which.losses(model, module, batch).sum()

    step, state = optimizer_step(
        model, device=plan.device, data=Examples(which.examples, which.collate), size=count, loss=loss,
        precision="bf16", settings=TrainingSettings(),
    )  # fmt: skip

    def gradient() -> Tensor:
        step.gradients(range(count))
        found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        state.optimizer.zero_grad()
        return found

    expected = gradient()
    whole = reserved_by(gradient, plan.device)
    state.progress.micro_batch_size = count // 2
    half = reserved_by(gradient, plan.device)
    report.figure("bytes", {"whole batch": whole, "halves": half})
    state.progress.micro_batch_size = count
    with Limit(plan.device, num_bytes=(whole + half) // 2, sequences=count // 2) as limit:
        limits.append(limit)
        computed = gradient()
    limits.clear()
    size = state.progress.micro_batch_size
    report.check("the micro-batch was halved", size == count // 2, f"{count} to {size} sequences")
    error = float((computed - expected).norm() / expected.norm())
    report.check("the gradient is that of the whole batch", error <= _TOLERANCE, f"error {error:.1e}")
