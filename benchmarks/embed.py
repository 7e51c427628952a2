"""Texts a second as vectors, compared with sentence-transformers' encode in batches of 32, its default.

Both get the same texts in one call, in one process, in turn, and sort them by length; their vectors are compared first.
Tokenizing is part of the work. The table gives medians over rounds. Prints one JSON line last.

    python -m benchmarks.embed MINILM TEXTS
    python -m benchmarks.embed MINILM TEXTS --also bf16 int8
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.clock import in_turns
from benchmarks.ours import OURS
from benchmarks.record import all_versions
from minibert.errors import InputError
from minibert.training import choose_device
from tasks.embed import load
from tasks.read.stream import records
from tasks.run.console import run_main
from tasks.run.folder import device_name, now
from tasks.run.interrupts import command_line

THEIRS = "sentence-transformers"
Vectors = npt.NDArray[np.float32]
Encode = Callable[[list[str]], Vectors]

# The largest difference of a number from sentence-transformers', in vectors of length 1.
_TOLERANCE = {"fp32": 1e-5, "bf16": 0.03, "int8": 0.1}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.embed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="a folder of sentence-transformers, with Normalize")
    parser.add_argument("file", metavar="TEXTS", help="a file with a text a line")
    parser.add_argument("--texts", type=int, default=512, help="how many, from the start (default: %(default)s)")
    parser.add_argument("--also", nargs="*", default=[], choices=("bf16", "int8"), help="precisions beside fp32")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    texts = [record.fields["text"] for record in islice(records(options.file, "text"), options.texts)]
    if not texts:
        raise InputError(f"{options.file}: has no text.")
    device = choose_device(options.device)
    theirs = sentence_transformers_encode(options.model, str(device))
    ours = {name: load(options.model, device=str(device), precision=name) for name in ("fp32", *options.also)}
    encoders: dict[str, Encode] = {_name(precision): embed for precision, embed in ours.items()}
    errors = {_name(precision): _error(embed(texts), theirs(texts), precision) for precision, embed in ours.items()}
    works = {name: partial(encode, texts) for name, encode in {**encoders, THEIRS: theirs}.items()}
    seconds = in_turns(works, rounds=options.rounds, device=device)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    contenders: dict[str, dict[str, Any]] = {
        name: {
            "texts_per_second": len(texts) / median[name],
            "speed_relative_to_theirs": median[THEIRS] / median[name],
            "error": errors.get(name, 0.0),
            "seconds": seconds[name],
        }
        for name in works
    }
    _print_record(contenders, command_line("benchmarks.embed", argv), texts, device_name(device))


def sentence_transformers_encode(model: str, device: str) -> Encode:
    """Their function from texts to vectors; exits with status 2 if it is missing."""
    try:
        # An optional peer, which takes seconds to import.
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise InputError(f"{THEIRS} is missing, with which this benchmark compares: pip install {THEIRS}.") from None
    return partial(SentenceTransformer(model, device=device).encode, show_progress_bar=False)


def _name(precision: str) -> str:
    return OURS if precision == "fp32" else f"{OURS}-{precision}"


def _error(found: Vectors, expected: Vectors, precision: str) -> float:
    """The largest difference; exits with status 1 if it is too large."""
    error = float(abs(found - expected).max())
    if not error <= _TOLERANCE[precision]:
        sys.exit(f"{_name(precision)} does not compute the same: its error is {error:.2g}. Nothing was timed.")
    return error


def _print_record(contenders: dict[str, dict[str, Any]], command: str, texts: Sequence[str], device: str) -> None:
    characters = sum(map(len, texts)) / len(texts)
    print(f"embed: {len(texts)} texts of {characters:.0f} characters; {device}")
    print("| contender | texts per second | relative to theirs | error |\n|---|---|---|---|")
    for name, figures in contenders.items():
        per_second, relative = figures["texts_per_second"], figures["speed_relative_to_theirs"]
        print(f"| {name} | {per_second:,.1f} | {relative:.2f} | {figures['error']:.1e} |")
    print(json.dumps({
        "benchmark": "embed", "command": command, "texts": len(texts), "characters": characters,
        "contenders": contenders, "device": device, "finished": now(), "versions": all_versions(),
    }))  # fmt: skip


if __name__ == "__main__":
    run_main(main)
