"""The arguments of ``python -m tasks.fill_mask``."""

from collections.abc import Sequence

from tasks.run.arguments import ArgumentParser
from tasks.run.console import program


def parser() -> ArgumentParser:
    """``python -m tasks.fill_mask``."""
    parser = ArgumentParser(
        prog=program("tasks.fill_mask"), description="Show the words that a pre-trained model predicts for each mask."
    )
    parser.add_argument("run", metavar="RUN_OR_WEIGHTS", help="run of tasks.pretraining, checkpoint folder or hub name")
    parser.add_argument("text", metavar="TEXT", help="with [MASK] or <mask> where a word is missing")
    parser.add_argument("--top", type=int, default=5, help="how many words to show (default: 5)")
    return parser


def check_arguments(argv: Sequence[str]) -> None:
    """Shows the help, or refuses."""
    parser().parse_args(argv)
