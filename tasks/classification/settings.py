"""Settings of ``python -m tasks.classification``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from minibert.errors import InputError
from minibert.training.settings import setting
from tasks.classification.cleanups import parse_cleanups
from tasks.classification.data import TextOptions, check_columns
from tasks.classification.labels import KINDS
from tasks.read.columns import LABEL_NAMES, PAIR_NAMES, TEXT_NAMES
from tasks.read.records import read_options
from tasks.settings import DistillationSettings, RunSettings

_METRICS = {
    "single": ("accuracy", "macro_f1"),
    "multi": ("micro_f1", "macro_f1", "subset_accuracy"),
    "regression": ("pearson", "spearman"),
}

FIRST, MEAN = "first", "mean"
ONE, EACH = "one", "each"


@dataclass(frozen=True, kw_only=True)
class ClassificationSettings(DistillationSettings):
    about = "Fine-tune an encoder to label sentences."

    layout: ClassVar[str] = "auto"
    """How plain text files are laid out; see ``read_texts``."""

    @property
    def metric_names(self) -> Sequence[str]:
        return _METRICS[self.kind]

    if_small: ClassVar[Mapping[str, Any]] = {**RunSettings.if_small, "r_drop": 1.0}
    belongs_to: ClassVar[Mapping[str, str]] = {"threshold": "kind", "ngrams": "kind"}

    kind: str = setting(
        "single", "single (one label), multi (any number of labels) or regression", choices=KINDS, answers=True
    )
    text_column: str | None = setting(
        None, f"name of the text's column (default: recognised: {', '.join(TEXT_NAMES)})", answers=True
    )
    pair_column: str | None = setting(
        None,
        f"name of the second text's column, for pairs (default: recognised: {', '.join(PAIR_NAMES)})",
        answers=True,
    )
    label_column: tuple[str, ...] = setting(
        (),
        "name of the label's column, or with --kind multi of a column of 0 and 1 for each label (default: recognised: "
        f"{', '.join(LABEL_NAMES)}, is_...)",
        scored=True,
    )
    label_names: tuple[str, ...] = setting(
        (),
        "names of labels that are whole numbers, from 0; or a file with a name a line, such as THUCNews' class.txt",
        scored=True,
    )
    separator: str | None = setting(
        None,
        "between several labels in a cell (default: as the training file shows)",
        advanced=True,
        resumable=True,
        scored=True,
    )
    pooling: str | None = setting(
        None,
        "what the label is read from: first (the first token, through the pooler) or mean (of all tokens) (default: "
        "mean for a checkpoint of sentence-transformers that says so, else first)",
        choices=(FIRST, MEAN),
        answers=True,
    )
    class_weights: str | None = setting(
        None, "balanced: rare labels weigh more in the loss (default: all texts weigh the same)", choices=("balanced",)
    )
    threshold: str = setting(
        ONE, "for several labels: one (the best on dev for all), each (for each label) or a probability", answers=True
    )
    clean: tuple[str, ...] = setting(
        (), "replace a regular expression, as in 'https?://\\S+ -> URL'; may be repeated", answers=True
    )
    ngrams: bool | None = setting(
        None,
        "add the scores of a linear model on tokens and pairs of them (default: without --weights, where a text has "
        "one label of not too many)",
        answers=True,
    )
    baseline: bool = setting(True, "also fit a linear model on n-grams, for comparison", resumable=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_cleanups(self.clean)
        fixed = self.fixed_threshold
        if self.threshold not in (ONE, EACH) and not (fixed is not None and 0 <= fixed <= 1):
            raise InputError(f"--threshold {self.threshold}: give {ONE}, {EACH} or a probability from 0 to 1.")
        if self.threshold != ONE and self.kind != "multi":
            raise InputError(f"--threshold {self.threshold}: only several labels have one; add --kind multi.")
        if self.ngrams and not self.may_have_ngrams:
            raise InputError("--ngrams: scores the labels of python -m tasks.classification and qa; give --no-ngrams.")
        if self.class_weights is not None and self.kind == "regression":
            raise InputError("--class-weights: numbers have no classes; leave it out.")

    @property
    def may_have_ngrams(self) -> bool:
        """Whether ``--ngrams`` can be given."""
        return self.kind != "regression"

    @property
    def ngrams_by_default(self) -> bool:
        """Small models are often behind the linear one."""
        return self.may_have_ngrams and self.weights is None and self.kind == "single"

    def fingerprint(self) -> dict[str, Any]:
        """Runs of before there were n-grams have none."""
        return {**super().fingerprint(), "--ngrams": self.ngrams or None}

    @property
    def fixed_threshold(self) -> float | None:
        """The threshold, where a number was given."""
        try:
            return float(self.threshold)
        except ValueError:
            return None

    def text_options(self) -> TextOptions:
        """How texts are found in the files."""
        return TextOptions(
            kind=self.kind,
            text_column=self.text_column,
            pair_column=self.pair_column,
            label_columns=self.label_column,
            layout=self.layout,
            read=read_options(self, self.label_names),
        )

    def check_files(self) -> None:
        super().check_files()
        for path in (self.train, self.dev, self.test):
            if path is not None:
                check_columns(path, self.text_options())
