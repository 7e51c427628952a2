"""One training run of any task: from files to a folder with a model, its figures and a report."""

import contextlib
import dataclasses
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from minibert.checkpoint import Pretrained, open_checkpoint
from minibert.errors import InputError
from minibert.files import read_json_object
from minibert.training import (
    Callbacks,
    Examples,
    Interrupted,
    LabelledBatch,
    Progress,
    Trainer,
    check_finite,
    choose_device,
    choose_precision,
    collapse_warning,
    distributed,
)
from minibert.training.checkpoints import Checkpoints
from minibert.training.settings import option_name
from minibert.training.state import require_same_fingerprint
from tasks.data import Details, Encoded
from tasks.report.page import write_run_report
from tasks.run import folder as run_folder
from tasks.run.evaluate import Evaluation, evaluate
from tasks.run.interrupts import stopped_by
from tasks.run.options import write_settings
from tasks.run.prepare import AnyTask, Prepared, data_lines, prepare, settings_lines
from tasks.run.tensorboard import TensorBoardWriter
from tasks.settings import SETTINGS_FILE, RunSettings


def train(
    task: AnyTask,
    *,
    command: str,
    folder: Path | None = None,
    baseline: dict[str, Any] | None = None,
    resume: bool = False,
) -> Path:
    """Trains, scores and saves; returns the run folder.

    Under ``torchrun`` all processes train and evaluate together; process 0 alone writes and prints.

    Args:
        task: with its settings.
        command: what to type to do this again.
        folder: a folder to write to, new and empty unless ``resume``; by the settings where absent.
        baseline: the linear model's figures on the same data, where they are known already.
        resume: go on with the run in the folder, to the end it would have come to; begin it where there is none.

    Raises:
        InputError: something that was given cannot be used.
        Interrupted: a signal came in training; a checkpoint is left.
    """
    started = run_folder.now()
    with distributed.process_group(choose_device(task.settings.device)) as device:
        if task.settings.out is None and folder is None and distributed.world_size() > 1:
            raise InputError("--out: needed under torchrun, so that a restarted process finds its run again.")
        precision = choose_precision(task.settings.precision, device)
        run_folder.forget_peak_memory(device)
        prepared = prepare(task)
        settings: RunSettings = task.settings  # as the data settled them
        model = prepared.start.model
        resume = resume or distributed.was_restarted()
        folder = distributed.broadcast_from_rank0(
            lambda: folder or run_folder.new_run_folder(settings.out, task.name, model.config.model_type, resume=resume)
        )
        distributed.mark_started()
        if resume and distributed.broadcast_from_rank0(lambda: _is_done(folder, settings, _files(prepared))):
            _say(f"{folder} is there already, whole")
            return folder
        _say("\n".join(data_lines(task, prepared)))
        _say(f"model {prepared.start.origin}")
        _say(f"with  {', '.join(settings_lines(settings))}")
        device_name = run_folder.device_name(device) + _processes()
        _say(f"run   {folder}: {precision} on {device_name}")

        with run_folder.no_folder_without_model(folder) if distributed.is_rank0() else contextlib.nullcontext():
            if distributed.is_rank0() and not resume:
                _write_start(task, prepared, folder)
            history = _fit(task, prepared, folder, device, resume)

        with _stopped_after_training(folder):
            _load_best(task, model, folder)
            final: dict[str, Any] = {}
            details: dict[str, Details] = {}
            choices: list[tuple[str, str]] = []
            rates = []
            for name in [name for name in ("dev", "test") if name in prepared.splits]:
                split = prepared.splits[name]
                figures, given = _evaluated(task, model, split.items, prepared.encoded[name], f"the {name} loss")
                if distributed.is_rank0():
                    details[name] = task.details(split, given.outputs, given.losses)
                    final[name] = {**figures, "report": details[name].rows}
                    choices = [
                        pair for i, o in zip(split.items, given.outputs, strict=True) for pair in task.label_pairs(i, o)
                    ]
                    rates.append(given.num_tokens / given.seconds)
        if not distributed.is_rank0():
            return folder

    with _stopped_after_training(folder):
        collapsed = choices and collapse_warning(
            train_loss=history[-1]["train_loss"],
            num_classes=model.config.num_labels,
            gold=[gold for gold, _ in choices],
            predicted=[predicted for _, predicted in choices],
        )
        metrics: dict[str, Any] = {
            "task": task.name,
            "arch": model.config.model_type,
            "weights": settings.weights,
            "origin": prepared.start.origin,
            "command": command,
            "seed": settings.seed,
            "settings": dataclasses.asdict(settings),
            "precision": precision,
            "device": device_name,
            "versions": run_folder.versions(),
            "started": started,
            "finished": run_folder.now(),
            "metric": task.metric.name,
            "metric_higher_is_better": task.metric.higher_is_better,
            "data": prepared.described,
            "epochs": history,
            "final": final,
            "baseline": baseline or task.baseline(prepared.splits),
            "resources": {
                "train_seconds": round(sum(epoch["train_seconds"] for epoch in history), 2),
                "tokens_per_second": round(float(np.median([epoch["tokens_per_second"] for epoch in history]))),
                "evaluation_tokens_per_second": round(max(rates)),
                "peak_memory_bytes": run_folder.peak_memory(device),
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
            },
            "collapsed": bool(collapsed),
            "warnings": [
                *([collapsed] if collapsed else []),
                *task.warnings(split.items, figures),
                *_stopped_early(task, history),
                *_warnings(prepared),
            ],
        }
        # Said before it is written: a full disk does not cost the figures.
        print(f"\n{name}: {split.source}, best epoch, {details[name].title}\n\n{details[name].table}")
        print(_figures_line(figures, (*task.metric_names, "loss")))
        if metrics["baseline"] is not None:
            of_baseline = _figures_line(metrics["baseline"][name], task.metric_names)
            print(f"beside it, {metrics['baseline']['name']}: {of_baseline}")
        for warning in metrics["warnings"]:
            print(f"note: {warning}")
        print(f"saved to {folder}")
        run_folder.write_metrics(folder, metrics)
        print(f"report {write_run_report(folder, metrics, details)}")
    return folder


