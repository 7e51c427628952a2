"""What ``python -m tasks.qa`` can be set to, and what goes with ``--ask``."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from minibert.errors import InputError
from tasks.classification.settings import ClassificationSettings
from tasks.run.console import program
from tasks.run.options import check

QUESTION = "{question}"
"""Its place in a prompt."""


@dataclass(frozen=True, kw_only=True)
class QaSettings(ClassificationSettings):
    """The options of this task."""

    about = (
        "Fine-tune BERT, ALBERT or RoBERTa to find the label that answers a question. With --ask QUESTION (which may "
        "be given again) and --weights RUN, answer from a trained run."
    )

    # Many labels with few questions each: a small model needs many steps, and a head that learns faster than the rest.
    if_small: ClassVar[Mapping[str, Any]] = {
        "epochs": 12, "batch_size": 16, "lr": 6e-4, "head_lr": 3e-3, "r_drop": 1.0,
    }  # fmt: skip

    prompt: tuple[str, ...] = field(
        default=(),
        metadata={"help": "template with {question} in it, used beside the bare question; may be given again"},
    )
    top_k: int = field(default=5, metadata={"help": "answers to give for a question, likeliest first"})
    unknown: float = field(
        default=0.0, metadata={"help": "answer 'unknown' where the likeliest label is less probable than this"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for prompt in self.prompt:
            if prompt.count(QUESTION) != 1:
                raise InputError(f"--prompt {prompt!r}: must hold {QUESTION} once, where the question goes.")
            if prompt == QUESTION:
                raise InputError(f"--prompt {prompt!r}: the bare question is always asked, too; leave this one out.")
        if self.kind != "single":
            raise InputError(
                f"--kind {self.kind}: a question has one answer here; python -m tasks.classification has others."
            )
        if self.top_k < 1:
            raise InputError(f"--top-k {self.top_k}: must be 1 or more.")
        if not 0 <= self.unknown < 1:
            raise InputError(f"--unknown {self.unknown:g}: must be from 0 to below 1.")


def question_parser() -> argparse.ArgumentParser:
    """``--ask`` of ``python -m tasks.qa``; without it, all options are those of training."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--ask", action="append", default=[])
    return parser


def ask_parser() -> argparse.ArgumentParser:
    """What goes with ``--ask``."""
    parser = argparse.ArgumentParser(prog=f"{program('tasks.qa')} --ask QUESTION", allow_abbrev=False)
    parser.add_argument("--weights", metavar="RUN", help="the run folder to answer from")
    parser.add_argument("--top-k", type=int, help="answers to give (default: the run's)")
    parser.add_argument("--unknown", type=float, help="least probability of an answer (default: the run's)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


def check_arguments(argv: Sequence[str]) -> None:
    """Shows the help, or refuses, for ``--ask`` as for training."""
    given, rest = question_parser().parse_known_args(argv)
    if given.ask:
        ask_parser().parse_args(rest)
    else:
        check(QaSettings, rest, task="qa")
