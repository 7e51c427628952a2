"""The training loop. It knows batches, losses and metrics, and nothing about tasks.

Read :class:`Trainer` from top to bottom. One optimizer step is in :mod:`minibert.training.step`, when a run saves or
stops in :mod:`minibert.training.saving`, and what a checkpoint holds in :mod:`minibert.training.state`.
"""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from minibert.errors import InputError
from minibert.training import distributed
from minibert.training.best import BestModel
from minibert.training.checkpoints import require_no_checkpoints
from minibert.training.data import Examples, Metric, Plan
from minibert.training.optimizer import LinearSchedule, build_optimizer
from minibert.training.precision import choose_precision, cost_of_determinism, determinism
from minibert.training.regularisation import Ema, swapped_weights
from minibert.training.saving import CheckpointSaver
from minibert.training.settings import TrainingSettings, default_lr
from minibert.training.signals import Paused
from minibert.training.state import Progress, RunState, fingerprint, require_same_on_all_ranks, seed_everything
from minibert.training.step import Divergence, Loss, OptimizerStep, PendingResults, activation_checkpointing

LOG_EVERY = 50  # steps


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """What a run calls, in process 0 only.

    Attributes:
        on_best: saves the model after an epoch that is the best so far; the model then has the weights that were
            evaluated. If it raises InputError or OSError, the run warns, goes on, and calls it again after each epoch
            with the same weights.
        on_record: takes each record for the log: every 50 steps, and after each epoch.
        on_resume: called when ``resume`` is set, before training continues, with how far the run had come (nowhere, if
            there is no checkpoint). Log records after the first ``num_records`` will be made again.
    """

    on_best: Callable[[], None] = lambda: None
    on_record: Callable[[Mapping[str, Any]], None] = lambda _: None
    on_resume: Callable[[Progress], None] = lambda _: None


