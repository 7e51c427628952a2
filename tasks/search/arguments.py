"""The arguments of ``python -m tasks.search``."""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from minibert.errors import InputError
from minibert.training.settings import option_name
from tasks.cloze.settings import ClozeSettings
from tasks.registry import TASKS, settings_class
from tasks.run.arguments import ArgumentParser
from tasks.run.console import program
from tasks.run.options import check, parse
from tasks.search.space import Space, draw_settings, parse_dimension, searchable
from tasks.settings import RunSettings

_LEAST_BUDGET = 2


class Options(NamedTuple):
    """The command line, before the task's options are read.

    Attributes:
        task: its name.
        budget: how many trials.
        space: what is searched.
        fixed: the task's options that all trials share.
        out, resume: the folder of the search, and whether it may hold one.
    """

    task: str
    budget: int
    space: Space
    fixed: list[str]
    out: str | None
    resume: bool

    @property
    def of_task(self) -> list[str]:
        """The options for the task."""
        return [
            *self.fixed,
            *([] if self.out is None else ["--out", self.out]),
            *(["--resume"] if self.resume else []),
        ]


def parser() -> ArgumentParser:
    """``python -m tasks.search``; the options that it does not know are the task's."""
    parser = ArgumentParser(
        prog=program("tasks.search"),
        usage="%(prog)s --task NAME --budget N --OPTION LOW..HIGH --OPTION VALUE VALUE ... [OPTIONS]",
        description="Search good settings for a task: many short trials, of which the best third goes on, again and "
        "again.",
        epilog=f"All other options are those of the task ({program('tasks.NAME')} --help). What is given "
        "a range, as in --lr 1e-5..1e-4, or several values, as in --batch-size 8 16 32, is searched, also options for "
        "settings files only.",
        allow_abbrev=False,
    )
    parser.add_argument("--task", required=True, choices=tuple(TASKS))
    parser.add_argument(
        "--budget", type=int, required=True, metavar="N", help="trials: settings that are drawn and tried"
    )
    parser.add_argument("--out", metavar="FOLDER", help="new or empty (default: runs/TASK-search-N)")
    parser.add_argument("--resume", action="store_true", help="continue the search in --out, or start it")
    return parser


def read_options(argv: Sequence[str] | None) -> Options:
    """Tells what is searched from what all trials share.

    Raises:
        InputError: a range or a choice cannot be used, or nothing is searched.
    """
    given, rest = parser().parse_known_args(argv)
    if given.budget < _LEAST_BUDGET:
        raise InputError(f"--budget {given.budget}: must be {_LEAST_BUDGET} or more.")
    of_task = settings_class(given.task)
    values_parser = ArgumentParser(add_help=False, allow_abbrev=False, prog=program("tasks.search"))
    for name in searchable(of_task):
        if name != "out":
            values_parser.add_argument(option_name(name), dest=name, nargs="+")
    values, fixed = values_parser.parse_known_args(rest)
    space = {}
    for name, texts in vars(values).items():
        if texts is None:
            continue
        dimension = parse_dimension(of_task, name, texts)
        if dimension is None:
            fixed += [option_name(name), *texts]
        else:
            space[name] = dimension
    if not space:
        raise InputError("nothing is searched; give a range, such as --lr 1e-5..1e-4, or several values of an option.")
    return Options(given.task, given.budget, space, fixed, given.out, given.resume)


def read_settings(options: Options) -> RunSettings:
    """The settings that all trials share, with defaults where they differ.

    Raises:
        InputError: an option of the task cannot be used.
    """
    asked = parse(settings_class(options.task), options.of_task, task=options.task)
    command = program(f"tasks.{options.task}")
    if asked.dry_run:
        raise InputError(f"--dry-run: looks at one task; run {command} --dry-run.")
    if isinstance(asked.settings, ClozeSettings) and asked.settings.shots:
        raise InputError(f"--shots: is a comparison by itself; run {command}.")
    if asked.settings.seeds > 1:
        raise InputError("--seeds: all trials have one seed; train the winner with several afterwards.")
    settings: RunSettings = asked.settings
    _require_a_trial(settings, options)
    return settings


def _require_a_trial(settings: RunSettings, options: Options) -> None:
    """Refuses what fits no searched value before anything is written; what fits some fails in the other trials."""
    drawn = draw_settings(options.space, options.budget, settings.seed)
    for values in drawn:
        with contextlib.suppress(InputError):
            dataclasses.replace(settings, **values)
            return
    dataclasses.replace(settings, **drawn[0])


def check_arguments(argv: Sequence[str]) -> None:
    """Shows the help, or refuses, also for the options of the task."""
    options = read_options(argv)
    check(settings_class(options.task), options.of_task, task=options.task)
