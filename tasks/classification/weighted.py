"""The metrics of kept predictions as functions of how often each text counts, for intervals and tests."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.classification.calibration import expected_calibration_error, reliability
from tasks.classification.scores import regression_metrics
from tasks.statistics import Figures, Weights

Floats = npt.NDArray[np.float64]


def weighted_text_metrics(kind: str, records: Sequence[Mapping[str, Any]]) -> Figures:
    """The metrics of :func:`~tasks.classification.scores.text_metrics`, from lines of ``predictions-dev.jsonl``. Means
    over classes are over those that occur, gold or predicted, in what counts."""
    of_kind: dict[str, Callable[[Sequence[Mapping[str, Any]]], Figures]] = {
        "single": _single, "multi": _multi, "regression": _regression,
    }  # fmt: skip
    return of_kind[kind](records)


def weighted_probability_figures(kind: str, records: Sequence[Mapping[str, Any]]) -> Figures:
    """The expected calibration error, and of several labels the mean average precision and area under the ROC curve,
    from lines of ``predictions-dev.jsonl`` of one or of several labels; nothing from lines without probabilities."""
    if not records[0].keys() & {"probability", "probabilities"}:
        return lambda _: {}
    if kind == "single":
        confidence = np.array([record["probability"] for record in records])
        right = np.array([record["gold"] == record["predicted"] for record in records])
        return lambda weights: {
            "calibration_error": expected_calibration_error(reliability(confidence, right, weights))
        }
    names = sorted(records[0]["probabilities"])
    values = np.array([[record["probabilities"][name] for name in names] for record in records])
    gold = np.array([[name in record["gold"] for name in names] for record in records])
    ranked = [_Ranked(values[:, column], gold[:, column]) for column in range(len(names))]

    def figures(weights: Weights) -> dict[str, float]:
        bins = reliability(values.ravel(), gold.ravel(), weights.repeat(len(names)))
        found = {"calibration_error": expected_calibration_error(bins)}
        pairs = [pair for label in ranked if (pair := label.figures(weights)) is not None]
        if pairs:
            precision, auc = np.mean(pairs, axis=0).tolist()
            found |= {"macro_average_precision": precision, "macro_auc": auc}
        return found

    return figures


class _Ranked:
    """The texts by the probability of a label, in groups of equals."""

    def __init__(self, probability: Floats, gold: npt.NDArray[np.bool_]) -> None:
        self._order = np.argsort(-probability, kind="stable")
        self._gold = gold[self._order].astype(float)
        self._ends = np.append(np.flatnonzero(np.diff(probability[self._order])), len(gold) - 1)

    def figures(self, weights: Weights) -> tuple[float, float] | None:
        """Average precision and area under the ROC curve; None where all or none of the texts that count have it."""
        counted = weights[self._order]
        true, all_ = (np.cumsum(counts)[self._ends] for counts in (counted * self._gold, counted.astype(float)))
        false = all_ - true
        if not (true[-1] and false[-1]):
            return None
        new_true, new_false = np.diff(true, prepend=0.0), np.diff(false, prepend=0.0)
        precision = float((new_true * _ratio(true, all_)).sum() / true[-1])
        below = true[-1] - true + new_true / 2  # of the positives, those ranked below, and half of the equals
        return precision, 1 - float((new_false * below).sum() / (true[-1] * false[-1]))


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
        occurs = given + wanted > 0
        found = {
            "accuracy": accuracy(weights),
            "macro_precision": float(precision[occurs].mean()),
            "macro_recall": float(recall[occurs].mean()),
            "macro_f1": float(f1[occurs].mean()),
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
            "macro_f1": float(_ratio(2 * true, total)[total > 0].mean()) if total.any() else 0.0,
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
