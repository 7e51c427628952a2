"""The settings that all tasks share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from minibert.errors import InputError
from minibert.families import FAMILIES
from minibert.training.settings import TrainingSettings, option_name

SETTINGS_FILE = "settings.toml"
RANDOM = "random"
"""The ``--weights`` of a small model without any."""
INT8 = "int8"
"""The ``--precision`` that only prediction has."""


@dataclass(frozen=True, kw_only=True)
class RunSettings(TrainingSettings):
    """The options that all tasks have, by the same names."""

    about: ClassVar[str]
    """One line for ``--help``."""
    if_small: ClassVar[Mapping[str, Any]] = {"epochs": 10, "lr": 5e-4}
    """Defaults for a start from a small model."""

    arch: str | None = field(
        default=None, metadata={"help": f"{', '.join(FAMILIES)} (default: that of --weights, else bert)"}
    )
    weights: str | None = field(
        default=None,
        metadata={
            "help": "checkpoint folder or hub name to start from; random for a small model without any training "
            "(default: the small pre-trained one of --arch)"
        },
    )
    train: str | None = field(
        default=None, metadata={"resumable": True, "help": "training file (default: the bundled sample)"}
    )
    dev: str | None = field(
        default=None,
        metadata={"resumable": True, "help": "file that chooses the best epoch (default: a part of --train, held out)"},
    )
    test: str | None = field(
        default=None, metadata={"resumable": True, "help": "file for the final report (default: the dev file's)"}
    )
    dev_share: float | None = field(
        default=None, metadata={"help": "part of --train to hold out where there is no --dev (default: 0.1)"}
    )
    test_share: float | None = field(
        default=None, metadata={"help": "part of --train to hold out for the final report where there is no --test"}
    )
    metric: str | None = field(
        default=None, metadata={"help": "dev figure that chooses the best epoch (default: the task's own)"}
    )
    max_length: int | None = field(
        default=None, metadata={"help": "most tokens the model sees at a time (default: what its positions allow)"}
    )
    device: str = field(default="auto", metadata={"resumable": True, "help": "auto, cpu, cuda or cuda:N"})
    seeds: int = field(
        default=1,
        metadata={
            "resumable": True,
            "help": "runs with this many seeds, from --seed on; reports mean, deviation and worst",
        },
    )
    tensorboard: bool = field(
        default=False,
        metadata={"resumable": True, "help": "also write the records for TensorBoard, into the run folder"},
    )
    out: str | None = field(
        default=None, metadata={"resumable": True, "help": "run folder, new or empty (default: runs/TASK-ARCH-N)"}
    )

    @property
    def on_sample(self) -> bool:
        """Whether no training data are named, so that the bundled sample serves."""
        return self.train is None

    @property
    def from_random(self) -> bool:
        """Whether to start from random weights."""
        return self.weights == RANDOM

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weights", "train", "dev", "test", "out"):
            if getattr(self, name) == "":
                raise InputError(
                    f"{option_name(name)}: is empty, as a shell variable is that is not set; name something, or leave "
                    "the option out."
                )
        if self.arch is not None and self.arch not in FAMILIES:
            raise InputError(f"--arch {self.arch}: use one of {', '.join(FAMILIES)}.")
        if self.on_sample:
            given = [name for name in ("dev", "test", "dev_share", "test_share") if getattr(self, name) is not None]
            if given:
                raise InputError(
                    f"{', '.join(map(option_name, given))}: of no use without --train; the sample is used whole."
                )
        if self.seeds < 1:
            raise InputError(f"--seeds {self.seeds}: must be 1 or more.")
        if self.seed + self.seeds > 2**32:
            raise InputError(f"--seeds {self.seeds}: the last one, from --seed {self.seed} on, is above 4294967295.")
        for part in ("dev", "test"):
            share = getattr(self, f"{part}_share")
            if share is not None and getattr(self, part) is not None:
                raise InputError(f"--{part}-share is of no use beside --{part}; leave one of them out.")
            if share is not None and not 0 < share < 1:
                raise InputError(f"--{part}-share {share:g}: must lie between 0 and 1.")

    def fingerprint(self) -> dict[str, Any]:
        """As for all training, but the weights first: other defaults depend on them, and are not what was changed."""
        values = super().fingerprint()
        return {"--weights": values["--weights"], **values}
