"""Measures the figures of speed, start and memory that have a target, and compares them with it.

Runs the other benchmarks, each in a process of its own, and reads their records. Takes some hours on an otherwise idle
machine. Prints their output as it comes, then a table, and finally one JSON line. With ``--out``, a page for this
machine and the raw records in JSON beside it are written after each benchmark.

    python -m benchmarks.figures --data DATA                      # the rows for a CPU
    python -m benchmarks.figures --data DATA --device cuda
    python -m benchmarks.figures --data DATA --rows 1 4           # some rows; --list shows all
    python -m benchmarks.figures --data DATA --corpus zh.txt.gz en.txt.gz --threads 1 2 --out results/DATE-cpu-NAME.md
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import ENVIRONMENT
from benchmarks.figure_rows import Row, rows
from benchmarks.record import all_versions
from minibert.errors import InputError
from minibert.files import write_atomically, write_json
from minibert.training import choose_precision
from tasks.run.console import run_main
from tasks.run.folder import device_name, now
from tasks.run.interrupts import command_line

_INSTRUCTION_SETS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_MODULE = "python -m benchmarks."


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A row as it was measured: with so many threads, and None where it was not."""

    number: int
    row: Row
    threads: int
    value: float | None
    verdict: str


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.figures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the data files")
    parser.add_argument("--corpus", nargs="+", default=[], metavar="FILE", help="texts for the rows of pre-training")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rows", type=int, nargs="+", help="row numbers (default: all)")
    parser.add_argument("--threads", type=int, nargs="+", default=[torch.get_num_threads()], metavar="N")
    parser.add_argument("--out", type=Path, metavar="PAGE.md", help="page to write; the records go to PAGE.json")
    parser.add_argument("--list", action="store_true", help="print the rows and their commands without running them")
    options = parser.parse_args(argv)
    table = dict(enumerate(rows(options.device, options.data, options.corpus), start=1))
    chosen = options.rows or list(table)
    if unknown := [number for number in chosen if number not in table]:
        raise InputError(f"--rows {unknown[0]}: the rows are 1 to {len(table)}.")
    if options.list:
        for number in chosen:
            print(f"{number:2}  {table[number].work}\n    {_MODULE}{table[number].run}")
        return
    has_bf16 = options.device == "cuda" or choose_precision("auto", torch.device("cpu")) == "bf16"
    command = command_line("benchmarks.figures", argv)
    records: dict[tuple[str, int], Any] = {}
    figures: list[Figure] = []
    for threads in options.threads:
        wanted = {number: table[number] for number in chosen if has_bf16 or not table[number].needs_bf16}
        for run in dict.fromkeys(row.run for row in wanted.values()):
            records[run, threads] = record_of(run, threads)
            figures = [_figure(number, table[number], count, records) for count in options.threads for number in chosen]
            if options.out is not None:
                write_page(options.out, figures, records, command=command, private=[options.data, *options.corpus])
    print(f"\n{_table(figures)}")
    print(json.dumps({
        "benchmark": "figures", "command": command, "device": device_name(torch.device(options.device)),
        "finished": now(), "versions": all_versions(),
        "rows": [
            {
                "row": figure.number, "work": figure.row.work, "run": figure.row.run, "threads": figure.threads,
                "wanted": figure.row.wanted, "reached": figure.value, "verdict": figure.verdict,
            }
            for figure in figures
        ],
    }))  # fmt: skip
    if None in records.values():
        sys.exit(1)


def _figure(number: int, row: Row, threads: int, records: Mapping[tuple[str, int], Any]) -> Figure:
    value, verdict = None, "not measured"
    if (row.run, threads) in records:
        record = records[row.run, threads]
        value = None if record is None else row.figure(record)
        verdict = "failed" if record is None else "a contender is missing"
    if value is not None:
        verdict = "yes" if row.is_reached(value) else "no"
    return Figure(number=number, row=row, threads=threads, value=value, verdict=verdict)


def record_of(run: str, threads: int) -> Any:
    """Runs a benchmark, passing its output through; returns its record, the last line, or None if it failed."""
    print(f"\n$ OMP_NUM_THREADS={threads} {_MODULE}{run}", flush=True)
    script, *arguments = shlex.split(run)
    line = ""
    with subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{script}", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT | {"OMP_NUM_THREADS": str(threads)},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
    return json.loads(line) if process.returncode == 0 else None


def write_page(
    path: Path,
    figures: Sequence[Figure],
    records: Mapping[tuple[str, int], Any],
    *,
    command: str,
    private: Sequence[str | os.PathLike[str]],
) -> None:
    """Writes the page, and its records beside it.

    Args:
        private: paths; absolute ones are replaced by their names, because they are of this machine.
    """

    def public(text: str) -> str:
        for given in map(Path, private):
            if given.is_absolute():
                text = text.replace(str(given), given.name)
        return text

    raw = path.with_suffix(".json")
    versions = ", ".join(f"{name} {version}" for name, version in all_versions().items())
    commands = dict.fromkeys(f"OMP_NUM_THREADS={count} {_MODULE}{run}" for run, count in records)
    page = "\n".join([
        f"# Figures on {processor()}", "",
        f"**Finished** {now()}. **Machine** {processor()}, {os.cpu_count()} processors, "
        f"{memory_gigabytes():.0f} GB, {' '.join(instruction_sets()) or platform.machine()}. "
        f"**Versions** {versions}. **Raw records** [{raw.name}]({raw.name}).",
        "", _table(figures), "", "## Commands", "", "```", command, *commands, "```", "",
    ])  # fmt: skip
    found = [{**record, "threads": threads} for (_, threads), record in records.items() if record is not None]
    public_records = json.loads(public(json.dumps({"records": found})))
    write_atomically(path, lambda file: file.write_text(public(page), encoding="utf-8"))
    write_atomically(raw, lambda file: write_json(file, public_records))


def _table(figures: Sequence[Figure]) -> str:
    lines = ["| row | work | threads | figure | target | measured | reached |", "|---" * 7 + "|"]
    for figure in figures:
        measured = "" if figure.value is None else format(figure.value, ".4g")
        lines.append(
            f"| {figure.number} | {figure.row.work} | {figure.threads} | {figure.row.unit} | {figure.row.target} "
            f"| {measured} | {figure.verdict} |"
        )
    return "\n".join(lines)


def processor() -> str:
    return device_name(torch.device("cpu")).rpartition(",")[0]


def memory_gigabytes() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def instruction_sets() -> list[str]:
    """Those of this processor that matter for speed; none where the system has no ``/proc/cpuinfo``."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return [name for name in _INSTRUCTION_SETS if name in flags]


if __name__ == "__main__":
    run_main(main)
