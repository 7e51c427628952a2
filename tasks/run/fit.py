"""Training within a run: the trainer set up for a task, its log, and its lines on the terminal."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from tqdm import tqdm

from minibert.training import Callbacks, LabelledBatch, Progress, Trainer, distributed
from tasks.run.distillation import distillation_loss
from tasks.run.folder import CHECKPOINTS, RunLog
from tasks.run.options import write_settings
from tasks.run.prepare import Run
from tasks.run.score import score_items, training_sample
from tasks.run.streams import say
from tasks.run.task_file import save_model
from tasks.run.tensorboard import TensorBoardWriter
from tasks.settings import SETTINGS_FILE


def fit(run: Run) -> list[dict[str, Any]]:
    """Trains the model, and saves the best one in the run folder; returns one record per epoch.

    Raises:
        InputError: as :meth:`minibert.training.Trainer.fit` raises it.
        Interrupted: a signal stopped the training; a checkpoint was saved.
        Paused: the epoch to stop after is done; a checkpoint was saved.
    """
    task, model, prepared, main_metric = run.task, run.model, run.prepared, run.task.metric_names[0]
    dev = prepared.splits["dev"]
    sample = training_sample(prepared, task.settings.seed)
    log = _Log(run)

    def loss(module: nn.Module, batch: LabelledBatch) -> Tensor:
        logits = batch.output_of(module)
        if batch.labelled is not None:
            return distillation_loss(task, model, logits, batch)
        return task.losses(model, logits, batch).sum()

    def dev_metrics() -> dict[str, float]:
        on_sample = score_items(task, model, *sample, "the training loss")
        on_dev = score_items(task, model, dev.items, prepared.encoded["dev"], "the dev loss")
        return {**on_dev, f"train_{main_metric}": on_sample[main_metric]}

    trainer = Trainer(
        model=model.to(run.device),
        data=prepared.training,
        loss=loss,
        evaluate=dev_metrics,
        metric=task.metric,
        settings=task.settings,
        device=run.device,
        callbacks=Callbacks(
            on_best=lambda: save_model(run.folder, task, model), on_record=log.record, on_resume=log.resume
        ),
        divergence=task.divergence(model),
        checkpoints=run.folder / CHECKPOINTS,
        resume=run.resume,
        stop_after=run.stop_after,
        fingerprint_extra=run.file_hashes,
        show_progress=True,
    )
    return trainer.fit()


def save_inputs(run: Run) -> None:
    """Writes the settings, which mark the folder as a run's, and the tokenizer: what training does not change."""
    write_settings(run.folder / SETTINGS_FILE, run.task.settings, run.task.name)
    start = run.prepared.start
    start.tokenizer.save_pretrained(run.folder, for_words=run.task.for_words, config=start.model.config)


class _Log:
    """Logs a run's records, and prints those that a person wants to see."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._file = RunLog(run.folder)
        self._tensorboard: TensorBoardWriter | None = None
        if run.task.settings.tensorboard and distributed.is_rank0():
            self._tensorboard = TensorBoardWriter(run.folder / "tensorboard")

    def record(self, entry: Mapping[str, Any]) -> None:
        self._file.write(entry)
        if self._tensorboard is not None:
            self._tensorboard.write(entry)
        if "train_loss" in entry:
            say(_epoch_line(entry, self._run.task.metric_names[0]))
        elif "deterministic_slowdown" in entry:
            say(f"deterministic algorithms take {entry['deterministic_slowdown']} times as long")

    def resume(self, progress: Progress) -> None:
        save_inputs(self._run)  # not before: only now is it certain that the folder holds this very run
        self._file.truncate(progress.num_records)
        if self._tensorboard is not None:
            self._tensorboard.resume(progress.step)
        if progress.epoch_step:
            say(f"resumes after step {progress.step}, in epoch {progress.epoch}")
        else:
            say(f"resumes after epoch {progress.epoch - 1}" if progress.step else "starts from the first step")


def _epoch_line(entry: Mapping[str, Any], main_metric: str) -> str:
    return (
        f"epoch {entry['epoch']:2}: train loss {entry['train_loss']:.4f}, dev loss {entry['loss']:.4f}, "
        f"{main_metric.replace('_', ' ')} {entry[main_metric]:.4f} (train {entry[f'train_{main_metric}']:.4f}), "
        f"{entry['tokens_per_second']:,} tokens/s"
        + (f", {tqdm.format_interval(entry['seconds_left'])} left" if entry["seconds_left"] else "")
        + (" (best so far)" if entry["best"] else "")
    )
