"""The arguments of ``python -m tasks.predict``."""

import argparse
from collections.abc import Sequence

from minibert.errors import InputError
from minibert.training.settings import PRECISIONS
from tasks.read.stream import FORMATS
from tasks.run.arguments import ArgumentParser
from tasks.run.console import program
from tasks.settings import ENGINES, INT8, TORCH

STOP, SKIP = "stop", "skip"


def parser() -> ArgumentParser:
    """``python -m tasks.predict``."""
    parser = ArgumentParser(
        prog=program("tasks.predict"),
        description="Answers from a trained run: one JSON line for each input, in the input's order.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, or a fine-tuned checkpoint's folder or hub name")
    add_input_options(parser)
    _add_answer_options(parser)
    add_device_options(parser, precision="auto")
    add_engine_option(parser)
    return parser


def add_device_options(parser: ArgumentParser, *, precision: str) -> None:
    """Where and how to compute.

    Args:
        parser: to add to.
        precision: the default.
    """
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add_threads_option(parser)
    parser.add_argument(
        "--precision", choices=(*PRECISIONS, INT8), default=precision,
        help="int8: on a CPU, in 8-bit integers, which is faster and a little less exact (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--batch-tokens", type=int, metavar="N",
        help="tokens in a batch at most; fewer take less memory (default: 4,096 on a CPU, 8,192 on a GPU)",
    )  # fmt: skip


def add_engine_option(parser: ArgumentParser) -> None:
    """What computes."""
    parser.add_argument(
        "--engine", choices=ENGINES, default=TORCH,
        help="onnx: ONNX Runtime, for a folder that tools/export.py has written (default: torch)",
    )  # fmt: skip


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """How many threads compute."""
    parser.add_argument("--threads", type=int, metavar="N", help="threads on a CPU (default: one a core)")


def add_input_options(parser: ArgumentParser) -> None:
    """The file of the inputs, and how to read it."""
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="-",
        help="text (an input a line), JSON, CSV, TSV, parquet, Arrow, a folder; also .gz, .zip; - is standard input",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=FORMATS, default="auto", help="of the input (default: by ending and content)"
    )
    parser.add_argument("--encoding", help="of the input, such as gb18030 or big5 (default: utf-8)")
    parser.add_argument(
        "--columns", nargs="+", default=[], help="names of the columns of a table without a header, such as id,text"
    )
    parser.add_argument(
        "--text-column", metavar="NAME",
        help="name of the text's column or field; answers keep it (default: as in training, or recognised)",
    )  # fmt: skip
    parser.add_argument(
        "--on-error", choices=(STOP, SKIP), default=STOP,
        help="what a bad input does: stop ends the command; skip writes why in its place, and goes on (default: stop)",
    )  # fmt: skip


def _add_answer_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--out", metavar="FILE",
        help="write here, whole or not at all; a table if it ends in .csv or .tsv (default: standard output)",
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true", help="go on behind the answers that a killed run left of --out"
    )
    parser.add_argument(
        "--threshold",
        metavar="X",
        help="of several labels: give those with this probability (default: as the run chose)",
    )
    parser.add_argument(
        "--top-k",
        type=int,
        metavar="N",
        help="give the N likeliest labels, spans, choices or words (default: the run's)",
    )
    parser.add_argument(
        "--unknown", action="store_true", help="also say what the tokenizer does not know, by character"
    )


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, by default those of the process.

    Raises:
        InputError: they contradict each other.
    """
    options = parser().parse_args(argv)
    require_positive("--top-k", options.top_k)
    require_positive("--batch-tokens", options.batch_tokens)
    require_positive("--threads", options.threads)
    if options.resume and options.out is None:
        raise InputError("--resume: goes on with a file; name it with --out.")
    if options.resume and options.file == "-":
        raise InputError("--resume: standard input cannot be read again from its start; name a file.")
    return options


def require_positive(name: str, number: int | None) -> None:
    """Raises InputError for an option that is given and below 1."""
    if number is not None and number < 1:
        raise InputError(f"{name} {number}: must be 1 or more.")


def check_arguments(argv: Sequence[str]) -> None:
    """Shows the help, or refuses."""
    parse(argv)