@contextlib.contextmanager
def _stopped_after_training(folder: Path) -> Iterator[None]:
    """Where a signal stops the block, tells what is left: a checkpoint to go on from, or at least the model."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if not distributed.is_rank0():
            raise
        checkpoints = Checkpoints(folder / run_folder.CHECKPOINTS, keep=2)
        newest = checkpoints.newest_path()
        if newest is not None:
            raise Interrupted(stopped_by(stop), checkpoints.steps()[0], newest) from None
        print(f"{folder}: the trained model is whole; its figures and report are not.", file=sys.stderr)
        raise


def _say(line: str) -> None:
    """Prints, once for all processes."""
    if distributed.is_rank0():
        print(line, flush=True)


def _processes() -> str:
    return f", {distributed.world_size()} processes" if distributed.world_size() > 1 else ""


def _files(prepared: Prepared) -> dict[str, str]:
    """What tells the files of a run from others, by a name for messages."""
    return {f"the {name} file": split.sha256 for name, split in prepared.splits.items()}


def _is_done(folder: Path, settings: RunSettings, files: Mapping[str, str]) -> bool:
    """Whether the folder holds this run up to its report.

    Raises:
        InputError: it holds the figures of another run, which would be lost.
    """
    if not (folder / run_folder.METRICS_FILE).exists():
        return False
    metrics = read_json_object(folder / run_folder.METRICS_FILE)
    now = {**settings.fingerprint(), **files}
    before = {option_name(name): value for name, value in metrics["settings"].items() if option_name(name) in now}
    before |= {f"the {name} file": described["sha256"] for name, described in metrics["data"].items()}
    require_same_fingerprint(before, json.loads(json.dumps(now)))
    return (folder / "report.html").exists()


def _write_start(task: AnyTask, prepared: Prepared, folder: Path) -> None:
    """What does not change in the run; the settings first, since they show that there is a run here."""
    write_settings(folder / SETTINGS_FILE, task.settings, task.name)
    start = prepared.start
    types = start.model.config.type_vocab_size > 1
    start.tokenizer.save_pretrained(folder, for_words=task.for_words, token_types=types)


def _fit(task: AnyTask, prepared: Prepared, folder: Path, device: torch.device, resume: bool) -> list[dict[str, Any]]:
    """Trains, and leaves the best model in the folder; returns the epochs' records."""
    model, dev, lead = prepared.start.model, prepared.splits["dev"], task.metric_names[0]
    train = prepared.encoded["train"]
    sample = _sample(prepared, task.settings.seed)
    log = run_folder.RunLog(folder)
    board = TensorBoardWriter(folder / "tensorboard") if task.settings.tensorboard and distributed.is_rank0() else None

    def loss(module: nn.Module, batch: LabelledBatch) -> Tensor:
        return task.losses(model, batch.output_of(module), batch).sum()

    def evaluate() -> dict[str, float]:
        on_sample, _ = _evaluated(task, model, *sample, "the training loss")
        on_dev, _ = _evaluated(task, model, dev.items, prepared.encoded["dev"], "the dev loss")
        return {**on_dev, f"train_{lead}": on_sample[lead]}

    def record(entry: Mapping[str, Any]) -> None:
        log(entry)
        if board is not None:
            board(entry)
        if "train_loss" in entry:
            print(_epoch_line(entry, lead), flush=True)
        elif "deterministic_slowdown" in entry:
            print(f"deterministic algorithms take {entry['deterministic_slowdown']} times as long", flush=True)

    def go_on(progress: Progress) -> None:
        _write_start(task, prepared, folder)  # only now is it sure that the run is the one that the folder holds
        log.keep(progress.num_records)
        if board is not None:
            board.go_on(progress.step)
        print(f"resumes after step {progress.step}, in epoch {progress.epoch}", flush=True)

    trainer = Trainer(
        model=model.to(device),
        data=Examples(train.examples, task.collate, task.at_epoch, lengths=train.lengths),
        loss=loss,
        evaluate=evaluate,
        metric=task.metric,
        settings=task.settings,
        device=device,
        callbacks=Callbacks(on_best=lambda: model.save_pretrained(folder), on_record=record, on_resume=go_on),
        divergence=task.divergence(model),
        checkpoints=folder / run_folder.CHECKPOINTS,
        resume=resume,
        fingerprint_extra=_files(prepared),
        show_progress=True,
    )
    return trainer.fit()


