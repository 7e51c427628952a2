"""The arguments of ``python -m tasks.compare``."""

from collections.abc import Sequence

from minibert.families import FAMILIES
from tasks.registry import TASKS, settings_class
from tasks.run.arguments import ArgumentParser
from tasks.run.console import program
from tasks.run.options import check
from tasks.settings import RANDOM


def parser() -> ArgumentParser:
    """``python -m tasks.compare``; the options that it does not know are the task's."""
    parser = ArgumentParser(
        prog=program("tasks.compare"),
        description="Run a task with several architectures and seeds, and compare.",
        epilog=f"All other options are those of the task ({program('tasks.NAME')} --help), and go to every run.",
        allow_abbrev=False,
    )
    parser.add_argument("--task", required=True, choices=tuple(TASKS))
    parser.add_argument(
        "--arch",
        nargs="+",
        choices=tuple(FAMILIES),
        default=[family.name for family in FAMILIES.values() if family.bundled],
        help="(default: those with a small model here: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        help=f"checkpoints to start from, one for each --arch in its order, or one word, {RANDOM}, for all",
    )
    return parser


def check_arguments(argv: Sequence[str]) -> None:
    """Shows the help, or refuses, also for the options of the task that is compared."""
    given, rest = parser().parse_known_args(argv)
    check(settings_class(given.task), rest, task=given.task)
