"""Reads hostile files of every kind, and counts what must never happen.

    python -m benchmarks.attack                                   # 100,000 inputs
    python -m benchmarks.attack --inputs 500 --kinds tokenizers   # a short test
    python -m benchmarks.attack --kinds configs --seed 3 --only 1234   # one input again, with its traceback

Every input is made from its kind, the seed and its number. It is read in a process of its own that is limited in
memory. Only InputError may come out: code that ran, any other exception, a process that died, five seconds of processor
time or 500 MB more than before are failures. Prints a table, then one JSON line; exits with status 1 after a failure.
Linux only.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmarks.attack.kinds import KINDS
from benchmarks.attack.worker import MEGABYTES, SECONDS, Outcome, run_batch
from tasks.run.folder import device_name, now, versions

_BATCH = 500
_FAILURES = ("executed", "traceback", "abort", "hang", "slow", "large")
_MOST_LINES = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="in all, shared out among the kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=list(KINDS))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="read one input of one kind, in this process")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as temporary:
        folder = Path(temporary)
        if arguments.only is not None:
            _read_one(arguments.kinds[0], arguments.seed, arguments.only, folder)
            return
        started = time.perf_counter()
        outcomes = dict(_run(arguments, folder))
    print(table(outcomes))
    failures = [line for outcome in outcomes.values() for line in outcome.failures]
    print("".join(f"{line}\n" for line in failures[:_MOST_LINES]), end="")
    result = {
        "benchmark": "attack",
        "seed": arguments.seed,
        "inputs": sum(outcome.counts["inputs"] for outcome in outcomes.values()),
        "kinds": {name: {**outcome.counts, "slowest": outcome.slowest} for name, outcome in outcomes.items()},
        "failures": len(failures),
        "seconds": round(time.perf_counter() - started),
        "finished": now(),
        "device": device_name(torch.device("cpu")),
        "versions": versions(),
    }
    print(json.dumps(result))
    sys.exit(1 if failures else 0)


def _run(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Outcome]]:
    shares = sum(KINDS[name].share for name in arguments.kinds)
    with ThreadPoolExecutor(arguments.workers) as pool:
        for name in arguments.kinds:
            total = -(-arguments.inputs * KINDS[name].share // shares)
            _warm_up(name, folder)
            starts = range(0, total, _BATCH)
            whole = Outcome()
            for outcome in pool.map(
                lambda first, name=name, total=total: run_batch(
                    name, arguments.seed, first, min(first + _BATCH, total), folder
                ),
                starts,
            ):
                whole.add(outcome)
            print(f"{name}: {dict(whole.counts)}", file=sys.stderr, flush=True)
            yield name, whole


def _warm_up(name: str, folder: Path) -> None:
    """Makes the good files, and imports what reading needs, once for all processes: they are forks of this one."""
    for number in range(5):
        place = folder / f"warm-up-{name}-{number}"
        place.mkdir()
        try:
            KINDS[name].make(place, random.Random(f"warm-up {number}"))()
        except Exception:  # any input may be refused
            continue


def _read_one(name: str, seed: int, number: int, folder: Path) -> None:
    place = folder / "input-1"
    place.mkdir()
    read = KINDS[name].make(place, random.Random(f"{name} {seed} {number}"))
    print(f"{sorted(path.name for path in place.rglob('*'))}")
    read()
    print("read")


def table(outcomes: dict[str, Outcome]) -> str:
    """The counts, in Markdown."""
    names = ("code ran", "tracebacks", "aborts", "hangs", f"over {SECONDS:.0f} s", f"over {MEGABYTES:.0f} MB")
    rows = [f"| kind | inputs | read | refused | {' | '.join(names)} | slowest, s | most memory, MB |"]
    rows.append("|---|" + "---:|" * 11)
    for name, each in outcomes.items():
        counts = [each.counts[key] for key in ("inputs", "read", "refused", *_FAILURES)]
        worst = f"{each.slowest:.2f} | {each.largest:.0f}"
        rows.append(f"| {name} | {' | '.join(f'{count:,}' for count in counts)} | {worst} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
