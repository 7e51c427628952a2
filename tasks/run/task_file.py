"""``task.json``: what answers need besides the model, in the model's folder; whoever has the folder has all of it."""

import dataclasses
from pathlib import Path
from typing import Any

from minibert.checkpoint import Pretrained
from minibert.files import write_atomically, write_json
from tasks.settings import SETTINGS_FILE, TASK_FILE
from tasks.task import Task


def save_model(folder: Path, task: Task[Any, Any, Any], model: Pretrained) -> None:
    """Writes the model, and the settings that its answers depend on.

    Raises:
        InputError: the folder cannot be written.
    """
    model.save_pretrained(folder)
    if not task.answers_inputs:
        return
    settings = task.settings
    named = [field.name for field in dataclasses.fields(settings) if field.metadata.get("answers")]
    values = {name: value for name in named if (value := getattr(settings, name)) is not None}
    write_atomically(folder / TASK_FILE, lambda path: write_json(path, {"task": task.name, **values}))


def task_file(folder: Path) -> Path | None:
    """The file that names a model's task and settings; None for a model from another tool.

    ``settings.toml`` serves for runs of a version that wrote no ``task.json``, and for those that cannot answer.
    """
    return next((folder / name for name in (TASK_FILE, SETTINGS_FILE) if (folder / name).is_file()), None)
