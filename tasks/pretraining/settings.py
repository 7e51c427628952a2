"""Settings of ``python -m tasks.pretraining``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from minibert.errors import InputError
from minibert.training.settings import option_name, setting
from tasks.settings import RANDOM, RunSettings, check_exist

DOCUMENTS = ("auto", "blank", "lines", "headings")
MASKING_UNITS = ("token", "word", "ngram")


@dataclass(frozen=True, kw_only=True)
class PretrainingSettings(RunSettings):
    about = "Pre-train an encoder on plain text."
    metric_names = ("masked_accuracy",)

    train: str | None = setting(None, "")  # the training files are those of --corpus
    corpus: tuple[str, ...] = setting(
        (), "text files, also .gz: a paragraph a line, a blank line between documents", resumable=True
    )
    documents: str = setting(
        "auto",
        "what divides documents: blank (lines), lines (each is one) or headings (= Title =) (default: headings for "
        "WikiText, else blank)",
        choices=DOCUMENTS,
    )
    tokenizer: str | None = setting(
        None, "tokenizer folder for a new model, from tools/train_tokenizer.py (default: a small one of the corpus)"
    )
    model_config: str | None = setting(
        None, "JSON file with the fields of config.json in which the model differs from the small one"
    )
    masking: str | None = setting(
        None,
        "what is masked as a whole: token, word or ngram; Chinese characters are words (default: token; ngram, 1 to 3 "
        "words, for ALBERT)",
        choices=MASKING_UNITS,
    )
    words_alone: bool = setting(
        False,
        "learn masked words alone, in running text, as RoBERTa does; a head for pairs of segments stays as it is",
    )
    teacher: str | None = setting(
        None,
        "checkpoint folder or hub name of a larger encoder, whose states are learnt besides (default: none)",
        resumable=True,
    )
    teacher_weight: float = setting(
        1.0, "of the distance from the teacher's states, beside the loss of the words", above=0, advanced=True
    )
    static_masks: bool = setting(False, "the same masks and pairs in every epoch")
    weights: str | None = setting(
        None,
        "checkpoint folder or hub name to continue from; random for random weights (default: a small model initialised "
        "from co-occurrences in the corpus)",
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
        if self.teacher == "":
            raise InputError("--teacher: is empty (an unset shell variable?); give a value, or leave the option out.")
        if self.train is not None:
            raise InputError(f"--train {self.train}: give the files to pre-train on with --corpus.")
        if not self.corpus:
            raise InputError(
                "--corpus: needed; name text files, a paragraph a line and a blank line between documents."
            )
        for name in ("tokenizer", "model_config"):
            if not self.from_random and getattr(self, name) is not None:
                raise InputError(
                    f"{option_name(name)}: cannot be combined with --weights, which have their own; leave it out."
                )

    def fingerprint(self) -> dict[str, Any]:
        """Runs of before there was ``--words-alone`` have none."""
        return {**super().fingerprint(), "--words-alone": self.words_alone or None}

    def check_files(self) -> None:
        super().check_files()
        check_exist(self.corpus)
