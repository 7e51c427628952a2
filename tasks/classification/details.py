"""What a report shows of labelled texts: tables, curves and the worst errors."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tasks.classification.calibration import expected_calibration_error
from tasks.classification.confusion import counts_by_label, missed_and_wrong
from tasks.classification.curves import (
    gold_labels,
    precision_recall_chart,
    ranking_figures,
    reliability_bins,
    reliability_chart,
)
from tasks.classification.data import LabelledText
from tasks.classification.prediction import TextPrediction
from tasks.classification.scores import in_words, text_scores
from tasks.classification.settings import ClassificationSettings
from tasks.data import Details, ErrorCase, Split, worst
from tasks.statistics import confusion_matrix

_LOSSES = {
    "single": "cross-entropy (nats)",
    "multi": "binary cross-entropy, mean over the labels (nats)",
    "regression": "squared error",
}


def text_details(
    settings: ClassificationSettings,
    split: Split[LabelledText],
    outputs: Sequence[TextPrediction],
    losses: Sequence[float],
) -> Details:
    """The details of the final evaluation of a split."""
    kind, gold = settings.kind, gold_labels(split.items)
    predictions = [output.prediction for output in outputs]
    scored = text_scores(kind, split.items, predictions)
    errors = [
        ErrorCase(
            place=f"{split.path}, line {item.line}",
            text=item.text if item.pair is None else f"{item.text} \u2016 {item.pair}",
            gold=in_words(item.label),
            predicted=f"{in_words(output.prediction)}{'' if sure is None else f' ({sure:.1%})'}",
            loss=loss,
        )
        for item, output, loss in zip(split.items, outputs, losses, strict=True)
        if (
            set(item.label) != set(output.prediction)
            if isinstance(item.label, tuple)
            else item.label != output.prediction
        )
        for sure in [output.probability]
    ]
    details = Details(
        title=scored.title,
        rows=scored.rows,
        table=scored.table,
        confusion=confusion_matrix(zip(gold, predictions, strict=True)) if kind == "single" else {},
        errors=worst(errors),
        counted="texts",
        loss=_LOSSES[kind],
    )
    if kind == "regression":
        return details
    temperature = outputs[0].calibration.temperature
    bins = reliability_bins(kind, gold, outputs, as_trained=True), reliability_bins(kind, gold, outputs)
    charts = [reliability_chart(*bins, temperature)]
    if kind == "multi":
        charts = [*filter(None, [precision_recall_chart(gold, outputs)]), *charts]
        matrix, note = missed_and_wrong(gold, predictions)
        by_label = counts_by_label(gold, predictions)
        details = dataclasses.replace(details, confusion=matrix, confusion_note=note, by_label=by_label)
        details = _with_thresholds(details, gold, outputs, chosen=settings.fixed_threshold is None)
    before, after = map(expected_calibration_error, bins)
    said = f"expected calibration error {after:.4f} with temperature {temperature:.2f} (as trained {before:.4f})"
    return dataclasses.replace(details, table=f"{details.table}\n\n{said}", charts=tuple(charts))


def _with_thresholds(
    details: Details, gold: Sequence[Any], outputs: Sequence[TextPrediction], *, chosen: bool
) -> Details:
    """With each label's threshold, average precision and area under the ROC curve; ``chosen`` on dev, or given."""
    thresholds, ranking = outputs[0].calibration.thresholds, ranking_figures(gold, outputs)
    rows = {name: dict(row) for name, row in details.rows.items()}
    for name in rows.keys() & thresholds.keys():
        rows[name]["threshold"] = thresholds[name]
        for figure, value in ranking.get(name, {}).items():
            rows[name][figure.replace("_", " ").replace("auc", "AUC")] = value
    said = ", ".join(f"{name} {value:.4f}" for name, value in thresholds.items())
    if len(set(thresholds.values())) == 1:
        said = f"{next(iter(thresholds.values())):.4f} for all labels"
    said = f"thresholds: {said}{' (the best on dev)' if chosen else ''}"
    return dataclasses.replace(details, rows=rows, table=f"{details.table}\n\n{said}")
