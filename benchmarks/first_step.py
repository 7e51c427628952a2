"""Time from the command to the end of the first training step in NER, compared with a plain transformers script.

Starts ``python -m tasks.ner`` and :mod:`benchmarks.plain_ner` in turn, each in a new process and from the same random
checkpoint, and measures the time until it reports its first step: mostly imports, reading, tokenizing and loading. The
files are read once before, so that they are in the disk cache. Prints one JSON line last.

    python -m benchmarks.first_step --train msra/train.txt.gz --dev msra/dev.txt.gz
"""

import argparse
import dataclasses
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.record import all_versions
from benchmarks.steps import measured
from benchmarks.workload import add_options, read_workload
from minibert import TokenClassifier, Tokenizer
from tasks.ner.data import read_ner
from tasks.run.console import run_main
from tasks.run.folder import device_name, now
from tasks.run.interrupts import command_line

OURS, THEIRS = "minibert", "transformers"
_MODULES = {OURS: ("benchmarks.until_step", "ner", "1", "--head", "linear"), THEIRS: ("benchmarks.plain_ner",)}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.first_step",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--train", required=True)
    parser.add_argument("--dev", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", default="base", help="size of the BERT (default: %(default)s)")
    options = parser.parse_args(argv)
    seconds: dict[str, list[float]] = {OURS: [], THEIRS: []}
    with tempfile.TemporaryDirectory() as temporary:
        weights = Path(temporary, "weights")
        sentences = write_checkpoint(weights, options.size, options.train)
        for number in range(options.rounds):
            for name in seconds if number % 2 == 0 else reversed(seconds):
                arguments = ["--weights", str(weights), "--train", options.train, "--dev", options.dev]
                if name == OURS:
                    arguments += ["--out", str(Path(temporary, f"run-{number}"))]
                seconds[name].append(measured([*_MODULES[name], *arguments], 1)["seconds_to_first_step"])
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print("| command | seconds to the first step | speedup of ours |\n|---|---|---|")
    for name, value in median.items():
        print(f"| {name} | {value:.2f} | {value / median[OURS]:.2f} |")
    print(json.dumps({
        "benchmark": "first step", "command": command_line("benchmarks.first_step", argv),
        "options": vars(options), "sentences": sentences,
        "contenders": {
            name: {"median_seconds": value, "speedup_of_ours": value / median[OURS], "seconds": seconds[name]}
            for name, value in median.items()
        },
        "device": device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "finished": now(), "versions": all_versions(),
    }))  # fmt: skip


def write_checkpoint(folder: Path, size: str, train: str) -> int:
    """Writes a random BERT and a tokenizer trained on the file; returns the number of the file's sentences."""
    parser = argparse.ArgumentParser()
    add_options(parser, lengths="fixed:8", sequences=1)
    config = read_workload(parser.parse_args(["--size", size])).config
    sentences = read_ner(train).items
    tokenizer = Tokenizer.train((item.words for item in sentences), model_type="bert", vocab_size=config.vocab_size)
    tokenizer.save_pretrained(folder, for_words=True)
    TokenClassifier(dataclasses.replace(config, vocab_size=tokenizer.vocab_size)).save_pretrained(folder)
    return len(sentences)


if __name__ == "__main__":
    run_main(main)
