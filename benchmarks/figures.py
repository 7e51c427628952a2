"""All figures that are aimed at, in one command: what is wanted and what is reached.

Runs the other scripts, each in a process of its own, and looks their figures up. Needs a quiet machine for an hour or
two. Prints what they print, then a table, and one JSON line with all their records last.

    python -m benchmarks.figures --data DATA                      # the CPU's rows
    python -m benchmarks.figures --data DATA --device cuda
    python -m benchmarks.figures --data DATA --rows 1 4           # some of them; --list shows which there are
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ours import OURS
from benchmarks.peers import BASELINE
from minibert.errors import InputError
from tasks import command

_SORTED = f"{BASELINE}-sorted"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure that is aimed at.

    Attributes:
        work: in words.
        run: the script and its arguments; rows with the same one share a run.
        contender, column: where the figure stands in the run's record.
        wanted: at least, or at most where ``column`` is a part of something.
    """

    work: str
    run: str
    contender: str
    column: str
    wanted: float

    def is_reached(self, figure: float) -> bool:
        return figure <= self.wanted if self.column == "part_of_transformers" else figure >= self.wanted


def rows(device: str, data: Path) -> list[Row]:
    """The table; ``data`` holds the real lengths."""
    uncut, dev = data / "ner/msra_uncut_test_lengths.txt", data / "ner/msra/dev.txt.gz"
    found: list[Row] = []

    def add(work: str, run: str, wanted: float, contender: str = BASELINE, column: str = "speedup_of_ours") -> None:
        found.append(Row(work=work, run=run, contender=contender, column=column, wanted=wanted))

    if device == "cuda":
        train = "throughput training --device cuda --precision bf16"
        add("BERT-base training, uncut lengths, batch 32", f"{train} --lengths {uncut} --sequences 3200", 3.0)
        for name, lengths in (("s128", "fixed:128"), ("uncut lengths", uncut)):
            run = f"{train} --lengths {lengths} --sequences 3200 --batch-tokens 16384"
            add(f"BERT-base training, 16 k tokens a step, {name}", run, 0.45, OURS, "utilisation")
        run = "throughput inference --device cuda --precision bf16 --size large --lengths fixed:384 --batch 64"
        add("BERT-large inference, s384", f"{run} --sequences 1280", 0.55, OURS, "utilisation")
        run = "memory training --device cuda --precision bf16 --arch albert --size xxlarge --lengths fixed:512"
        add(
            "ALBERT-xxlarge training, s512, batch 16: peak memory, checkpointed",
            f"{run} --batch 16 --sequences 16", 0.3, f"{OURS} checkpointed", "part_of_transformers",
        )  # fmt: skip
        return found

    for arch, sizes in (("bert", (3442, 2048)), ("albert", (1024, 1024))):
        name = f"{arch.upper()}-base"
        for (lengths, file, wanted), count in zip(
            (("uncut lengths", uncut, 4.0), ("dev lengths", dev, 2.6)), sizes, strict=True
        ):
            run = (
                f"throughput inference --device cpu --precision bf16 --arch {arch} --lengths {file} --sequences {count} "
                f"--rounds 3 --peers {_SORTED}"
            )
            add(f"{name} inference, {lengths}, batch 32", run, wanted)
            add(f"the same, {BASELINE} sorted by length", run, 1.2, _SORTED)
            if (arch, lengths) == ("bert", "uncut lengths"):
                add("the same: utilisation", run, 0.75, OURS, "utilisation")
        for lengths, file, wanted in (("uncut lengths", uncut, 4.0), ("dev lengths", dev, 2.5)):
            run = f"throughput training --device cpu --precision bf16 --arch {arch} --lengths {file} --sequences 320"
            add(f"{name} training, {lengths}, batch 32", f"{run} --rounds 3", wanted)
    add(
        "BERT-base, one text of 20 tokens",
        "latency --device cpu --precision bf16 --lengths fixed:20 --rounds 30 --peers", 1.3,
    )  # fmt: skip
    for size in ("tiny", "minilm"):
        run = f"throughput training --device cpu --precision bf16 --size {size} --lengths {dev} --sequences 640"
        add(f"BERT-{size} training, dev lengths, batch 32", run, 3.0)
    train = data / "ner/msra/train.txt.gz"
    add("command to first training step", f"first_step --train {train} --dev {dev}", 2.0, "transformers")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.figures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data files")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rows", type=int, nargs="+", help="their numbers; all where absent")
    parser.add_argument("--list", action="store_true", help="print the rows and their commands, and run nothing")
    options = parser.parse_args(argv)
    table = dict(enumerate(rows(options.device, options.data), start=1))
    chosen = options.rows or list(table)
    if unknown := [number for number in chosen if number not in table]:
        raise InputError(f"--rows {unknown[0]}: there are rows 1 to {len(table)}.")
    if options.list:
        for number in chosen:
            print(f"{number:2}  {table[number].work}\n    python -m benchmarks.{table[number].run}")
        return
    records: dict[str, Any] = {}
    for run in dict.fromkeys(table[number].run for number in chosen):
        records[run] = record_of(run)
    print("\n| row | work | wanted | reached | |\n|---|---|---|---|---|")
    figures = {}
    for number in chosen:
        row, record = table[number], records[table[number].run]
        figure = None if record is None else record["contenders"][row.contender][row.column]
        figures[number] = {"work": row.work, "run": row.run, "wanted": row.wanted, "reached": figure}
        verdict = "failed" if figure is None else "yes" if row.is_reached(figure) else "no"
        sign = "at most" if row.column == "part_of_transformers" else "at least"
        reached = "" if figure is None else format(figure, ".2f")
        print(f"| {number} | {row.work} | {sign} {row.wanted:g} | {reached} | {verdict} |")
    print(json.dumps({
        "benchmark": "figures", "command": command.command_line("benchmarks.figures", argv),
        "rows": figures, "records": [record for record in records.values() if record is not None],
    }))  # fmt: skip
    if None in records.values():
        sys.exit(1)


def record_of(run: str) -> Any:
    """The JSON line of a script's run, which is shown as it goes; None where it failed."""
    print(f"\n$ python -m benchmarks.{run}", flush=True)
    script, *arguments = run.split(" ")
    line = ""
    with subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{script}", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("{"):
                print(line, end="", flush=True)
    return json.loads(line) if process.returncode == 0 else None


if __name__ == "__main__":
    command.run(main)
