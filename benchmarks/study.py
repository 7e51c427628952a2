"""Fine-tunes three architectures on each task, from minibert's small pre-trained weights or from random ones.

Each run is scored on held-out data and has a report; a linear baseline is given for comparison. Prints a table, then
one JSON line.

    python -m benchmarks.study --data DATA --out runs/study --seeds 3
    python -m benchmarks.study --data DATA --out runs/random --weights random
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minibert.errors import InputError
from minibert.files import read_json_object
from minibert.training import choose_device
from tasks.compare import command as compare
from tasks.run.console import run_main
from tasks.run.folder import device_name, versions
from tasks.settings import RANDOM

# Files below --data.
RUNS: dict[str, list[str]] = {
    # A small model's defaults are for small data sets.
    "ner": ["--train", "ner/msra/train.txt.gz", "--dev", "ner/msra/dev.txt.gz", "--epochs", "3"],
    "classification": ["--train", "sarcasm/sarcasm.jsonl.gz", "--dev-share", "0.2", "--epochs", "5", "--lr", "3e-4"],
    "qa": ["--train", "taipei_qa/Taipei_QA_new.txt", "--test-share", "0.1"],
    "span_qa": ["--train", "span_qa/DRCD_dev.json.gz", "--dev-share", "0.15"],
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description="All tasks and architectures.")
    parser.add_argument("--data", required=True, help="folder with the data files")
    parser.add_argument("--out", required=True, help="new folder for the runs")
    parser.add_argument("--tasks", nargs="+", choices=tuple(RUNS), default=list(RUNS), help="default: all")
    parser.add_argument("--weights", choices=(RANDOM,), help="default: the small pre-trained ones")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args(argv)
    data, out = Path(options.data), Path(options.out)
    results: dict[str, Any] = {}
    start = [] if options.weights is None else ["--weights", options.weights]
    for task in options.tasks:
        given = [str(data / value) if "/" in value else value for value in RUNS[task]]
        if missing := [value for value in given if value.startswith(str(data)) and not Path(value).is_file()]:
            raise InputError(f"--data {data}: {missing[0]} is missing.")
        started = time.perf_counter()
        folder = compare.main(["--task", task, *given, *start, "--seeds", str(options.seeds), "--out", str(out / task)])
        comparison = read_json_object(folder / "comparison.json")
        results[task] = {**comparison, "seconds": round(time.perf_counter() - started)}
    print("\n| task | figure | architecture | mean | worst | training s | peak MB | linear baseline |")
    print("|---|---|---|---|---|---|---|---|")
    for task, comparison in results.items():
        baseline = comparison["baseline"]
        for row in comparison["rows"]:
            print(
                f"| {task} | {comparison['metric']} on {comparison['split']} | {row['arch']} | {row['mean']:.4f} | "
                f"{row['worst']:.4f} | {row['train_seconds']:.0f} | {row['peak_memory_bytes'] / 1e6:.0f} | "
                f"{'' if baseline is None else format(baseline['mean'], '.4f')} |"
            )
    kept = ("metric", "split", "baseline", "rows", "command", "seconds")
    print(json.dumps({
        "benchmark": "study", "device": device_name(choose_device()), "versions": versions(),
        "results": {task: {name: comparison[name] for name in kept} for task, comparison in results.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    run_main(main)
