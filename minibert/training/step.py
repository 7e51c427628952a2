"""One optimizer step: gradients of many sequences, in as many pieces and processes as it takes, and the update."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from minibert.encoder import Encoder
from minibert.errors import InputError
from minibert.training import distributed
from minibert.training.data import Examples, LabelledBatch
from minibert.training.precision import autocast
from minibert.training.regularisation import adversarial_embeddings
from minibert.training.settings import TrainingSettings
from minibert.training.state import RunState

logger = logging.getLogger(__name__)

Loss = Callable[[nn.Module, LabelledBatch], Tensor]
Divergence = Callable[[Tensor, Tensor, LabelledBatch], Tensor]


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What became of a step.

    Attributes:
        figures: ``(2,)``, still on the device: the loss summed over this process's targets, and the gradient's norm.
        num_targets, num_tokens: of all processes.
        lines: of this process's examples.
    """

    figures: Tensor
    num_targets: int
    num_tokens: int
    lines: tuple[int, ...]


class OptimizerStep:
    """Takes the indices of a step's examples, and changes the model.

    The step's loss is the sum over its targets divided by the number of targets in the whole step, so that cutting it
    into micro-batches, or sharing it out among processes, changes nothing.
    """

    def __init__(
        self,
        state: RunState,
        trained: nn.Module,
        data: Examples[Any],
        *,
        loss: Loss,
        divergence: Divergence | None,
        settings: TrainingSettings,
        precision: str,
    ) -> None:
        if settings.r_drop and divergence is None:
            raise InputError("--r-drop: this task has no measure of how far two predictions lie apart; leave it out.")
        self._state = state
        self._data = data
        self._loss = loss
        self._divergence = divergence
        self._settings = settings
        self._precision = precision
        # R-Drop compares two passes that differ in dropout. They are one pass over a batch that has each sequence
        # twice, which is faster where sequences are few or short (as in the authors' code).
        self._copies = 2 if settings.r_drop else 1
        self._trained = trained  # the model, or what wraps it for several processes

    def __call__(self, indices: Sequence[int]) -> StepResult:
        result = self.gradients(indices)
        state = self._state
        state.scaler.unscale_(state.optimizer)
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), self._settings.max_grad_norm)
        if state.scaler.is_enabled():  # an overflow is its business: it leaves the step out
            norm = torch.zeros_like(norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        state.schedule.step()
        if state.ema is not None:
            state.ema.update(state.progress.step + 1)
        result.figures[1] = norm
        return result

    def gradients(self, indices: Sequence[int]) -> StepResult:
        """Leaves the step's gradient in the model; where memory runs out, with smaller micro-batches."""
        while True:
            try:
                return self._gradients(indices)
            except torch.OutOfMemoryError:
                pass  # what the failed attempt holds is freed only outside this block
            self._halve_micro_batch()

    def _gradients(self, indices: Sequence[int]) -> StepResult:
        mine = distributed.shard(indices)
        # A process without a sequence computes another's for nothing: gradients are exchanged in every process's pass.
        progress = self._state.progress
        batches = list(
            self._data.batches(
                mine or indices[:1], progress.micro_batch_size, epoch=progress.epoch, copies=self._copies
            )
        )
        part = (1 if mine else 0) / self._copies  # of what is summed over a batch
        num_targets, num_tokens = distributed.all_reduce_sum([
            part * sum(batch.num_targets for batch in batches),
            part * sum(batch.inputs.num_tokens for batch in batches),
        ])  # fmt: skip
        batches = [dataclasses.replace(batch, targets_per_sequence=num_targets / len(indices)) for batch in batches]
        # DistributedDataParallel takes the mean over processes, and the loss is a sum.
        scale = part * distributed.world_size() / max(1.0, num_targets)
        loss_sum = part * self._backward(batches, scale)
        if self._settings.fgm is not None:
            encoder = cast(Encoder, self._state.model.encoder)
            with adversarial_embeddings(encoder.embeddings.word_embeddings.weight, self._settings.fgm):
                self._backward(batches, scale)
        return StepResult(
            figures=torch.stack([loss_sum, torch.zeros_like(loss_sum)]),
            num_targets=int(num_targets),
            num_tokens=int(num_tokens),
            lines=tuple(dict.fromkeys(line for batch in batches for line in batch.lines)) if mine else (),
        )

    def _backward(self, batches: Sequence[LabelledBatch], scale: float) -> Tensor:
        """Adds the gradient of ``scale`` times the loss summed over the batches' targets; gives that sum, unscaled."""
        state = self._state
        loss_sum = torch.zeros((), device=state.device)
        for number, batch in enumerate(batches, start=1):
            with contextlib.nullcontext() if number == len(batches) else self._without_exchange():
                with autocast(state.device, self._precision):
                    objective, batch_loss = self._objective(batch.to(state.device))
                state.scaler.scale(objective * scale).backward()
            loss_sum += batch_loss.detach()
        return loss_sum

    def _without_exchange(self) -> contextlib.AbstractContextManager[None]:
        """Within it, a backward pass leaves this process's gradient to be exchanged with that of a later one."""
        trained = self._trained
        return trained.no_sync() if isinstance(trained, DistributedDataParallel) else contextlib.nullcontext()

    def _objective(self, batch: LabelledBatch) -> tuple[Tensor, Tensor]:
        """What is minimised, and the loss in it, both summed over the batch's targets."""
        if not self._settings.r_drop or self._divergence is None:
            loss = self._loss(self._trained, batch)
            return loss, loss
        outputs: list[Tensor] = []
        with self._state.model.register_forward_hook(lambda _module, _inputs, output: outputs.append(output)):
            loss = self._loss(self._trained, batch)
        (output,) = outputs
        other_copy = output.roll(len(output) // self._copies, 0)
        return loss + self._settings.r_drop * self._divergence(output, other_copy, batch), loss

    def _halve_micro_batch(self) -> None:
        state = self._state
        size = state.progress.micro_batch_size
        state.optimizer.zero_grad(set_to_none=True)
        if size == 1 or distributed.world_size() > 1:
            raise InputError(
                f"out of memory with micro-batches of {size}: "
                + ("give a smaller --max-length or model." if size == 1 else f"give --micro-batch-size {size // 2}.")
            )
        state.progress.micro_batch_size = (size + 1) // 2
        if state.device.type == "cuda":
            torch.cuda.empty_cache()
        logger.warning(
            "out of memory with micro-batches of %d sequences; going on with %d, which add up to the same step.",
            size, state.progress.micro_batch_size,
        )  # fmt: skip


@contextlib.contextmanager
def activation_checkpointing(model: nn.Module, on: bool) -> Iterator[None]:
    """Within the block, the model's encoder computes its layers twice instead of keeping their activations."""
    encoder = cast(Encoder, model.encoder)
    before, encoder.activation_checkpointing = encoder.activation_checkpointing, on
    try:
        yield
    finally:
        encoder.activation_checkpointing = before
