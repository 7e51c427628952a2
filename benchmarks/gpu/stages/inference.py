"""Tokens a second of BERT-large in inference, in bf16: sequences of 384 tokens, as in answering questions."""

from benchmarks.gpu import speed
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report


def run(report: Report, plan: Plan) -> None:
    sizes = plan.sizes
    length = 3 * sizes.long // 4
    work = plan.workload(sizes.large, lengths=f"fixed:{length}", sequences=16 * sizes.batches)
    speed.inference(report, f"{length} tokens", work, sizes.repeats)
