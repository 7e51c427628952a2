"""Words for masks, as the answers of a task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from minibert import EncoderConfig, Tokenizer, pack
from minibert.batch import IntSequence
from minibert.errors import InputError
from minibert.loading import LoadReport
from minibert.training import LabelledBatch
from minibert.training.settings import setting
from tasks.cloze.settings import MASK
from tasks.cloze.task import ClozeModel
from tasks.data import Encoded, Split
from tasks.read.tables import find
from tasks.run.start_model import require_trained_head
from tasks.settings import LOSS, RunSettings
from tasks.task import Task

_TOP = 5
_MOST_WORDS = 2_000
"""In an answer: each takes ten microseconds, and others wait."""


@dataclass(frozen=True, kw_only=True)
class FillMaskSettings(RunSettings):
    about = "Fill masks by a pre-trained model."
    metric_names = (LOSS,)

    text_column: str | None = setting(None, "name of the text's column or field (default: text)")


@dataclass(frozen=True, kw_only=True)
class MaskedText:
    """A text with masks.

    Attributes:
        text: as given.
        place: where it was given, for messages.
        top_k: how many words to give for each mask.
        targets: only the probabilities of these words are asked for; empty for the likeliest words.
    """

    text: str
    place: str
    top_k: int
    targets: tuple[str, ...] = ()


class MaskedExample(NamedTuple):
    """A text as the model sees it: ids with special tokens, the positions of its masks, how many words to give, and the
    ids of the words that are asked for."""

    ids: IntSequence
    masks: list[int]
    top_k: int
    targets: list[int]


class Word(NamedTuple):
    """A token, as text, and its probability."""

    token: int
    text: str
    probability: float


class FillMaskTask(Task[MaskedText, MaskedExample, list[list[Word]]]):
    """The likeliest words for each mask of a text, independently."""

    name = "fill_mask"
    settings_class = FillMaskSettings
    model_class = ClozeModel
    unit = "mask"
    settings: FillMaskSettings
    _top_k = _TOP

    def load_calibration(self, record: Mapping[str, Any], place: str) -> None:
        """Leaves it out: it belongs to the labels of a run, not to its words."""

    def read(self, path: str) -> Split[MaskedText]:
        raise InputError(f"{path}: this task learns nothing; train with python -m tasks.pretraining.")

    def check_loaded(self, report: LoadReport, weights: object) -> None:
        require_trained_head(report, weights)

    def untrained(self, report: LoadReport) -> Sequence[str]:
        """None that answers need, once :meth:`check_loaded` has passed: pooler and pair head are for pairs."""
        return ()

    def encode(
        self, items: Sequence[MaskedText], tokenizer: Tokenizer, config: EncoderConfig
    ) -> Encoded[MaskedExample]:
        """Raises InputError where a text has no mask, or is too long for the model."""
        self._tokenizer = tokenizer
        mask = tokenizer.special_tokens["mask"]
        examples = []
        for item in items:
            written = MASK.sub(lambda _: mask, item.text)
            ids, _ = tokenizer.with_special_tokens(tokenizer.encode(written).ids)
            masks = [index for index, token in enumerate(ids) if token == tokenizer.mask_token_id]
            if len(masks) != len(MASK.findall(item.text)) or not masks:
                raise InputError(f"{item.place}: holds no {mask} to fill; write it where a word is missing.")
            if len(ids) > config.max_length:
                raise InputError(
                    f"{item.place}: has {len(ids)} tokens, and the model has positions for {config.max_length}; "
                    "shorten it."
                )
            targets = [_first_token(tokenizer, word, item.place) for word in item.targets]
            examples.append(MaskedExample(np.array(ids, np.int32), masks, item.top_k, targets))
        return Encoded(examples=examples, counts=[1] * len(examples))

    def collate(self, examples: Sequence[MaskedExample]) -> LabelledBatch:
        """Packs texts; there are no targets, and outputs are needed for the masks alone."""
        inputs = pack([example.ids for example in examples])
        starts = inputs.cu_seqlens[:-1].tolist()
        masks = [start + mask for start, example in zip(starts, examples, strict=True) for mask in example.masks]
        return LabelledBatch(
            inputs=inputs, targets=torch.zeros(0, dtype=torch.long), num_targets=0, positions=torch.tensor(masks)
        )

    def losses(self, model: nn.Module, logits: Any, batch: LabelledBatch) -> Tensor:
        return torch.zeros(batch.inputs.num_sequences)

    def decode(
        self, model: nn.Module, logits: Tensor, batch: LabelledBatch, examples: Sequence[MaskedExample]
    ) -> list[list[list[tuple[int, float]]]]:
        """For each text and mask, tokens with their probabilities."""
        # An embedding may have more rows than the tokenizer has tokens.
        size = self._tokenizer.vocab_size
        of_masks = logits.float().softmax(-1)[:, :size].split([len(example.masks) for example in examples])
        decoded = []
        for probabilities, example in zip(of_masks, examples, strict=True):
            if example.targets:
                tokens = torch.tensor(sorted(set(example.targets)), device=probabilities.device)
                values, order = probabilities[:, tokens].sort(-1, descending=True)
                values, found = values[:, : example.top_k], tokens[order[:, : example.top_k]]
            else:
                values, found = probabilities.topk(min(example.top_k, size))
            pairs = zip(found.tolist(), values.tolist(), strict=True)
            decoded.append([list(zip(*of_mask, strict=True)) for of_mask in pairs])
        return decoded

    def outputs(
        self, model: nn.Module, items: Sequence[MaskedText], decoded: Sequence[Sequence[Any]]
    ) -> list[list[list[Word]]]:
        return [
            [[Word(token, self._tokenizer.decode([token]), value) for token, value in of_mask] for of_mask in of_text]
            for (of_text,) in decoded
        ]

    def compute_metrics(self, items: Sequence[MaskedText], outputs: Sequence[list[list[Word]]]) -> dict[str, float]:
        return {}

    def parse_input(self, record: Mapping[str, Any], place: str) -> MaskedText:
        """``text``, and perhaps ``top_k`` (words for each mask, 5 by default) and ``targets`` (a list of words whose
        probabilities are asked for)."""
        text = record.get(find(list(record), [(self.settings.text_column or "text").lower()]) or "")
        targets = record.get("targets", [])
        top_k = record.get("top_k", len(targets) if targets and isinstance(targets, list) else self._top_k)
        if not isinstance(text, str):
            raise InputError(f"{place}: needs text.")
        if not MASK.search(text):
            raise InputError(f"{place}: holds no [MASK] to fill; write it where a word is missing.")
        if type(top_k) is not int or top_k < 1:
            raise InputError(f"{place}: top_k must be a whole number of 1 or more.")
        if top_k > 1 and top_k * len(MASK.findall(text)) > _MOST_WORDS:
            raise InputError(
                f"{place}: top_k {top_k:,} for {len(MASK.findall(text)):,} masks asks for more than {_MOST_WORDS:,} "
                "words; lower it."
            )
        if not isinstance(targets, list) or not all(isinstance(word, str) for word in targets):
            raise InputError(f"{place}: targets must be a list of words.")
        return MaskedText(text=text, place=place, top_k=top_k, targets=tuple(targets))

    def set_top_k(self, top_k: int) -> None:
        """For inputs that do not say it themselves."""
        self._top_k = top_k

    def format_answer(self, item: MaskedText, output: list[list[Word]]) -> dict[str, Any]:
        """The masks by characters of the text, with their words."""
        spans = [match.span() for match in MASK.finditer(item.text)]
        asked: dict[int, list[str]] = {}
        for target in item.targets:
            asked.setdefault(_first_token(self._tokenizer, target, item.place), []).append(target)
        return {
            "text": item.text,
            "masks": [
                {
                    "start": start,
                    "end": end,
                    "words": [
                        {**word._asdict(), **({"targets": asked[word.token]} if word.token in asked else {})}
                        for word in words
                    ],
                }
                for (start, end), words in zip(spans, output, strict=True)
            ],
        }


def _first_token(tokenizer: Tokenizer, word: str, place: str) -> int:
    """The token of a word that is asked for: the first, if it has several, as in transformers."""
    ids = tokenizer.encode(word).ids
    if not ids:
        raise InputError(f"{place}: targets: {word!r} has no token; leave it out.")
    return ids[0]
