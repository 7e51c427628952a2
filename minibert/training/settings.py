"""What a training run can be set to."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from minibert.errors import InputError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

FREE = {"free": True}
"""The metadata of settings that may change when a run is resumed: the steps are the same, at most up to rounding."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What a training run is set to. The metadata are the command line's help."""

    epochs: int = field(default=3, metadata={"help": "passes over the training data"})
    batch_size: int | None = field(
        default=None, metadata={"help": "sequences in an optimizer step, over all processes (default: 32)"}
    )
    batch_tokens: int | None = field(
        default=None,
        metadata={
            "help": "in place of --batch-size: an optimizer step takes as many sequences as fit this many tokens, one "
            "at least"
        },
    )
    micro_batch_size: int | None = field(
        default=None,
        metadata=FREE
        | {
            "help": "sequences a process computes at a time, to save memory; gradients add up to the same step. Halved "
            "by itself where memory runs out"
        },
    )
    lr: float = field(default=5e-5, metadata={"help": "peak learning rate of the encoder"})
    head_lr: float | None = field(default=None, metadata={"help": "peak learning rate of the head (default: --lr)"})
    layer_decay: float = field(
        default=1.0, metadata={"help": "factor on the learning rate from each layer to the one below it"}
    )
    weight_decay: float = field(default=0.01, metadata={"help": "AdamW's decay; biases and norms have none"})
    warmup_ratio: float = field(default=0.1, metadata={"help": "part of the steps in which the rate rises"})
    max_grad_norm: float = field(default=1.0, metadata={"help": "gradients are clipped to this norm"})
    early_stopping: int | None = field(
        default=None, metadata={"help": "stop after this many epochs in a row without a new best"}
    )
    ema: float | None = field(
        default=None,
        metadata={"help": "evaluate and save a moving average of the weights, with this decay, such as 0.999"},
    )
    fgm: float | None = field(
        default=None,
        metadata={"help": "add to each step the gradient at word embeddings moved by this distance for the worse"},
    )
    r_drop: float = field(
        default=0.0,
        metadata={"help": "weight of the divergence between two passes that differ in dropout, such as 1; 0 for none"},
    )
    precision: str = field(
        default="auto", metadata={"help": "auto, fp32, bf16 or fp16; auto is bf16 where the device computes in it"}
    )
    activation_checkpointing: bool = field(
        default=False, metadata=FREE | {"help": "compute layers twice instead of keeping their activations"}
    )
    deterministic: bool = field(
        default=False,
        metadata=FREE | {"help": "only algorithms that give the same bits each time; a CPU has no others here"},
    )
    seed: int = field(default=42, metadata={"help": "seed of everything random"})
    save_steps: int | None = field(
        default=None, metadata=FREE | {"help": "leave a checkpoint to resume from after every this many steps"}
    )
    save_minutes: float | None = field(
        default=None, metadata=FREE | {"help": "leave a checkpoint to resume from whenever this many minutes are over"}
    )
    keep_checkpoints: int = field(
        default=2, metadata=FREE | {"help": "newest checkpoints to keep, beside that of the best epoch"}
    )

    def __post_init__(self) -> None:
        """Raises InputError, by the option's name, for a value that cannot be trained with."""
        if self.batch_tokens is not None and self.batch_size is not None:
            raise InputError("--batch-tokens: of no use beside --batch-size; leave one of them out.")
        if self.batch_tokens is None and self.batch_size is None:
            object.__setattr__(self, "batch_size", 32)
        limits: tuple[tuple[str, bool, str], ...] = (
            ("epochs", self.epochs >= 1, "1 or more"),
            ("batch_size", self.batch_size is None or self.batch_size >= 1, "1 or more"),
            ("batch_tokens", self.batch_tokens is None or self.batch_tokens >= 1, "1 or more"),
            ("micro_batch_size", self.micro_batch_size is None or self.micro_batch_size >= 1, "1 or more"),
            ("lr", 0 < self.lr < math.inf, "a number above 0"),
            ("head_lr", self.head_lr is None or 0 < self.head_lr < math.inf, "a number above 0"),
            ("layer_decay", 0 < self.layer_decay <= 1, "above 0, and 1 at most"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
            ("warmup_ratio", 0 <= self.warmup_ratio <= 1, "from 0 to 1"),
            ("max_grad_norm", self.max_grad_norm > 0, "above 0"),
            ("early_stopping", self.early_stopping is None or self.early_stopping >= 1, "1 or more"),
            ("ema", self.ema is None or 0 < self.ema < 1, "between 0 and 1"),
            ("fgm", self.fgm is None or 0 < self.fgm < math.inf, "a number above 0"),
            ("r_drop", 0 <= self.r_drop < math.inf, "0 or more"),
            ("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
            ("seed", 0 <= self.seed < 2**32, "from 0 to 4294967295"),
            ("save_steps", self.save_steps is None or self.save_steps >= 1, "1 or more"),
            ("save_minutes", self.save_minutes is None or 0 < self.save_minutes < math.inf, "a number above 0"),
            ("keep_checkpoints", self.keep_checkpoints >= 2, "2 or more, so that a damaged one has one before it"),
        )
        for name, holds, range_ in limits:
            if not holds:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be {range_}.")

    def fingerprint(self) -> dict[str, Any]:
        """The settings that a resumed run must share with the one it continues, by the options' names."""
        return {
            f"--{option.name.replace('_', '-')}": getattr(self, option.name)
            for option in dataclasses.fields(self)
            if not option.metadata.get("free")
        }
