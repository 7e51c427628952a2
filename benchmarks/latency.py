"""Latency of a single text, as in a service, compared with other tools.

Like benchmarks.throughput with a batch size of 1. A round is a pass over all texts; the table gives milliseconds per
text in the median and in the slowest round. Above it are the bounds that the machine sets: for a text it must read the
layers' weights from memory once (unless its caches hold them), and multiply. Prints one JSON line last.

    python -m benchmarks.latency --lengths fixed:20
"""

import argparse
import statistics
from collections.abc import Sequence

import torch

from benchmarks.clock import matrix_peak, read_rate
from benchmarks.graph_peers import GRAPH_PEERS
from benchmarks.ours import OURS, OURS_INT8
from benchmarks.record import print_record
from benchmarks.throughput import PREDICTORS, inference, measured
from benchmarks.workload import Workload, add_options, layer_weights, operations, read_workload
from minibert.training.precision import DTYPES
from tasks.run.console import run_main
from tasks.run.interrupts import command_line

_DEFAULT_PEERS = {
    "cpu": ("transformers-eager", "torch-encoder", *GRAPH_PEERS, OURS_INT8),
    "cuda": ("transformers-eager", "transformers-compiled"),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, lengths="fixed:20", sequences=20, batch=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--peers", nargs="*", metavar="PEER", choices=PREDICTORS)
    options = parser.parse_args(argv)
    work = read_workload(options)
    wanted = _DEFAULT_PEERS[work.device.type] if options.peers is None else options.peers
    seconds, errors = measured(inference, wanted, work, options.rounds)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    to_milliseconds = 1000 / len(work.batches)
    print_record(
        "latency",
        command_line("benchmarks.latency", argv),
        work,
        bounds=bounds(work, [work.precision, *(["int8"] if any("int8" in name for name in seconds) else [])]),
        contenders={
            name: {
                "milliseconds": median[name] * to_milliseconds,
                "slowest_milliseconds": max(values) * to_milliseconds,
                "speedup_of_ours": median[name] / median[OURS],
                "error": errors[name],
                "seconds": values,
            }
            for name, values in seconds.items()
        },
    )


def bounds(work: Workload, precisions: Sequence[str]) -> dict[str, dict[str, float]]:
    """The least milliseconds for one text in each precision: for reading the weights, and for multiplying, at the rates
    measured here."""
    rate = read_rate(work.device)
    found = {}
    for precision in precisions:
        dtype = torch.int8 if precision == "int8" else DTYPES[precision]
        peak = matrix_peak(work.device, dtype)
        found[precision] = {
            "weights_milliseconds": 1000 * layer_weights(work.config) * dtype.itemsize / rate,
            "operations_milliseconds": 1000 * operations(work.config, work.lengths) / len(work.batches) / peak,
            "read_rate": rate,
            "matrix_peak": peak,
        }
    return found


if __name__ == "__main__":
    run_main(main)
