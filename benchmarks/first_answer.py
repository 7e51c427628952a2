"""Loads a text classifier, answers one text and ends, as one of the contenders of :mod:`benchmarks.loading`.

Prints a line after its imports, and then, as ``python -m tasks.predict`` does, one with the answer's probabilities.

    python -m benchmarks.first_answer transformers MODEL "A text."
"""

import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LABELS = {0: "bad", 1: "good"}
IMPORTED = "imported"


def _loaded(folder: str, text: str) -> dict[str, float]:
    # Imported here, as in the other contenders, because each has imports of its own, which takes seconds.
    from tasks.predict import load

    print(IMPORTED, flush=True)
    probabilities: dict[str, float] = load(folder)(text)["probabilities"]
    return probabilities


def _modules(folder: str, text: str) -> dict[str, float]:
    # Imported here because it takes seconds.
    import torch

    # Imported here because it takes seconds.
    from minibert import SequenceClassifier, Tokenizer, pack

    print(IMPORTED, flush=True)
    model, tokenizer = SequenceClassifier.from_pretrained(folder).eval(), Tokenizer.from_pretrained(folder)
    ids, _ = tokenizer.with_special_tokens(tokenizer.encode(text).ids)
    with torch.inference_mode():
        logits = model(pack([ids]))
    return _by_label(logits)


def _transformers(folder: str, text: str) -> dict[str, float]:
    # Imported here because it takes seconds.
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    print(IMPORTED, flush=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        logits = model(**tokenizer(text, return_tensors="pt")).logits
    return _by_label(logits)


def _by_label(logits: "Tensor") -> dict[str, float]:
    return dict(zip(LABELS.values(), logits[0].softmax(-1).tolist(), strict=True))


CONTENDERS: Mapping[str, Callable[[str, str], dict[str, float]]] = {
    "minibert": _loaded,
    "minibert-modules": _modules,
    "transformers": _transformers,
}

if __name__ == "__main__":
    name, folder, text = sys.argv[1:]
    print(json.dumps({"probabilities": CONTENDERS[name](folder, text)}), flush=True)
