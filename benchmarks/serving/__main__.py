"""Measures a server: its speed beside FastAPI with a pipeline of transformers, and what it does under stress.

    python -m benchmarks.serving --tokenizer bert-base-chinese --lengths msra_uncut_test_lengths.txt

The speed is that of BERT-base in fp32 with random weights, on random Chinese texts of the given lengths (at most 510
characters); all else is tried on the bundled small model, as words for a mask. Prints a table, then one JSON line;
exits with status 1 if an answer is lost or wrong, a stop leaves a request without its answer, or a client does harm.
Linux only.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import all_versions
from benchmarks.serving import speed, trials
from tasks.run.console import run_main
from tasks.run.folder import device_name, now
from tasks.run.interrupts import command_line

_SMALL = str(Path(__file__).parents[2] / "weights" / "bert-tiny")
_PARTS = ("throughput", "alone", "endurance", "stops", "hostile")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument("--tokenizer", required=True, help="folder of a Chinese BERT's tokenizer")
    parser.add_argument("--lengths", type=Path, required=True, help="file with a number of characters a line")
    parser.add_argument("--size", default="base", help="size of the BERT (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--texts", type=int, default=128, help="requests of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32], help="of the peer")
    parser.add_argument("--requests", type=int, default=100_000, help="to the small model (default: %(default)s)")
    parser.add_argument("--stops", type=int, default=5)
    parser.add_argument("--bodies", type=int, default=10_000, help="hostile ones (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        found = {part: measure(part, options, Path(temporary)) for part in _PARTS if part in options.parts}
    for part, figures in found.items():
        print(f"\n| {part} | |\n|---|---|")
        for name, value in figures.items():
            print(f"| {name.replace('_', ' ')} | {shown(value)} |")
    print(json.dumps({
        "benchmark": "serving", "command": command_line("benchmarks.serving", argv), **found,
        "device": device_name(torch.device("cpu")), "finished": now(), "versions": all_versions(),
    }))  # fmt: skip
    sys.exit(0 if is_sound(found) else 1)


def measure(part: str, options: argparse.Namespace, folder: Path) -> Any:
    """The figures of one part."""
    if part in ("throughput", "alone"):
        run = folder / "model"
        if not run.is_dir():
            speed.write_model(run, options.tokenizer, options.size)
        if part == "alone":
            return speed.alone(str(run), speed.make_texts([18], options.seed)[0], times=50)
        lengths = [int(line) for line in options.lengths.read_text(encoding="ascii").split()]
        step = max(1, len(lengths) // options.texts)  # spread over the file
        texts = speed.make_texts(lengths[::step][: options.texts], options.seed)
        return speed.throughput(
            str(run), texts, clients=options.clients, rounds=options.rounds, batch_sizes=options.batch_sizes
        )
    masked = [f"{text}[MASK]{text[::-1]}" for text in speed.make_texts([1 + n % 20 for n in range(200)], options.seed)]
    if part == "endurance":
        return trials.endurance(_SMALL, masked, requests=options.requests, clients=8)
    if part == "stops":
        return trials.stops(_SMALL, masked * 100, times=options.stops, clients=options.clients)
    return trials.hostile(_SMALL, number=options.bodies, clients=options.clients, seed=options.seed)


def shown(value: Any) -> str:
    """A figure in a cell of the table."""
    if isinstance(value, dict):
        return "; ".join(f"{name}: {shown(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def is_sound(found: dict[str, Any]) -> bool:
    """Whether nothing happened that must not."""
    bad = [("endurance", "lost"), ("endurance", "wrong"), ("stops", "unanswered")]
    bad += [("hostile", "server_errors"), ("hostile", "others_refused")]
    return not any(found.get(part, {}).get(name) for part, name in bad) and found.get("hostile", {}).get("alive", True)


if __name__ == "__main__":
    run_main(main)
