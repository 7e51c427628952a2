"""Tokens a second in training, in bf16: sentences of uncut lengths by 32, and many tokens at a time."""

from benchmarks.gpu import speed
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report


def run(report: Report, plan: Plan) -> None:
    sizes = plan.sizes
    small = plan.workload(sizes.base, sequences=32 * sizes.batches)
    speed.training(report, "batches of 32", small, sizes.repeats)
    sequences = sizes.large_batches * sizes.tokens // 50
    large = plan.workload(sizes.base, sequences=sequences, batch_tokens=sizes.tokens)
    speed.training(report, f"batches of {sizes.tokens} tokens", large, sizes.repeats)
