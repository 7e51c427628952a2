"""Measures all figures that have a target, and compares them with it.

Runs the other benchmarks, each in a process of its own, and reads their records. Takes an hour or two on an otherwise
idle machine. Prints their output as it comes, then a table, and finally one JSON line.

    python -m benchmarks.figures --data DATA                      # the rows for a CPU
    python -m benchmarks.figures --data DATA --device cuda
    python -m benchmarks.figures --data DATA --rows 1 4           # some rows; --list shows all
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ours import OURS
from benchmarks.peers import BASELINE
from minibert.errors import InputError
from tasks.run.console import run_main
from tasks.run.interrupts import command_line

_SORTED = f"{BASELINE}-sorted"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure with a target.

    Attributes:
        work: a description.
        run: the benchmark and its arguments; rows with equal ones share a run.
        contender, column: where the figure is in the run's record.
        wanted: the target: a minimum, or a maximum if ``is_limit``.
    """

    work: str
    run: str
    contender: str = BASELINE
    column: str = "speedup_of_ours"
    wanted: float

    @property
    def is_limit(self) -> bool:
        return self.column == "part_of_transformers"

    def is_reached(self, figure: float) -> bool:
        return figure <= self.wanted if self.is_limit else figure >= self.wanted


def rows(device: str, data: Path) -> list[Row]:
    """All rows; ``data`` is the folder with the data files."""
    ner = shlex.quote(str(data / "ner"))
    files = {"uncut lengths": f"{ner}/msra_uncut_test_lengths.txt", "dev lengths": f"{ner}/msra/dev.txt.gz"}
    return _cuda_rows(files) if device == "cuda" else _cpu_rows(files, train=f"{ner}/msra/train.txt.gz")


def _cpu_rows(files: Mapping[str, str], *, train: str) -> list[Row]:
    found = []
    for arch, name in (("bert", "BERT-base"), ("albert", "ALBERT-base")):
        common = f"--device cpu --precision bf16 --arch {arch} --rounds 3"
        for lengths, predicting, training in (("uncut lengths", 4.0, 4.0), ("dev lengths", 2.6, 2.5)):
            run = f"throughput inference {common} --lengths {files[lengths]} --sequences 640 --peers {_SORTED}"
            what = f"{name} inference, {lengths}, batch 32"
            found.append(Row(work=what, run=run, wanted=predicting))
            found.append(Row(work=f"{what}, peer sorted", run=run, contender=_SORTED, wanted=1.2))
            found.append(Row(work=what, run=run, contender=OURS, column="utilisation", wanted=0.75))
            run = f"throughput training {common} --lengths {files[lengths]} --sequences 192"
            found.append(Row(work=f"{name} training, {lengths}, batch 32", run=run, wanted=training))
    run = "latency --device cpu --precision bf16 --lengths fixed:20 --rounds 30 --peers"
    found.append(Row(work="BERT-base inference, one text of 20 tokens", run=run, wanted=1.3))
    for size in ("tiny", "minilm"):
        run = f"throughput training --device cpu --precision bf16 --size {size} --lengths {files['dev lengths']}"
        found.append(Row(work=f"BERT-{size} training, dev lengths, batch 32", run=f"{run} --sequences 640", wanted=3.0))
    run = f"first_step --train {train} --dev {files['dev lengths']}"
    found.append(Row(work="command to first training step", run=run, contender="transformers", wanted=2.0))
    return found


def _cuda_rows(files: Mapping[str, str]) -> list[Row]:
    uncut = files["uncut lengths"]
    train = "throughput training --device cuda --precision bf16 --sequences 3200 --peers"
    large = "throughput inference --device cuda --precision bf16 --size large --lengths fixed:384 --batch 64"
    memory = "memory training --device cuda --precision bf16 --arch albert --size xxlarge --lengths fixed:512"
    return [
        Row(work="BERT-base training, uncut lengths, batch 32", run=f"{train} --lengths {uncut}", wanted=3.0),
        *(
            Row(
                work=f"BERT-base training, {name}, 16 k tokens a step",
                run=f"{train} --lengths {lengths} --batch-tokens 16384",
                contender=OURS,
                column="utilisation",
                wanted=0.45,
            )
            for name, lengths in (("s128", "fixed:128"), ("uncut lengths", uncut))
        ),
        Row(
            work="BERT-large inference, s384",
            run=f"{large} --sequences 1280 --peers",
            contender=OURS,
            column="utilisation",
            wanted=0.55,
        ),
        Row(
            work="ALBERT-xxlarge training, s512, batch 16, layers computed twice",
            run=f"{memory} --batch 16 --sequences 16",
            contender=f"{OURS} checkpointed",
            column="part_of_transformers",
            wanted=0.3,
        ),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.figures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the data files")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rows", type=int, nargs="+", help="row numbers (default: all)")
    parser.add_argument("--list", action="store_true", help="print the rows and their commands without running them")
    options = parser.parse_args(argv)
    table = dict(enumerate(rows(options.device, options.data), start=1))
    chosen = options.rows or list(table)
    if unknown := [number for number in chosen if number not in table]:
        raise InputError(f"--rows {unknown[0]}: the rows are 1 to {len(table)}.")
    if options.list:
        for number in chosen:
            print(f"{number:2}  {table[number].work}\n    python -m benchmarks.{table[number].run}")
        return
    records: dict[str, Any] = {}
    for run in dict.fromkeys(table[number].run for number in chosen):
        records[run] = record_of(run)
    print("\n| row | work | figure | target | measured | reached |\n|---|---|---|---|---|---|")
    figures = {}
    for number in chosen:
        row, record = table[number], records[table[number].run]
        figure = None if record is None else record["contenders"][row.contender][row.column]
        figures[number] = {"work": row.work, "run": row.run, "wanted": row.wanted, "reached": figure}
        verdict = "failed" if figure is None else "yes" if row.is_reached(figure) else "no"
        wanted = f"at {'most' if row.is_limit else 'least'} {row.wanted:g}"
        reached = "" if figure is None else format(figure, ".2f")
        print(f"| {number} | {row.work} | {row.column.replace('_', ' ')} | {wanted} | {reached} | {verdict} |")
    print(json.dumps({
        "benchmark": "figures", "command": command_line("benchmarks.figures", argv),
        "rows": figures,
    }))  # fmt: skip
    if None in records.values():
        sys.exit(1)


def record_of(run: str) -> Any:
    """Runs a benchmark, passing its output through; returns its record, the last line, or None if it failed."""
    print(f"\n$ python -m benchmarks.{run}", flush=True)
    script, *arguments = shlex.split(run)
    line = ""
    with subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{script}", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
    return json.loads(line) if process.returncode == 0 else None


if __name__ == "__main__":
    run_main(main)
