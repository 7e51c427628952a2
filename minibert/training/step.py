"""One optimizer step: the gradient, computed in micro-batches and by several processes, and the update."""

import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from minibert.encoder import Encoder
from minibert.errors import InputError, is_out_of_memory
from minibert.graphs import CudaRecorder, EncoderGraphs, require_graphs
from minibert.linear import WeightCopies
from minibert.training import distributed
from minibert.training.checks import check_finite
from minibert.training.data import Examples, LabelledBatch
from minibert.training.optimizer import clipping_divisor
from minibert.training.precision import DTYPES, autocast
from minibert.training.regularisation import adversarial_embeddings
from minibert.training.settings import TrainingSettings
from minibert.training.state import Progress, RunState

logger = logging.getLogger(__name__)

Loss = Callable[[nn.Module, LabelledBatch], Tensor]
Divergence = Callable[[Tensor, Tensor, LabelledBatch], Tensor]


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """The result of an optimizer step.

    Attributes:
        loss_and_norm: ``(2,)``, still on the device: the loss summed over this process's targets, and the norm of the
            gradient.
        num_targets, num_tokens: over all processes.
        lines: of this process's examples in their file.
    """

    loss_and_norm: Tensor
    num_targets: int
    num_tokens: int
    lines: tuple[int, ...]


class PendingResults:
    """Results of steps whose loss is still on the device, so that the next step need not wait for it."""

    def __init__(self) -> None:
        self._results: list[StepResult] = []

    def append(self, result: StepResult) -> None:
        self._results.append(result)

    def add_to(self, progress: Progress) -> None:
        """Adds the losses to ``progress.loss_sum`` in order, and forgets them.

        Raises:
            Diverged: a loss or the norm of a gradient is NaN or infinite; the message names the step and its lines.
        """
        values = torch.stack([result.loss_and_norm for result in self._results]).tolist()
        losses = distributed.all_reduce_sum([loss for loss, _ in values])
        first_step = progress.step - len(self._results) + 1
        for step, (result, loss, (_, norm)) in enumerate(zip(self._results, losses, values, strict=True), first_step):
            if not math.isfinite(loss + norm):
                what = "training loss" if not math.isfinite(loss) else "gradient's norm"
                check_finite(
                    norm if math.isfinite(loss) else loss,
                    f"the {what} at step {step}, epoch {progress.epoch},",
                    [line for lines in distributed.all_gather([result.lines]) for line in lines],
                )
            progress.loss_sum += loss
        self._results.clear()


