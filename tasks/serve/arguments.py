"""The arguments of ``python -m tasks.serve``."""

import argparse
import math
from collections.abc import Sequence

from minibert.errors import InputError
from minibert.training.settings import PRECISIONS
from tasks.predict.arguments import add_threads_option, require_positive
from tasks.run.console import program
from tasks.settings import ENGINES, INT8, TORCH


def parser() -> argparse.ArgumentParser:
    """``python -m tasks.serve``."""
    parser = argparse.ArgumentParser(
        prog=program("tasks.serve"),
        description="Answers over HTTP from trained runs, with a page to try them on.",
    )
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="run folders, or fine-tuned checkpoints' folders or hub names"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for all (default: 127.0.0.1)"
    )
    parser.add_argument("--port", type=int, default=8000, help="0 for any free one (default: 8000)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add_threads_option(parser)
    parser.add_argument("--precision", choices=(*PRECISIONS, INT8), default="auto", help="as of tasks.predict")
    parser.add_argument("--engine", choices=ENGINES, default=TORCH, help="as of tasks.predict")
    parser.add_argument(
        "--cuda-graphs", action="store_true", help="launch an encoder's kernels all at once on a GPU, for short texts"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes, each with all models (default: 1)")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="about this many in a batch (default: 4096)")
    parser.add_argument("--queue", type=int, default=1024, help="most texts that wait for a model (default: 1024)")
    parser.add_argument("--max-body", type=int, default=1_000_000, help="most bytes of a request (default: 1000000)")
    parser.add_argument("--max-text", type=int, default=100_000, help="most characters of an input (default: 100000)")
    parser.add_argument("--deadline", type=float, default=30.0, help="seconds to answer a request in (default: 30)")
    parser.add_argument("--access-log", action="store_true", help="a line for each request on standard error")
    return parser


def check_arguments(argv: Sequence[str]) -> None:
    """Shows the help, or refuses.

    Raises:
        InputError: a number is out of its range.
    """
    options = parser().parse_args(argv)
    require_positive("--threads", options.threads)
    if not 0 <= options.port <= 65535:
        raise InputError(f"--port {options.port}: must be 0 to 65535.")
    for name in ("workers", "batch_tokens", "queue", "max_body", "max_text", "deadline"):
        value = getattr(options, name)
        if not 0 < value < math.inf:
            raise InputError(f"--{name.replace('_', '-')} {value}: must be a number above 0.")