@dataclass(kw_only=True, eq=False)
class Trainer:
    """Trains a model in place.

    An optimizer step covers ``batch_size`` sequences or ``batch_tokens`` tokens (see :class:`Plan`). Its loss is the
    sum over all targets of the step divided by their number, so that cutting it into micro-batches changes nothing.

    Under ``torchrun`` (see :mod:`minibert.training.distributed`) every process makes a trainer with the same arguments
    and calls :meth:`fit`. All evaluate; process 0 alone writes, calls the callbacks, and decides by its figures.

    Args:
        model: on ``device``; its encoder is ``model.encoder``.
        data: the training data, shuffled anew each epoch from the seed and the epoch's number.
        loss: takes a module to call in place of the model, and a batch; returns the loss summed over the batch's
            targets, a scalar.
        evaluate: computes the figures of an epoch, among them ``metric.name``, and perhaps ``loss``.
        metric: chooses the best epoch; among epochs with equal figures, the lower ``loss`` does.
        settings: see there.
        device: where to compute.
        callbacks: what the run calls.
        divergence: of two outputs of the model, summed over a batch's targets; for ``settings.r_drop``.
        checkpoints: the folder for checkpoints: those that ``settings`` ask for, or else one every 15 minutes and one
            when training ends; and one when a signal stops it. Without it none are saved, and signals are left alone.
        resume: continue from the newest intact checkpoint, if there is one. The run ends with the same bits as without
            the interruption (on CUDA only with ``settings.deterministic``). Implied when ``torchrun`` restarts a lost
            process.
        stop_after: stop after this epoch, if it is not the last one, with a checkpoint to resume from. The steps, and
            their learning rates, are those of the whole run.
        fingerprint_extra: what a resumed run must share with this one besides the training settings: plain values, by
            the name that an error message uses.
        show_progress: draw a progress bar on standard error, if that is a terminal.

    Raises:
        InputError: the device lacks the precision, ``checkpoints`` holds an earlier run and ``resume`` is not set, or
            processes were given different arguments.
    """

    model: nn.Module
    data: Examples[Any]
    loss: Loss
    evaluate: Callable[[], Mapping[str, float]]
    metric: Metric
    settings: TrainingSettings
    device: torch.device
    callbacks: Callbacks = field(default_factory=Callbacks)
    divergence: Divergence | None = None
    checkpoints: Path | None = None
    resume: bool = False
    stop_after: int | None = None
    fingerprint_extra: Mapping[str, Any] = field(default_factory=dict)
    show_progress: bool = False

    def __post_init__(self) -> None:
        settings, folder = self.settings, self.checkpoints
        # A model of other makes may have no width.
        width = getattr(getattr(self.model, "config", None), "hidden_size", math.inf)
        self._peak_lr = default_lr(width) if settings.lr is None else settings.lr
        self.resume = self.resume or distributed.was_restarted()
        if folder is not None and not self.resume:
            distributed.broadcast_from_rank0(lambda: require_no_checkpoints(folder))
        distributed.mark_started()
        precision = choose_precision(settings.precision, self.device)
        self._plan = Plan(
            num_examples=len(self.data.items),
            seed=settings.seed,
            batch_size=settings.batch_size,
            batch_tokens=settings.batch_tokens,
            lengths=self.data.lengths,
        )
        step_sizes = self._plan.sizes(settings.epochs)
        self._num_steps = len(step_sizes)
        values = {**settings.fingerprint(), "--precision": precision, **self.fingerprint_extra}
        run_fingerprint = fingerprint(self.model, values, len(self.data.items))
        require_same_on_all_ranks(run_fingerprint)
        module = distributed.data_parallel(self.model, self.device)  # before Ema copies the weights
        self._state = self._initial_state(precision, run_fingerprint, max(step_sizes))
        self._step = OptimizerStep(
            state=self._state,
            module=module,
            data=self.data,
            loss=self.loss,
            divergence=self.divergence,
            settings=settings,
            precision=precision,
        )
        self._results = PendingResults()
        self._best = BestModel(self.model, self.callbacks.on_best, self._state.unwritten)
        self._saver = CheckpointSaver(self._state, folder, settings)
        self._started = 0.0, 0  # the time at which this process began to train, and the steps done before

    def _initial_state(self, precision: str, run_fingerprint: Mapping[str, Any], largest_step: int) -> RunState:
        settings = self.settings
        optimizer = build_optimizer(
            self.model,
            lr=self._peak_lr,
            head_lr=settings.head_lr,
            layer_decay=settings.layer_decay,
            weight_decay=settings.weight_decay,
        )
        return RunState(
            model=self.model,
            optimizer=optimizer,
            schedule=LinearSchedule(num_steps=self._num_steps, warmup_ratio=settings.warmup_ratio),
            scaler=torch.amp.GradScaler(self.device.type, enabled=precision == "fp16"),
            ema=None if settings.ema is None else Ema(self.model, settings.ema),
            progress=Progress(micro_batch_size=min(settings.micro_batch_size or largest_step, largest_step)),
            fingerprint=run_fingerprint,
            device=self.device,
        )

    def fit(self) -> list[dict[str, Any]]:
        """Trains to the end.

        Returns:
            One record per epoch, including those before an interruption.

        Raises:
            InputError: the loss became NaN or infinite, the metric always was NaN, a setting differs from the
                checkpoint's, or the best model could not be written in the end.
            Interrupted: SIGTERM or SIGINT came; the state was saved after the current step, or after the last one.
            Paused: epoch ``stop_after`` is done, and is not the last one.
        """
        settings = self.settings
        with (
            determinism(True) if settings.deterministic else contextlib.nullcontext(),
            activation_checkpointing(self.model, settings.activation_checkpointing),
            self._saver.signals,
        ):
            seed_everything(settings.seed)
            resumed = self.resume and self._restore()
            if settings.deterministic and not resumed:
                self._measure_determinism()
                seed_everything(settings.seed)
            return self._train()

    def _train(self) -> list[dict[str, Any]]:
        progress, patience = self._state.progress, self.settings.early_stopping
        self._started = time.monotonic(), progress.step
        first = progress.epoch
        last = min(self.settings.epochs, self.stop_after or self.settings.epochs)
        while progress.epoch <= last:
            if patience is not None and progress.epoch_step == 0 and progress.epochs_without_best >= patience:
                break
            self._train_epoch()
            self._finish_epoch()
        if progress.best is None:
            raise InputError(f"no epoch has a figure for {self.metric.name}, so there is no best one; lower --lr.")
        distributed.broadcast_from_rank0(lambda: self._best.finish(self._saver.keep_only_newest))
        if last < progress.epoch <= self.settings.epochs:
            raise Paused(progress.history)
        if progress.epoch > first and not self._saver.saves_regularly:
            self._saver.save()  # whoever scores and reports what was trained may be interrupted, too
        signal, _ = self._saver.poll()
        if signal:
            self._saver.stop(signal)
        return progress.history

    def _train_epoch(self) -> None:
        """The steps that the current epoch still has to do."""
        progress = self._state.progress
        steps = self._plan.steps(progress.epoch)
        started = time.perf_counter() - progress.seconds
        self.model.train()
        with self._progress_bar(len(steps)) as bar:
            for indices in steps[progress.epoch_step :]:
                lr = self._peak_lr * self._state.schedule.factor(progress.step)
                self._take_step(indices.tolist())
                signal, save = self._saver.poll()
                log = progress.step % LOG_EVERY == 0 or progress.epoch_step == len(steps)
                if log or save or self.device.type == "cpu":  # reading results waits for a GPU, not for a CPU
                    self._results.add_to(progress)
                    progress.seconds = time.perf_counter() - started
                    bar.set_postfix_str(self._status(), refresh=False)
                if log:
                    self._record({
                        "step": progress.step, "epoch": progress.epoch, "loss": progress.mean_loss, "lr": lr,
                        "tokens_per_second": round(progress.tokens_per_second),
                    })  # fmt: skip
                bar.update()
                if save:
                    self._saver.save()
                if signal:
                    self._saver.stop(signal)

    def _take_step(self, indices: Sequence[int]) -> None:
        progress = self._state.progress
        result = self._step(indices)
        self._results.append(result)
        progress.step += 1
        progress.epoch_step += 1
        progress.num_targets += result.num_targets
        progress.num_tokens += result.num_tokens

    def _finish_epoch(self) -> None:
        """Evaluates, saves the model if it is the best so far, and moves on to the next epoch."""
        progress, ema = self._state.progress, self._state.ema
        with swapped_weights(self.model, ema.weights) if ema is not None else contextlib.nullcontext():
            figures = dict(self.evaluate())
            figures = distributed.broadcast_from_rank0(lambda: figures)
            figure, loss = figures[self.metric.name], figures.get("loss")
            improved = self.metric.improves(figure, progress.best, loss=loss, best_loss=progress.best_loss)
            if improved:
                progress.best, progress.best_loss = figure, loss
                progress.best_step = progress.step if self._saver.saves_regularly else None
                self._best.write()
        if not improved:
            self._best.retry()
        progress.epochs_without_best = 0 if improved else progress.epochs_without_best + 1
        record = {
            "epoch": progress.epoch,
            "train_loss": progress.mean_loss,
            **figures,
            "train_seconds": round(progress.seconds, 2),
            "tokens_per_second": round(progress.tokens_per_second),
            "best": improved,
        }
        progress.history.append(record)
        self._record({**record, "seconds_left": round(self._seconds_left())})
        progress.start_next_epoch()
        signal, due = self._saver.poll()
        if self._saver.saves_regularly or due or len(progress.history) == self.stop_after:
            self._saver.save()
        if signal:
            self._saver.stop(signal)

    def _restore(self) -> bool:
        """Goes back to the newest intact checkpoint. Where the run saves regularly, writes the best model of that time
        again: the one on disk may be that of a later epoch, which left no checkpoint. Else that epoch, trained again,
        writes the same.

        Returns:
            Whether there is a checkpoint.
        """
        found = self._saver.restore_newest()
        if distributed.is_rank0():
            self.callbacks.on_resume(self._state.progress)
            if self._state.unwritten:
                self._best.retry()
            elif (weights := self._saver.best_weights()) is not None:
                with swapped_weights(self.model, weights):
                    self._best.write()
        return found

    def _measure_determinism(self) -> None:
        """Records how much slower a step's gradient is with deterministic algorithms."""
        first = self._plan.steps(1)[0].tolist()
        self.model.train()
        cost = cost_of_determinism(lambda: self._step.gradients(first), self.device)
        self._state.optimizer.zero_grad()
        self._record({"deterministic_slowdown": round(cost, 3)})

    def _record(self, record: Mapping[str, Any]) -> None:
        self._state.progress.num_records += 1
        if distributed.is_rank0():
            self.callbacks.on_record(record)

    def _seconds_left(self) -> float:
        """How long the run will still take at this process's pace so far, evaluations included, without early
        stopping."""
        started_at, first_step = self._started
        step = self._state.progress.step
        return (time.monotonic() - started_at) / max(1, step - first_step) * (self._num_steps - step)

    def _status(self) -> str:
        progress, left = self._state.progress, tqdm.format_interval(self._seconds_left())
        return f"loss {progress.mean_loss:.4f}, {progress.tokens_per_second:,.0f} tokens/s, run {left} left"

    def _progress_bar(self, num_steps: int) -> Any:
        progress = self._state.progress
        shown = self.show_progress and distributed.is_rank0()
        return tqdm(
            total=num_steps,
            initial=progress.epoch_step,
            desc=f"epoch {progress.epoch}/{self.settings.epochs}",
            disable=None if shown else True,  # None: shown on a terminal only
        )
