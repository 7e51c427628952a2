"""A grid of runs in one folder: each cell is one run, for one method or model, one data set and one seed.

Fine-tuning results vary with the seed, and some runs collapse (Devlin et al. 2019, section 4.1; Mosbach et al. 2021),
so a single run says little about a model.
"""

import contextlib
import dataclasses
import os
import shlex
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minibert.errors import Diverged, InputError, out_of_memory_explained
from minibert.files import write_atomically, write_json
from minibert.training import Metric, choose_device
from tasks.run import folder as run_folder
from tasks.run.interrupts import resume_hint
from tasks.run.prepare import AnyTask
from tasks.run.streams import say
from tasks.run.train import train
from tasks.settings import SETTINGS_FILE, RunSettings


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a grid.

    Attributes:
        name: of its folder.
        row: cells with the same row differ in their seed (and what is drawn from it) only.
        data: cells with the same data share the linear baseline.
        task: with the settings of the run.
    """

    name: str
    row: Hashable
    data: Hashable
    task: AnyTask


@dataclass(kw_only=True)
class Results:
    """What came of a grid.

    Attributes:
        runs: the content of each finished run's ``metrics.json``, and its folder's name as ``run``, by row.
        baselines: the linear model's metrics, by the cells' data.
        failures: a sentence for each run that failed.
    """

    runs: dict[Hashable, list[dict[str, Any]]] = field(default_factory=dict)
    baselines: dict[Hashable, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """Failures and the runs' own warnings, each once, with the names of the runs unless it is all of them."""
        runs = [run for of_row in self.runs.values() for run in of_row]
        warned: dict[str, list[str]] = {}
        for run in runs:
            for warning in run["warnings"]:
                warned.setdefault(warning, []).append(run["run"])
        of_runs = [text if len(names) == len(runs) else f"{', '.join(names)}: {text}" for text, names in warned.items()]
        return [*self.failures, *of_runs]


def new_grid_folder(
    task: AnyTask,
    name: str,
    *,
    option: str,
    resume: bool,
    held: contextlib.ExitStack,
    mark: str = f"*/{SETTINGS_FILE}",
) -> Path:
    """The folder of a grid: ``--out``, or a new one; it is this process's until ``held`` closes.

    Args:
        task: with the settings of the first cell.
        name: for a new folder.
        option: the option that asked for several runs.
        resume: the folder may hold a grid.
        held: see :func:`~tasks.run.folder.new_run_folder`.
        mark: a pattern for a file by which a grid of this kind is recognised.

    Raises:
        InputError: it cannot be used, or torchrun started this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(f"{option}: several runs under torchrun would share its processes; start them one by one.")
    return run_folder.new_run_folder(task.settings.out, task.name, name, held=held, resume=resume, mark=mark)


def run_cells(cells: Sequence[Cell], folder: Path, *, command: str, resume: bool) -> Results:
    """Trains every cell in a folder of its own; a run that fails does not stop the others.

    Args:
        cells: in the order to run them.
        folder: of the grid.
        command: what to type to repeat the grid.
        resume: keep the runs that are complete, and continue the one that was interrupted.

    Raises:
        InputError: the first run cannot start, or no run finished.
    """
    results, complete = Results(), dict[Hashable, Path]()
    for cell in cells:
        say(f"\n== {cell.name} ==")
        target = folder / cell.name
        try:
            train_cell(cell, target, like=complete.get(cell.data), resume=resume)
            metrics = run_folder.read_metrics(target)
        except BaseException as error:
            # Bad input stops the first run, and would stop all; a diverged run, or a later failure, stops no other.
            continues = isinstance(error, InputError if results.runs else Diverged)
            with contextlib.suppress(OSError):  # folders with files in them stay
                target.rmdir()
            if isinstance(error, KeyboardInterrupt) and results.runs:
                say(resume_hint(command, folder), error=True)
            if not continues:
                raise
            say(f"failed: {error}")
            results.failures.append(f"{cell.name} failed: {error}")
        else:
            results.baselines[cell.data], complete[cell.data] = metrics["baseline"], target
            results.runs.setdefault(cell.row, []).append({**metrics, "run": cell.name})
    if not results.runs:
        raise Diverged(f"no run finished; {results.failures[-1]}")
    return results


def train_cell(cell: Cell, target: Path, *, like: Path | None, resume: bool, stop_after: int | None = None) -> None:
    """Trains one cell in the folder ``target``; the other arguments, and what is raised, are those of
    :func:`~tasks.run.train.train`. That memory runs out is an InputError, too."""
    target.mkdir(exist_ok=resume)
    run_folder.remove_unfinished_files(target)
    command = f"python -m tasks.{cell.task.name} --config {shlex.quote(str(target / SETTINGS_FILE))}"
    with out_of_memory_explained():
        train(cell.task, command=command, folder=target, like=like, resume=resume, stop_after=stop_after)


def spread(values: Sequence[float], metric: Metric) -> dict[str, Any]:
    """Mean, sample standard deviation (None for a single value) and worst of some runs' values."""
    return {
        "mean": statistics.mean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "worst": min(values) if metric.higher_is_better else max(values),
        "values": list(values),
    }


def write_comparison(
    folder: Path, settings: RunSettings, results: Results, *, command: str, started: str, content: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes ``comparison.json``: ``content``, and how and where the runs were made; returns all of it."""
    comparison = {
        **content,
        "command": command,
        "settings": dataclasses.asdict(settings),
        "versions": run_folder.versions(),
        "device": run_folder.device_name(choose_device(settings.device)),
        "started": started,
        "finished": run_folder.now(),
        "warnings": results.warnings,
    }
    write_atomically(folder / "comparison.json", lambda path: write_json(path, comparison))
    return comparison
