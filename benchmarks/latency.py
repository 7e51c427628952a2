"""Latency of a single text, as in a service, compared with other tools.

Like benchmarks.throughput with a batch size of 1. A round is a pass over all texts; the table gives milliseconds per
text in the median and in the slowest round. Prints one JSON line last.

    python -m benchmarks.latency --lengths fixed:20
"""

import argparse
import statistics
from collections.abc import Sequence

from benchmarks import peers
from benchmarks.ours import OURS
from benchmarks.record import print_record
from benchmarks.throughput import inference, measured
from benchmarks.workload import add_options, read_workload
from tasks.run.console import run_main
from tasks.run.interrupts import command_line

_DEFAULT_PEERS = {
    "cpu": ("transformers-eager", "torch-encoder", "onnx-fp32", "onnx-int8"),
    "cuda": ("transformers-eager", "transformers-compiled"),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, lengths="fixed:20", sequences=20, batch=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--peers", nargs="*", metavar="PEER", choices=peers.PREDICTORS)
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


if __name__ == "__main__":
    run_main(main)
