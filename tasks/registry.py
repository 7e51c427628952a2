"""Every task and command by name: the only list. Modules are imported on demand, so that help is instant.

``python -m tasks.NAME`` and ``minibert NAME`` (:mod:`tasks.__main__`) are :func:`main`; :func:`run` is the same within
a process.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from tasks.run.console import run_main
from tasks.run.options import check
from tasks.settings import RunSettings

if TYPE_CHECKING:
    from tasks.task import Task


class TaskEntry(NamedTuple):
    """A task's two classes, as ``module:name``. The settings' module must not import torch."""

    settings: str
    task: str


class CommandEntry(NamedTuple):
    """A command's functions, as ``module:name``.

    Attributes:
        main: runs it with a list of arguments.
        check: shows the help or refuses, without torch; None if the options are those of training the task.
        about: one line for ``minibert --help``; where absent, that of the task's settings.
    """

    main: str
    check: str | None = None
    about: str | None = None


TASKS = {
    "ner": TaskEntry("tasks.ner.settings:NerSettings", "tasks.ner.task:NerTask"),
    "classification": TaskEntry(
        "tasks.classification.settings:ClassificationSettings", "tasks.classification.task:ClassificationTask"
    ),
    "qa": TaskEntry("tasks.qa.settings:QaSettings", "tasks.qa.task:QaTask"),
    "span_qa": TaskEntry("tasks.span_qa.settings:SpanQaSettings", "tasks.span_qa.task:SpanQaTask"),
    "multiple_choice": TaskEntry(
        "tasks.multiple_choice.settings:MultipleChoiceSettings", "tasks.multiple_choice.task:MultipleChoiceTask"
    ),
    "cloze": TaskEntry("tasks.cloze.settings:ClozeSettings", "tasks.cloze.task:ClozeTask"),
    "pretraining": TaskEntry(
        "tasks.pretraining.settings:PretrainingSettings", "tasks.pretraining.task:PretrainingTask"
    ),
}

# Commands that are not tasks, and tasks whose command does more than train.
COMMANDS = {
    "qa": CommandEntry("tasks.qa.ask:main", check="tasks.qa.settings:check_arguments"),
    "cloze": CommandEntry("tasks.cloze.command:main"),
    "predict": CommandEntry(
        "tasks.predict.command:main",
        check="tasks.predict.arguments:check_arguments",
        about="Answer from a trained run: one JSON line for each input.",
    ),
    "evaluate": CommandEntry(
        "tasks.evaluate.command:main",
        check="tasks.evaluate.arguments:check_arguments",
        about="Compare the answers of a trained run with the labels of a file.",
    ),
    "embed": CommandEntry(
        "tasks.embed.command:main",
        check="tasks.embed.arguments:check_arguments",
        about="Write the vector of each text, as sentence-transformers does.",
    ),
    "serve": CommandEntry(
        "tasks.serve.command:main",
        check="tasks.serve.arguments:check_arguments",
        about="Answer over HTTP from trained runs, with a page to try them on.",
    ),
    "compare": CommandEntry(
        "tasks.compare.command:main",
        check="tasks.compare.arguments:check_arguments",
        about="Run a task with several architectures and seeds, and compare.",
    ),
    "search": CommandEntry(
        "tasks.search.command:main",
        check="tasks.search.arguments:check_arguments",
        about="Search good settings for a task by successive halving.",
    ),
    "report": CommandEntry(
        "tasks.report.command:main",
        check="tasks.report.arguments:check_arguments",
        about="Draw the page and the plots of a run, a comparison or a search again.",
    ),
    "fill_mask": CommandEntry(
        "tasks.fill_mask.command:main",
        check="tasks.fill_mask.arguments:check_arguments",
        about="Show what a pre-trained model expects in place of each mask.",
    ),
}


def settings_class(task: str) -> type[RunSettings]:
    """The settings class of a task; does not import torch."""
    found: type[RunSettings] = _load(TASKS[task].settings)
    return found


def task_class(task: str) -> "type[Task[Any, Any, Any]]":
    """The class of a task."""
    found: type[Task[Any, Any, Any]] = _load(TASKS[task].task)
    return found


def main(name: str) -> NoReturn:
    """Runs a command with the arguments of the process, and ends the process.

    The options are read first, so that help and refusals need not wait for torch.
    """

    def check_and_run() -> None:
        own = COMMANDS[name].check if name in COMMANDS else None
        if own is not None:
            _load(own)(sys.argv[1:])
        else:
            check(settings_class(name), sys.argv[1:], task=name)
        run(name)

    run_main(check_and_run)
    sys.exit()


def run(name: str, argv: Sequence[str] | None = None) -> Any:
    """Runs a command, by default with the arguments of the process; returns its run folder, if it has one.

    Raises:
        InputError: something that was given cannot be used.
    """
    if name in COMMANDS:
        return _load(COMMANDS[name].main)(argv)
    return _load("tasks.run.command:run_task")(task_class(name), argv)


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
