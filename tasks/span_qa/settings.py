"""What ``python -m tasks.span_qa`` can be set to."""

import math
from dataclasses import dataclass, field

from minibert.errors import InputError
from tasks.settings import RunSettings
from tasks.span_qa.scores import SCORERS


@dataclass(frozen=True, kw_only=True)
class SpanQaSettings(RunSettings):
    """The options of this task."""

    about = "Fine-tune BERT, ALBERT or RoBERTa to answer questions by a span of a text."

    overlap: int = field(
        default=128, metadata={"help": "most tokens that the windows of a long context share, up to half a window"}
    )
    max_question: int = field(default=64, metadata={"help": "tokens of a question that are read"})
    max_answer: int = field(default=30, metadata={"help": "most tokens in an answer"})
    n_best: int = field(default=20, metadata={"help": "answers to keep for a question"})
    null_threshold: float | None = field(
        default=None,
        metadata={
            "help": "answer nothing where the null score is above the best answer's by more than this "
            "(default: 0 where the training data holds impossible questions, else never)"
        },
    )
    scorer: str = field(
        default="auto", metadata={"help": f"auto (by the contexts' script), {' or '.join(SCORERS)} for F1"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("overlap", 0), ("max_question", 1), ("max_answer", 1), ("n_best", 1)):
            if getattr(self, name) < least:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be {least} or more.")
        if self.null_threshold is not None and not math.isfinite(self.null_threshold):
            raise InputError(f"--null-threshold {self.null_threshold}: must be a finite number.")
        if self.scorer not in ("auto", *SCORERS):
            raise InputError(f"--scorer {self.scorer}: use auto, {' or '.join(SCORERS)}.")
