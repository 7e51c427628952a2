"""How the start and the memory of fine-tuning grow with the number of labelled texts.

Writes 1, 2, 4 and 8 times ``--texts`` labelled texts, made from those of a file, and starts
``python -m tasks.classification`` and :mod:`benchmarks.plain_classification` on them twice, for a few steps: the first
start reads and tokenises, the second finds what the first one has kept. Prints a table and one JSON line.

    python -m benchmarks.labelled_growth --data sarcasm.jsonl.gz --texts 250000

The largest file and what is kept of it need about a gigabyte of disk for each million texts, in the folder for
temporary files.
"""

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import all_versions
from benchmarks.steps import measured
from tasks.classification.data import TextOptions, read_texts
from tasks.run.console import run_main
from tasks.run.folder import device_name, now
from tasks.run.interrupts import command_line
from tasks.run.local_weights import bundled
from tasks.run.store import CACHE_VARIABLE

OURS, THEIRS = "minibert", "transformers and datasets"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.labelled_growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, metavar="FILE", help="labelled texts, as for tasks.classification")
    parser.add_argument("--texts", type=int, default=250_000, help="in the smallest file (default: %(default)s)")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--weights", help="checkpoint to start from (default: the small BERT)")
    parser.add_argument("--max-length", default="128")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--contenders", nargs="+", choices=[OURS, THEIRS], default=[OURS, THEIRS])
    options = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    for times in options.times:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "train.jsonl")
            write_labelled(options.data, path, times * options.texts)
            for name in options.contenders:
                for start in ("first", "second"):
                    found = measured(
                        _module(name, path, Path(folder, start), options), options.steps, _environment(folder)
                    )
                    rows.append({"texts": times * options.texts, "contender": name, "start": start, **found})
                    print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print("| texts | command | start | seconds to the first step | peak memory, MB | tokens/s |")
    print("|---" * 6 + "|")
    for row in rows:
        print(
            f"| {row['texts']:,} | {row['contender']} | {row['start']} | {row['seconds_to_first_step']:.1f} "
            f"| {row['peak_bytes'] / 1e6:.0f} | {row['tokens_per_second']:,.0f} |"
        )
    print(json.dumps({
        "benchmark": "labelled growth", "command": command_line("benchmarks.labelled_growth", argv),
        "options": vars(options), "rows": rows, "device": device_name(torch.device("cpu")),
        "finished": now(), "versions": all_versions(),
    }))  # fmt: skip


def _module(name: str, path: Path, out: Path, options: argparse.Namespace) -> list[str]:
    """The module of a contender, and its arguments."""
    weights = options.weights or str(bundled("bert"))
    both = ["--weights", weights, "--train", str(path), "--max-length", options.max_length]
    if name == OURS:
        return [
            "benchmarks.until_step",
            "classification",
            str(options.steps),
            *both,
            "--out",
            str(out),
            "--device",
            "cpu",
            "--precision",
            "fp32",
        ]
    return ["benchmarks.plain_classification", *both, "--steps", str(options.steps)]


def _environment(folder: str) -> dict[str, str]:
    """Both keep what they make in a folder that is new for each size."""
    return {**os.environ, CACHE_VARIABLE: str(Path(folder, "ours")), "HF_DATASETS_CACHE": str(Path(folder, "theirs"))}


def write_labelled(data: str, path: Path, count: int) -> None:
    """Writes ``count`` labelled texts as JSON lines: those of a file again and again, from the second time on with two
    random words of the file behind, so that few are the same."""
    items = read_texts(data, TextOptions()).items
    words = sorted({word for item in items for word in item.text.split()})
    generator = random.Random(0)
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            item = items[number % len(items)]
            more = generator.choices(words, k=2) if number >= len(items) else []
            file.write(
                json.dumps({"text": " ".join([item.text, *more]), "label": item.label}, ensure_ascii=False) + "\n"
            )


if __name__ == "__main__":
    run_main(main)
