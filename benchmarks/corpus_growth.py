"""How pre-training's start, memory and speed grow with the corpus.

Repeats a text until it has 1, 2, 4 and 8 times as many bytes, and starts ``python -m tasks.pretraining`` on each twice,
for a few steps: the first start makes the tokens, the second finds them. Prints a table and one JSON line.

    python -m benchmarks.corpus_growth --corpus zh.txt.gz en.txt.gz --megabytes 250

The texts and tokens need nine times ``--megabytes`` of disk in the folder for temporary files, three times over.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import all_versions
from benchmarks.steps import measured
from tasks.read.text_file import stream_lines
from tasks.run.console import run_main
from tasks.run.folder import device_name, now
from tasks.run.interrupts import command_line
from tasks.run.local_weights import bundled
from tasks.run.store import CACHE_VARIABLE

_STEPS = 20


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.corpus_growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--corpus", nargs="+", metavar="FILE", required=True)
    parser.add_argument("--megabytes", type=float, default=50, help="of the smallest corpus (default: %(default)s)")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--weights", help="checkpoint to start from (default: the small BERT)")
    parser.add_argument("--max-length", default="128")
    options = parser.parse_args(argv)
    arguments = ["--weights", options.weights or str(bundled("bert")), "--max-length", options.max_length]
    arguments += ["--dev-share", "0.01", "--device", "cpu"]
    rows: list[dict[str, Any]] = []
    for times in options.times:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "corpus.txt")
            size = write_repeated(options.corpus, path, times * options.megabytes * 1e6)
            for start in ("first", "second"):
                out = ["--corpus", str(path), "--out", str(Path(folder, start))]
                found = measured(
                    ["benchmarks.until_step", "pretraining", str(_STEPS), *out, *arguments],
                    _STEPS,
                    {**os.environ, CACHE_VARIABLE: str(Path(folder, "cache"))},
                )
                rows.append({"bytes": size, "start": start, **found})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print("| corpus, MB | start | seconds to the first step | peak memory, MB | tokens/s |\n|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['bytes'] / 1e6:.0f} | {row['start']} | {row['seconds_to_first_step']:.1f} "
            f"| {row['peak_bytes'] / 1e6:.0f} | {row['tokens_per_second']:,.0f} |"
        )
    print(json.dumps({
        "benchmark": "corpus growth", "command": command_line("benchmarks.corpus_growth", argv),
        "options": vars(options), "rows": rows, "device": device_name(torch.device("cpu")),
        "finished": now(), "versions": all_versions(),
    }))  # fmt: skip


def write_repeated(corpus: Sequence[str], path: Path, size: float) -> int:
    """Writes the lines of files again and again, until there are ``size`` bytes; returns how many there are."""
    written = 0
    with open(path, "wb") as file:
        for line in _endlessly(corpus):
            written += file.write(f"{line}\n".encode())
            if written >= size:
                break
    return written


def _endlessly(corpus: Sequence[str]) -> Iterator[str]:
    while True:
        for path in corpus:
            yield from stream_lines(path)
            yield ""


if __name__ == "__main__":
    run_main(main)
