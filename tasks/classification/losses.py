"""The losses of labels and numbers, the weights of rare labels, and the divergences for ``--r-drop``."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from minibert.training import Divergence, LabelledBatch, class_distance, class_divergence, label_distance
from tasks.classification.data import LabelledText

Weights = Mapping[str, tuple[float, float]]
"""Label -> the weight of a text without it, and of one with it."""


def balanced_weights(items: Sequence[LabelledText]) -> Weights:
    """Weights with which all labels count the same in the loss, and whose mean over the texts is 1: N / (K n) for the n
    of N texts with one of K labels; of several labels, each is a choice of its own, with K = 2.

    This is what scikit-learn calls balanced (King & Zeng 2001, "Logistic Regression in Rare Events Data").
    """
    total = len(items)
    of_items = [item.label if isinstance(item.label, tuple) else (str(item.label),) for item in items]
    several = any(isinstance(item.label, tuple) for item in items)
    names = sorted({name for labels in of_items for name in labels})
    counts = {name: sum(name in labels for labels in of_items) for name in names}
    choices = 2 if several else len(names)
    return {name: (total / (choices * max(1, total - n)), total / (choices * n)) for name, n in counts.items()}


def text_losses(kind: str, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Cross-entropy, binary cross-entropy averaged over the labels, or squared error, as in Hugging Face: ``(B,)``.

    Args:
        kind: one of :data:`tasks.classification.data.KINDS`.
        logits: ``(B, K)``.
        targets: ``(B,)`` indices or numbers, or ``(B, K)`` of 0 and 1.
        weights: ``(2, K)``, of texts without and with each label; None for none.
    """
    logits = logits.float()
    if kind == "single":
        return F.cross_entropy(logits, targets, None if weights is None else weights[1], reduction="none")
    if kind == "multi":
        by_label = None if weights is None else torch.where(targets > 0, weights[1], weights[0])
        return F.binary_cross_entropy_with_logits(logits, targets, by_label, reduction="none").mean(-1)
    return (logits.squeeze(-1) - targets) ** 2


def divergence_of(kind: str) -> Divergence:
    """For one label, of two distributions; for several labels, of each label's probabilities; for numbers, their
    squared distance (as the R-Drop paper does for STS-B)."""
    return {"single": class_divergence, "multi": _label_divergence, "regression": _squared_distance}[kind]


def _label_divergence(first: Tensor, second: Tensor, batch: LabelledBatch) -> Tensor:
    """``(KL(p || q) + KL(q || p)) / 2`` of each label's probabilities, averaged over labels as their loss is, and
    summed over texts; from logits ``(B, K)``."""
    p, q = first.float(), second.float()
    return ((p.sigmoid() - q.sigmoid()) * (p - q)).mean(-1).sum() / 2


def _squared_distance(first: Tensor, second: Tensor, batch: LabelledBatch) -> Tensor:
    return ((first.float() - second.float()) ** 2).sum()


def text_distances(kind: str, logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """How far a model's logits are from a teacher's, both ``(B, K)``: ``(B,)``. For numbers, their squared distance,
    which has no temperature."""
    if kind == "regression":
        return (logits.float() - teacher.float()).squeeze(-1) ** 2
    return (class_distance if kind == "single" else label_distance)(logits, teacher, temperature)
