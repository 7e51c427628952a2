"""``task.json``: what answers need besides the model, in the model's folder; whoever has the folder has all of it."""

import dataclasses
from pathlib import Path
from typing import Any

from minibert.checkpoint import Pretrained
from minibert.errors import InputError
from minibert.files import read_json_object, write_atomically, write_json
from minibert.formats.companions import TASK_FILE
from tasks.settings import CALIBRATION, SETTINGS_FILE
from tasks.task import Task


def save_model(folder: Path, task: Task[Any, Any, Any], model: Pretrained) -> None:
    """Writes the model, and what its answers depend on besides.

    Raises:
        InputError: the folder cannot be written.
    """
    model.save_pretrained(folder)
    write_task_file(folder, task)


def write_task_file(folder: Path, task: Task[Any, Any, Any]) -> None:
    """Writes the task's name, the settings that its answers and its figures depend on, and what was fitted on dev.

    Raises:
        InputError: the folder cannot be written.
    """
    if not task.answers_inputs:
        return
    settings, values = task.settings, {}
    for field in dataclasses.fields(settings):
        value, kinds = getattr(settings, field.name), field.metadata
        if value is not None and (kinds.get("answers") or (kinds.get("scored") and value != field.default)):
            values[field.name] = value
    if calibration := task.calibration_record():
        values[CALIBRATION] = calibration
    write_atomically(folder / TASK_FILE, lambda path: write_json(path, {"task": task.name, **values}))


def load_calibration(folder: Path, task: Task[Any, Any, Any]) -> None:
    """Gives the task what was fitted on dev for the model in a folder.

    Raises:
        InputError: it cannot be used.
    """
    file = folder / TASK_FILE
    record = read_json_object(file).get(CALIBRATION, {}) if file.is_file() else {}
    if not isinstance(record, dict):
        raise InputError(f'{file}: "{CALIBRATION}" must be an object; copy the file from the run again.')
    task.load_calibration(record, str(file))


def task_file(folder: Path) -> Path | None:
    """The file that names a model's task and settings; None for a model from another tool.

    ``settings.toml`` serves for runs of a version that wrote no ``task.json``, and for those that cannot answer.
    """
    return next((folder / name for name in (TASK_FILE, SETTINGS_FILE) if (folder / name).is_file()), None)
