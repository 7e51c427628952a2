"""Compares the result of fine-tuning with that of transformers.

Trains NER twice from the same checkpoint and the same initial head: once with minibert's model and loop, once with
transformers' model in a plain padded loop over the same batches, in the same order, with the same optimizer settings.
Prints the strict F1 on the dev file after each epoch, and one JSON line last.

    python -m benchmarks.ner_parity --weights MINILM --train eng.train.gz --dev eng.testa.gz --precision bf16
"""

import argparse
import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from benchmarks.reference import transformers
from minibert.training import Examples, LabelledBatch, Trainer, autocast, choose_device, choose_precision
from minibert.training.data import shuffled
from minibert.training.optimizer import LinearSchedule
from tasks.ner import task as ner
from tasks.ner.data import bio_tags
from tasks.ner.settings import LINEAR, NerSettings
from tasks.ner.word_labels import Window
from tasks.run.console import run_main
from tasks.run.evaluate import evaluate
from tasks.run.folder import device_name, versions
from tasks.run.prepare import prepare


def padded(windows: Sequence[Window], pad_token_id: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The ids, attention mask and targets of windows, each ``(B, S)``."""
    ids = [torch.from_numpy(window.ids.astype(np.int64)) for window in windows]
    targets = [torch.from_numpy(window.targets.astype(np.int64)) for window in windows]
    mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
    return (
        pad_sequence(ids, batch_first=True, padding_value=pad_token_id).to(device),
        mask.to(device),
        pad_sequence(targets, batch_first=True, padding_value=-100).to(device),
    )


def train_theirs(
    model: nn.Module, windows: list[Window], settings: NerSettings, pad_token_id: int, device: torch.device
) -> Iterator[int]:
    """Trains in a plain loop; yields after each epoch."""
    precision, lr = choose_precision(settings.precision, device), settings.lr
    assert lr is not None
    decays = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decays, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=lr,
    )
    assert settings.batch_size is not None
    steps = settings.epochs * math.ceil(len(windows) / settings.batch_size)
    factor = LinearSchedule(num_steps=steps, warmup_ratio=settings.warmup_ratio).factor
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    torch.manual_seed(settings.seed)
    for epoch in range(1, settings.epochs + 1):
        model.train()
        order = shuffled(len(windows), settings.seed, epoch)
        for start in range(0, len(order), settings.batch_size):
            batch = [windows[i] for i in order[start : start + settings.batch_size]]
            ids, mask, targets = padded(batch, pad_token_id, device)
            with autocast(device, precision):
                logits = model(input_ids=ids, attention_mask=mask).logits
                loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        yield epoch


@torch.inference_mode()
def their_tags(
    model: nn.Module, windows: list[Window], settings: NerSettings, pad_token_id: int, device: torch.device
) -> list[int]:
    """The likeliest tag of every word, in order."""
    model.eval()
    chosen = []
    for start in range(0, len(windows), 64):
        ids, mask, targets = padded(windows[start : start + 64], pad_token_id, device)
        with autocast(device, choose_precision(settings.precision, device)):
            logits = model(input_ids=ids, attention_mask=mask).logits
        chosen.append(logits.argmax(-1)[targets != -100])
    return torch.cat(chosen).tolist()


def read_settings() -> NerSettings:
    """The settings of both trainings, from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ner_parity", description="NER in minibert and in transformers."
    )
    parser.add_argument("--weights", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--dev", required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16"))
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--device", default="auto")
    return NerSettings(head=LINEAR, **vars(parser.parse_args()))


def main() -> None:
    settings = read_settings()
    device = choose_device(settings.device)
    task = ner.NerTask(settings)
    prepared = prepare(task)
    settings = task.settings  # with what depends on the model
    model, tokenizer = prepared.start.model, prepared.start.tokenizer
    config = model.config
    windows = {name: list(encoded.examples) for name, encoded in prepared.encoded.items()}
    sentences = prepared.splits["dev"].items
    gold = [bio_tags(sentence) for sentence in sentences]
    print(f"model {prepared.start.line}")
    with tempfile.TemporaryDirectory() as start:
        model.save_pretrained(start)
        theirs = transformers.AutoModelForTokenClassification.from_pretrained(start, attn_implementation="sdpa")

    results: dict[str, dict[str, list[float]]] = {name: {"strict_f1": [], "seconds": []} for name in ("ours", "theirs")}

    def note(name: str, tags: list[list[str]], seconds: float) -> None:
        results[name]["strict_f1"].append(ner.score(gold, tags)[0]["strict_f1"])
        results[name]["seconds"].append(round(seconds, 1))
        print(
            f"{name:6} epoch {len(results[name]['seconds'])}: strict F1 {results[name]['strict_f1'][-1]:.4f}",
            flush=True,
        )

    model.to(device)

    def dev_metrics() -> dict[str, float]:
        given = evaluate(task, model, sentences, prepared.encoded["dev"], precision=settings.precision)
        note("ours", [output.names for output in given.outputs], time.perf_counter() - clock)
        return {"strict_f1": results["ours"]["strict_f1"][-1], "loss": given.mean_loss}

    def batch_loss(module: nn.Module, batch: LabelledBatch) -> Tensor:
        return task.losses(module, module(batch.inputs), batch).sum()

    clock = time.perf_counter()
    Trainer(
        model=model, data=Examples(windows["train"], task.collate), loss=batch_loss, evaluate=dev_metrics,
        metric=task.metric, settings=settings, device=device, show_progress=True,
    ).fit()  # fmt: skip

    theirs.to(device)
    clock = time.perf_counter()
    for _ in train_theirs(theirs, windows["train"], settings, tokenizer.pad_token_id, device):
        flat = iter(their_tags(theirs, windows["dev"], settings, tokenizer.pad_token_id, device))
        tags = [[config.id2label[next(flat)] for _ in sentence] for sentence in gold]
        note("theirs", tags, time.perf_counter() - clock)

    print(json.dumps({
        "benchmark": "ner_parity", "settings": dataclasses.asdict(settings), "results": results,
        "difference": results["ours"]["strict_f1"][-1] - results["theirs"]["strict_f1"][-1],
        "device": device_name(device),
        "versions": {**versions(), "transformers": transformers.__version__},
    }))  # fmt: skip


if __name__ == "__main__":
    run_main(main)
