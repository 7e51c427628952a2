"""Classification as a plain script of transformers and datasets, the peer of :mod:`benchmarks.labelled_growth`.

Reads JSON lines with ``text`` and ``label`` by datasets, tokenizes them in batches with the checkpoint's fast
tokenizer, and trains in a plain loop: padding to the longest, AdamW. Reports steps as :mod:`benchmarks.until_step`
does.

    python -m benchmarks.plain_classification --weights MODEL --train train.jsonl --steps 1
"""

import argparse
import time
from typing import Any

import torch
from datasets import load_dataset
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

from benchmarks.steps import report

BATCH, LR, DEV_SHARE = 32, 5e-5, 0.1


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plain_classification", description="A plain script of transformers and datasets."
    )
    parser.add_argument("--weights", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=1)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.weights)
    texts = load_dataset("json", data_files=options.train, split="train").class_encode_column("label")
    labels = texts.features["label"].names

    def tokenize(batch: dict[str, Any]) -> Any:
        return tokenizer(batch["text"], truncation=True, max_length=options.max_length)

    examples = texts.map(tokenize, batched=True, remove_columns=["text"])
    train = examples.train_test_split(DEV_SHARE, seed=0)["train"]
    model = AutoModelForSequenceClassification.from_pretrained(
        options.weights, num_labels=len(labels), ignore_mismatched_sizes=True, dtype=torch.float32
    )
    loader: DataLoader[Any] = DataLoader(
        train, batch_size=BATCH, shuffle=True, collate_fn=DataCollatorWithPadding(tokenizer)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.01)
    model.train()
    first, tokens = 0.0, 0
    for step, batch in enumerate(loader, start=1):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step == 1:
            first = time.perf_counter()
        else:
            tokens += int(batch["attention_mask"].sum())
        if step in (1, options.steps):
            rate = tokens / (time.perf_counter() - first) if step > 1 else 0
            report(step, loss=loss.item(), tokens_per_second=rate)
        if step == options.steps:
            break


if __name__ == "__main__":
    main()
