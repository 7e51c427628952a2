"""All checks and figures that need a GPU, in one command of at most nine minutes.

Each stage runs in a process of its own with a limit of time, and what it has found by then is kept, so a stage that
fails, or is stopped, costs itself alone. FOLDER gets two files: results.json, written after every stage, and log.txt.
The exit status is 1 if a check failed, or a stage did not come to its end.

    python -m benchmarks.gpu --out FOLDER
    python -m benchmarks.gpu --out FOLDER --device cpu
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.gpu.plan import UNCUT
from minibert.training import choose_device
from tasks.run.console import run_main
from tasks.run.folder import device_name, now, versions

_LEAST_SECONDS = 10  # that a stage is started for


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage's module, the seconds it may take, and whether it compares with transformers."""

    module: str
    seconds: float
    peer: bool = False


# The most important first: the last ones are left out when time runs short.
STAGES: Mapping[str, Stage] = {
    "steps": Stage(module="benchmarks.gpu.stages.steps", seconds=90),
    "attention": Stage(module="benchmarks.gpu.stages.attention", seconds=30),
    "parity": Stage(module="benchmarks.gpu.stages.parity", seconds=90, peer=True),
    "kernels": Stage(module="benchmarks.gpu.stages.kernels", seconds=60),
    "repeats": Stage(module="benchmarks.gpu.stages.repeats", seconds=60),
    "memory": Stage(module="benchmarks.gpu.stages.memory", seconds=30),
    "group": Stage(module="benchmarks.gpu.stages.group", seconds=30),
    "graphs": Stage(module="benchmarks.gpu.stages.graphs", seconds=60),
    "profile": Stage(module="benchmarks.gpu.stages.profile", seconds=45, peer=True),
    "training": Stage(module="benchmarks.gpu.stages.training", seconds=90, peer=True),
    "inference": Stage(module="benchmarks.gpu.stages.inference", seconds=60, peer=True),
    "albert": Stage(module="benchmarks.gpu.stages.albert", seconds=60, peer=True),
    "compiled": Stage(module="benchmarks.gpu.stages.compiled", seconds=150, peer=True),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a trial in small (default: %(default)s)")
    parser.add_argument("--lengths", default=UNCUT, help="as of benchmarks.throughput (default: %(default)s)")
    parser.add_argument("--stages", nargs="+", choices=tuple(STAGES), default=list(STAGES), metavar="STAGE")
    parser.add_argument("--minutes", type=float, default=9, help="of all stages together (default: %(default)s)")
    options = parser.parse_args(argv)
    device = choose_device(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * options.minutes
    results: dict[str, Any] = {}
    record = {"device": device_name(device), "versions": versions(), "started": now(), "stages": results}
    with (options.out / "log.txt").open("w", encoding="utf-8") as log:
        for name in options.stages:
            arguments = ["--device", options.device, "--lengths", options.lengths]
            results[name] = run_stage(STAGES[name], arguments, log, deadline - time.monotonic())
            (options.out / "results.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
            print(_line(name, results[name]), flush=True)
    print(summary(results))
    if any(result["outcome"] not in ("passed", "skipped") for result in results.values()):
        sys.exit(1)


def run_stage(stage: Stage, arguments: Sequence[str], log: IO[str], seconds_left: float) -> dict[str, Any]:
    """What a stage found in a process of its own, until it ended or its time was up."""
    if seconds_left < _LEAST_SECONDS:
        return {"outcome": "not run", "detail": "no time was left", "checks": {}, "figures": {}, "seconds": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "benchmarks.gpu.stage", stage.module, "--report", str(report), *arguments]
        started, limit = time.monotonic(), min(stage.seconds, seconds_left)
        process = subprocess.Popen(
            [*command, *(["--needs-transformers"] if stage.peer else [])],
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(limit)
            ending = f"ended with status {process.returncode}"
        except subprocess.TimeoutExpired:
            ending = f"stopped after {limit:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        found: dict[str, Any] = {"outcome": "stopped", "checks": {}, "figures": {}}
        if report.exists():
            found = json.loads(report.read_text(encoding="utf-8"))
        if found["outcome"] == "stopped":
            found["detail"] = ending
        return {**found, "seconds": round(time.monotonic() - started, 1)}


def summary(results: Mapping[str, Any]) -> str:
    """A table of the stages, and the checks that failed."""
    lines = ["| stage | outcome | checks | seconds | |", "|---|---|---|---|---|"]
    lines += [_line(name, result) for name, result in results.items()]
    for name, result in results.items():
        failed = {check: seen for check, seen in result["checks"].items() if not seen["holds"]}
        lines += [f"FAILED in {name}: {check}: {seen['detail']}" for check, seen in failed.items()]
    return "\n".join(lines)


def _line(name: str, result: Mapping[str, Any]) -> str:
    held = sum(check["holds"] for check in result["checks"].values())
    cells = [name, result["outcome"], f"{held} of {len(result['checks'])}", f"{result['seconds']:.0f}"]
    return f"| {' | '.join(cells)} | {result.get('detail', '')} |"


if __name__ == "__main__":
    run_main(main)
