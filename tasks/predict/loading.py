"""The task, model and tokenizer of a run folder, or of a checkpoint that another tool has fine-tuned."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from minibert.checkpoint import Checkpoint, open_checkpoint
from minibert.errors import InputError
from minibert.export.session import open_export
from minibert.hub import resolve
from tasks.fill_mask.task import FillMaskSettings, FillMaskTask
from tasks.registry import TASKS, settings_class, task_class
from tasks.run.options import read_settings, saved_task, taken_over
from tasks.run.predictor import Predictor
from tasks.run.task_file import task_file
from tasks.settings import ONNX, SETTINGS_FILE, TORCH
from tasks.task import Task

# For a checkpoint that another tool has fine-tuned.
_TASK_OF_HEAD = {
    "ForTokenClassification": "ner",
    "ForSequenceClassification": "classification",
    "ForQuestionAnswering": "span_qa",
    "ForMultipleChoice": "multiple_choice",
    "ForMaskedLM": FillMaskTask.name,
    "ForPreTraining": FillMaskTask.name,
}


def load_predictor(
    run: str, *, device: str, precision: str, threshold: str | None = None, engine: str = TORCH
) -> Predictor:
    """A run's task with its settings, model and tokenizer, from the model's folder alone.

    Args:
        run: its folder, or a name on the hub.
        device, precision: as in :meth:`~tasks.run.predictor.Predictor.load`.
        threshold: in place of that of the run, for several labels.
        engine: ``torch``, or ``onnx`` for a folder that ``tools/export.py`` has written.

    Raises:
        InputError: it is not a run, or cannot be used.
    """
    if engine == ONNX:
        task, checkpoint = open_run(run, threshold, open_model=open_export)
        return Predictor.load_export(task, checkpoint, device=device, precision=precision)
    task, checkpoint = open_run(run, threshold)
    return Predictor.load(task, checkpoint, device=device, precision=precision)


def open_run(
    run: str, threshold: str | None = None, *, open_model: Callable[[Path], Checkpoint] = open_checkpoint
) -> tuple[Task[Any, Any, Any], Checkpoint]:
    """A run's task with its settings, and its checkpoint; for a checkpoint of another tool, its head decides. A
    pre-trained model fills masks.

    Args:
        run, threshold: as in :func:`load_predictor`.
        open_model: opens the folder.

    Raises:
        InputError: it is not a run, or cannot be used.
    """
    folder = resolve(run)
    file = task_file(folder)
    if file is not None:
        name = saved_task(file)
        if name not in TASKS:
            raise InputError(f"{file}: the task {name!r} is not one of {', '.join(TASKS)}.")
        values = read_settings(file, settings_class(name), name)
        checkpoint = open_model(folder)
        if not task_class(name).answers_inputs:
            return _fill_mask(threshold), checkpoint
    elif several := sorted(folder.glob(f"*/{SETTINGS_FILE}")):
        raise InputError(f"{run}: holds several runs; name one of them, such as {several[0].parent}.")
    else:
        checkpoint = open_model(folder)
        classes = checkpoint.architectures
        names = [_TASK_OF_HEAD[head] for head in _TASK_OF_HEAD if any(class_.endswith(head) for class_ in classes)]
        if not names:
            raise InputError(f"{run}: is no run of a task, and its config.json names no head; name a run folder.")
        name = names[0]
        if name == FillMaskTask.name:
            return _fill_mask(threshold), checkpoint
        values = task_class(name).settings_from_checkpoint(checkpoint)
        values |= taken_over(folder, settings_class(name), name)  # its CRF, if it has one
    if threshold is not None:
        values["threshold"] = _threshold(threshold, values, name)
    return task_class(name)(settings_class(name)(**values)), checkpoint


def _fill_mask(threshold: str | None) -> FillMaskTask:
    if threshold is not None:
        _threshold(threshold, {}, FillMaskTask.name)
    return FillMaskTask(FillMaskSettings())


def _threshold(threshold: str, values: Mapping[str, Any], task: str) -> str:
    """The threshold, where the run has one.

    Raises:
        InputError: it has none, or this is no number.
    """
    if task != "classification" or values.get("kind") != "multi":
        raise InputError(f"--threshold {threshold}: only models of several labels have one; leave it out.")
    try:
        float(threshold)
    except ValueError:
        raise InputError(f"--threshold {threshold}: give a probability from 0 to 1.") from None
    return threshold
