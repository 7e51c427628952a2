"""Tokens a second in training beside transformers compiled by torch.compile, in batches of 32."""

from benchmarks.gpu import speed
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report, Skipped


def run(report: Report, plan: Plan) -> None:
    if plan.device.type != "cuda":
        raise Skipped("compiled models are measured on CUDA only")
    sizes = plan.sizes
    work = plan.workload(sizes.base, sequences=32 * sizes.batches)
    speed.training(report, "batches of 32", work, sizes.repeats, ["transformers-compiled"])
