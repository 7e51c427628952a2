"""What ``python -m tasks.classification`` can be set to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from minibert.errors import InputError
from tasks.classification.data import KINDS
from tasks.settings import RunSettings


@dataclass(frozen=True, kw_only=True)
class ClassificationSettings(RunSettings):
    """The options of this task."""

    about = "Fine-tune BERT, ALBERT or RoBERTa to label sentences."

    if_small: ClassVar[Mapping[str, Any]] = {**RunSettings.if_small, "r_drop": 1.0}

    kind: str = field(
        default="single",
        metadata={"help": "single (one label a text), multi (any number of labels) or regression (a number)"},
    )
    text_column: str | None = field(default=None, metadata={"help": "name of the text's column (default: recognised)"})
    pair_column: str | None = field(default=None, metadata={"help": "name of the second text's column, for pairs"})
    label_column: str | None = field(default=None, metadata={"help": "name of the label's column"})
    clean: tuple[str, ...] = field(
        default=(),
        metadata={"help": "regular expression and replacement, as in 'https?://\\S+ -> URL'; may be given again"},
    )
    baseline: bool = field(
        default=True,
        metadata={
            "resumable": True,
            "help": "also fit a linear model on n-grams, to hold the result against (default: yes)",
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in KINDS:
            raise InputError(f"--kind {self.kind}: use one of {', '.join(KINDS)}.")
