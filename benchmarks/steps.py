"""Commands that train and report some of their steps: ours and their peers, and what runs them.

Imports nothing that takes time, which would be the peers'.
"""

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def report(step: int, **figures: Any) -> None:
    """Prints the figures of a step, with the peak memory of the process."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"step {step}:", json.dumps({**figures, "peak_bytes": peak}), flush=True)


class _PeakOfTree(threading.Thread):
    """Watches the memory of a process and of those that it starts, twenty times a second, where there is ``/proc``.

    What the system keeps of the children's peaks begins with that of their parent, so it says nothing.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peak_bytes = 0
        self.start()

    def run(self) -> None:
        while (now := _memory_of_tree(self.pid)) is not None:
            self.peak_bytes = max(self.peak_bytes, now)
            time.sleep(0.05)


def _memory_of_tree(pid: int) -> int | None:
    """The resident bytes of a process and of all that its main thread has started; None if it has ended. Pages that
    several of them share count in each."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return None
    return resident + sum(_memory_of_tree(int(child)) or 0 for child in children)


def measured(module: Sequence[str], steps: int, environment: Mapping[str, str] | None = None) -> dict[str, float]:
    """The seconds from the start of a module to its first step, what it reports of step ``steps``, and the peak memory
    of its process and those that it starts.

    Args:
        module: its name, and arguments.
        steps: at which it ends.
        environment: of its process; None for this one's.
    """
    started = time.perf_counter()
    said = []
    with subprocess.Popen(
        [sys.executable, "-m", *module], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        tree = _PeakOfTree(process.pid)
        for line in process.stdout:
            _, found, figures = line.rpartition("step ")  # perhaps after a progress bar
            if found and figures.startswith("1:"):
                seconds = time.perf_counter() - started
            if found and figures.startswith(f"{steps}:"):
                reported = json.loads(figures.partition(":")[2])
                peak = max(reported["peak_bytes"], tree.peak_bytes)
                return {"seconds_to_first_step": seconds, **reported, "peak_bytes": peak}
            said.append(line)
    sys.exit(f"{module[0]} ended before step {steps}:\n{''.join(said)}")
