"""The settings that all tasks share."""

import codecs
import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from minibert.errors import InputError
from minibert.families import FAMILIES
from minibert.training.settings import TrainingSettings, option_name, setting

SETTINGS_FILE = "settings.toml"
"""In a run folder: all settings, to repeat the run."""
CALIBRATION = "calibration"
"""In ``task.json``: what was fitted on dev, which is no setting."""
RANDOM = "random"
"""The value of ``--weights`` for a small model with random weights."""
AVERAGES = ("micro avg", "macro avg", "weighted avg")
"""Rows of averages in a report, which therefore cannot be names of labels."""
LOSS = "loss"
"""The ``--metric`` that every task has."""
DEV_SHARE = 0.1
"""The share of ``--train`` to hold out if there is no ``--dev``."""
INT8 = "int8"
"""The ``--precision`` that only prediction has."""
ENGINES = (TORCH, ONNX) = ("torch", "onnx")
"""What computes a model's answers; ONNX Runtime needs a folder that ``tools/export.py`` has written."""


@dataclass(frozen=True, kw_only=True)
class RunSettings(TrainingSettings):
    """The settings of a run, whatever the task."""

    about: ClassVar[str]
    """One line for ``--help``."""

    @property
    def metric_names(self) -> Sequence[str]:
        """The metrics that can choose the best epoch, besides the loss: higher is better, the main one first. A class
        attribute unless other settings decide."""
        raise NotImplementedError

    if_small: ClassVar[Mapping[str, Any]] = {"epochs": 10, "lr": 5e-4}
    """Defaults that differ for a small model, which needs more and larger steps."""

    belongs_to: ClassVar[Mapping[str, str]] = {}
    """Settings that a run takes over from the one that it starts from only where another one is the same."""

    arch: str | None = setting(
        None, f"{', '.join(FAMILIES)} (default: that of --weights, else bert)", choices=tuple(FAMILIES)
    )
    weights: str | None = setting(
        None, "checkpoint folder or hub name, or random (default: the small pre-trained model of --arch)"
    )
    revision: str | None = setting(None, "branch, tag or commit of --weights on the hub (default: its main branch)")
    train: str | None = setting(None, "training file (default: the bundled sample)", resumable=True)
    dev: str | None = setting(None, "file that chooses the best epoch (default: held out from --train)", resumable=True)
    test: str | None = setting(None, "file for the final report (default: the dev file)", resumable=True)
    dev_share: float | None = setting(
        None, "share of --train to hold out if there is no --dev (default: 0.1)", above=0, below=1
    )
    test_share: float | None = setting(
        None, "share of --train to hold out for the final report (default: none)", above=0, below=1
    )
    encoding: str | None = setting(None, "encoding of the data files, such as gb18030 or big5 (default: utf-8)")
    metric: str | None = setting(
        None, "dev metric that chooses the best epoch (default: the task's main one)", scored=True
    )
    max_length: int | None = setting(
        None, "tokens the model sees at a time (default: as many as it has positions for)", answers=True
    )
    device: str = setting("auto", "auto, cpu, cuda or cuda:N", resumable=True)
    threads: int | None = setting(None, "threads on a CPU (default: one a core)", at_least=1, resumable=True)
    seeds: int = setting(
        1, "runs with this many seeds, from --seed on; reports mean, deviation, worst", at_least=1, resumable=True
    )
    tensorboard: bool = setting(False, "also log for TensorBoard, in the run folder", resumable=True)
    out: str | None = setting(None, "run folder, new or empty (default: runs/TASK-ARCH-N)", resumable=True)

    @property
    def on_sample(self) -> bool:
        """Whether the bundled sample is the data."""
        return self.train is None

    @property
    def from_random(self) -> bool:
        """Whether to start from random weights."""
        return self.weights == RANDOM

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weights", "revision", "train", "dev", "test", "out", "teacher", "unlabelled"):
            if getattr(self, name, None) == "":
                raise InputError(
                    f"{option_name(name)}: is empty (an unset shell variable?); give a value, or leave the option out."
                )
        if self.revision is not None and self.weights in (None, RANDOM):
            raise InputError(f"--revision {self.revision}: needs --weights, the name of a checkpoint on the hub.")
        if self.on_sample:
            given = [name for name in ("dev", "test", "dev_share", "test_share") if getattr(self, name) is not None]
            if given:
                raise InputError(
                    f"{', '.join(map(option_name, given))}: needs --train; the sample comes with its own parts."
                )
        if self.encoding is not None:
            check_encoding(self.encoding)
        if self.seed + self.seeds > 2**32:
            raise InputError(f"--seeds {self.seeds}: the last one, from --seed {self.seed} on, is above 4294967295.")
        for part in ("dev", "test"):
            if getattr(self, part) is not None and getattr(self, f"{part}_share") is not None:
                raise InputError(f"--{part}-share: cannot be combined with --{part}; leave one of them out.")
        dev_share = 0 if self.dev is not None or self.on_sample else self.dev_share or DEV_SHARE
        if (asked := dev_share + (self.test_share or 0)) >= 1:
            raise InputError(f"--dev-share, --test-share: {asked:g} in all leaves nothing of --train; stay below 1.")
        if self.metric not in (None, *self.metric_names, LOSS):
            raise InputError(f"--metric {self.metric}: use one of {', '.join((*self.metric_names, LOSS))}.")

    def check_files(self) -> None:
        """Raises InputError for a data file that does not exist, or does not fit other settings, as far as its first
        line shows: without reading it whole, and without torch, for start-up speed."""
        check_exist(path for path in (self.train, self.dev, self.test) if path is not None)

    def fingerprint(self) -> dict[str, Any]:
        """Starts with the weights: if they differ, so do defaults that nobody changed."""
        values = super().fingerprint()
        return {"--weights": values["--weights"], **values}


