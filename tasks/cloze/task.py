"""Labels by filling a gap: ``python -m tasks.cloze --template "{text} It was [MASK]." --words positive=great ...``.

A template puts a text into a sentence with a gap, and each label has a word for the gap. A pre-trained model predicts
the label without any training, and learns fast from few examples (PET, Schick and Schütze 2021; LM-BFF, Gao et al.
2021). ``--shots 0 8 64`` compares this with ordinary fine-tuning on the same examples.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from minibert import EncoderConfig, Tokenizer
from minibert.batch import to_device
from minibert.errors import InputError
from minibert.heads import WordsModel
from minibert.loading import LoadReport
from minibert.tokenizer.tokenizer import Pieces
from minibert.traced import Batch
from minibert.training import Divergence, LabelledBatch, class_divergence
from tasks.classification.data import LabelledText
from tasks.classification.examples import Floats, TextExample
from tasks.classification.task import ClassificationTask
from tasks.cloze.settings import MASK, TEXT, ClozeSettings
from tasks.data import Encoded, Split
from tasks.run.start_model import require_trained_head


class ClozeModel(WordsModel):
    """A :class:`~minibert.heads.WordsModel` whose ``forward(batch, positions)`` returns logits ``(N, V)`` of words."""

    def forward(self, batch: Batch, positions: Tensor | None = None) -> Any:
        return super().forward(batch, positions)[0]


class Prompt(NamedTuple):
    """A text in its template, without special tokens except the mask.

    Attributes:
        ids: of all tokens.
        start, end: the tokens of the text itself.
    """

    ids: list[int]
    start: int
    end: int


class ClozeTask(ClassificationTask):
    """Labels by filling a gap."""

    name = "cloze"
    sample = ClassificationTask.name
    settings_class = ClozeSettings
    example_class = None  # encode also looks up the words
    model_class = ClozeModel
    settings: ClozeSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._mask_id = -1
        self._answers: list[list[int]] = []  # token ids of each label's words, in the order of the model's labels

    # -- data --------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Split[LabelledText]:
        split = super().read(path)
        if "pair_column" in split.notes:
            raise InputError(f"{path}: has pairs, but a template has room for one text; name it with --text-column.")
        return split

    # -- model -------------------------------------------------------------------------------------------------------

    def train_tokenizer(self, train: Split[LabelledText], arch: str) -> Tokenizer:
        raise InputError("--weights random: only a pre-trained model can fill a gap; leave it out, or name one.")

    def check_loaded(self, report: LoadReport, weights: object) -> None:
        require_trained_head(report, weights)

    def labels(self, train: Split[LabelledText]) -> dict[int, str]:
        """All labels of the training data in alphabetical order; ``--words`` must have the same labels."""
        labels, words = super().labels(train), self.settings.verbaliser()
        for label in labels.values():
            if label not in words:
                raise InputError(f"--words: none for the label {label} of {train.path}; add {label}=WORD.")
        for label in words:
            if label not in labels.values():
                some = ", ".join(labels.values())
                raise InputError(f"--words {label}: is not a label of {train.path} (it has {some}); correct it.")
        return labels

    def encode(
        self, items: Sequence[LabelledText], tokenizer: Tokenizer, config: EncoderConfig
    ) -> Encoded[TextExample]:
        """Puts texts into the template; truncates long texts, never the template or the mask.

        The notes are those of classification. Also looks up the tokens of the words, for losses and predictions.

        Raises:
            InputError: a word is not one token of the tokenizer, or the template alone fills the model.
        """
        self._mask_id, self._answers = tokenizer.mask_token_id, self._word_ids(tokenizer, config)
        room = (self.settings.max_length or config.max_length) - tokenizer.num_special_tokens()
        label2id = {label: index for index, label in config.id2label.items()}
        examples = []
        notes: Counter[str] = Counter()
        word = next(iter(self.settings.verbaliser().values()))[0]
        for item in items:
            ids, start, end = prompt(self.settings.template, item.text, word, tokenizer)
            lost = max(0, len(ids) - room)
            if lost and lost >= end - start:
                raise InputError(
                    f"--template: has {len(ids) - (end - start)} tokens without the text, and the model reads {room}; "
                    "shorten it, or raise --max-length."
                )
            del ids[end - lost : end]
            notes["cut_texts"] += lost > 0
            notes["cut_tokens"] += lost
            notes["unknown_tokens"] += ids.count(tokenizer.unk_token_id)
            whole, types = tokenizer.with_special_tokens(ids)
            target = self._target(item, label2id)
            examples.append(TextExample(np.array(whole, np.int32), np.array(types, np.int8), target, item.line))
        return Encoded(examples=examples, counts=[1] * len(examples), notes=notes)

    def _word_ids(self, tokenizer: Tokenizer, config: EncoderConfig) -> list[list[int]]:
        verbaliser = self.settings.verbaliser()
        before = MASK.split(self.settings.template)[0]
        blank = " " if before[-1:].isspace() else ""
        found: dict[int, str] = {}
        several: list[str] = []
        for label, words in verbaliser.items():
            for word in words:
                ids = (_inside(tokenizer, blank + word) if before.strip() else tokenizer.encode(word)).ids
                pieces = ", ".join(tokenizer.convert_ids_to_tokens(ids))
                if len(ids) != 1:
                    several.append(f"{word!r} ({pieces})")
                    continue
                if ids[0] in tokenizer.all_special_ids:
                    raise InputError(
                        f"--words {label}: {word!r} is unknown to this model's vocabulary; choose another."
                    )
                if ids[0] in found:
                    raise InputError(
                        f"--words {label}: {word!r} and {found[ids[0]]!r} are one token of this model ({pieces}); "
                        "leave one of them out."
                    )
                found[ids[0]] = word
        if several:
            raise InputError(
                f"--words: a gap has room for one token, and this model has more for {', '.join(several)}; choose "
                "other words."
            )
        id_of = {word: index for index, word in found.items()}
        return [[id_of[word] for word in verbaliser[config.id2label[i]]] for i in range(config.num_labels)]

    def collate(self, examples: Sequence[TextExample]) -> LabelledBatch:
        """Packs prompts; the positions are the masks."""
        batch = super().collate(examples)
        return dataclasses.replace(batch, positions=(batch.inputs.input_ids == self._mask_id).nonzero().flatten())

    def _scores(self, logits: Tensor) -> Tensor:
        """The logits of the labels ``(B, num_labels)``: each the mean over its words, as in PET's reference code."""
        words = to_device(torch.tensor(list(chain.from_iterable(self._answers))), logits.device)
        of_words = logits.index_select(1, words).float().split(list(map(len, self._answers)), dim=1)
        return torch.stack([of_label.mean(-1) for of_label in of_words], -1)

    def losses(self, model: nn.Module, logits: Tensor, batch: LabelledBatch) -> Tensor:
        return super().losses(model, self._scores(logits), batch)

    def divergence(self, model: nn.Module) -> Divergence:
        return lambda one, other, batch: class_divergence(self._scores(one), self._scores(other), batch)

    def decode(
        self, model: nn.Module, logits: Tensor, batch: LabelledBatch, examples: Sequence[TextExample]
    ) -> list[Floats]:
        return super().decode(model, self._scores(logits), batch, examples)

    # -- new text ----------------------------------------------------------------------------------------------------

    def parse_input(self, record: Mapping[str, Any], place: str) -> LabelledText:
        return super().parse_input(record, place)._replace(pair=None)


