"""Checks that a run of several processes, of which one is killed repeatedly, ends with the same bits as without kills.

The run is that of :mod:`benchmarks.kills`, started by torchrun's own agent, which starts all processes again when one
is gone. A random process is killed: in every third trial process 0 during a save, in the others any at a random time.
Prints a table, then one JSON line; exits with status 1 if a trial differs. POSIX only.

    python -m benchmarks.group_kills --trials 50 --seed 2
"""

import argparse
import json
import logging
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from benchmarks import kills
from minibert.training import choose_device, distributed

_MARKS = "marks"
STARTED = b"N"


@dataclass(frozen=True, kw_only=True)
class Kill:
    """Which process is killed, how many seconds after it started or, with ``save``, after that save (from 1) began."""

    rank: int
    seconds: float
    save: int | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="seed of the random times")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # it reports every kill
    logging.getLogger("torch.multiprocessing").setLevel(logging.CRITICAL)
    trials = in_saves = killed = same = 0
    with tempfile.TemporaryDirectory() as temporary:
        untouched = Path(temporary) / "untouched"
        started = time.monotonic()
        run_group(untouched, arguments.device, arguments.processes, [])
        seconds = time.monotonic() - started
        expected = kills.outcome(untouched)
        for number in range(arguments.trials):
            chance = random.Random(arguments.seed * 1_000_003 + number)
            folder = Path(temporary) / f"trial-{number}"
            plan = [
                Kill(rank=0, seconds=chance.uniform(1e-6, 0.01), save=chance.randint(1, 4))
                if number % 3 == 0
                else Kill(rank=chance.randrange(arguments.processes), seconds=chance.uniform(1e-6, seconds))
                for _ in range(kills.MOST_KILLS)
            ]
            run_group(folder, arguments.device, arguments.processes, plan)
            found = kills.outcome(folder)
            if different := [name for name in expected if found[name] != expected[name]]:
                print(f"{folder.name} differs in: {', '.join(different)}", flush=True)
            marks = (folder / _MARKS).read_bytes()
            trials, same = trials + 1, same + (not different)
            killed, in_saves = killed + marks.count(STARTED) - 1, in_saves + marks.count(kills.SAVING + STARTED)
            shutil.rmtree(folder)
    result = {"trials": trials, "kills": killed, "kills_inside_a_save": in_saves, "bit_identical": same}
    for name, value in result.items():
        print(f"{name.replace('_', ' '):30} {value:6}")
    settings = {
        "benchmark": "kills of groups", "processes": arguments.processes, "seed": arguments.seed,
        "seconds_untouched": round(seconds, 2), "device": arguments.device,
        "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip
    print(json.dumps({**settings, **result}))
    sys.exit(0 if same == trials else 1)


def run_group(folder: Path, device: str, processes: int, plan: Sequence[Kill]) -> None:
    """Runs a group to its end; its processes are forks, started again after each kill of the plan."""
    folder.mkdir()
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, max_restarts=len(plan), run_id=str(uuid.uuid4()),
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="fork", monitor_interval=0.05,
    )  # fmt: skip
    elastic_launch(config, member)(folder, device, list(plan))


def member(folder: Path, device: str, plan: Sequence[Kill]) -> None:
    """One process of the group. Process 0 marks when it starts, and when a save begins and ends."""
    attempt, rank = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), int(os.environ["RANK"])
    kill = plan[attempt] if attempt < len(plan) and plan[attempt].rank == rank else None
    # The system ends the process, whatever it is doing: at its alarm, and when the agent stops the others. In forks the
    # agent sets a handler, which never runs while a process waits for its peer in C++; torchrun's processes have none.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if kill is not None and kill.save is None:
        signal.setitimer(signal.ITIMER_REAL, kill.seconds)
    marks = os.open(folder / _MARKS if rank == 0 else os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(marks, STARTED)
    saves = 0

    def mark(what: bytes) -> None:
        nonlocal saves
        os.write(marks, what)
        saves += what == kills.SAVING
        if kill is not None and what == kills.SAVING and kill.save == saves:
            signal.setitimer(signal.ITIMER_REAL, kill.seconds)

    with distributed.process_group(choose_device(device)) as own:
        kills.train(folder, str(own), mark)


if __name__ == "__main__":
    main()
