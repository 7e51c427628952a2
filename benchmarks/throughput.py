"""Tokens per second in inference and in training, compared with other tools.

All process the same sequences with the same weights, in one process, in turn; before timing, their logits (or
gradients) are compared. The table gives medians over rounds. Utilisation is the operations of real tokens per second,
relative to the machine's peak rate of matrix products in the same run. Prints one JSON line last.

    python -m benchmarks.throughput inference --lengths msra_uncut_test_lengths.txt
    python -m benchmarks.throughput training --lengths msra/dev.txt.gz --size minilm --sequences 320
    python -m benchmarks.throughput training --batch-tokens 16384 --device cuda
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.clock import Work, in_turns, matrix_peak
from benchmarks.contender import Predictor, Trainer, Unavailable, gradient_errors, logit_errors, require_agreement
from benchmarks.graph_peers import GRAPH_PEERS
from benchmarks.ours import OURS, OURS_INT8, our_predictor, our_trainer
from benchmarks.record import available, print_record
from benchmarks.workload import Workload, add_options, operations, read_workload
from minibert.errors import InputError
from tasks.run.console import run_main
from tasks.run.interrupts import command_line

Prepare = Callable[[Sequence[str], Path, Workload], tuple[dict[str, Work], dict[str, float]]]

PREDICTORS = (*peers.PREDICTORS, OURS_INT8)
_TRAINING_COST = 3  # relative to a forward pass
_DEFAULT_PEERS = {
    ("inference", "cpu"): (
        "transformers-sdpa-sorted", "transformers-eager", "torch-encoder",
        *(f"{name}-sorted" for name in GRAPH_PEERS), OURS_INT8,
    ),
    ("inference", "cuda"): ("transformers-sdpa-sorted", "transformers-compiled-sorted", "transformers-flash"),
    ("training", "cpu"): (),
    ("training", "cuda"): ("transformers-compiled", "transformers-flash"),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("work", choices=("inference", "training"))
    add_options(parser, lengths="lognormal:28,0.6", sequences=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--peers",
        nargs="*",
        metavar="PEER",
        choices=PREDICTORS,
        help=f"in addition to {peers.BASELINE}: {', '.join(PREDICTORS)} (in training: {', '.join(peers.TRAINERS)})",
    )
    options = parser.parse_args(argv)
    work = read_workload(options)
    wanted = options.peers
    if wanted is None:
        wanted = _DEFAULT_PEERS[options.work, work.device.type]
    if options.work == "training" and (unfit := [name for name in wanted if name not in peers.TRAINERS]):
        raise InputError(f"--peers {unfit[0]}: does not train; choose from {', '.join(peers.TRAINERS)}.")
    peak = matrix_peak(work.device, work.dtype)
    seconds, errors = measured(inference if options.work == "inference" else training, wanted, work, options.rounds)
    peak = max(peak, matrix_peak(work.device, work.dtype))
    cost = operations(work.config, work.lengths) * (_TRAINING_COST if options.work == "training" else 1)
    print_record(
        f"throughput {options.work}",
        command_line("benchmarks.throughput", argv),
        work,
        matrix_peak=peak,
        contenders=_figures(work, seconds, errors, cost / peak),
    )


def measured(
    prepare: Prepare, wanted: Sequence[str], work: Workload, rounds: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The seconds of each round, and the error, of minibert, the baseline and other peers on the same weights."""
    names = list(dict.fromkeys([peers.BASELINE, *wanted]))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        work.random_model().save_pretrained(folder)
        works, errors = prepare(names, folder, work)
    return in_turns(works, rounds=rounds, device=work.device), errors


def inference(names: Sequence[str], folder: Path, work: Workload) -> tuple[dict[str, Work], dict[str, float]]:
    """Each contender's pass over all batches, and its error against the reference.

    Exits with status 1 if an error is too large.
    """

    def contender(name: str) -> Predictor:
        if name != OURS_INT8:
            return peers.predictor(name, folder, work)
        try:
            return our_predictor(folder, work, int8=True)
        except InputError as reason:
            raise Unavailable(str(reason).removesuffix(".")) from None

    contenders = [our_predictor(folder, work), *available(names, contender)]
    errors = logit_errors(peers.reference_predictor(folder, work), contenders, work.batches[0])
    inexact = [contender.name for contender in contenders if not contender.exact]
    require_agreement(errors, yardstick=peers.BASELINE, precision=work.precision, inexact=inexact)
    works = {
        contender.name: contender.one_pass(work.sorted_batches() if contender.sorts else work.batches)
        for contender in contenders
    }
    return works, errors


def training(names: Sequence[str], folder: Path, work: Workload) -> tuple[dict[str, Work], dict[str, float]]:
    """Like :func:`inference`, with an optimizer step on each batch."""
    contenders: list[Trainer] = [
        our_trainer(folder, work),
        *available(names, lambda name: peers.trainer(name, folder, work)),
    ]
    errors = gradient_errors(peers.reference_trainer(folder, work), contenders)
    require_agreement(errors, yardstick=peers.BASELINE, precision=work.precision, inexact=())
    return {contender.name: contender.train for contender in contenders}, errors


def _figures(
    work: Workload, seconds: dict[str, list[float]], errors: dict[str, float], ideal: float
) -> dict[str, dict[str, Any]]:
    """The table's columns by contender; ``ideal`` is the time at the machine's peak rate, in seconds."""
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        name: {
            "tokens_per_second": sum(work.lengths) / median[name],
            "sequences_per_second": len(work.sequences) / median[name],
            "utilisation": ideal / median[name],
            "speedup_of_ours": median[name] / median[OURS],
            "error": errors[name],
            "seconds": values,
        }
        for name, values in seconds.items()
    }


if __name__ == "__main__":
    run_main(main)
