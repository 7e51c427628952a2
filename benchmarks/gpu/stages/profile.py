"""Where the time of one optimizer step goes: kernels, the device's time and the host's, ours and transformers'."""

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from torch.profiler import profile

from benchmarks import peers
from benchmarks.clock import Work
from benchmarks.gpu.device import activities, synchronize
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report
from benchmarks.ours import OURS, our_trainer

_WARM_UP, _TIMED, _TOP = 3, 5, 15


def run(report: Report, plan: Plan) -> None:
    work = plan.workload(plan.sizes.base)  # one batch
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        work.random_model().save_pretrained(folder)
        report.figure(OURS, _profiled(our_trainer(folder, work).train, plan))
        report.figure(peers.BASELINE, _profiled(peers.trainer(peers.BASELINE, folder, work).train, plan))


def _profiled(step: Work, plan: Plan) -> dict[str, Any]:
    """Kernels launched, and milliseconds: of the step, of kernels on the device, and until the host was done.

    On a CPU, operators stand for kernels.
    """
    for _ in range(_WARM_UP):
        step()
    seconds, host = [], []
    for _ in range(_TIMED):
        synchronize(plan.device)
        started = time.perf_counter()
        step()
        host.append(time.perf_counter() - started)
        synchronize(plan.device)
        seconds.append(time.perf_counter() - started)
    with profile(activities=activities(plan.device)) as profiler:
        step()
        synchronize(plan.device)
    on_cuda = plan.device.type == "cuda"
    busy: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in profiler.events() or []:
        if event.device_type.name == ("CUDA" if on_cuda else "CPU") and not event.is_user_annotation:
            taken = event.time_range.elapsed_us() if on_cuda else event.self_cpu_time_total
            busy[event.name] += taken
            calls[event.name] += 1
    copies = sum(count for name, count in calls.items() if name.startswith(("Memcpy", "Memset")))
    return {
        "kernels": calls.total() - copies,
        "copies": copies,
        "milliseconds": round(1000 * min(seconds), 3),
        "milliseconds of kernels": round(busy.total() / 1000, 3),
        "milliseconds of the host": round(1000 * min(host), 3),
        "longest": [[name[:120], calls[name], round(taken / 1000, 3)] for name, taken in busy.most_common(_TOP)],
    }
