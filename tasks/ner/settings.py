"""Settings of ``python -m tasks.ner``, and of all tasks that label words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from minibert.training.settings import setting
from tasks.read.columns import TEXT_NAMES
from tasks.read.spans import LIST_COLUMNS, OFFSETS, SPAN_COLUMNS, TAG_COLUMNS, WORD_COLUMNS
from tasks.settings import DistillationSettings, RunSettings

CRF, LINEAR = "crf", "linear"
"""The values of ``--head``: the best sequence of labels, or each word by itself."""
CRF_LR = 1e-3
"""The least learning rate of a CRF, unless ``--head-lr`` is set: its transitions start at 0, and the encoder's rate
would hardly move them."""


def _head(default: str) -> Any:
    about = "crf (scores which tags follow each other, too; --head-lr is then 1e-3 or more by default) or linear"
    return setting(default, about, choices=(CRF, LINEAR), answers=True)


@dataclass(frozen=True, kw_only=True)
class WordLabelSettings(DistillationSettings):
    """The settings that tasks with a label for each word share."""

    # The small models gain one to three points over 5e-4 (benchmarks/results/2026-11-25-pretraining.md).
    if_small: ClassVar[Mapping[str, Any]] = {**RunSettings.if_small, "lr": 1e-3}

    head: str = _head(LINEAR)
    overlap: int = setting(
        64, "tokens that the windows of a long sentence share, up to half a window", at_least=0, answers=True
    )

    def fingerprint(self) -> dict[str, Any]:
        """After the weights comes the head, on which the learning rate of an unchanged ``--head-lr`` depends."""
        values = super().fingerprint()
        return {name: values[name] for name in ("--weights", "--head")} | values


@dataclass(frozen=True, kw_only=True)
class NerSettings(WordLabelSettings):
    about = "Fine-tune an encoder for named entities."
    metric_names = ("strict_f1", "default_f1")

    head: str = _head(CRF)
    scheme: str = setting("auto", "tags in the files: auto, iob1, bio, bioes, bmes, or io (types alone)", scored=True)
    text_column: str | None = setting(
        None,
        "name of the text's or word's column or field, or its number where a line has a word (default: recognised: "
        f"{', '.join((*TEXT_NAMES, *LIST_COLUMNS, *WORD_COLUMNS))})",
        answers=True,
    )
    tag_column: str | None = setting(
        None,
        "name of the column or field of tags or spans, or its number where a line has a word (default: recognised: "
        f"{', '.join(dict.fromkeys((*TAG_COLUMNS, *SPAN_COLUMNS)))}; the last column of words)",
        scored=True,
    )
    label_names: tuple[str, ...] = setting(
        (),
        "names of tags that are whole numbers, from 0, such as O B-PER I-PER; or a file with a name a line",
        scored=True,
    )
    offsets: str = setting(
        "auto",
        "unit of the spans' offsets (default: characters, unless the file shows another)",
        choices=OFFSETS,
        scored=True,
    )
