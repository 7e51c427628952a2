"""Fine-tunes models on the data of the study, and for span answers.

The models are the three small ones that come with minibert, random ones, or given checkpoints.

Each run is scored on held-out data and has a report. Beside the means over the seeds stand 95 % intervals, a linear
model on the same parts, and the p-value of the difference from it. Prints a table, then one JSON line.

    python -m benchmarks.study --data DATA --out runs/study --seeds 3
    python -m benchmarks.study --data DATA --out runs/random --weights random
    python -m benchmarks.study --data DATA --out runs/e5 --weights E5 --tasks qa classification ner --sentences 12000
"""

import argparse
import gzip
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.files import read_json_object
from minibert.training import choose_device
from tasks.compare import command as compare
from tasks.run.console import run_main
from tasks.run.folder import device_name, versions
from tasks.settings import RANDOM


@dataclass(frozen=True, kw_only=True)
class Study:
    """How a task is studied.

    Attributes:
        data: options for its files, which are below ``--data``.
        shares: options for what is held out of them.
        small: further options for the small models, where their defaults, made for little data, do not fit.
        given: those for given checkpoints, twelve layers of width 384 at most.
    """

    data: Mapping[str, str]
    shares: Sequence[str] = ()
    small: Sequence[str] = ()
    given: Sequence[str] = ()


STUDIES: dict[str, Study] = {
    "ner": Study(
        data={"--train": "ner/msra/train.txt.gz", "--dev": "ner/msra/dev.txt.gz"},
        given=["--epochs", "3", "--batch-size", "16", "--lr", "2e-4", "--head-lr", "1e-3"],
    ),
    "classification": Study(
        data={"--train": "sarcasm/sarcasm.jsonl.gz"},
        shares=["--dev-share", "0.2"],
        small=["--epochs", "5", "--lr", "3e-4"],
        given=["--epochs", "3", "--lr", "1e-4", "--head-lr", "1e-3", "--pooling", "mean"],
    ),
    "qa": Study(
        data={"--train": "taipei_qa/Taipei_QA_new.txt"},
        shares=["--test-share", "0.1"],
        given=[
            *("--epochs", "8", "--batch-size", "16", "--lr", "2e-4", "--head-lr", "3e-3"),
            *("--pooling", "mean", "--ngrams"),
        ],
    ),
    "span_qa": Study(
        data={"--train": "span_qa/DRCD_dev.json.gz"},
        shares=["--dev-share", "0.15"],
        given=["--epochs", "3", "--batch-size", "16", "--lr", "2e-4", "--head-lr", "1e-3"],
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description="All tasks and architectures.")
    parser.add_argument("--data", required=True, help="folder with the data files")
    parser.add_argument("--out", required=True, help="new folder for the runs")
    parser.add_argument("--tasks", nargs="+", choices=tuple(STUDIES), default=list(STUDIES), help="default: all")
    parser.add_argument("--weights", nargs="+", help="checkpoints, or random (default: the small pre-trained ones)")
    parser.add_argument("--sentences", type=int, help="of MSRA to train on, drawn at random (default: all)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precision", default="auto", help="fp32 is the same on machines with bf16 and without")
    parser.add_argument("--resume", action="store_true", help="keep the runs in --out that are complete")
    options = parser.parse_args(argv)
    data, out = Path(options.data), Path(options.out)
    if options.sentences is not None and (options.sentences < 1 or "ner" not in options.tasks):
        raise InputError(f"--sentences {options.sentences}: give a number from 1 on, and --tasks ner.")
    if RANDOM in (options.weights or ()) and len(options.weights) > 1:
        raise InputError(f"--weights: {RANDOM} stands alone, for all architectures.")
    files = [data / file for task in options.tasks for file in STUDIES[task].data.values()]
    if missing := [file for file in files if not file.is_file()]:
        raise InputError(f"--data {data}: {missing[0]} is missing.")
    results: dict[str, Any] = {}
    for task in options.tasks:
        started = time.perf_counter()
        common = ["--seeds", str(options.seeds), "--precision", options.precision, "--out", str(out / task)]
        common += ["--resume"] if options.resume else []
        given = arguments(task, data, out, weights=options.weights, sentences=options.sentences)
        folder = compare.main(["--task", task, *given, *common])
        results[task] = {
            **read_json_object(folder / "comparison.json"), "seconds": round(time.perf_counter() - started)
        }  # fmt: skip
    print(f"\n{table(results)}")
    kept = ("metric", "split", "baseline", "rows", "tests", "command", "seconds")
    print(json.dumps({
        "benchmark": "study", "device": device_name(choose_device()), "versions": versions(),
        "results": {task: {name: comparison[name] for name in kept} for task, comparison in results.items()},
    }))  # fmt: skip


def arguments(task: str, data: Path, out: Path, *, weights: Sequence[str] | None, sentences: int | None) -> list[str]:
    """The options of tasks.compare for a task."""
    study = STUDIES[task]
    files = {option: data / file for option, file in study.data.items()}
    if task == "ner" and sentences is not None:
        files["--train"] = sample(files["--train"], out, sentences)
    common = [*(str(part) for pair in files.items() for part in pair), *study.shares]
    if not weights or weights == [RANDOM]:
        return [*common, *study.small, *(["--weights", RANDOM] if weights else [])]
    architectures = [open_checkpoint(name).config.model_type for name in weights]
    return [*common, *study.given, "--arch", *architectures, "--weights", *weights]


def sample(path: Path, out: Path, sentences: int) -> Path:
    """Writes that many sentences of a file of words, drawn at random with one seed, in file order; returns the file."""
    blocks = gzip.decompress(path.read_bytes()).decode().strip().split("\n\n")
    chosen = sorted(random.Random(0).sample(range(len(blocks)), min(sentences, len(blocks))))
    out.mkdir(parents=True, exist_ok=True)
    drawn = out / f"{path.name.partition('.')[0]}-{len(chosen)}.txt"
    drawn.write_text("\n\n".join(blocks[index] for index in chosen) + "\n", encoding="utf-8")
    return drawn


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each task and model."""
    lines = [
        "| task | figure | model | mean | 95 % interval | worst | linear | difference | p | training s | peak MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for task, comparison in results.items():
        tests = {test["first"]: test for test in comparison["tests"] if test["second"] == "linear"}
        for row in comparison["rows"]:
            model = row["arch"] if row["weights"] in (None, RANDOM) else f"{row['arch']}, {Path(row['weights']).name}"
            interval = "" if row["interval"] is None else "{:.4f} to {:.4f}".format(*row["interval"])
            linear = ["", "", ""]
            if (test := tests.get(row["name"])) is not None:
                linear = [
                    f"{comparison['baseline']['mean']:.4f}", f"{test['difference']:+.4f}", f"{test['p_value']:.4f}"
                ]  # fmt: skip
            cells = [
                task,
                f"{comparison['metric']} on {comparison['split']}",
                model,
                f"{row['mean']:.4f}",
                interval,
                f"{row['worst']:.4f}",
                *linear,
                f"{row['train_seconds']:.0f}",
                f"{row['peak_memory_bytes'] / 1e6:.0f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
