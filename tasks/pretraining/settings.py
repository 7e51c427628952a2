"""What ``python -m tasks.pretraining`` can be set to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from minibert.errors import InputError
from minibert.training.settings import option_name
from tasks.settings import RANDOM, RunSettings

MASKING_UNITS = ("token", "word", "ngram")


@dataclass(frozen=True, kw_only=True)
class PretrainingSettings(RunSettings):
    """The options of this task."""

    about = "Pre-train BERT, ALBERT or RoBERTa on plain text."

    train: str | None = field(default=None, metadata={"help": "not used; the training files are those of --corpus"})
    corpus: tuple[str, ...] = field(
        default=(),
        metadata={
            "resumable": True,
            "help": "text files, also .gz: a paragraph a line, a blank line between documents",
        },
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
