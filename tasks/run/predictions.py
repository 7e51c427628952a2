"""What a run's figures were computed from: the answer to each evaluated item, and which items were held out."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from minibert.files import write_atomically
from tasks.data import Split
from tasks.run.prepare import AnyTask
from tasks.run.score import Score

SPLITS_FILE = "splits.json"


def predictions_file(split: str) -> str:
    """The name of the file with the predictions for ``dev`` or ``test``."""
    return f"predictions-{split}.jsonl"


def write_predictions(folder: Path, task: AnyTask, split: str, score: Score) -> None:
    """Writes ``predictions-SPLIT.jsonl``: for each item with a gold answer its ``line``, its ``id`` if it has one, and
    what :meth:`~tasks.task.Task.prediction_record` gives; no file if no item has a gold answer.

    Raises:
        InputError: the file cannot be written.
    """
    lines = []
    for item, output in zip(score.split.items, score.evaluation.outputs, strict=True):
        record = task.prediction_record(item, output)
        if record is not None:
            identity = {name: getattr(item, name) for name in ("line", "id") if hasattr(item, name)}
            lines.append(json.dumps({**identity, **record}, ensure_ascii=False))
    if lines:
        _write(folder / predictions_file(split), lines)


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
        content = {"path": split.path, "sha256": split.sha256, **(split.draw or {}), "indices": split.indices}
        parts.append(f"{json.dumps(name)}: {json.dumps({**content, 'lines': lines}, ensure_ascii=False)}")
    if parts:
        _write(folder / SPLITS_FILE, ["{", ",\n".join(parts), "}"])


def _write(path: Path, lines: Iterable[str]) -> None:
    text = "\n".join(lines) + "\n"
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