class OptimizerStep:
    """Computes the gradient of some examples, given by their indices, and updates the model.

    The step's loss is the sum over all its targets divided by their number, so that cutting the step into
    micro-batches, or sharing it among processes, changes nothing.

    Args:
        state: of the run; its model is updated.
        module: the model, or its :class:`DistributedDataParallel` wrapper.
        data: the examples.
        loss: takes ``module`` and a batch; returns the loss summed over the batch's targets.
        divergence: between two outputs of the model, for R-Drop.
        settings: see there.
        precision: fp32, bf16 or fp16.
    """

    def __init__(
        self,
        *,
        state: RunState,
        module: nn.Module,
        data: Examples[Any],
        loss: Loss,
        divergence: Divergence | None,
        settings: TrainingSettings,
        precision: str,
    ) -> None:
        if settings.r_drop and divergence is None:
            raise InputError("--r-drop: this task has no measure of how much two predictions differ; leave it out.")
        self._state = state
        self._module = module
        self._data = data
        self._loss = loss
        self._divergence = divergence
        self._settings = settings
        self._precision = precision
        half = precision != "fp32"
        self._weight_copies = WeightCopies(state.model, DTYPES[precision]) if half else None
        self._graphs = self._encoder_graphs() if settings.cuda_graphs else None
        # R-Drop compares two passes that differ in dropout. As in the authors' code, they are one pass over a batch
        # that has each sequence twice, which is faster for few or short sequences.
        self._copies = 2 if settings.r_drop else 1

    def __call__(self, indices: Sequence[int]) -> StepResult:
        """Takes the step over the examples with these indices.

        Raises:
            InputError: memory runs out.
        """
        result = self.gradients(indices)
        state = self._state
        optimizer = cast(torch.optim.Optimizer, state.optimizer)  # it has what GradScaler asks for
        state.scaler.unscale_(optimizer)
        gradients = [parameter.grad for parameter in state.model.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        divisor = clipping_divisor(norm, self._settings.max_grad_norm)
        if state.scaler.is_enabled():  # it handles overflows itself, by skipping the step
            norm = torch.zeros_like(norm)
        try:
            state.scaler.step(optimizer, state.schedule.factor(state.progress.step), divisor)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            # The update may be half done, so it cannot be tried again.
            raise InputError(
                "out of memory in the optimizer's step, which needs twice the memory of the weights besides them: give "
                "a smaller model or another --device, or stop other programs; --resume goes on from the newest "
                "checkpoint."
            ) from None
        state.scaler.update()
        state.optimizer.zero_grad()
        if state.ema is not None:
            state.ema.update(state.progress.step + 1)
        result.loss_and_norm[1] = norm
        return result

    def gradients(self, indices: Sequence[int]) -> StepResult:
        """Adds the step's gradient to the model's; when memory runs out, with smaller micro-batches.

        Raises:
            InputError: there are none, or several processes, which cannot agree on them.
        """
        while True:
            try:
                return self._gradients(indices)
            except (MemoryError, RuntimeError) as error:  # of which torch.OutOfMemoryError is one
                if not is_out_of_memory(error):
                    raise
            # Outside the block above, whose end frees the memory of the failed attempt.
            self._halve_micro_batch(-(-len(indices) // distributed.world_size()))

    def _gradients(self, indices: Sequence[int]) -> StepResult:
        mine = distributed.shard(indices)
        # A process without a sequence computes one with weight 0: all processes must take part in exchanging gradients.
        progress = self._state.progress
        batches = list(
            self._data.batches(
                mine or indices[:1], progress.micro_batch_size, epoch=progress.epoch, copies=self._copies
            )
        )
        weight = (1 if mine else 0) / self._copies
        num_targets, num_tokens = distributed.all_reduce_sum([
            weight * sum(batch.num_targets for batch in batches),
            weight * sum(batch.inputs.num_tokens for batch in batches),
        ])  # fmt: skip
        batches = [dataclasses.replace(batch, targets_per_sequence=num_targets / len(indices)) for batch in batches]
        # DistributedDataParallel takes the mean over processes, but the loss is a sum.
        scale = weight * distributed.world_size() / max(1.0, num_targets)
        with contextlib.ExitStack() as stack:
            if self._weight_copies is not None:
                stack.enter_context(self._weight_copies.used())
            if self._graphs is not None:
                stack.enter_context(self._graphs.replaying())
            loss_sum = weight * self._backward(batches, scale)
            if self._settings.fgm is not None:
                encoder = cast(Encoder, self._state.model.encoder)
                with adversarial_embeddings(encoder.embeddings.word_embeddings.weight, self._settings.fgm):
                    self._backward(batches, scale)
        return StepResult(
            loss_and_norm=torch.stack([loss_sum, torch.zeros_like(loss_sum)]),
            num_targets=int(num_targets),
            num_tokens=int(num_tokens),
            lines=tuple(dict.fromkeys(line for batch in batches for line in batch.lines)) if mine else (),
        )

    def _backward(self, batches: Sequence[LabelledBatch], scale: float) -> Tensor:
        """Adds the gradient of ``scale`` times the loss summed over the batches' targets; returns the unscaled sum."""
        state = self._state
        loss_sum = torch.zeros((), device=state.device)
        for number, batch in enumerate(batches, start=1):
            with contextlib.nullcontext() if number == len(batches) else self._without_exchange():
                with autocast(state.device, self._precision):
                    objective, batch_loss = self._objective(batch.to(state.device))
                state.scaler.scale(objective * scale).backward()
            loss_sum += batch_loss.detach()
            del objective, batch_loss  # with them the memory of this micro-batch, before the next one's is needed
        return loss_sum

    def _encoder_graphs(self) -> EncoderGraphs:
        encoder, device = cast(Encoder, self._state.model.encoder), self._state.device
        require_graphs(encoder.config, device, DTYPES[self._precision])
        if distributed.world_size() > 1:
            raise InputError("--cuda-graphs: not with several processes; leave it out.")
        if self._settings.activation_checkpointing:
            raise InputError("--cuda-graphs: not with --activation-checkpointing; leave one of them out.")
        return EncoderGraphs(encoder, lambda: CudaRecorder(device))

    def _without_exchange(self) -> contextlib.AbstractContextManager[None]:
        """Within it, gradients stay in this process; a later backward pass exchanges them."""
        module = self._module
        return module.no_sync() if isinstance(module, DistributedDataParallel) else contextlib.nullcontext()

    def _objective(self, batch: LabelledBatch) -> tuple[Tensor, Tensor]:
        """The objective to minimise and the loss in it, both summed over the batch's targets."""
        if not self._settings.r_drop or self._divergence is None:
            loss = self._loss(self._module, batch)
            return loss, loss
        outputs: list[Tensor] = []
        with self._state.model.register_forward_hook(lambda _module, _inputs, output: outputs.append(output)):
            loss = self._loss(self._module, batch)
        (output,) = outputs
        other_copy = output.roll(len(output) // self._copies, 0)
        return loss + self._settings.r_drop * self._divergence(output, other_copy, batch), loss

    def _halve_micro_batch(self, num_sequences: int) -> None:
        """Halves it from what failed, of at most ``num_sequences`` that a process has of the step."""
        state = self._state
        size = min(state.progress.micro_batch_size, num_sequences)
        state.optimizer.zero_grad()
        if size == 1 or distributed.world_size() > 1:
            smaller = f"set micro_batch_size = {size // 2} in a settings file"
            advice = "give a smaller --max-length or model" if size == 1 else smaller
            raise InputError(f"out of memory with micro-batches of {size}: {advice}.")
        state.progress.micro_batch_size = (size + 1) // 2
        if self._graphs is not None:
            self._graphs.clear()
        if state.device.type == "cuda":
            torch.cuda.empty_cache()
        logger.warning(
            "out of memory with micro-batches of %d sequences; going on with %d, which add up to the same step.",
            size, state.progress.micro_batch_size,
        )  # fmt: skip


@contextlib.contextmanager
def activation_checkpointing(model: nn.Module, on: bool) -> Iterator[None]:
    """Within the block, if ``on``, the encoder computes its layers twice instead of keeping their activations."""
    encoder = cast(Encoder, model.encoder)
    before, encoder.activation_checkpointing = encoder.activation_checkpointing, on
    try:
        yield
    finally:
        encoder.activation_checkpointing = before
