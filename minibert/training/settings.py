"""Settings of a training run. Each field declares its help text and the values it accepts."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from minibert.errors import InputError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The values that a setting accepts: a range of numbers, or a list of choices."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: Sequence[str] = ()
    infinity: bool = False

    def allow(self, value: Any) -> bool:
        """Whether ``value`` is accepted; NaN never is, infinity only where ``infinity`` is set."""
        if self.choices:
            return value in self.choices
        if isinstance(value, float) and (math.isnan(value) or (math.isinf(value) and not self.infinity)):
            return False
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def advice(self) -> str:
        """What to give instead, such as ``must be 1 or more``."""
        if self.choices:
            return f"use one of {', '.join(self.choices)}"
        low = self.at_least if self.at_least is not None else self.above
        high = self.at_most if self.at_most is not None else self.below
        if low is None and high is None:
            return "must be a finite number"
        if high is None:
            return f"must be {low} or more" if self.above is None else f"must be a number above {low}"
        if low is None:
            return f"must be {high} or less" if self.below is None else f"must be a number below {high}"
        if self.above is not None and self.below is not None:
            return f"must be between {low} and {high}"
        start = f"from {low}" if self.above is None else f"above {low}"
        if self.below is not None:
            return f"must be {start} to below {high}"
        return f"must be {start} to {high}" if self.above is None else f"must be {start} and at most {high}"


def setting(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: Sequence[str] = (),
    infinity: bool = False,
    advanced: bool = False,
    resumable: bool = False,
    answers: bool = False,
    scored: bool = False,
) -> Any:
    """A field of a settings dataclass, checked by :func:`check_settings`.

    Args:
        default: None makes the setting optional.
        help: the text for ``--help``; a default that is None or a flag may be explained in brackets at its end.
        at_least, above, at_most, below: the range of a number.
        choices: the texts that are accepted.
        infinity: whether a float may be infinite.
        advanced: few people need it, so it is set in the settings file only.
        resumable: it may change when a run is resumed: the steps stay the same, at most up to rounding.
        answers: the trained model's answers depend on it, so it is saved beside the model.
        scored: what its figures on a labelled file are depends on it, so that it is saved there, too.
    """
    limits = Limits(at_least=at_least, above=above, at_most=at_most, below=below, choices=choices, infinity=infinity)
    metadata = {"help": help, "limits": limits, "advanced": advanced, "resumable": resumable}
    metadata |= {"answers": answers, "scored": scored}
    return dataclasses.field(default=default, metadata=metadata)


def check_settings(settings: Any) -> None:
    """Raises InputError, naming the option, for a value that its field does not accept.

    Args:
        settings: an instance of a dataclass with fields made by :func:`setting`.
    """
    for field in dataclasses.fields(settings):
        value, limits = getattr(settings, field.name), field.metadata.get("limits")
        if limits is None or (value is None and field.default is None):
            continue
        if not limits.allow(value):
            raise InputError(f"{option_name(field.name)} {value}: {limits.advice()}.")


def option_name(field_name: str) -> str:
    """``batch_size`` -> ``--batch-size``."""
    return f"--{field_name.replace('_', '-')}"


def default_lr(width: float) -> float:
    """The learning rate that fine-tunes an encoder of this width: the usual 5e-5 (Devlin et al. 2019, section A.3) from
    768 on; below, in inverse proportion to the square of the width, up to 1e-3. It is near the best on models of 192
    and 384 (benchmarks/results/2026-12-01-rates.md)."""
    return min(1e-3, 5e-5 * max(1.0, 768 / width) ** 2)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings of a training run, whatever the task."""

    epochs: int = setting(3, "passes over the training data", at_least=1)
    batch_size: int | None = setting(
        None, "sequences in an optimizer step, over all processes (default: 32)", at_least=1
    )
    batch_tokens: int | None = setting(
        None,
        "in place of --batch-size: an optimizer step takes as many sequences as fit into this many tokens, and at "
        "least one",
        at_least=1,
        advanced=True,
    )
    micro_batch_size: int | None = setting(
        None,
        "sequences a process computes at a time, to save memory; gradients add up to the same step. Halved "
        "automatically when memory runs out",
        at_least=1,
        advanced=True,
        resumable=True,
    )
    lr: float | None = setting(None, "peak learning rate of the encoder (default: by width, from 5e-5)", above=0)
    head_lr: float | None = setting(None, "peak learning rate of the head (default: --lr)", above=0)
    layer_decay: float = setting(
        1.0,
        "factor on the learning rate from each layer to the one below it",
        above=0,
        at_most=1,
        advanced=True,
    )
    weight_decay: float = setting(0.01, "weight decay of AdamW; biases and norms have none", at_least=0, advanced=True)
    warmup_ratio: float = setting(
        0.1, "share of the steps in which the learning rate rises", at_least=0, at_most=1, advanced=True
    )
    max_grad_norm: float = setting(1.0, "gradients are clipped to this norm", above=0, infinity=True, advanced=True)
    early_stopping: int | None = setting(None, "stop after this many epochs in a row without a new best", at_least=1)
    ema: float | None = setting(
        None,
        "evaluate and save a moving average of the weights with this decay, such as 0.999",
        above=0,
        below=1,
        advanced=True,
    )
    fgm: float | None = setting(
        None,
        "fast gradient method: add to each step the gradient at word embeddings moved this far along their gradient",
        above=0,
        advanced=True,
    )
    r_drop: float = setting(0.0, "weight of the divergence of two passes with dropout", at_least=0)
    precision: str = setting(
        "auto",
        "auto, fp32, bf16 or fp16; auto is bf16 where the device computes in it",
        choices=PRECISIONS,
        answers=True,
    )
    activation_checkpointing: bool = setting(
        False, "compute layers twice instead of keeping their activations", resumable=True
    )
    cuda_graphs: bool = setting(
        False, "launch the encoder's kernels all at once on a GPU: for small batches", advanced=True, resumable=True
    )
    deterministic: bool = setting(
        False, "use only algorithms that give the same bits each time; on a CPU all do", resumable=True
    )
    seed: int = setting(42, "seed of all random numbers", at_least=0, at_most=2**32 - 1, scored=True)
    save_steps: int | None = setting(None, "save a checkpoint to resume from every N steps", at_least=1, resumable=True)
    save_minutes: float | None = setting(
        None, "the same every X minutes; without either every 15, until the run is done", above=0, resumable=True
    )
    keep_checkpoints: int = setting(
        2,
        "newest checkpoints to keep, besides that of the best epoch; at least 2, in case one is damaged",
        at_least=2,
        advanced=True,
        resumable=True,
    )

    def __post_init__(self) -> None:
        """Raises InputError, naming the option, for a value that is out of range."""
        if self.batch_tokens is not None and self.batch_size is not None:
            raise InputError("batch_tokens: cannot be combined with --batch-size; leave one of them out.")
        if self.batch_tokens is None and self.batch_size is None:
            object.__setattr__(self, "batch_size", 32)
        check_settings(self)

    @property
    def saves_regularly(self) -> bool:
        """Whether they ask for checkpoints, which then stay when the run is done."""
        return (self.save_steps, self.save_minutes) != (None, None)

    def for_width(self, width: int) -> Self:
        """These settings with a learning rate, if they have none: :func:`default_lr` of the model's width."""
        return self if self.lr is not None else dataclasses.replace(self, lr=default_lr(width))

    def fingerprint(self) -> dict[str, Any]:
        """The settings that a resumed run must share with the one it continues, by option name."""
        return {
            option_name(field.name): getattr(self, field.name)
            for field in dataclasses.fields(self)
            if not field.metadata.get("resumable")
        }
