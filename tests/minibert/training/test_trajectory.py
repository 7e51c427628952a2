"""Training steps against transformers: a hundred AdamW steps from the same weights, in the same order."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import FAMILIES, padded, tiny_settings
from torch import Tensor, nn
from training_runs import CPU, Item

from minibert import SequenceClassifier, TokenClassifier, pack
from minibert.training import Examples, LabelledBatch, Metric, Trainer, TrainingSettings
from minibert.training.data import shuffled

transformers = pytest.importorskip("transformers", reason="transformers is the oracle of these tests")
transformers.utils.logging.disable_progress_bar()

HEADS: dict[str, Any] = {"ForTokenClassification": TokenClassifier, "ForSequenceClassification": SequenceClassifier}
EPOCHS, BATCH, STEPS = 20, 8, 100
LR, DECAY, WARMUP, CLIP = 1e-3, 0.01, 10, 1.0


def items(by_token: bool) -> list[Item]:
    """Forty sequences of 2 to 15 tokens, with a class for each token, or for the whole."""
    rng = np.random.default_rng(5)
    rows = [rng.integers(5, 90, length) for length in rng.integers(2, 16, 40)]
    return [(ids.tolist(), (ids % 2).tolist() if by_token else [int(ids.sum() % 2)]) for ids in rows]


def collate(chosen: Sequence[Item]) -> LabelledBatch:
    targets = torch.tensor([target for _, row in chosen for target in row])
    return LabelledBatch(inputs=pack([ids for ids, _ in chosen]), targets=targets, num_targets=len(targets))


def their_losses(model: nn.Module, data: list[Item], *, by_token: bool) -> list[float]:
    """A plain loop over padded batches: AdamW without decay for biases and norms, linear warm-up and decline."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR)
    losses = []
    for epoch in range(1, EPOCHS + 1):
        order = shuffled(len(data), 42, epoch)
        for start in range(0, len(order), BATCH):
            rows = [data[index] for index in order[start : start + BATCH]]
            ids = padded([row for row, _ in rows], model.config.pad_token_id)
            mask = padded([[1] * len(row) for row, _ in rows], 0)
            labels = padded([row for _, row in rows], -100) if by_token else torch.tensor([row[0] for _, row in rows])
            for group in optimizer.param_groups:
                group["lr"] = LR * rate(len(losses))
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            losses.append(loss.item())
    return losses


def rate(step: int) -> float:
    """Part of the peak rate at a step counted from 0: the first is not lost to a rate of 0."""
    return (step + 1) / (WARMUP + 1) if step < WARMUP else (STEPS - step) / (STEPS - WARMUP)


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_hundred_steps_have_the_losses_of_a_transformers_loop(tmp_path: Path, family: str, head: str) -> None:
    dropouts = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "classifier_dropout_prob")
    settings = tiny_settings(family, **dict.fromkeys(dropouts, 0.0))
    torch.manual_seed(3)
    theirs = getattr(transformers, family.capitalize() + head)._from_config(
        transformers.AutoConfig.for_model(**settings), attn_implementation="eager"
    )
    theirs.save_pretrained(tmp_path)
    ours = HEADS[head].from_pretrained(tmp_path)
    by_token = head == "ForTokenClassification"
    data, losses = items(by_token), []

    def loss(model: nn.Module, batch: LabelledBatch) -> Tensor:
        value = F.cross_entropy(model(batch.inputs), batch.targets, reduction="sum")
        losses.append(value.item() / batch.num_targets)
        return value

    Trainer(
        model=ours, data=Examples(data, collate), loss=loss, evaluate=lambda: {"none": 0.0}, metric=Metric("none"),
        device=CPU,
        settings=TrainingSettings(
            epochs=EPOCHS, batch_size=BATCH, lr=LR, weight_decay=DECAY, warmup_ratio=WARMUP / STEPS,
            max_grad_norm=CLIP, precision="fp32",
        ),
    ).fit()  # fmt: skip
    expected = their_losses(theirs.train(), data, by_token=by_token)
    assert len(losses) == len(expected) == STEPS
    assert losses[-1] < 0.9 * losses[0]
    assert losses == pytest.approx(expected, rel=1e-5)