def _load_best(task: AnyTask, model: Pretrained, folder: Path) -> None:
    """Gives the model the weights that were saved, so that what is scored is what was saved; also where another host's
    process saved them."""

    def saved() -> dict[str, Tensor]:
        return dict(open_checkpoint(folder).load(task.model_class)[0].named_parameters())

    weights = distributed.broadcast_from_rank0(saved)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])


def _sample(prepared: Prepared, seed: int) -> tuple[Sequence[Any], Encoded[Any]]:
    """As many training items as there are dev items, on which training and dev figures are compared."""
    items, encoded = prepared.splits["train"].items, prepared.encoded["train"]
    ends = np.cumsum(encoded.counts)
    chosen = sorted(random.Random(seed).sample(range(len(items)), min(len(items), len(prepared.splits["dev"].items))))
    examples = [encoded.examples[j] for i in chosen for j in range(ends[i] - encoded.counts[i], ends[i])]
    counts = [encoded.counts[i] for i in chosen]
    return [items[i] for i in chosen], Encoded(examples=examples, counts=counts)


def _evaluated(
    task: AnyTask, model: Pretrained, items: Sequence[Any], encoded: Encoded[Any], what: str
) -> tuple[dict[str, float], Evaluation[Any]]:
    given = evaluate(task, model, items, encoded, precision=task.settings.precision, together=True)
    check_finite(given.mean_loss, what)
    return {"loss": given.mean_loss, **task.compute_metrics(items, given.outputs)}, given


def _epoch_line(entry: Mapping[str, Any], lead: str) -> str:
    return (
        f"epoch {entry['epoch']:2}: train loss {entry['train_loss']:.4f}, dev loss {entry['loss']:.4f}, "
        f"{lead.replace('_', ' ')} {entry[lead]:.4f} (train {entry[f'train_{lead}']:.4f}), "
        f"{entry['tokens_per_second']:,} tokens/s"
        + (f", {tqdm.format_interval(entry['seconds_left'])} left" if entry["seconds_left"] else "")
        + (" (best so far)" if entry["best"] else "")
    )


def _stopped_early(task: AnyTask, history: Sequence[Mapping[str, Any]]) -> list[str]:
    if len(history) == task.settings.epochs:
        return []
    return [
        f"Stopped after {len(history)} of {task.settings.epochs} epochs: {task.settings.early_stopping} in a row "
        f"brought no better {task.metric.name.replace('_', ' ')} (--early-stopping)."
    ]


def _warnings(prepared: Prepared) -> list[str]:
    """What a reader of the figures must know before believing them."""
    found = []
    if "test" not in prepared.splits:
        found.append(
            "The figures are of the dev data, which also chose the best epoch, so they flatter the model a little. "
            "Give --test or --test-share for figures on data that chose nothing."
        )
    for name, described in prepared.described.items():
        if also := described.get("also_in_train"):
            found.append(f"{also:,} of the {len(prepared.splits[name].items):,} {name} examples stand in train, too.")
    return found


def _figures_line(figures: Mapping[str, float], names: Sequence[str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {figures[name]:.4f}" for name in names if name in figures)
