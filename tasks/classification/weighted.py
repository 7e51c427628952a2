"""The metrics of kept predictions as functions of how often each text counts, for intervals and tests."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.classification.scores import regression_metrics
from tasks.statistics import Figures, Weights

Floats = npt.NDArray[np.float64]


def weighted_text_metrics(kind: str, records: Sequence[Mapping[str, Any]]) -> Figures:
    """The metrics of :func:`~tasks.classification.scores.text_metrics`, from lines of ``predictions-dev.jsonl``; the
    classes are those of all records, whether they count or not."""
    of_kind: dict[str, Callable[[Sequence[Mapping[str, Any]]], Figures]] = {
        "single": _single, "multi": _multi, "regression": _regression,
    }  # fmt: skip
    return of_kind[kind](records)


def share_of(right: Sequence[bool]) -> Callable[[Weights], float]:
    """The share of items that are right."""
    values = np.array(right, float)
    return lambda weights: float(weights @ values / weights.sum())


def _single(records: Sequence[Mapping[str, Any]]) -> Figures:
    classes = sorted({record[key] for record in records for key in ("gold", "predicted")})
    index = {name: number for number, name in enumerate(classes)}
    gold, predicted = (np.array([index[record[key]] for record in records]) for key in ("gold", "predicted"))
    right = gold == predicted
    accuracy = share_of(right.tolist())

    def figures(weights: Weights) -> dict[str, float]:
        true: Floats = np.bincount(gold, weights * right, len(classes)).astype(float)
        wanted: Floats = np.bincount(gold, weights, len(classes)).astype(float)
        given: Floats = np.bincount(predicted, weights, len(classes)).astype(float)
        precision, recall, f1 = _ratio(true, given), _ratio(true, wanted), _ratio(2 * true, given + wanted)
        found = {
            "accuracy": accuracy(weights),
            "macro_precision": float(precision.mean()),
            "macro_recall": float(recall.mean()),
            "macro_f1": float(f1.mean()),
            "weighted_f1": float(f1 @ wanted / wanted.sum()),
        }
        if len(classes) == 2:
            second = {"precision": precision[1], "recall": recall[1], "f1": f1[1]}
            found |= {f"binary_{name}": float(value) for name, value in second.items()}
        return found

    return figures


def _multi(records: Sequence[Mapping[str, Any]]) -> Figures:
    classes = sorted({label for record in records for key in ("gold", "predicted") for label in record[key]})
    gold, predicted = (
        np.array([[label in record[key] for label in classes] for record in records], float)
        for key in ("gold", "predicted")
    )
    both, sizes = gold * predicted, gold + predicted
    subset = share_of((gold == predicted).all(axis=1).tolist())

    def figures(weights: Weights) -> dict[str, float]:
        true, total = weights @ both, weights @ sizes
        return {
            "micro_f1": float(_ratio(2 * true.sum(keepdims=True), total.sum(keepdims=True))[0]),
            "macro_f1": float(_ratio(2 * true, total).mean()) if classes else 0.0,
            "subset_accuracy": subset(weights),
        }

    return figures


def _regression(records: Sequence[Mapping[str, Any]]) -> Figures:
    gold, predicted = (np.array([record[key] for record in records], float) for key in ("gold", "predicted"))
    return lambda weights: regression_metrics(gold.repeat(weights), predicted.repeat(weights))


def _ratio(above: Floats, below: Floats) -> Floats:
    """0 where the denominator is 0."""
    found: Floats = np.divide(above, below, out=np.zeros_like(below, float), where=below > 0)
    return found
