"""What the tests of answers share: small models without training, as another tool might have left them."""

from pathlib import Path
from typing import Any

import torch
from conftest import scramble, tiny_config

from minibert import (
    CrfTokenClassifier,
    MultipleChoiceClassifier,
    PretrainingModel,
    SequenceClassifier,
    SpanClassifier,
    TokenClassifier,
    Tokenizer,
)

WORDS = ["Ann", "went", "to", "Rome", "and", "saw", "Bob", "."]
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
TEXTS = [" ".join(WORDS[: 1 + (i * 5) % 8]) for i in range(60)]
MODELS = {
    "ner": (TokenClassifier, TAGS),
    "crf": (CrfTokenClassifier, TAGS),
    "classification": (SequenceClassifier, {0: "bad", 1: "good"}),
    "span_qa": (SpanClassifier, None),
    "fill_mask": (PretrainingModel, None),
}


def make_run(folder: Path, name: str, **changes: Any) -> str:
    """An untrained model as another tool might have left it: without a run's settings. ``changes`` are of its shape."""
    model_class, labels = MODELS.get(name, (MultipleChoiceClassifier, None))
    tokenizer = Tokenizer.train([WORDS] * 2, model_type="bert", vocab_size=80)
    config = tiny_config("bert", vocab_size=tokenizer.vocab_size, max_position_embeddings=40, **changes)
    torch.manual_seed(3)
    model = model_class(config if labels is None else config.with_labels(labels))
    scramble(model.encoder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, for_words=name in ("ner", "crf"))
    return str(folder)


def close(row: Any, expected: Any) -> bool:
    """Equal but for the last digit of numbers."""
    if isinstance(row, float):
        return abs(row - expected) <= 2e-6
    if isinstance(row, dict):
        return row.keys() == expected.keys() and all(close(row[key], expected[key]) for key in row)
    if isinstance(row, list):
        return len(row) == len(expected) and all(map(close, row, expected))
    return bool(row == expected)
