"""The linear model beside a run: its figures, its answers beside the run's, and whether the two differ."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minibert.errors import InputError
from tasks.data import Baseline, Split
from tasks.run.folder import read_metrics
from tasks.run.predictions import read_predictions
from tasks.run.prepare import AnyTask
from tasks.run.significance import Records, paired_tests

LINEAR = "linear"
"""The linear model's answer in a line of ``predictions-dev.jsonl``."""


def linear_model(task: AnyTask, splits: Mapping[str, Split[Any]], like: Path | None) -> Baseline | None:
    """The task's linear model on the data; None if it has none.

    Args:
        task: with its settings.
        splits: the data.
        like: the folder of a complete run on the same data, whose linear model is the same; None if there is none.
    """
    known = None if like is None else _kept(like, splits)
    return task.baseline(splits) if known is None else known


def _kept(run: Path, splits: Mapping[str, Split[Any]]) -> Baseline | None:
    """What a run's folder has of its linear model; None if it is not all there, or of other items."""
    answers = {}
    try:
        record = read_metrics(run)["baseline"]
        if record is None:
            return None
        for name in splits.keys() - {"train"}:
            lines = read_predictions(run, name)
            if [line.get("line") for line in lines] != [item.line for item in splits[name].items]:
                return None
            answers[name] = [line[LINEAR] for line in lines]
    except (InputError, KeyError):
        return None
    return Baseline(record=record, answers=answers)


def beside_linear(records: Records, answers: Sequence[Any]) -> list[dict[str, Any]]:
    """The lines of ``predictions-dev.jsonl`` with the linear model's answers."""
    return [{**line, LINEAR: answer} for line, answer in zip(records, answers, strict=True)]


def of_linear(records: Records) -> list[dict[str, Any]]:
    """The lines as they would be if the linear model had answered, without probabilities; none if it has not."""
    identity = ("line", "id", "gold")
    return [
        {**{name: line[name] for name in identity if name in line}, "predicted": line[LINEAR]}
        for line in records
        if LINEAR in line
    ]


def difference_from_linear(task: AnyTask, records: Records) -> dict[str, Any] | None:
    """The run's figure less that of the linear model, and the p-value; None if that does not follow from the lines."""
    seed, linear = task.settings.seed, of_linear(records)
    answers: dict[str, dict[int, Records]] = {"run": {seed: records}, LINEAR: {seed: linear}}
    found = paired_tests(task, answers, task.metric.name) if linear else []
    return found[0] if found else None
