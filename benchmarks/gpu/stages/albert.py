"""Peak memory of training an ALBERT-xxlarge on 16 sequences of 512 tokens, with and without checkpointing."""

import gc
import tempfile
from pathlib import Path

from benchmarks import peers
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report
from benchmarks.memory import rise
from benchmarks.ours import OURS


def run(report: Report, plan: Plan) -> None:
    sizes = plan.sizes
    work = plan.workload(
        sizes.albert, arch="albert", lengths=f"fixed:{sizes.long}", sequences=16, batch=16, work="training"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        work.random_model().save_pretrained(folder)
        for name in (OURS, f"{OURS} checkpointed", peers.BASELINE):
            peak, _ = rise(name, folder, work)
            report.figure(f"bytes of {name}", peak)
            gc.collect()
