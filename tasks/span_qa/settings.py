"""Settings of ``python -m tasks.span_qa``."""

from dataclasses import dataclass

from minibert.training.settings import setting
from tasks.settings import RecordSettings
from tasks.span_qa.scores import SCORERS


@dataclass(frozen=True, kw_only=True)
class SpanQaSettings(RecordSettings):
    about = "Fine-tune an encoder to answer questions by a span of a text."
    metric_names = ("f1", "exact_match")

    overlap: int = setting(
        128, "tokens that the windows of a long context share, up to half a window", at_least=0, answers=True
    )
    max_question: int = setting(64, "tokens of a question to read", at_least=1, answers=True)
    max_answer: int = setting(30, "longest answer, in tokens", at_least=1, answers=True)
    n_best: int = setting(20, "answers to keep for a question", at_least=1, answers=True)
    null_threshold: float | None = setting(
        None,
        "answer nothing if the null score exceeds the best answer's by more than this (default: 0 if the training "
        "data has impossible questions, else never)",
        answers=True,
    )
    scorer: str = setting(
        "auto",
        f"F1 over {' or '.join(SCORERS)}; auto goes by the contexts' script",
        choices=("auto", *SCORERS),
        scored=True,
    )
