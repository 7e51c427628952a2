"""The training loop. It knows batches, losses and metrics, and nothing of any task."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from minibert.batch import PackedBatch
from minibert.errors import InputError
from minibert.training.optimizer import build_optimizer, linear_schedule
from minibert.training.precision import PRECISIONS, autocast, choose_precision

Example = TypeVar("Example")
LOG_EVERY = 50


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What a training run is set to. The metadata are the command line's help."""

    epochs: int = field(default=3, metadata={"help": "passes over the training data"})
    batch_size: int = field(default=32, metadata={"help": "sequences in an optimizer step"})
    micro_batch_size: int | None = field(
        default=None,
        metadata={"help": "sequences computed at a time, to save memory; gradients add up to the same step"},
    )
    lr: float = field(default=5e-5, metadata={"help": "peak learning rate of the encoder"})
    head_lr: float | None = field(default=None, metadata={"help": "peak learning rate of the head (default: --lr)"})
    weight_decay: float = field(default=0.01, metadata={"help": "AdamW's decay; biases and norms have none"})
    warmup_ratio: float = field(default=0.1, metadata={"help": "part of the steps in which the rate rises"})
    max_grad_norm: float = field(default=1.0, metadata={"help": "gradients are clipped to this norm"})
    precision: str = field(
        default="auto", metadata={"help": "auto, fp32, bf16 or fp16; auto is bf16 where the device computes in it"}
    )
    seed: int = field(default=42, metadata={"help": "seed of everything random"})

    def __post_init__(self) -> None:
        """Raises InputError, by the option's name, for a value that cannot be trained with."""
        limits: tuple[tuple[str, bool, str], ...] = (
            ("epochs", self.epochs >= 1, "1 or more"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("micro_batch_size", self.micro_batch_size is None or self.micro_batch_size >= 1, "1 or more"),
            ("lr", 0 < self.lr < math.inf, "a number above 0"),
            ("head_lr", self.head_lr is None or 0 < self.head_lr < math.inf, "a number above 0"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
            ("warmup_ratio", 0 <= self.warmup_ratio <= 1, "from 0 to 1"),
            ("max_grad_norm", self.max_grad_norm > 0, "above 0"),
            ("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
            ("seed", 0 <= self.seed < 2**32, "from 0 to 4294967295"),
        )
        for name, holds, range_ in limits:
            if not holds:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be {range_}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledBatch:
    """A pack with what is to be predicted.

    Attributes:
        inputs: the sequences.
        targets: whatever the loss function reads.
        num_targets: how many predictions the loss sums over, known on the host.
    """

    inputs: PackedBatch
    targets: Tensor
    num_targets: int

    def to(self, device: torch.device) -> "LabelledBatch":
        return LabelledBatch(
            inputs=self.inputs.to(device),
            targets=self.targets.to(device, non_blocking=True),
            num_targets=self.num_targets,
        )


@dataclass(frozen=True)
class Examples(Generic[Example]):
    """Training or evaluation data, and how some of it becomes a batch."""

    items: Sequence[Example]
    collate: Callable[[Sequence[Example]], LabelledBatch]

    def batches(self, order: Sequence[int], size: int) -> Iterator[LabelledBatch]:
        for start in range(0, len(order), size):
            yield self.collate([self.items[i] for i in order[start : start + size]])


@dataclass(frozen=True)
class Metric:
    """The figure by which the best epoch is chosen."""

    name: str
    higher_is_better: bool = True

    def improves(self, value: float, best: float | None) -> bool:
        """Whether ``value`` beats ``best``; NaN never does, and the first figure always does."""
        if math.isnan(value):
            return False
        return best is None or (value > best if self.higher_is_better else value < best)


def fit(
    model: nn.Module,
    data: Examples[Any],
    *,
    loss: Callable[[nn.Module, LabelledBatch], Tensor],
    evaluate: Callable[[], Mapping[str, float]],
    metric: Metric,
    settings: TrainingSettings,
    device: torch.device,
    on_best: Callable[[], None],
    on_record: Callable[[Mapping[str, Any]], None],
    show_progress: bool = False,
) -> list[dict[str, Any]]:
    """Trains ``model`` in place.

    An optimizer step covers ``batch_size`` sequences; its loss is the sum over their targets divided by the number of
    targets in the whole step, so that cutting the step into micro-batches changes nothing.

    Args:
        model: its encoder is ``model.encoder``; on ``device``.
        data: the training data; drawn in a new order each epoch, from the seed and the epoch's number.
        loss: the loss summed over a batch's targets, a scalar.
        evaluate: gives the figures of an epoch, ``metric.name`` among them.
        metric: chooses the best epoch.
        settings: see there.
        device: where to compute.
        on_best: called after an epoch that is the best so far.
        on_record: called with each record for the log: every 50 steps, and after each epoch.
        show_progress: draw a progress bar with loss and tokens per second on standard error, if it is a terminal.

    Returns:
        One record an epoch.

    Raises:
        InputError: the precision cannot be had on this device, the loss is no longer a number, or the metric never was.
    """
    precision = choose_precision(settings.precision, device)
    micro = min(settings.micro_batch_size or settings.batch_size, settings.batch_size)
    steps_per_epoch = math.ceil(len(data.items) / settings.batch_size)
    optimizer = build_optimizer(
        model, lr=settings.lr, head_lr=settings.head_lr, weight_decay=settings.weight_decay, device=device
    )
    schedule = linear_schedule(
        optimizer, num_steps=settings.epochs * steps_per_epoch, warmup_ratio=settings.warmup_ratio
    )
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    torch.manual_seed(settings.seed)
    best: float | None = None
    step = 0
    history = []

    for epoch in range(1, settings.epochs + 1):
        model.train()
        order = shuffled(len(data.items), settings.seed, epoch)
        waiting: list[Tensor] = []  # losses still on the device, so that a step need not wait for them
        loss_sum = 0.0
        num_tokens = num_targets = 0
        started = time.perf_counter()
        bar = tqdm(
            total=steps_per_epoch, desc=f"epoch {epoch}/{settings.epochs}", disable=None if show_progress else True
        )
        for start in range(0, len(order), settings.batch_size):
            batches = list(data.batches(order[start : start + settings.batch_size], micro))
            step_targets = sum(batch.num_targets for batch in batches)
            step_loss = torch.zeros((), device=device)
            for batch in batches:
                with autocast(device, precision):
                    batch_loss = loss(model, batch.to(device)) / step_targets
                scaler.scale(batch_loss).backward()
                step_loss += batch_loss.detach()
                num_tokens += batch.inputs.num_tokens
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            waiting.append(step_loss * step_targets)
            num_targets += step_targets
            step += 1
            last = start + settings.batch_size >= len(order)
            due = step % LOG_EVERY == 0 or last
            if due or device.type == "cpu":  # where nothing waits for the device, each step is looked at
                loss_sum += float(torch.stack(waiting).sum())
                waiting.clear()
                check_finite(loss_sum, f"the training loss at step {step}, epoch {epoch},")
                rate = num_tokens / (time.perf_counter() - started)
                bar.set_postfix_str(f"loss {loss_sum / num_targets:.4f}, {rate:,.0f} tokens/s", refresh=False)
            if due:
                on_record({
                    "step": step, "epoch": epoch, "loss": loss_sum / num_targets,
                    "lr": schedule.get_last_lr()[0], "tokens_per_second": round(rate),
                })  # fmt: skip
            schedule.step()
            bar.update()
        bar.close()
        seconds = time.perf_counter() - started
        record = {"epoch": epoch, "train_loss": loss_sum / num_targets, **evaluate()}
        timing = {"train_seconds": round(seconds, 2), "tokens_per_second": round(num_tokens / seconds)}
        improved = metric.improves(record[metric.name], best)
        if improved:
            best = record[metric.name]
            on_best()
        history.append({**record, **timing, "best": improved})
        on_record(history[-1])
    if best is None:
        raise InputError(f"no epoch has a figure for {metric.name}, so there is no best one; lower --lr.")
    return history


def check_finite(loss: float, what: str) -> None:
    """Raises InputError, with advice, for a loss that is infinite or no number."""
    if not math.isfinite(loss):
        raise InputError(f"{what} is {loss}: the run has diverged. Lower --lr, or try --precision fp32.")


@torch.inference_mode()
def predict(
    model: nn.Module, data: Examples[Any], *, batch_size: int, precision: str, device: torch.device
) -> Iterator[tuple[LabelledBatch, Tensor]]:
    """Gives each batch of ``data``, in order, with the model's output for it, both on ``device``."""
    model.eval()
    precision = choose_precision(precision, device)
    for batch in data.batches(range(len(data.items)), batch_size):
        on_device = batch.to(device)
        with autocast(device, precision):
            output = model(on_device.inputs)
        yield on_device, output


def shuffled(count: int, seed: int, epoch: int) -> list[int]:
    """The order of an epoch, which depends on nothing but these numbers."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order
