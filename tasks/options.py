"""What each command can be told. Nothing here needs torch, so that help and refusals come at once."""

import argparse
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from minibert.config import ARCHITECTURES
from minibert.errors import InputError
from minibert.training.settings import FREE, PRECISIONS
from tasks.settings import RANDOM, RunSettings, check, option_name
from tasks.span_scores import SCORERS
from tasks.stream import FORMATS
from tasks.text_data import KINDS

CRF_LR = 1e-3  # transitions start at 0 and would hardly move at an encoder's rate
INT8 = "int8"
"""The ``--precision`` that only prediction has."""
MASKING_UNITS = ("token", "word", "ngram")
MASK = re.compile(r"\[MASK\]|<mask>")
"""BERT's and ALBERT's mask, and RoBERTa's; each model may be asked with either."""
QUESTION = "{question}"
"""Its place in a prompt."""
TEXT = "{text}"
"""Its place in a template."""
ALL_SHOTS = "all"
"""The number of examples of ``--shots`` that stands for all there are."""


# -- training ---------------------------------------------------------------------------------------------------------


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
        metadata=FREE | {"help": "also fit a linear model on n-grams, to hold the result against (default: yes)"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in KINDS:
            raise InputError(f"--kind {self.kind}: use one of {', '.join(KINDS)}.")


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


@dataclass(frozen=True, kw_only=True)
class ClozeSettings(ClassificationSettings):
    """The options of this task."""

    about = "Label sentences by what a pre-trained model expects in a gap, with no training or a few examples."

    if_small: ClassVar[Mapping[str, Any]] = RunSettings.if_small  # R-Drop has not been tried on so few examples

    template: str = field(
        default="",
        metadata={"help": "sentence with {text} and [MASK] in it, once each, such as '{text} It was [MASK].'"},
    )
    words: tuple[str, ...] = field(
        default=(),
        metadata={"help": "label=word or label=word,word for each label; a word is one token, several are averaged"},
    )
    shots: tuple[str, ...] = field(
        default=(),
        metadata=FREE
        | {
            "help": "compare with fine-tuning on this many examples of each label, such as 0 8 64 all; as many again "
            "choose the best epoch"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind != "single":
            raise InputError(f"--kind {self.kind}: a gap has one answer; python -m tasks.classification has others.")
        if self.pair_column is not None:
            raise InputError(f"--pair-column {self.pair_column}: a template has room for one text; leave it out.")
        if self.template.count(TEXT) != 1 or len(MASK.findall(self.template)) != 1:
            raise InputError(
                f"--template {self.template!r}: must hold {TEXT} once, where the text goes, and [MASK] once, where "
                "the word is asked for."
            )
        self.verbaliser()
        for shots in self.shots:
            if shots != ALL_SHOTS and not (shots.isdecimal() and shots.isascii()):
                raise InputError(f"--shots {shots}: give numbers of examples, 0 or more, or {ALL_SHOTS}.")

    def verbaliser(self) -> dict[str, list[str]]:
        """The words of each label, in alphabetical order of the labels.

        Raises:
            InputError: ``words`` cannot be read, or gives a label twice or fewer than two of them.
        """
        words: dict[str, list[str]] = {}
        for given in self.words:
            label, _, listed = given.rpartition("=")
            label, found = label.strip(), [word.strip() for word in listed.split(",")]
            if not label or not all(found):
                raise InputError(f"--words {given!r}: write it as LABEL=WORD or LABEL=WORD,WORD.")
            if label in words:
                raise InputError(f"--words {given!r}: {label} has words already; give all of them at once.")
            words[label] = found
        if len(words) < 2:
            raise InputError("--words: needed for each label, as in --words positive=great,good negative=bad.")
        return dict(sorted(words.items()))


@dataclass(frozen=True, kw_only=True)
class PretrainingSettings(RunSettings):
    """The options of this task."""

    about = "Pre-train BERT, ALBERT or RoBERTa on plain text."

    train: str | None = field(default=None, metadata={"help": "not used; the training files are those of --corpus"})
    corpus: tuple[str, ...] = field(
        default=(),
        metadata=FREE | {"help": "text files, also .gz: a paragraph a line, a blank line between documents"},
    )
    tokenizer: str | None = field(
        default=None,
        metadata={
            "help": "folder of a tokenizer for a new model, as tools/train_tokenizer.py makes it (default: a small "
            "one, made from the corpus)"
        },
    )
    model_config: str | None = field(
        default=None,
        metadata={"help": "JSON file with what should differ from the small model, by config.json's names"},
    )
    masking: str | None = field(
        default=None,
        metadata={
            "help": f"what is masked as a whole: {', '.join(MASKING_UNITS)}; Chinese characters are words (default: "
            "token; for ALBERT ngram, 1 to 3 words)"
        },
    )
    static_masks: bool = field(default=False, metadata={"help": "the same masks and pairs in every epoch"})

    weights: str | None = field(
        default=None,
        metadata={
            "help": "checkpoint folder or hub name to go on from; random for a small model from noise (default: a "
            "small one that starts from counts of the corpus)"
        },
    )
    if_small: ClassVar[Mapping[str, Any]] = {"lr": 1e-3}

    @property
    def on_sample(self) -> bool:
        return False

    @property
    def from_random(self) -> bool:
        return self.weights in (None, RANDOM)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train is not None:
            raise InputError(f"--train {self.train}: give the files to pre-train on with --corpus.")
        if not self.corpus:
            raise InputError(
                "--corpus: needed; name text files, a paragraph a line and a blank line between documents."
            )
        if self.masking not in (None, *MASKING_UNITS):
            raise InputError(f"--masking {self.masking}: use one of {', '.join(MASKING_UNITS)}.")
        for name in ("tokenizer", "model_config"):
            if not self.from_random and getattr(self, name) is not None:
                raise InputError(f"{option_name(name)}: of no use beside --weights, which has its own; leave it out.")


SETTINGS: dict[str, type[RunSettings]] = {
    "ner": NerSettings,
    "classification": ClassificationSettings,
    "qa": QaSettings,
    "span_qa": SpanQaSettings,
    "cloze": ClozeSettings,
    "pretraining": PretrainingSettings,
}
"""The settings of each task, by its name."""


# -- other commands ---------------------------------------------------------------------------------------------------


def question_parser() -> argparse.ArgumentParser:
    """``--ask`` of ``python -m tasks.qa``; without it, all options are those of training."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--ask", action="append", default=[])
    return parser


def ask_parser() -> argparse.ArgumentParser:
    """What goes with ``--ask``."""
    parser = argparse.ArgumentParser(prog="python -m tasks.qa --ask QUESTION", allow_abbrev=False)
    parser.add_argument("--weights", metavar="RUN", help="the run folder to answer from")
    parser.add_argument("--top-k", type=int, help="answers to give (default: the run's)")
    parser.add_argument("--unknown", type=float, help="least probability of an answer (default: the run's)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


def predict_parser() -> argparse.ArgumentParser:
    """``python -m tasks.predict``."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.predict",
        description="Answers from a trained run: one JSON line for each input, in the input's order.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, or a fine-tuned checkpoint's folder or hub name")
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="-",
        help="text (an input a line), JSON lines, CSV or TSV, also .gz; - is standard input (default)",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=FORMATS, default="auto", help="of the input (default: by ending and content)"
    )
    parser.add_argument("--out", metavar="FILE", help="write here, whole or not at all (default: standard output)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--precision", choices=(*PRECISIONS, INT8), default="auto",
        help="int8: on a CPU, in 8-bit integers, which is faster and a little less exact (default: auto)",
    )  # fmt: skip
    return parser


def fill_mask_parser() -> argparse.ArgumentParser:
    """``python -m tasks.fill_mask``."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.fill_mask", description="Show what a pre-trained model expects in place of each mask."
    )
    parser.add_argument("run", metavar="RUN_OR_WEIGHTS", help="run of tasks.pretraining, checkpoint folder or hub name")
    parser.add_argument("text", metavar="TEXT", help="with [MASK] or <mask> where a word is missing")
    parser.add_argument("--top", type=int, default=5, help="how many words to show (default: 5)")
    return parser


def compare_parser() -> argparse.ArgumentParser:
    """``python -m tasks.compare``; the options that it does not know are the task's."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.compare",
        description="Run a task with several architectures and seeds, and compare.",
        epilog="All other options are those of the task (python -m tasks.NAME --help), and go to every run.",
        allow_abbrev=False,
    )
    parser.add_argument("--task", required=True, choices=tuple(SETTINGS))
    parser.add_argument(
        "--arch", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES), help="(default: all three)"
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        help=f"checkpoints to start from, one for each --arch in its order, or one word, {RANDOM}, for all",
    )
    return parser


_PARSERS: Mapping[str, Callable[[], argparse.ArgumentParser]] = {
    "predict": predict_parser,
    "fill_mask": fill_mask_parser,
}


def check_options(command: str, argv: Sequence[str]) -> None:
    """Shows the help, or refuses, where ``python -m tasks.COMMAND`` is to do so for its options; else does nothing."""
    if command in _PARSERS:
        _PARSERS[command]().parse_args(argv)
        return
    if command == "qa":
        given, argv = question_parser().parse_known_args(argv)
        if given.ask:
            ask_parser().parse_args(argv)
            return
    if command == "compare":
        given, argv = compare_parser().parse_known_args(argv)
        command = given.task
    check(SETTINGS[command], argv, task=command)
