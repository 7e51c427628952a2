"""Commands that train and report some of their steps: ours and their peers, and what runs them.

Imports nothing that takes time, which would be the peers'.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any


def report(step: int, **figures: Any) -> None:
    """Prints the figures of a step, with the peak memory of the process and of the largest one that it has started."""
    print(f"step {step}:", json.dumps({**figures, "peak_bytes": _peak_bytes()}), flush=True)


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def measured(module: Sequence[str], steps: int, environment: Mapping[str, str] | None = None) -> dict[str, float]:
    """The seconds from the start of a module to its first step, and what it reports of step ``steps``.

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
        for line in process.stdout:
            _, found, figures = line.rpartition("step ")  # perhaps after a progress bar
            if found and figures.startswith("1:"):
                seconds = time.perf_counter() - started
            if found and figures.startswith(f"{steps}:"):
                return {"seconds_to_first_step": seconds, **json.loads(figures.partition(":")[2])}
            said.append(line)
    sys.exit(f"{module[0]} ended before step {steps}:\n{''.join(said)}")
