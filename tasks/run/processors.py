"""How many threads compute, and how long they wait for each other; both are read by OpenMP when torch is imported."""

import math
import os
import sys
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_SPINS = 2000
"""Rounds of libgomp's busy waiting, 300,000 by default, in which a thread of a busy machine keeps the thread that it
waits for from running."""

THREADS_GIVEN = "OMP_NUM_THREADS" in os.environ
"""Whether the environment in which the command was started says how many threads compute."""


def set_up_threads(groups: Path = _GROUPS) -> None:
    """Lets threads wait briefly, and starts no more of them than a container may use processors, unless the
    environment says otherwise. Where torch is imported already, this is for the processes that are started from here.

    Args:
        groups: where the system keeps the limits of this process's group.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))
    quota = processor_quota(groups)
    if quota is not None and quota < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, math.floor(quota))))


def use_threads(count: int | None) -> None:
    """Computes and tokenises with so many threads, here and in the processes that are started from here; None leaves
    the choice to the environment."""
    if count is None:
        return
    os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def usable_processors(groups: Path = _GROUPS) -> int:
    """How many processors this process may use: those that it is bound to, or fewer in a container with less."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = processor_quota(groups)
    return count if quota is None else max(1, min(count, math.floor(quota)))


def processor_quota(groups: Path) -> float | None:
    """How many processors' time the group of this process gets (Linux, cgroup 2 and 1), as of ``docker --cpus``; None
    where there is no limit."""
    try:
        if (file := groups / "cpu.max").is_file():
            quota, period = file.read_text(encoding="ascii").split()
        else:
            quota, period = (
                (groups / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="ascii").strip()
                for name in ("quota", "period")
            )
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
