"""The figures of a trained run on a labelled file: ``python -m tasks.evaluate RUN FILE``.

The answers are those that ``predict`` gives, in the precision and by the engine that are asked for; the figures, their
intervals and the table are those of a run's report.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.export.session import open_export
from minibert.files import write_atomically
from minibert.training.settings import option_name
from tasks.data import Split, nonzero_counts
from tasks.evaluate.arguments import LIKE_RUN, OF_FILE, parse
from tasks.fill_mask.task import FillMaskTask
from tasks.predict.loading import open_run, predictor_of
from tasks.run.encode import encode
from tasks.run.evaluate import evaluate
from tasks.run.folder import device_name, versions
from tasks.run.lines import figure_lines
from tasks.run.predictions import figure_intervals, prediction_records
from tasks.run.predictor import Predictor
from tasks.run.processors import use_threads
from tasks.run.provenance import code_version
from tasks.run.score import Score, figures
from tasks.run.streams import say
from tasks.settings import INT8, ONNX
from tasks.statistics import METHOD
from tasks.task import Task

AnyTask = Task[Any, Any, Any]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the figures, and writes them where ``--out`` says.

    Raises:
        InputError: the run or the file cannot be used.
    """
    options = parse(argv)
    use_threads(options.threads)
    task, checkpoint = open_run(
        options.run,
        threshold=options.threshold,
        open_model=open_export if options.engine == ONNX else open_checkpoint,
    )
    if isinstance(task, FillMaskTask):
        raise InputError(f"{options.run}: is a pre-trained model, whose answers have no labels; name a run of a task.")
    task = _reading_as(task, options)
    split = _read(task, options)
    predictor = predictor_of(
        task,
        checkpoint,
        device=options.device,
        precision=options.precision,
        batch_tokens=options.batch_tokens,
        engine=options.engine,
    )
    _check_labels(task, split, predictor, options.run)
    record = _evaluated(predictor, split, options)
    if options.out is not None:
        text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
        write_atomically(Path(options.out), lambda file: file.write_text(text, encoding="utf-8"))


def _reading_as(task: AnyTask, options: argparse.Namespace) -> AnyTask:
    """The task, with the settings of reading that are given in place of the run's.

    Raises:
        InputError: the task has no such setting.
    """
    known = [field.name for field in dataclasses.fields(task.settings)]
    given = {name: getattr(options, name) for name in (*LIKE_RUN, *OF_FILE) if name in options}
    for name in given:
        if name not in known:
            raise InputError(f"{option_name(name)}: files of {task.name} are read without it; leave it out.")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return type(task)(dataclasses.replace(task.settings, **values))


def _read(task: AnyTask, options: argparse.Namespace) -> Split[Any]:
    """The labelled items; an error about an option of the run says whose it is."""
    try:
        return task.read(options.file)
    except InputError as error:
        of_run = [name for name in LIKE_RUN if getattr(task.settings, name, None) not in (None, (), "auto")]
        named = [option_name(name) for name in of_run if name not in options and option_name(name) in str(error)]
        said = f" {', '.join(named)}: as in the run, unless another is given." if named else ""
        raise InputError(f"{error}{said}") from None


def _check_labels(task: AnyTask, split: Split[Any], predictor: Predictor, run: str) -> None:
    """Raises InputError for a file without labels, or with one that the model cannot give."""
    labels, known = task.count_labels(split), task.known_labels(predictor.model)
    if not labels and known is not None:
        raise InputError(f"{split.path}: has no {task.unit}, so there is nothing to compare answers with.")
    if known is None or labels.keys() <= known:
        return
    line, label = next((item.line, name) for item in split.items for name in task.labels_of(item) if name not in known)
    some = ", ".join(sorted(known)[:10]) + (" ..." if len(known) > 10 else "")
    raise InputError(
        f"{split.path}, line {line}: {label} is none of the labels that {run} gives ({some}); correct the label, or "
        "remove the line."
    )


def _evaluated(predictor: Predictor, split: Split[Any], options: argparse.Namespace) -> dict[str, Any]:
    """The figures of a file, as JSON; prints them, and how the file was understood."""
    task, model = predictor.task, predictor.model
    precision = INT8 if options.precision == INT8 else predictor.precision
    encoded = encode(task, split.items, split.path, predictor.tokenizer, model.config)
    counts = {**task.count_oddities(split.items), **encoded.notes}
    for line in split.understood:
        say(f"{split.path}: {line}")
    say("; ".join([f"data  {split.path}: {task.summary(split)}", *nonzero_counts(counts)]))
    say(f"run   {options.run}: {precision} on {device_name(model.device)}, engine {options.engine}")
    evaluation = evaluate(
        task, model, split.items, encoded, precision=predictor.precision, batch_tokens=predictor.batch_tokens
    )
    metrics = figures(task, split.items, evaluation)
    details = task.details(split, evaluation.outputs, evaluation.losses)
    records = prediction_records(task, Score(split=split, metrics=metrics, evaluation=evaluation))
    intervals = figure_intervals(task, records, metrics)
    warnings = task.warnings(split.items, metrics)
    say(f"\n{details.title}\n\n{details.table}")
    for line in [*figure_lines(task, metrics, intervals), *(f"note: {warning}" for warning in warnings)]:
        say(line)
    return {
        "task": task.name,
        "run": options.run,
        "data": {"path": split.path, "sha256": split.sha256, **task.describe(split), **split.notes, **counts},
        "figures": {**metrics, "intervals": intervals, "report": details.rows},
        "interval_method": METHOD,
        "details": details.to_json(),
        "warnings": warnings,
        "precision": precision,
        "engine": options.engine,
        "device": device_name(model.device),
        "versions": versions(),
        "minibert": code_version(),
    }
