"""Curves of a classifier's probabilities: precision over recall for several labels, and reliability."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.classification.calibration import Floats, expected_calibration_error, probabilities, reliability
from tasks.classification.data import LabelledText
from tasks.classification.prediction import TextPrediction
from tasks.data import Chart

_MOST_POINTS = 200
_MOST_CURVES = 5

Bins = list[tuple[float, float, int]]


def indicators(gold: Sequence[Sequence[str]], names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """``(N, num_labels)``: which text has which label."""
    columns = {name: column for column, name in enumerate(names)}
    found = np.zeros((len(gold), len(names)), bool)
    for row, labels in zip(found, gold, strict=True):
        row[[columns[label] for label in labels if label in columns]] = True
    return found


def gold_labels(items: Sequence[LabelledText]) -> list[Any]:
    """The labels of items that have one."""
    return [item.label for item in items]


def reliability_bins(
    kind: str, gold: Sequence[Any], outputs: Sequence[TextPrediction], *, as_trained: bool = False
) -> Bins:
    """:func:`~tasks.classification.calibration.reliability` of the likeliest label, or of each label of several: of the
    probabilities as they are given, or ``as_trained``, without the temperature."""
    names = outputs[0].names
    if as_trained:
        values = probabilities(np.array([output.logits for output in outputs]), kind).mean(axis=1)
    else:
        values = np.array([output.mean for output in outputs])
    if kind == "multi":
        return reliability(values.ravel(), indicators(gold, names).ravel())
    right = np.array([names[index] == label for index, label in zip(values.argmax(1), gold, strict=True)])
    return reliability(values.max(1), right)


def ranking_figures(gold: Sequence[Sequence[str]], outputs: Sequence[TextPrediction]) -> dict[str, dict[str, float]]:
    """For each label that some texts have and others have not: ``average_precision``, and ``auc`` under the ROC curve
    (scikit-learn's)."""
    # Imported here because scikit-learn takes a second.
    from sklearn.metrics import average_precision_score, roc_auc_score

    names = outputs[0].names
    true, probability = indicators(gold, names), np.array([output.mean for output in outputs])
    return {
        name: {
            "average_precision": float(average_precision_score(of_label, probability[:, column])),
            "auc": float(roc_auc_score(of_label, probability[:, column])),
        }
        for column, (name, of_label) in enumerate(zip(names, true.T, strict=True))
        if of_label.any() and not of_label.all()
    }


def precision_recall_chart(gold: Sequence[Sequence[str]], outputs: Sequence[TextPrediction]) -> Chart | None:
    """Precision over recall of all labels together, and of the most frequent ones; None where no text has a label."""
    # Imported here because scikit-learn takes a second.
    from sklearn.metrics import precision_recall_curve

    names = outputs[0].names
    true, probability = indicators(gold, names), np.array([output.mean for output in outputs])
    if not true.any():
        return None

    def curve(of_label: npt.NDArray[np.bool_], of_text: Floats) -> list[tuple[float, float]]:
        precision, recall, _ = precision_recall_curve(of_label, of_text)
        kept = np.unique(np.linspace(0, len(recall) - 1, _MOST_POINTS).round().astype(int))
        return [(float(recall[i]), float(precision[i])) for i in kept[::-1]]

    frequent = [int(column) for column in np.argsort(-true.sum(0), kind="stable") if true[:, column].any()]
    lines = {"all labels": curve(true.ravel(), probability.ravel())}
    lines |= {names[column]: curve(true[:, column], probability[:, column]) for column in frequent[:_MOST_CURVES]}
    more = len(frequent) - _MOST_CURVES
    return Chart(
        name="precision-recall",
        title="precision over recall",
        x="recall (0 to 1)",
        y="precision (0 to 1)",
        lines=lines,
        caption=f"The {_MOST_CURVES} most frequent labels, without {more} others." if more > 0 else "",
    )


def reliability_chart(before: Bins, after: Bins, temperature: float) -> Chart:
    """The share of right choices over their confidence, before and after division by the temperature."""

    def line(bins: Bins) -> list[tuple[float, float]]:
        return [(confidence, share) for confidence, share, _ in bins]

    lines = {"as trained": line(before), f"with temperature {temperature:.2f}": line(after)}
    errors = [f"{expected_calibration_error(bins):.4f}" for bins in (before, after)]
    if temperature == 1:
        del lines["as trained"]
    return Chart(
        name="reliability",
        title="share of right choices over their probability",
        x="mean probability of 15 bins (0 to 1)",
        y="share that was right (0 to 1)",
        lines=lines,
        diagonal="perfectly calibrated",
        caption=f"Expected calibration error {errors[0]} as trained, {errors[1]} with the temperature that was fitted "
        "on dev. Bins with few texts scatter.",
    )
