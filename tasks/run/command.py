"""The command of every task: a dry run, one run, or several runs with different seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.run.interrupts import command_line, explain_interruption
from tasks.run.options import parse
from tasks.run.prepare import dry_run
from tasks.run.train import train
from tasks.run.variants import compare_variants
from tasks.task import Task


def run_task(task_class: type[Task[Any, Any, Any]], argv: Sequence[str] | None = None) -> Path | None:
    """Runs ``python -m tasks.NAME``; returns the run folder, or None after a dry run.

    Raises:
        InputError: something that was given cannot be used.
    """
    command = parse(task_class.settings_class, argv, task=task_class.name)
    task = task_class(command.settings)
    if command.dry_run:
        dry_run(task)
        return None
    typed = command_line(f"tasks.{task.name}", argv)
    if command.settings.seeds > 1:
        name = command.settings.arch or "seeds"
        with explain_interruption(typed, levels=2):
            return compare_variants(task_class, [command.settings], name=name, command=typed, resume=command.resume)
    with explain_interruption(typed, levels=1):
        return train(task, command=typed, resume=command.resume)
