"""Settings of ``python -m tasks.classification``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from minibert.training.settings import setting
from tasks.classification.data import KINDS
from tasks.settings import RunSettings


@dataclass(frozen=True, kw_only=True)
class ClassificationSettings(RunSettings):
    about = "Fine-tune an encoder to label sentences."

    if_small: ClassVar[Mapping[str, Any]] = {**RunSettings.if_small, "r_drop": 1.0}

    kind: str = setting(
        "single", "single (one label), multi (any number of labels) or regression", choices=KINDS, answers=True
    )
    text_column: str | None = setting(None, "name of the text's column (default: recognised)", answers=True)
    pair_column: str | None = setting(
        None, "name of the second text's column, for pairs (default: recognised)", answers=True
    )
    label_column: str | None = setting(None, "name of the label's column (default: recognised)")
    clean: tuple[str, ...] = setting(
        (), "replace a regular expression, as in 'https?://\\S+ -> URL'; may be repeated", answers=True
    )
    baseline: bool = setting(True, "also fit a linear model on n-grams, for comparison", resumable=True)
