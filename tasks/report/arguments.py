"""The arguments of ``python -m tasks.report``."""

from collections.abc import Sequence

from tasks.run.arguments import ArgumentParser
from tasks.run.console import program


def parser() -> ArgumentParser:
    """``python -m tasks.report``."""
    parser = ArgumentParser(
        prog=program("tasks.report"),
        description="Draw the page and the plots of a run, a comparison or a search again, from its figures.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="of a run, a comparison or a search")
    return parser


def check_arguments(argv: Sequence[str]) -> None:
    """Shows the help, or refuses."""
    parser().parse_args(argv)
