"""What ``python -m tasks.ner`` can be set to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from minibert.errors import InputError
from tasks.settings import RunSettings

CRF_LR = 1e-3  # transitions start at 0 and would hardly move at an encoder's rate


@dataclass(frozen=True, kw_only=True)
class NerSettings(RunSettings):
    """The options of this task."""

    about = "Fine-tune BERT, ALBERT or RoBERTa for named entities."

    # The small models gain one to three points over 5e-4 (benchmarks/results/2026-11-25-pretraining.md).
    if_small: ClassVar[Mapping[str, Any]] = {**RunSettings.if_small, "lr": 1e-3}

    head: str = field(
        default="linear",
        metadata={
            "help": "linear (each word by itself) or crf (the likeliest sequence of tags that is well formed; without "
            f"--head-lr it learns at {CRF_LR:g} or more)"
        },
    )
    scheme: str = field(default="auto", metadata={"help": "tags in the files: auto, iob1, bio, bioes or bmes"})
    overlap: int = field(
        default=64, metadata={"help": "most tokens that the windows of a long sentence share, up to half a window"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head not in ("linear", "crf"):
            raise InputError(f"--head {self.head}: use linear or crf.")
        if self.head == "crf" and self.r_drop:
            raise InputError("--r-drop: compares two answers word by word, which --head crf does not give; choose one.")
        if self.overlap < 0:
            raise InputError(f"--overlap {self.overlap}: must be 0 or more.")
