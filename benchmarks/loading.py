"""Time from the start of a process to the first answer of a text classifier, beside transformers.

Random weights of a BERT (safetensors) and a tokenizer of 21,000 Chinese characters lie in a folder. Each contender
loads both in a new process and answers one text; the contenders take turns, with another one first in each round, after
a round that fills the disk cache. The table gives medians of the seconds from the start of the process, and from the
end of its imports. ``minibert`` is ``tasks.predict.load``, ``minibert-modules`` the model's class and the tokenizer,
``minibert-command`` is ``python -m tasks.predict``. Prints one JSON line last.

    python -m benchmarks.loading
"""

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import ENVIRONMENT
from benchmarks.first_answer import CONTENDERS, IMPORTED, LABELS
from benchmarks.record import all_versions
from benchmarks.workload import add_options, read_workload
from minibert import SequenceClassifier, Tokenizer
from tasks.run.console import run_main
from tasks.run.folder import device_name, now
from tasks.run.interrupts import command_line

THEIRS = "transformers"
_COLUMNS = (
    "median_seconds", "part_of_transformers", "median_seconds_after_imports", "part_of_transformers_after_imports"
)  # fmt: skip
_COMMAND = "minibert-command"
_CHARACTERS = [chr(code) for code in range(0x4E00, 0xA000)]
_TEXT = "".join(_CHARACTERS[:18])  # 20 tokens
_TOLERANCE = 0.01  # of a probability, because the commands here may choose bf16


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loading", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", default="base", help="size of the BERT (default: %(default)s)")
    options = parser.parse_args(argv)
    names = [*CONTENDERS, _COMMAND]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "model")
        write_classifier(folder, options.size)
        for turn in range(options.rounds + 1):
            first = turn % len(names)
            for name in [*names[first:], *names[:first]]:
                run = run_of(name, folder)
                if turn:
                    runs[name].append(run)
    require_equal_answers({name: found[0].probability for name, found in runs.items()})
    figures = {name: _figures(found, runs[THEIRS]) for name, found in runs.items()}
    print(
        "| contender | seconds | part of transformers | after imports | part of transformers |\n|---|---|---|---|---|"
    )
    for name, columns in figures.items():
        cells = [f"{columns[column]:.2f}" if column in columns else "" for column in _COLUMNS]
        print(f"| {name} | {' | '.join(cells)} |")
    print(json.dumps({
        "benchmark": "loading", "command": command_line("benchmarks.loading", argv), "options": vars(options),
        "contenders": figures, "device": device_name(torch.device("cpu")), "finished": now(),
        "versions": all_versions(),
    }))  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A process of a contender.

    Attributes:
        seconds: from its start to the answer.
        seconds_after_imports: from the end of its imports to the answer; None for a command, which imports as it goes.
        probability: of the second label.
    """

    seconds: float
    seconds_after_imports: float | None
    probability: float


def _figures(runs: Sequence[Run], theirs: Sequence[Run]) -> dict[str, Any]:
    """The table's columns, and the raw seconds."""
    seconds = [run.seconds for run in runs]
    found: dict[str, Any] = {
        "median_seconds": statistics.median(seconds),
        "part_of_transformers": statistics.median(seconds) / statistics.median(run.seconds for run in theirs),
        "seconds": seconds,
    }
    after, theirs_after = ([r.seconds_after_imports for r in of if r.seconds_after_imports] for of in (runs, theirs))
    if after:
        found |= {
            "median_seconds_after_imports": statistics.median(after),
            "part_of_transformers_after_imports": statistics.median(after) / statistics.median(theirs_after),
            "seconds_after_imports": after,
        }
    return found


def write_classifier(folder: Path, size: str) -> None:
    """Writes a random classifier of texts, and a tokenizer with the vocabulary of a Chinese BERT."""
    parser = argparse.ArgumentParser()
    add_options(parser, lengths="fixed:8", sequences=1)
    config = read_workload(parser.parse_args(["--size", size])).config
    folder.mkdir()
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_CHARACTERS]), encoding="utf-8")
    tokenizer = Tokenizer.from_pretrained(folder)
    vocabulary.unlink()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    SequenceClassifier(dataclasses.replace(config, vocab_size=tokenizer.vocab_size, id2label=LABELS)).save_pretrained(
        folder
    )


def run_of(name: str, folder: Path) -> Run:
    """Runs a contender in a new process."""
    arguments = ["benchmarks.first_answer", name, str(folder), _TEXT]
    if name == _COMMAND:
        file = folder.with_name("text.txt")
        file.write_text(_TEXT, encoding="utf-8")
        arguments = ["tasks.predict", str(folder), str(file)]
    started, imported = time.perf_counter(), None
    with subprocess.Popen(
        [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            passed = time.perf_counter() - started
            if line.startswith(IMPORTED):
                imported = passed
            elif line.startswith("{"):
                return Run(
                    seconds=passed,
                    seconds_after_imports=None if imported is None else passed - imported,
                    probability=json.loads(line)["probabilities"][LABELS[1]],
                )
    sys.exit(f"{name} ended without an answer.")


def require_equal_answers(probabilities: dict[str, float]) -> None:
    """Exits with status 1 if a contender's answer is not transformers'."""
    for name, probability in probabilities.items():
        if not abs(probability - probabilities[THEIRS]) <= _TOLERANCE:
            sys.exit(f"{name} does not answer the same: {probability:.4f}, transformers {probabilities[THEIRS]:.4f}.")


if __name__ == "__main__":
    run_main(main)
