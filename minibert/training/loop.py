"""The training loop. It knows batches, losses and metrics, and nothing of any task.

Read :func:`fit`, then :class:`_Run` from top to bottom. One step is in :mod:`minibert.training.step`, what a checkpoint
holds in :mod:`minibert.training.state`.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from minibert.errors import InputError
from minibert.training import distributed
from minibert.training.checkpoints import Checkpoints, require_no_checkpoints
from minibert.training.checks import check_finite
from minibert.training.data import Examples, Metric, Plan
from minibert.training.optimizer import build_optimizer, linear_schedule
from minibert.training.precision import choose_precision, cost_of_determinism, determinism
from minibert.training.regularisation import Ema, swapped_weights
from minibert.training.settings import TrainingSettings
from minibert.training.signals import WATCHED, Interrupted, SignalWatch
from minibert.training.state import (
    Progress,
    RunState,
    best_weights,
    fingerprint,
    require_same_on_all_ranks,
    seed_everything,
)
from minibert.training.step import Divergence, Loss, OptimizerStep, StepResult, activation_checkpointing

logger = logging.getLogger(__name__)

LOG_EVERY = 50


def fit(
    model: nn.Module,
    data: Examples[Any],
    *,
    loss: Loss,
    evaluate: Callable[[], Mapping[str, float]],
    metric: Metric,
    settings: TrainingSettings,
    device: torch.device,
    on_best: Callable[[], None],
    on_record: Callable[[Mapping[str, Any]], None],
    show_progress: bool = False,
    divergence: Divergence | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
    same: Mapping[str, Any] | None = None,
    on_resume: Callable[[Progress], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Trains ``model`` in place.

    An optimizer step covers ``batch_size`` sequences, or ``batch_tokens`` tokens (see :class:`Plan`); its loss is the
    sum over their targets divided by the number of targets in the whole step, so that cutting the step into
    micro-batches changes nothing.

    Under ``torchrun`` (see :mod:`minibert.training.distributed`) every process calls this with the same arguments. All
    evaluate; process 0 alone calls ``on_best``, ``on_record`` and ``on_resume``, writes, and decides by its figures.

    Args:
        model: its encoder is ``model.encoder``; on ``device``.
        data: the training data; drawn in a new order each epoch, from the seed and the epoch's number.
        loss: the loss summed over a batch's targets, a scalar. It gets a module to call in the model's place.
        evaluate: gives the figures of an epoch, ``metric.name`` among them.
        metric: chooses the best epoch.
        settings: see there.
        device: where to compute.
        on_best: called after an epoch that is the best so far, to save the model, which then has the weights that were
            evaluated. Where it cannot write (InputError or OSError), a warning says so, and it is called again after
            each epoch, with the same weights.
        on_record: called with each record for the log: every 50 steps, and after each epoch.
        show_progress: draw a progress bar with loss and tokens per second on standard error, if it is a terminal.
        divergence: of two outputs of the model, summed over a batch's targets; for ``settings.r_drop``.
        checkpoints: the folder for them; without it, none are written, and signals are left alone.
        resume: go on from the newest whole checkpoint, where there is one, to the same end as without the interruption,
            bit for bit (on CUDA only with ``settings.deterministic``). ``torchrun``'s restarts of a lost process imply
            it.
        same: what a resumed run must have in common with this one beside the training settings, as plain values by the
            name that a message should use.
        on_resume: called where ``resume`` holds, before training goes on, with how far the run had come (nowhere, where
            there is no checkpoint): the log's records behind the first ``num_records`` will be made again.

    Returns:
        One record an epoch, those before an interruption included.

    Raises:
        InputError: the precision cannot be had on this device, the loss is no longer a number, the metric never was,
            a setting differs from the checkpoint's, or the best model could not be written in the end.
        Interrupted: SIGTERM or SIGINT came; the state was saved after the step under way.
    """
    resume = resume or distributed.was_restarted()
    if checkpoints is not None and not resume:
        distributed.broadcast_from_rank0(lambda: require_no_checkpoints(checkpoints))
    distributed.mark_started()
    precision = choose_precision(settings.precision, device)
    plan = Plan(
        num_examples=len(data.items),
        seed=settings.seed,
        batch_size=settings.batch_size,
        batch_tokens=settings.batch_tokens,
        lengths=data.lengths,
    )
    sizes = plan.sizes(settings.epochs)
    run_fingerprint = fingerprint(
        model, {**settings.fingerprint(), "--precision": precision, **(same or {})}, len(data.items)
    )
    require_same_on_all_ranks(run_fingerprint)
    trained = distributed.data_parallel(model, device)
    optimizer = build_optimizer(
        model,
        lr=settings.lr,
        head_lr=settings.head_lr,
        layer_decay=settings.layer_decay,
        weight_decay=settings.weight_decay,
        device=device,
    )
    state = RunState(
        model=model,
        optimizer=optimizer,
        schedule=linear_schedule(optimizer, num_steps=len(sizes), warmup_ratio=settings.warmup_ratio),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
        ema=None if settings.ema is None else Ema(model, settings.ema),
        progress=Progress(micro_batch_size=min(settings.micro_batch_size or max(sizes), max(sizes))),
        fingerprint=run_fingerprint,
        device=device,
    )
    step = OptimizerStep(state, trained, data, loss=loss, divergence=divergence, settings=settings, precision=precision)
    run = _Run(
        state=state,
        plan=plan,
        num_steps=len(sizes),
        step=step,
        evaluate=evaluate,
        metric=metric,
        settings=settings,
        on_best=on_best,
        on_record=on_record,
        checkpoints=None if checkpoints is None else Checkpoints(checkpoints, keep=settings.keep_checkpoints),
        show_progress=show_progress,
    )
    with (
        determinism(settings.deterministic),
        activation_checkpointing(model, settings.activation_checkpointing),
        SignalWatch(active=checkpoints is not None) as signals,
    ):
        seed_everything(settings.seed)
        resumed = resume and run.resume(on_resume)
        if settings.deterministic and not resumed:
            run.measure_determinism()
            seed_everything(settings.seed)
        return run.train(signals)


