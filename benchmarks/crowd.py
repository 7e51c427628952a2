"""Time of a command on a busy machine: alone, beside one busy process, and beside eight.

A busy process computes without end. Each round runs the command once beside each number of them, starting with another
number each time; before the first round it runs once to fill the disk cache. The table gives medians, and their ratios
to the command alone. A run that takes 20 times as long as that first one is stopped, and counts as that long. Prints
one JSON line last.

    python -m benchmarks.crowd
    python -m benchmarks.crowd --environment GOMP_SPINCOUNT=10000 OMP_WAIT_POLICY=passive
    python -m benchmarks.crowd --busy 0 2 --command "python train.py --out {out}"
"""

import argparse
import contextlib
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.environment import ENVIRONMENT
from benchmarks.record import all_versions
from minibert.errors import InputError
from tasks.run.console import run_main
from tasks.run.folder import device_name, now
from tasks.run.interrupts import command_line

_OUT = "{out}"
_COMMAND = f"python -m tasks.ner --arch albert --epochs 1 --device cpu --out {_OUT}"
_PATIENCE = 20  # times the seconds of the first run
# Ends with its parent, even if that is killed.
_BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(10**6):\n        pass"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.crowd", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 8], metavar="N", help="numbers of busy processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--command",
        default=_COMMAND,
        help=f"{_OUT} in it becomes a new folder, and python is this Python (default: an epoch of named entities)",
    )
    parser.add_argument(
        "--environment", nargs="+", default=[], metavar="NAME=VALUE", help="environment variables of the command"
    )
    options = parser.parse_args(argv)
    if options.rounds < 1 or min(options.busy) < 0 or 0 not in options.busy:
        raise InputError("--busy, --rounds: write 0 for the command alone and numbers above it, and 1 round or more.")
    if unfit := [given for given in options.environment if "=" not in given.lstrip("=")]:
        raise InputError(f"--environment {unfit[0]}: write NAME=VALUE, such as GOMP_SPINCOUNT=10000.")
    environment = ENVIRONMENT | dict(given.split("=", 1) for given in options.environment)
    seconds = measured(options.command, sorted(set(options.busy)), environment, rounds=options.rounds)
    median = {number: statistics.median(values) for number, values in seconds.items()}
    print("| busy processes | seconds | slowest | times alone |\n|---|---|---|---|")
    for number, values in seconds.items():
        print(f"| {number} | {median[number]:.1f} | {max(values):.1f} | {median[number] / median[0]:.2f} |")
    print(json.dumps({
        "benchmark": "crowd", "command": command_line("benchmarks.crowd", argv), "options": vars(options),
        "contenders": {
            f"beside {number}": {
                "median_seconds": median[number], "times_alone": median[number] / median[0], "seconds": values,
            }
            for number, values in seconds.items()
        },
        "processors": os.cpu_count(), "device": device_name(torch.device("cpu")), "finished": now(),
        "versions": all_versions(),
    }))  # fmt: skip


def measured(
    command: str, numbers: Sequence[int], environment: Mapping[str, str], *, rounds: int
) -> dict[int, list[float]]:
    """The seconds of each round beside each number of busy processes."""
    limit = _PATIENCE * seconds_of(command, environment)
    seconds: dict[int, list[float]] = {number: [] for number in numbers}
    for turn in range(rounds):
        first = turn % len(numbers)
        for number in [*numbers[first:], *numbers[:first]]:
            with busy_processes(number):
                seconds[number].append(seconds_of(command, environment, limit=limit))
            print(f"round {turn + 1}, beside {number}: {seconds[number][-1]:.1f} s", file=sys.stderr, flush=True)
    return seconds


def seconds_of(command: str, environment: Mapping[str, str], *, limit: float | None = None) -> float:
    """The seconds that the command takes, or ``limit``, after which it is stopped.

    Raises:
        InputError: it does not exist, or fails.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        arguments = [part.replace(_OUT, str(Path(folder, "out"))) for part in shlex.split(command)]
        if arguments[0] == "python":
            arguments[0] = sys.executable
        started = time.perf_counter()
        # In a group of its own, which is stopped with all processes that it starts; but not in a session of its own, to
        # which Linux would give as much time as to all busy processes together.
        with subprocess.Popen(
            arguments, env=environment, stdout=output, stderr=subprocess.STDOUT, process_group=0
        ) as process:
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                assert limit is not None
                return limit
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        taken = time.perf_counter() - started
        if status:
            output.seek(0)
            last = output.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise InputError(f"--command {command}: exits with status {status}: {last}")
        return taken


@contextlib.contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """Keeps so many processes computing within the block."""
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", _BUSY]))
            stack.callback(process.kill)
        yield


if __name__ == "__main__":
    run_main(main)