@dataclass(frozen=True, kw_only=True)
class RecordSettings(RunSettings):
    """The settings of tasks that read records: the rows of tables, and the objects of JSON files."""

    columns: tuple[str, ...] = setting((), "names of the columns of a table without a header, such as text,label")
    skip_invalid: bool = setting(False, "leave out rows that cannot be used, and count them (default: refuse the file)")

    def __post_init__(self) -> None:
        super().__post_init__()
        column_names(self.columns)


@dataclass(frozen=True, kw_only=True)
class DistillationSettings(RecordSettings):
    """The settings of tasks whose models can learn from a teacher."""

    teacher: str | None = setting(
        None,
        "trained run or checkpoint of the task, with the same labels, to learn from besides (default: none)",
        resumable=True,
    )
    unlabelled: str | None = setting(
        None, "file of texts without labels, which --teacher labels (default: none)", resumable=True
    )
    made_up: int | None = setting(
        None,
        "texts to make up of each training text and others, which --teacher labels (default: none)",
        at_least=1,
    )
    teacher_weight: float = setting(
        0.5,
        "share of the teacher's answers in the loss; the rest is that of the labels",
        above=0,
        at_most=1,
        advanced=True,
    )
    teacher_temperature: float = setting(
        2.0, "softens the probabilities of teacher and model before they are compared", above=0, advanced=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("unlabelled", "made_up"):
            if getattr(self, name) and self.teacher is None:
                raise InputError(f"{option_name(name)}: needs --teacher, a trained model that labels its texts.")

    def check_files(self) -> None:
        super().check_files()
        check_exist([] if self.unlabelled is None else [self.unlabelled])


def column_names(given: Sequence[str]) -> list[str]:
    """The names in ``--columns``, which may be given with commas between them.

    Raises:
        InputError: a name is blank, or there twice.
    """
    names = [name.strip() for part in given for name in part.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise InputError(f"--columns {' '.join(given)[:80]}: give each column a name of its own, as in text,label.")
    return names


def check_encoding(name: str) -> None:
    """Raises InputError for a name that Python does not know as an encoding of text."""
    try:
        codecs.lookup(name)
        with contextlib.suppress(UnicodeError):
            b"a".decode(name)  # raises LookupError for what encodes bytes, such as base64
    except (LookupError, ValueError):
        raise InputError(
            f"--encoding {name[:40]}: not an encoding that Python knows; common ones are utf-8, utf-16, gb18030, big5, "
            "shift_jis, euc-kr and cp1252."
        ) from None


def check_exist(paths: Iterable[str]) -> None:
    """Raises InputError for a file that does not exist."""
    for path in paths:
        if "\0" not in path and not os.path.exists(path):
            raise InputError(f"{path}: no such file.")
