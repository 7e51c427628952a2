"""A search for settings: ``python -m tasks.search --task qa --lr 1e-4..1e-3 --batch-size 8 16 32 --budget 27``."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minibert.hub import sha256_by_file
from tasks.registry import task_class
from tasks.report.search import SEARCH_FILE
from tasks.run.grid import new_grid_folder
from tasks.run.interrupts import command_line, explain_interruption
from tasks.run.prepare import AnyTask, prepare
from tasks.search.arguments import read_options, read_settings
from tasks.search.search import Search


def main(argv: Sequence[str] | None = None) -> Path:
    """Searches; returns the folder, with a run folder for each trial, ``search.json`` and ``report.html``.

    Raises:
        InputError: something that was given cannot be used, or no trial could be trained.
    """
    options = read_options(argv)
    settings = read_settings(options)
    task = task_class(options.task)(settings)
    typed = command_line("tasks.search", argv)
    with explain_interruption(typed, levels=2), contextlib.ExitStack() as held:
        data, weights = _inputs(task)  # a fault in them is no fault of a trial
        folder = new_grid_folder(task, "search", option="--budget", resume=options.resume, held=held, mark=SEARCH_FILE)
        search = Search(type(task), settings, options, folder, typed, data, weights)
        return search.run()


def _inputs(task: AnyTask) -> tuple[Mapping[str, Mapping[str, Any]], Mapping[str, str]]:
    """The facts about each split; the sha256 of the files that the model starts from, none for new weights."""
    prepared = prepare(task)
    folder = prepared.start.folder
    return prepared.described, {} if folder is None else sha256_by_file(folder)
