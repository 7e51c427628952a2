"""Rates beside transformers. That all compute the same is what the stage ``parity`` checks."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmarks import peers
from benchmarks.clock import Work, in_turns, matrix_peak
from benchmarks.gpu.report import Report
from benchmarks.ours import OURS, our_predictor, our_trainer
from benchmarks.workload import Workload, operations

_TRAINING_COST = 3  # relative to a forward pass


def training(report: Report, name: str, work: Workload, repeats: int, others: Sequence[str] = ()) -> None:
    """Keeps the rates of an optimizer step on each batch, by ``name``: ours, transformers', and other peers'."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        work.random_model().save_pretrained(folder)
        trainers = [
            our_trainer(folder, work),
            *(peers.trainer(peer, folder, work) for peer in (peers.BASELINE, *others)),
        ]
        works = {trainer.name: trainer.train for trainer in trainers}
        _measure(report, name, works, work, repeats, _TRAINING_COST)


def inference(report: Report, name: str, work: Workload, repeats: int) -> None:
    """Keeps the rates of a pass over all batches, by ``name``."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        work.random_model().save_pretrained(folder)
        predictors = [our_predictor(folder, work), peers.predictor(peers.BASELINE, folder, work)]
        works = {predictor.name: predictor.one_pass(work.batches) for predictor in predictors}
        _measure(report, name, works, work, repeats, 1)


def _measure(report: Report, name: str, works: Mapping[str, Work], work: Workload, repeats: int, cost: int) -> None:
    peak = matrix_peak(work.device, work.dtype)
    report.figure(
        name,
        {
            "tokens": sum(work.lengths), "sequences": len(work.sequences), "batches": len(work.batches),
            "padding": work.padding, "matrix_peak": peak,
        },
    )  # fmt: skip
    fitting = {contender: run for contender, run in works.items() if _fits(report, f"{name}, {contender}", run)}
    seconds = in_turns(fitting, rounds=repeats, device=work.device)
    ideal = cost * operations(work.config, work.lengths) / peak
    ours = statistics.median(seconds[OURS])
    for contender, values in seconds.items():
        median = statistics.median(values)
        rates = {
            "tokens_per_second": round(sum(work.lengths) / median),
            "milliseconds_per_batch": 1000 * median / len(work.batches),
            "utilisation": ideal / median,
            "speedup_of_ours": median / ours,
            "seconds": values,
        }
        report.figure(f"{name}, {contender}", rates)


def _fits(report: Report, name: str, run: Work) -> bool:
    """Whether a contender has the memory that it needs for the batches."""
    try:
        run()
    except torch.OutOfMemoryError:
        report.figure(name, "out of memory")
        return False
    return True
