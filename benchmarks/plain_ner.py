"""NER as a plain transformers script, the peer of :mod:`benchmarks.first_step`.

Reads files with a character and its tag on each line, tokenizes them with the checkpoint's fast tokenizer, and trains
in a plain loop: autocast, padding to the longest, AdamW. Prints a line per step and ends after ``--steps`` steps.

    python -m benchmarks.plain_ner --weights MODEL --train train.txt.gz --dev dev.txt.gz --steps 1
"""

import argparse
import gzip
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    get_linear_schedule_with_warmup,
)

from benchmarks.steps import report

EPOCHS, BATCH, LR = 3, 32, 5e-5


def read(path: str) -> list[tuple[list[str], list[str]]]:
    """The characters and the tags of each sentence."""
    sentences = []
    characters: list[str] = []
    tags: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip():
                character, tag = line.split()
                characters.append(character)
                tags.append(tag)
            elif characters:
                sentences.append((characters, tags))
                characters, tags = [], []
    if characters:
        sentences.append((characters, tags))
    return sentences


def encode(sentences: list[tuple[list[str], list[str]]], tokenizer: Any, label2id: dict[str, int]) -> list[Any]:
    """Ids and labels; the first token of a character carries its tag."""
    encodings = tokenizer([characters for characters, _ in sentences], is_split_into_words=True, truncation=True)
    examples = []
    for index, (_, tags) in enumerate(sentences):
        labels, previous = [], None
        for word in encodings.word_ids(index):
            labels.append(-100 if word is None or word == previous else label2id[tags[word]])
            previous = word
        examples.append({"input_ids": encodings["input_ids"][index], "labels": labels})
    return examples


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plain_ner", description="A plain transformers script.")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--dev", required=True)
    parser.add_argument("--steps", type=int, default=1)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, dev = read(options.train), read(options.dev)
    labels = sorted({tag for _, tags in train for tag in tags})
    label2id = {label: index for index, label in enumerate(labels)}
    tokenizer = AutoTokenizer.from_pretrained(options.weights)
    examples, _ = encode(train, tokenizer, label2id), encode(dev, tokenizer, label2id)
    model = AutoModelForTokenClassification.from_pretrained(
        options.weights, label2id=label2id, id2label=dict(enumerate(labels)), ignore_mismatched_sizes=True
    ).to(device)
    loader: DataLoader[Any] = DataLoader(
        examples,  # type: ignore[arg-type]  # a list is enough
        batch_size=BATCH,
        shuffle=True,
        collate_fn=DataCollatorForTokenClassification(tokenizer),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.01)
    num_steps = EPOCHS * len(loader)
    schedule = get_linear_schedule_with_warmup(optimizer, num_steps // 10, num_steps)
    model.train()
    for step, batch in enumerate(loader, start=1):
        with torch.autocast(device.type, torch.bfloat16):
            loss = model(**batch.to(device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        report(step, loss=loss.item())
        if step == options.steps:
            break


if __name__ == "__main__":
    main()
