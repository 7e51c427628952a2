"""Teachers: models of the tasks as another tool might have left them, and data for what learns from them."""

from pathlib import Path
from typing import Any

import torch
from conftest import BAD, GOOD, scramble, tiny_config, write

from minibert import CrfTokenClassifier, TokenClassifier, Tokenizer
from tasks import registry
from tasks.run.options import parse
from tasks.run.prepare import Prepared, prepare
from tasks.task import Task

TEXTS = [f"a {(GOOD if i % 2 else BAD)[i // 2 % 3]} thing number {i}" for i in range(24)]
SMALL = ["--weights", "random", "--epochs", "2", "--batch-size", "8", "--precision", "fp32"]
TAGS = {0: "I-PER", 1: "O", 2: "B-LOC", 3: "B-PER", 4: "I-LOC"}  # not in the order of a new model


def make_teacher(folder: Path, model_class: Any, labels: dict[int, str] | None, family: str, words: Any) -> Any:
    """An untrained model with a tokenizer of its own, as another tool might have left it."""
    for_words = model_class in (TokenClassifier, CrfTokenClassifier)
    tokenizer = Tokenizer.train(words, model_type=family, vocab_size=150, running_text=not for_words)
    sizes = {"vocab_size": tokenizer.vocab_size, "pad_token_id": tokenizer.pad_token_id}
    config = tiny_config(family, **sizes, max_position_embeddings=40)
    torch.manual_seed(3)
    model = model_class(config if labels is None else config.with_labels(labels)).eval()
    scramble(model.encoder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, for_words=for_words, config=config)
    return model, tokenizer


def prepared(name: str, options: list[str]) -> tuple[Task[Any, Any, Any], Prepared]:
    task = registry.task_class(name)(parse(registry.settings_class(name), options, task=name).settings)
    return task, prepare(task)


def texts_file(path: Path, **more: Any) -> str:
    return write(path, [{"text": text, "label": "good" if i % 2 else "bad", **more} for i, text in enumerate(TEXTS)])


def lines_file(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)
