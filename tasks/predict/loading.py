"""The task, model and tokenizer of a run folder, or of a checkpoint that another tool has fine-tuned."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from minibert.checkpoint import Checkpoint, open_checkpoint
from minibert.errors import InputError
from minibert.export.session import open_export
from minibert.files import read_json_object
from minibert.hub import resolve
from tasks.fill_mask.task import FillMaskTask
from tasks.registry import TASKS, settings_class, task_class
from tasks.report.search import SEARCH_FILE
from tasks.run.options import read_settings, saved_task
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
    run: str,
    *,
    device: str,
    precision: str,
    threshold: str | None = None,
    text_column: str | None = None,
    top_k: int | None = None,
    batch_tokens: int | None = None,
    engine: str = TORCH,
    cuda_graphs: bool = False,
) -> Predictor:
    """A run's task with its settings, model and tokenizer, from the model's folder alone.

    Args:
        run: its folder, or a name on the hub.
        device, precision, batch_tokens, cuda_graphs: as in :meth:`~tasks.run.predictor.Predictor.load`.
        threshold: in place of that of the run, for several labels.
        text_column: the field that has the text, in place of that of the run.
        top_k: see :meth:`~tasks.task.Task.set_top_k`.
        engine: ``torch``, or ``onnx`` for a folder that ``tools/export.py`` has written.

    Raises:
        InputError: it is not a run, or cannot be used.
    """
    open_model = open_export if engine == ONNX else open_checkpoint
    task, checkpoint = open_run(run, threshold=threshold, text_column=text_column, open_model=open_model)
    if top_k is not None:
        task.set_top_k(top_k)
    if engine == ONNX and cuda_graphs:
        raise InputError("--cuda-graphs: --engine onnx computes on the CPU; leave one of them out.")
    return predictor_of(
        task,
        checkpoint,
        device=device,
        precision=precision,
        batch_tokens=batch_tokens,
        engine=engine,
        cuda_graphs=cuda_graphs,
    )


def predictor_of(
    task: Task[Any, Any, Any], checkpoint: Checkpoint, *, engine: str, cuda_graphs: bool = False, **given: Any
) -> Predictor:
    """What :func:`open_run` opened, ready to answer; the arguments are those of :func:`load_predictor`.

    Raises:
        InputError: it cannot be used.
    """
    if engine == ONNX:
        return Predictor.load_export(task, checkpoint, **given)
    return Predictor.load(task, checkpoint, **given, cuda_graphs=cuda_graphs)


def open_run(
    run: str,
    *,
    threshold: str | None = None,
    text_column: str | None = None,
    open_model: Callable[[Path], Checkpoint] = open_checkpoint,
) -> tuple[Task[Any, Any, Any], Checkpoint]:
    """A run's task with its settings, and its checkpoint; for a checkpoint of another tool, its head decides. A
    pre-trained model fills masks.

    Args:
        run, threshold, text_column: as in :func:`load_predictor`.
        open_model: opens the folder.

    Raises:
        InputError: it is not a run, or cannot be used.
    """
    checkpoint, name, values = _open(run, open_model)
    if threshold is not None:
        values["threshold"] = _threshold(threshold, values, name)
    class_ = FillMaskTask if name == FillMaskTask.name else task_class(name)
    if text_column is not None:
        if "text_column" not in [field.name for field in dataclasses.fields(class_.settings_class)]:
            raise InputError(
                f"--text-column {text_column[:40]}: inputs of {name} have other fields than a text; leave it out, and "
                "give the fields the names that the task knows."
            )
        values["text_column"] = text_column
    return class_(class_.settings_class(**values)), checkpoint


def _open(run: str, open_model: Callable[[Path], Checkpoint]) -> tuple[Checkpoint, str, dict[str, Any]]:
    """What answers: its checkpoint, the name of its task, and the settings that it comes with."""
    folder = resolve(run)
    file = task_file(folder)
    if file is not None:
        name = saved_task(file)
        if name not in TASKS:
            raise InputError(f"{file}: the task {name!r} is not one of {', '.join(TASKS)}.")
        values = read_settings(file, settings_class(name), name)
        checkpoint = open_model(folder)
        return (checkpoint, name, values) if task_class(name).answers_inputs else (checkpoint, FillMaskTask.name, {})
    if several := sorted(folder.glob(f"*/{SETTINGS_FILE}")):
        raise InputError(f"{run}: holds several runs; name one of them, such as {_example(folder, several[0].parent)}.")
    checkpoint = open_model(folder)
    classes = checkpoint.architectures
    names = [_TASK_OF_HEAD[head] for head in _TASK_OF_HEAD if any(class_.endswith(head) for class_ in classes)]
    if not names:
        raise InputError(f"{run}: is no run of a task, and its config.json names no head; name a run folder.")
    name = names[0]
    if name == FillMaskTask.name:
        return checkpoint, name, {}
    return checkpoint, name, task_class(name).settings_from_checkpoint(checkpoint)


def _example(folder: Path, first: Path) -> Path:
    """One of the runs in a folder: of a search the winner, as others have lost their weights."""
    path = folder / SEARCH_FILE
    winner = read_json_object(path).get("winner") if path.is_file() else None
    return folder / str(winner.get("trial")) if isinstance(winner, dict) else first


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