@dataclass(kw_only=True)
class _Run:
    """A run under way; the attributes are :func:`fit`'s arguments, and those that follow."""

    state: RunState
    plan: Plan
    num_steps: int
    step: OptimizerStep
    evaluate: Callable[[], Mapping[str, float]]
    metric: Metric
    settings: TrainingSettings
    on_best: Callable[[], None]
    on_record: Callable[[Mapping[str, Any]], None]
    checkpoints: Checkpoints | None
    show_progress: bool
    waiting: list[StepResult] = field(default_factory=list)
    """Steps whose figures are still on the device, so that a step need not wait for them."""
    unwritten_best: dict[str, Tensor] | None = None
    """The best weights, on the host, while they could not be written."""
    saved_at: float = field(default_factory=time.monotonic)
    begun: tuple[float, int] = (0.0, 0)
    """When this process began to train, and after which step."""

    def train(self, signals: SignalWatch) -> list[dict[str, Any]]:
        """All epochs from here on."""
        progress, patience = self.state.progress, self.settings.early_stopping
        self.begun = time.monotonic(), progress.step
        while progress.epoch <= self.settings.epochs:
            if patience is not None and progress.position == 0 and progress.epochs_without_best >= patience:
                break
            self._train_epoch(signals)
            self._close_epoch(signals)
        if progress.best is None:
            raise InputError(f"no epoch has a figure for {self.metric.name}, so there is no best one; lower --lr.")
        distributed.broadcast_from_rank0(self._write_best_at_last)
        return progress.history

    def _train_epoch(self, signals: SignalWatch) -> None:
        """The steps of an epoch that are still to do."""
        progress, settings = self.state.progress, self.settings
        steps = self.plan.steps(progress.epoch)
        started = time.perf_counter() - progress.seconds
        self.state.model.train()
        with tqdm(
            total=len(steps),
            initial=progress.position,
            desc=f"epoch {progress.epoch}/{settings.epochs}",
            disable=None if self.show_progress and distributed.is_rank0() else True,
        ) as bar:
            for indices in steps[progress.position :]:
                lr = self.state.schedule.get_last_lr()[0]
                result = self.step(indices)
                self.waiting.append(result)
                progress.step += 1
                progress.position += 1
                progress.num_targets += result.num_targets
                progress.num_tokens += result.num_tokens
                signal, save = self._asked(signals)
                due = progress.step % LOG_EVERY == 0 or progress.position == len(steps)
                if due or save or self.state.device.type == "cpu":  # a CPU's figures need no waiting for
                    self._settle()
                    progress.seconds = time.perf_counter() - started  # with what the device had still to do
                    mean = progress.loss_sum / max(1, progress.num_targets)
                    rate = progress.num_tokens / progress.seconds
                    left = tqdm.format_interval(self._seconds_left())
                    bar.set_postfix_str(f"loss {mean:.4f}, {rate:,.0f} tokens/s, run {left} left", refresh=False)
                if due:
                    self._record({
                        "step": progress.step, "epoch": progress.epoch, "loss": mean, "lr": lr,
                        "tokens_per_second": round(rate),
                    })  # fmt: skip
                bar.update()
                if save:
                    self._save()
                if signal:
                    self._stop(signal)

    def _seconds_left(self) -> float:
        """How long the run will take yet at the pace that this process has kept, evaluations included, if it does not
        stop early."""
        begun_at, first = self.begun
        done = self.state.progress.step - first
        return (time.monotonic() - begun_at) / max(1, done) * (self.num_steps - self.state.progress.step)

    def _settle(self) -> None:
        """Adds up the figures of the steps that wait, in order; InputError where one is no number."""
        progress = self.state.progress
        here = torch.stack([result.figures for result in self.waiting]).tolist()
        losses = distributed.all_reduce_sum([loss for loss, _ in here])
        for back, (result, loss, (_, norm)) in enumerate(zip(self.waiting, losses, here, strict=True)):
            if not math.isfinite(loss + norm):
                number = progress.step - len(self.waiting) + 1 + back
                what = "training loss" if not math.isfinite(loss) else "gradient's norm"
                check_finite(
                    norm if math.isfinite(loss) else loss,
                    f"the {what} at step {number}, epoch {progress.epoch},",
                    [line for lines in distributed.all_gather([result.lines]) for line in lines],
                )
            progress.loss_sum += loss
        self.waiting.clear()

    def _close_epoch(self, signals: SignalWatch) -> None:
        """Evaluates, keeps the best model, and moves on to the next epoch."""
        state, progress = self.state, self.state.progress
        with swapped_weights(state.model, state.ema.weights) if state.ema is not None else contextlib.nullcontext():
            figures = dict(self.evaluate())
            figures = distributed.broadcast_from_rank0(lambda: figures)
            improved = self.metric.improves(figures[self.metric.name], progress.best)
            if improved:
                progress.best = figures[self.metric.name]
                progress.best_step = progress.step if self._saves_regularly() else None
                self._write_best()
        if self.unwritten_best is not None and not improved:
            with swapped_weights(state.model, self._on_device(self.unwritten_best)):
                self._write_best()
        progress.epochs_without_best = 0 if improved else progress.epochs_without_best + 1
        record = {
            "epoch": progress.epoch,
            "train_loss": progress.loss_sum / max(1, progress.num_targets),
            **figures,
            "train_seconds": round(progress.seconds, 2),
            "tokens_per_second": round(progress.num_tokens / progress.seconds),
            "best": improved,
        }
        progress.history.append(record)
        self._record({**record, "seconds_left": round(self._seconds_left())})
        progress.epoch += 1
        progress.position = progress.num_targets = progress.num_tokens = 0
        progress.loss_sum = progress.seconds = 0.0
        signal, _ = self._asked(signals)
        if self._saves_regularly() or signal:
            self._save()
        if signal:
            self._stop(signal)

    def _write_best(self) -> None:
        """Has the model as it is written as the best; where that fails, its weights are kept for another attempt."""
        if not distributed.is_rank0():
            return
        try:
            self.on_best()
            self.unwritten_best = None
        except (InputError, OSError) as error:
            logger.warning("the best model could not be written (%s); the run goes on and tries again later.", error)
            weights = self.state.model.named_parameters()
            self.unwritten_best = {name: parameter.detach().to("cpu", copy=True) for name, parameter in weights}

    def _write_best_at_last(self) -> None:
        """Tries once more where the best model could not be written; an error is now the run's own.

        The checkpoints before the newest make room for it: they may be what filled the disk.
        """
        if self.unwritten_best is None:
            return
        newest = None if self.checkpoints is None else self.checkpoints.keep_only_newest()
        try:
            with swapped_weights(self.state.model, self._on_device(self.unwritten_best)):
                self.on_best()
        except (InputError, OSError) as error:
            if newest is None:
                raise
            raise InputError(f"{error}; make room, and --resume goes on from {newest.name}.") from None

    def _record(self, record: Mapping[str, Any]) -> None:
        self.state.progress.num_records += 1
        if distributed.is_rank0():
            self.on_record(record)

    # -- checkpoints and signals --------------------------------------------------------------------------------------

    def _saves_regularly(self) -> bool:
        wanted = self.settings.save_steps is not None or self.settings.save_minutes is not None
        return wanted and self.checkpoints is not None

    def _asked(self, signals: SignalWatch) -> tuple[int, bool]:
        """The signal to stop for, or 0, and whether to save now; all processes get the same answer."""
        steps, minutes = self.settings.save_steps, self.settings.save_minutes
        late = minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes
        *came, late_first = distributed.all_reduce_sum([
            *(signals.received == number for number in WATCHED),
            late and distributed.is_rank0(),
        ])  # fmt: skip
        signal = next((int(number) for number, count in zip(WATCHED, came, strict=True) if count), 0)
        save = bool(signal or late_first or (steps is not None and self.state.progress.step % steps == 0))
        return signal, save and self.checkpoints is not None

    def _save(self) -> None:
        """Leaves a checkpoint, if that can be; all processes must take part."""
        snapshot = self.state.snapshot()
        if self.checkpoints is not None and snapshot is not None:
            self.checkpoints.save(self.state.progress.step, snapshot, best_step=self.state.progress.best_step)
        self.saved_at = time.monotonic()

    def _stop(self, signal: int) -> None:
        checkpoints = self.checkpoints
        # Process 0 answers when it has saved: were another to end sooner, torchrun would end process 0 as well.
        newest = None if checkpoints is None else distributed.broadcast_from_rank0(checkpoints.newest_path)
        raise Interrupted(signal, self.state.progress.step, newest)

    def resume(self, on_resume: Callable[[Progress], None]) -> bool:
        """Goes back to the newest whole checkpoint, if there is one, and has the best model of that time written again.

        The files may hold a later one, of an epoch after whose end no checkpoint was left.

        Returns:
            Whether there is one.
        """
        state, progress, checkpoints = self.state, self.state.progress, self.checkpoints
        snapshot = None if checkpoints is None else distributed.broadcast_from_rank0(checkpoints.newest)
        if snapshot is not None:
            state.restore(snapshot)
        if distributed.is_rank0():
            on_resume(progress)
            best = None
            if checkpoints is not None and progress.best_step is not None:
                best = checkpoints.read(progress.best_step)
            if best is not None:
                with swapped_weights(state.model, best_weights(best, state.device)):
                    self._write_best()
        return snapshot is not None

    def _on_device(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.state.device) for name, tensor in weights.items()}

    def measure_determinism(self) -> None:
        """Records how many times as long a step's gradient takes with deterministic algorithms alone."""
        first = self.plan.steps(1)[0]
        self.state.model.train()
        cost = cost_of_determinism(lambda: self.step.gradients(first), self.state.device)
        self.state.optimizer.zero_grad(set_to_none=True)
        self._record({"deterministic_slowdown": round(cost, 3)})
