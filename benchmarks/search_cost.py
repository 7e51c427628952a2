"""What a search saves, and whether it finds what the full grid does.

Takes a finished search, and trains each trial that it stopped to the end, as a run of its own. Prints all trials by
their best figure on dev, which round each reached, and the share of the epochs that the search trained; then one JSON
line.

    python -m tasks.search --task ner --train TRAIN --dev DEV --epochs 9 --lr 1e-4..3e-3 --budget 9 --out SEARCH
    python -m benchmarks.search_cost SEARCH --out runs/grid
"""

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minibert.errors import Diverged, InputError
from minibert.files import read_json_object
from minibert.training import Metric, choose_device
from tasks import registry
from tasks.report.search import SEARCH_FILE, settings_in_words
from tasks.run.console import run_main
from tasks.run.folder import device_name, now, read_metrics, versions
from tasks.run.interrupts import command_line
from tasks.search.halving import Trial, ranked
from tasks.settings import SETTINGS_FILE


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("search", metavar="SEARCH", type=Path, help="folder of a finished search")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs; complete ones in it are kept")
    options = parser.parse_args(argv)
    search = read_json_object(options.search / SEARCH_FILE)
    if "winner" not in search:
        raise InputError(f"{options.search}: is not finished; go on with {search['command']} --resume.")
    found = [Trial(**trial) for trial in search["trials"]]
    trained = [to_the_end(trial, search["task"], options.search, options.out) for trial in found]
    metric = Metric(search["metric"], higher_is_better=search["metric_higher_is_better"])
    epochs = search["settings"]["epochs"]
    grid = ranked([trial for trial in trained if trial.complete], epochs, metric)
    reached = {trial.name: len(trial.history) for trial in found}
    print(table(grid, reached, metric, epochs))
    for trial in trained:
        if trial.failure is not None:
            print(f"{trial.name} failed and is left out: {trial.failure}")
    share = sum(reached[trial.name] for trial in grid) / sum(len(trial.history) for trial in grid)
    winner = search["winner"]["trial"]
    place = [trial.name for trial in grid].index(winner) + 1
    print(f"\nthe search trained {share:.0%} of the epochs; its winner, {winner}, has place {place} of {len(grid)}")
    print(json.dumps({
        "benchmark": "search_cost", "command": command_line("benchmarks.search_cost", argv),
        "search": search["command"], "share_of_epochs": share, "place_of_winner": place,
        "best": {trial.name: trial.best(epochs)[metric.name] for trial in grid}, "epochs_in_search": reached,
        "metric": metric.name, "device": device_name(choose_device()), "versions": versions(), "finished": now(),
    }))  # fmt: skip


def to_the_end(trial: Trial, task: str, search: Path, out: Path) -> Trial:
    """A trial with the history of all its epochs: its own, or that of a run with its settings; or why there is none."""
    if trial.complete or trial.failure is not None:
        return trial
    settings = search / trial.name / SETTINGS_FILE
    try:
        registry.run(task, ["--config", str(settings), "--out", str(out / trial.name), "--resume"])
    except Diverged as error:
        return dataclasses.replace(trial, failure=str(error))
    history: Sequence[Mapping[str, Any]] = read_metrics(out / trial.name)["epochs"]
    return dataclasses.replace(trial, history=history, complete=True)


def table(grid: Sequence[Trial], reached: Mapping[str, int], metric: Metric, epochs: int) -> str:
    """A row for each trial, the best first."""
    lines = [
        f"| trial | settings | best dev {metric.name.replace('_', ' ')} | epochs in the search |",
        "|---|---|---|---|",
    ]
    for trial in grid:
        best = trial.best(epochs)[metric.name]
        lines.append(f"| {trial.name} | {settings_in_words(trial.settings)} | {best:.4f} | {reached[trial.name]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
