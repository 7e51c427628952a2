"""Write the bundled samples of five tasks: the same seed gives the same bytes.

    python -m tools.samples [--seed 2026] [--out tasks/samples]

Everything is invented and made from the templates and lists in ``tools/samples/material``. Some of them are held out of
train, so a model that only remembers words does worse on dev and test.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.samples import classification, multiple_choice, ner, qa, span_qa

MAKERS = {
    "ner": ner.make,
    "classification": classification.make,
    "qa": qa.make,
    "span_qa": span_qa.make,
    "multiple_choice": multiple_choice.make,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the files of all samples and prints their counts; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.samples", description="Write the bundled samples.")
    parser.add_argument("--seed", type=int, default=2026, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("tasks/samples"), help="default: %(default)s")
    options = parser.parse_args(argv)
    # Each sample has its own random numbers, so that a change in one leaves the others as they are.
    samples = {task: make(random.Random(options.seed)) for task, make in MAKERS.items()}
    try:
        for task, (files, _) in samples.items():
            (options.out / task).mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (options.out / task / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        print(f"Cannot write the samples to {options.out}: {error.strerror or error}.", file=sys.stderr)
        return 2
    for _, summary in samples.values():
        print(summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