def prompt(template: str, text: str, word: str, tokenizer: Tokenizer) -> Prompt:
    """Puts a text into a template, tokenised as if ``word`` were in place of the mask.

    As in pre-training, the mask replaces a word and the space before it. A mask in the text itself becomes an unknown
    token, so that there is a single gap.
    """
    before, after = MASK.split(template)
    text = text.strip()
    sides = (
        tokenizer.encode(before.replace(TEXT, text).rstrip()),
        _inside(tokenizer, after.replace(TEXT, text), behind=word[-1]),
    )
    side = 0 if TEXT in before else 1
    first = (before, after)[side].index(TEXT)
    own = [i for i, (start, end) in enumerate(sides[side].offsets) if first <= start and end <= first + len(text)]
    for index in own:
        if sides[side].ids[index] == tokenizer.mask_token_id:
            sides[side].ids[index] = tokenizer.unk_token_id
    shift = side * (len(sides[0].ids) + 1)
    start, end = (own[0] + shift, own[-1] + 1 + shift) if own else (shift, shift)
    return Prompt([*sides[0].ids, tokenizer.mask_token_id, *sides[1].ids], start, end)


def _inside(tokenizer: Tokenizer, text: str, *, behind: str = "a") -> Pieces:
    """The tokens of a text that follows a character: BPE and Unigram have different ones at the start of a text."""
    if not text or text[0].isspace():
        return tokenizer.encode(text)
    # No tokenizer joins a letter and a mark, but Unigram joins Chinese characters.
    pieces = tokenizer.encode(("," if text[0].isalnum() else behind) + text)
    kept = [i for i, (start, _) in enumerate(pieces.offsets) if start > 0]
    return Pieces([pieces.ids[i] for i in kept], [(pieces.offsets[i][0] - 1, pieces.offsets[i][1] - 1) for i in kept])
