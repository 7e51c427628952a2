"""What a run's figures were computed from: the answer to each evaluated item, and which items were held out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minibert.errors import InputError
from minibert.files import read_json_lines, write_atomically
from tasks.data import Split
from tasks.run.prepare import AnyTask
from tasks.run.score import Score
from tasks.statistics import Figures, Interval, bootstrap

_SAME = 1e-9
SPLITS_FILE = "splits.json"


def predictions_file(split: str) -> str:
    """The name of the file with the predictions for ``dev`` or ``test``."""
    return f"predictions-{split}.jsonl"


def prediction_records(task: AnyTask, score: Score) -> list[dict[str, Any]]:
    """For each item with a gold answer its ``line``, its ``id`` if it has one, and what
    :meth:`~tasks.task.Task.prediction_record` gives."""
    records = []
    for item, output in zip(score.split.items, score.evaluation.outputs, strict=True):
        record = task.prediction_record(item, output)
        if record is not None:
            identity = {name: getattr(item, name) for name in ("line", "id") if hasattr(item, name)}
            records.append({**identity, **record})
    return records


def write_predictions(folder: Path, split: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Writes ``predictions-SPLIT.jsonl``; no file if there are no records.

    Raises:
        InputError: the file cannot be written.
    """
    if records:
        _write(folder / predictions_file(split), (json.dumps(record, ensure_ascii=False) for record in records))


def read_predictions(folder: Path, split: str) -> list[dict[str, Any]]:
    """What :func:`write_predictions` wrote; empty if there is no file.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / predictions_file(split)
    try:
        return read_json_lines(path) if path.exists() else []
    except ValueError as error:
        raise InputError(f"{path}: is damaged ({error}); repeat the run.") from None


def figure_intervals(
    task: AnyTask, records: Sequence[Mapping[str, Any]], metrics: Mapping[str, float]
) -> dict[str, Interval]:
    """95 % bootstrap intervals of the metrics that can be computed from the records to the same value."""
    figures = task.weighted_metrics(records) if records else None
    same = [] if figures is None else _same(figures, len(records), metrics)
    if figures is None or not same:
        return {}
    found = bootstrap(figures, len(records), seed=task.settings.seed)
    return {name: found[name] for name in same if name in found}


def same_figures(task: AnyTask, records: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]) -> list[str]:
    """The names of the metrics that can be computed from the records to the same value."""
    figures = task.weighted_metrics(records) if records else None
    return [] if figures is None else _same(figures, len(records), metrics)


def _same(figures: Figures, count: int, metrics: Mapping[str, Any]) -> list[str]:
    exact = figures(np.ones(count, np.int64))
    return [name for name in metrics if name in exact and abs(exact[name] - metrics[name]) < _SAME]


def write_splits(folder: Path, splits: Mapping[str, Split[Any]]) -> None:
    """Writes ``splits.json``: for each part that was drawn from a file, how, and the indices (from 0) and lines of its
    items; no file if all parts were given.

    Raises:
        InputError: the file cannot be written.
    """
    drawn = {name: split for name, split in splits.items() if split.draw is not None}
    parts = []
    for name, split in drawn.items():
        lines = [getattr(item, "line", None) for item in split.items]
        content = {
            "path": split.path,
            "sha256": split.sha256,
            **(split.draw or {}),
            "indices": np.asarray(split.indices).tolist(),
        }
        parts.append(f"{json.dumps(name)}: {json.dumps({**content, 'lines': lines}, ensure_ascii=False)}")
    if parts:
        _write(folder / SPLITS_FILE, ["{", ",\n".join(parts), "}"])


def _write(path: Path, lines: Iterable[str]) -> None:
    text = "\n".join(lines) + "\n"
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
