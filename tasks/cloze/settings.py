"""Settings of ``python -m tasks.cloze``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from minibert.errors import InputError
from minibert.training.settings import setting
from tasks.classification.settings import ClassificationSettings
from tasks.settings import RunSettings

MASK = re.compile(r"\[MASK\]|<mask>")
"""The mask token of BERT and ALBERT, and that of RoBERTa; templates may use either with every model."""
TEXT = "{text}"
"""The placeholder in a template."""
ALL_SHOTS = "all"
"""The value of ``--shots`` for all examples."""


@dataclass(frozen=True, kw_only=True)
class ClozeSettings(ClassificationSettings):
    about = "Label sentences by what a pre-trained model expects in a gap, with no training or a few examples."

    if_small: ClassVar[Mapping[str, Any]] = RunSettings.if_small  # R-Drop has not been tried on so few examples

    template: str = setting(
        "", "sentence with {text} and [MASK] in it, once each, such as '{text} It was [MASK].'", answers=True
    )
    words: tuple[str, ...] = setting(
        (),
        "label=word or label=word,word for each label; each word must be one token; several are averaged",
        answers=True,
    )
    shots: tuple[str, ...] = setting(
        (), "compare with fine-tuning on this many examples of each label, such as 0 8 64 all", resumable=True
    )

    may_have_ngrams = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind != "single":
            raise InputError(f"--kind {self.kind}: a gap has one answer; use python -m tasks.classification.")
        if self.teacher is not None:
            raise InputError("--teacher: a prompt learns from its own examples; teach a model of tasks.classification.")
        if self.pair_column is not None:
            raise InputError(f"--pair-column {self.pair_column}: a template has room for one text; leave it out.")
        if self.template.count(TEXT) != 1 or len(MASK.findall(self.template)) != 1:
            raise InputError(
                f"--template {self.template!r}: must hold {TEXT} once, where the text goes, and [MASK] once, where "
                "the word goes."
            )
        self.verbaliser()
        for shots in self.shots:
            if shots != ALL_SHOTS and not (shots.isdecimal() and shots.isascii()):
                raise InputError(f"--shots {shots}: give numbers of examples, 0 or more, or {ALL_SHOTS}.")
        if self.shots and self.dev is not None:
            raise InputError(
                "--dev: cannot be combined with --shots, which draws the dev examples from --train; leave it out."
            )

    def verbaliser(self) -> dict[str, list[str]]:
        """The words of each label; labels in alphabetical order.

        Raises:
            InputError: ``words`` cannot be parsed, or has a label twice, or fewer than two labels.
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
