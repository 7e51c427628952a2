"""Settings of ``python -m tasks.qa``, and the options of ``--ask``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from minibert.errors import InputError
from minibert.training.settings import setting
from tasks.classification.settings import ONE, ClassificationSettings
from tasks.run.arguments import ArgumentParser
from tasks.run.console import program
from tasks.run.options import check

QUESTION = "{question}"
"""The placeholder in a prompt."""


@dataclass(frozen=True, kw_only=True)
class QaSettings(ClassificationSettings):
    about = (
        "Fine-tune an encoder to find the label that answers a question. With --ask QUESTION (which may "
        "be given again) and --weights RUN, answer from a trained run."
    )

    layout = "label-first"

    @property
    def metric_names(self) -> Sequence[str]:
        return "accuracy", "macro_f1", f"top_{self.top_k}_accuracy"

    # Many labels with few questions each: a small model needs many steps, and a head that learns faster.
    if_small: ClassVar[Mapping[str, Any]] = {
        "epochs": 12, "batch_size": 16, "lr": 6e-4, "head_lr": 3e-3, "r_drop": 1.0,
    }  # fmt: skip

    prompt: tuple[str, ...] = setting(
        (), "template with {question} in it, used in addition to the bare question; may be repeated", answers=True
    )
    top_k: int = setting(5, "answers to give for a question, best first", at_least=1, answers=True)
    unknown: float = setting(
        0.0, "answer 'unknown' if the best label is less probable than this", at_least=0, below=1, answers=True
    )

    def __post_init__(self) -> None:
        if self.kind != "single":
            raise InputError(f"--kind {self.kind}: a question has one answer; use python -m tasks.classification.")
        if self.threshold != ONE:
            raise InputError(f"--threshold {self.threshold}: a question has one answer; leave it out.")
        super().__post_init__()
        for prompt in self.prompt:
            if prompt.count(QUESTION) != 1:
                raise InputError(f"--prompt {prompt!r}: must hold {QUESTION} once, where the question goes.")
            if prompt == QUESTION:
                raise InputError(f"--prompt {prompt!r}: is the bare question, which is always asked; leave it out.")


def question_parser() -> ArgumentParser:
    """``--ask`` of ``python -m tasks.qa``; without it, all options are those of training."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--ask", action="append", default=[])
    return parser


def ask_parser() -> ArgumentParser:
    """The options of ``--ask``."""
    parser = ArgumentParser(prog=f"{program('tasks.qa')} --ask QUESTION", allow_abbrev=False)
    parser.add_argument("--weights", metavar="RUN", help="the run folder to answer from")
    parser.add_argument("--top-k", type=int, help="answers to give (default: the run's)")
    parser.add_argument("--unknown", type=float, help="least probability of an answer (default: the run's)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


def check_arguments(argv: Sequence[str]) -> None:
    """Shows the help or refuses, for ``--ask`` and for training."""
    given, rest = question_parser().parse_known_args(argv)
    if given.ask:
        ask_parser().parse_args(rest)
    else:
        check(QaSettings, rest, task="qa")
