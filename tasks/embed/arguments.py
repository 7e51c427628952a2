"""The arguments of ``python -m tasks.embed``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from minibert.errors import InputError
from minibert.formats.sentence_transformers import POOLINGS
from tasks.predict.arguments import add_device_options, add_input_options, require_positive
from tasks.run.arguments import ArgumentParser
from tasks.run.console import program

NPY = ".npy"


def parser() -> ArgumentParser:
    """``python -m tasks.embed``."""
    parser = ArgumentParser(
        prog=program("tasks.embed"), description="Write the vector of each text, in the order of the texts."
    )
    parser.add_argument("model", metavar="MODEL", help="checkpoint or sentence-transformers folder, run, or hub name")
    add_input_options(parser)
    parser.add_argument(
        "--out", metavar="FILE.npy",
        help="write float32 (texts, width) here, whole or not at all (default: JSON lines to standard output)",
    )  # fmt: skip
    parser.add_argument(
        "--pooling", choices=POOLINGS,
        help="of the last hidden states: the mean of all tokens, or the first (default: the model's own, else mean)",
    )  # fmt: skip
    parser.add_argument(
        "--normalize", action=argparse.BooleanOptionalAction, default=None,
        help="scale vectors to length 1 (default: where the model's sentence-transformers files say so)",
    )  # fmt: skip
    add_device_options(parser, precision="fp32")
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, by default those of the process.

    Raises:
        InputError: one of them cannot be used.
    """
    options = parser().parse_args(argv)
    if options.out is not None and Path(options.out).suffix.lower() != NPY:
        raise InputError(f"--out {options.out}: must end in {NPY}; without --out, JSON lines go to standard output.")
    require_positive("--batch-tokens", options.batch_tokens)
    require_positive("--threads", options.threads)
    return options


def check_arguments(argv: Sequence[str]) -> None:
    """Shows the help, or refuses."""
    parse(argv)
