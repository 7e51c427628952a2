"""Vectors of texts, as the outputs of a task."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from tokenizers.normalizers import Lowercase
from torch import Tensor, nn

from minibert import Encoder, EncoderConfig, Tokenizer
from minibert.errors import InputError
from minibert.formats.sentence_transformers import MEAN, POOLINGS
from minibert.loading import LoadReport
from minibert.training import LabelledBatch
from minibert.training.settings import setting
from tasks.classification.data import text_fields
from tasks.data import Encoded, PlainExample, Split
from tasks.settings import LOSS, RunSettings
from tasks.task import Task

_LOWERCASE = Lowercase()  # as sentence-transformers has it
Vector = npt.NDArray[np.float32]
VECTOR = "vector"
"""The field of an answer."""


@dataclass(frozen=True, kw_only=True)
class EmbedSettings(RunSettings):
    about = "Vectors of texts."
    metric_names = (LOSS,)

    text_column: str | None = setting(None, "name of the text's column or field (default: recognised)")
    pooling: str = setting(MEAN, "mean of all tokens, or the first one", choices=POOLINGS)
    normalize: bool = setting(False, "scale vectors to length 1")
    lower_case: bool = setting(False, "put texts in lower case")
    prompt: str = setting("", "put before each text")


class EmbedTask(Task[str, PlainExample, Vector]):
    """A vector for each text, ``(C,)`` in fp32: the mean of its last hidden states, special tokens included, or that of
    its first token."""

    name = "embed"
    settings_class = EmbedSettings
    model_class = Encoder
    settings: EmbedSettings

    def read(self, path: str) -> Split[str]:
        raise InputError(f"{path}: this task learns nothing.")

    def untrained(self, report: LoadReport) -> Sequence[str]:
        """None that vectors need: they are taken before the pooler."""
        return ()

    def load_calibration(self, record: Mapping[str, Any], place: str) -> None:
        """Leaves it out: it belongs to the head of a run."""

    def encode(self, items: Sequence[str], tokenizer: Tokenizer, config: EncoderConfig) -> Encoded[PlainExample]:
        """The notes count unknown tokens, texts that were cut to fit, and the tokens cut off."""
        room = max(0, (self.settings.max_length or config.max_length) - tokenizer.num_special_tokens())
        examples = []
        notes: Counter[str] = Counter()
        texts = [f"{self.settings.prompt}{text}" for text in items]
        if self.settings.lower_case:
            texts = [_LOWERCASE.normalize_str(text) for text in texts]
        for ids in tokenizer.encode_batch(texts):
            lost = max(0, len(ids) - room)
            whole, _ = tokenizer.with_special_tokens(ids[:room])
            notes["cut_texts"] += lost > 0
            notes["cut_tokens"] += lost
            notes["unknown_tokens"] += whole.count(tokenizer.unk_token_id)
            examples.append(PlainExample(np.array(whole, np.int32), 0, 0))
        return Encoded(examples=examples, counts=[1] * len(examples), notes=notes)

    def losses(self, model: nn.Module, logits: Any, batch: LabelledBatch) -> Tensor:
        return torch.zeros(batch.inputs.num_sequences)

    def decode(
        self, model: nn.Module, logits: Any, batch: LabelledBatch, examples: Sequence[PlainExample]
    ) -> list[Vector]:
        """The vectors of a batch, of an encoder's output."""
        states, inputs = logits.last_hidden_state, batch.inputs
        vectors = inputs.mean(states) if self.settings.pooling == MEAN else states[inputs.first_tokens].float()
        if self.settings.normalize:
            vectors = F.normalize(vectors)
        return list(vectors.cpu().numpy())

    def outputs(self, model: nn.Module, items: Sequence[str], decoded: Sequence[Sequence[Vector]]) -> list[Vector]:
        return [vector for (vector,) in decoded]

    def compute_metrics(self, items: Sequence[str], outputs: Sequence[Vector]) -> dict[str, float]:
        return {}

    def parse_input(self, record: Mapping[str, Any], place: str) -> str:
        return text_fields(record, place, text_column=self.settings.text_column, pair_column=None)[0]

    def format_answer(self, item: str, output: Vector) -> dict[str, Any]:
        """The vector as an array: whoever writes it chooses how."""
        return {"text": item, VECTOR: output}
