"""Metrics of predicted labels and numbers, by class and averaged, and as a table."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.classification.data import LabelledText
from tasks.settings import AVERAGES

_COLUMNS = ("precision", "recall", "f1-score", "support")
_MOST_CLASSES = 40
_WORST_CLASSES = 10

Rows = dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class TextScores:
    """The metrics of predictions.

    Attributes:
        metrics: from :func:`text_metrics`.
        title: of the table.
        rows: precision, recall, F1 and support of each class that occurs, in alphabetical order, and averaged; for
            regression one row of all metrics.
        table: the same for the terminal; with more than 40 classes, the ten with the lowest F1.
    """

    metrics: dict[str, float]
    title: str
    rows: Rows
    table: str


def text_metrics(kind: str, items: Sequence[LabelledText], predictions: Sequence[Any]) -> dict[str, float]:
    """The metrics of predictions, one for each item.

    Args:
        kind: one of :data:`tasks.classification.labels.KINDS`.
        items: with labels; at least one.
        predictions: of the same type as the items' labels.

    Returns:
        ``single``: ``accuracy``; ``macro_precision``, ``macro_recall``, ``macro_f1`` and ``weighted_f1`` over the
        classes that occur, in gold or predicted; if there are two, also ``binary_precision``, ``binary_recall`` and
        ``binary_f1`` of the second in alphabetical order.

        ``multi``: ``micro_f1``; ``macro_f1`` over the labels that occur, in gold or predicted; ``subset_accuracy``,
        the share of texts with all labels right.

        ``regression``: ``mse``, ``mae``, ``pearson`` and ``spearman`` (equal numbers share their mean rank); a
        correlation with numbers that are all equal is 0.

        A ratio whose denominator is 0 is 0.
    """
    return text_scores(kind, items, predictions).metrics


def text_scores(kind: str, items: Sequence[LabelledText], predictions: Sequence[Any]) -> TextScores:
    """The metrics, also by class and as a table; takes the arguments of :func:`text_metrics`."""
    gold: list[Any] = [item.label for item in items]
    if kind == "single":
        return _single(gold, predictions)
    if kind == "multi":
        return _multi(gold, predictions)
    return _regression(np.array(gold, float), np.array(predictions, float))


def in_words(label: str | tuple[str, ...] | float | None) -> str:
    """A label for people: names unchanged, numbers with four significant digits."""
    if isinstance(label, tuple):
        return ", ".join(label) or "no label"
    return f"{label:.4g}" if isinstance(label, float) else str(label)


def _single(gold: Sequence[str], predicted: Sequence[str]) -> TextScores:
    classes = sorted({*gold, *predicted})
    rows = _rows(classes, list(gold), list(predicted), labels=classes, averages=("macro", "weighted"))
    macro = rows["macro avg"]
    metrics = {
        "accuracy": float(np.mean([a == b for a, b in zip(gold, predicted, strict=True)])),
        "macro_precision": macro["precision"],
        "macro_recall": macro["recall"],
        "macro_f1": macro["f1-score"],
        "weighted_f1": rows["weighted avg"]["f1-score"],
    }
    title = "precision, recall and F1 by class"
    if len(classes) == 2:
        second = rows[classes[1]]
        metrics |= {
            "binary_precision": second["precision"],
            "binary_recall": second["recall"],
            "binary_f1": second["f1-score"],
        }
        title += f" (the binary metrics are those of {classes[1]})"
    return TextScores(
        metrics=metrics,
        title=title,
        rows=rows,
        table=_table(rows, ("accuracy", metrics["accuracy"])),
    )


def _multi(gold: Sequence[tuple[str, ...]], predicted: Sequence[tuple[str, ...]]) -> TextScores:
    classes = sorted({label for labels in (*gold, *predicted) for label in labels})
    index = {label: column for column, label in enumerate(classes)}

    def indicators(rows: Sequence[tuple[str, ...]]) -> npt.NDArray[np.int8]:
        # Two more columns than classes: scikit-learn would not read a single column as one label of a multi-label task.
        matrix = np.zeros((len(rows), len(classes) + 2), np.int8)
        for row, labels in zip(matrix, rows, strict=True):
            row[[index[label] for label in labels]] = 1
        return matrix

    rows = _rows(
        classes,
        indicators(gold),
        indicators(predicted),
        labels=list(range(max(1, len(classes)))),
        averages=("micro", "macro", "weighted"),
    )
    metrics = {
        "micro_f1": rows["micro avg"]["f1-score"],
        "macro_f1": rows["macro avg"]["f1-score"],
        "subset_accuracy": float(np.mean([set(a) == set(b) for a, b in zip(gold, predicted, strict=True)])),
    }
    return TextScores(
        metrics=metrics,
        title="precision, recall and F1 by label",
        rows=rows,
        table=_table(rows, ("all labels right", metrics["subset_accuracy"])),
    )


def _rows(classes: Sequence[str], gold: Any, predicted: Any, *, labels: Sequence[Any], averages: Sequence[str]) -> Rows:
    # Imported here because scikit-learn takes a second.
    from sklearn.metrics import precision_recall_fscore_support

    def ratios(average: str | None) -> Any:
        return precision_recall_fscore_support(gold, predicted, labels=labels, average=average, zero_division=0)

    # Even if no label occurs, scikit-learn needs one.
    by_class = zip(classes, zip(*ratios(None), strict=True), strict=bool(classes))
    rows = {name: dict(zip(_COLUMNS, map(float, values), strict=True)) for name, values in by_class}
    total = sum(row["support"] for row in rows.values())
    for average in averages:
        rows[f"{average} avg"] = dict(zip(_COLUMNS, [*map(float, ratios(average)[:3]), total], strict=True))
    return rows


def regression_metrics(gold: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64]) -> dict[str, float]:
    """The metrics of numbers; see :func:`text_metrics`."""
    return {
        "mse": float(np.mean((gold - predicted) ** 2)),
        "mae": float(np.mean(np.abs(gold - predicted))),
        "pearson": _correlation(gold, predicted),
        "spearman": _correlation(_ranks(gold), _ranks(predicted)),
    }


def _regression(gold: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64]) -> TextScores:
    metrics = regression_metrics(gold, predicted)
    return TextScores(
        metrics=metrics,
        title="errors and correlations",
        rows={"all": {**metrics, "support": float(len(gold))}},
        table="\n".join(f"{name:<8}{value:>12.4f}" for name, value in metrics.items()),
    )


def _correlation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Pearson's."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The rank of each number, smallest first; equal numbers get their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks: npt.NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return mean_ranks[place]


# -- the table --------------------------------------------------------------------------------------------------------


def _table(rows: Rows, last: tuple[str, float]) -> str:
    """Classes, averages, and one more metric, in columns."""
    averages = [name for name in rows if name in AVERAGES]
    classes = [name for name in rows if name not in AVERAGES]
    lines = []
    if len(classes) > _MOST_CLASSES:
        lines = [f"The {_WORST_CLASSES} of {len(classes)} classes with the lowest F1:", ""]
        classes = sorted(classes, key=lambda name: (rows[name]["f1-score"], -rows[name]["support"]))[:_WORST_CLASSES]
    width = max(map(_width, [*classes, *averages, last[0]]))

    def line(name: str, cells: Sequence[str]) -> str:
        return name + " " * (width - _width(name)) + "".join(f"{cell:>11}" for cell in cells)

    def class_line(name: str) -> str:
        row = rows[name]
        return line(name, [*(f"{row[column]:.4f}" for column in _COLUMNS[:3]), f"{row['support']:.0f}"])

    lines += [line("", _COLUMNS), "", *map(class_line, classes), "", *map(class_line, averages)]
    return "\n".join([*lines, line(last[0], ["", "", f"{last[1]:.4f}", ""]).rstrip()])


def _width(text: str) -> int:
    """The width of a text in a terminal: two columns for a Chinese character, none for a combining mark."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )
