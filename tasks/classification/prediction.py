"""What a model predicts for a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.classification.calibration import HALF, Calibration, Floats, probabilities


@dataclass(frozen=True, kw_only=True)
class TextPrediction:
    """The prediction for a text.

    Attributes:
        kind: one of :data:`tasks.classification.data.KINDS`.
        names: of the labels.
        logits: ``(P, num_labels)``: a row for each of its P prompts (one without prompts).
        values: ``(P, num_labels)``: probabilities, or a number.
        calibration: with which they were made.
    """

    kind: str
    names: tuple[str, ...]
    logits: npt.NDArray[np.float32]
    values: Floats
    calibration: Calibration

    @cached_property
    def mean(self) -> Floats:
        """``(num_labels,)``, over the prompts."""
        mean: Floats = self.values.mean(axis=0)
        return mean

    @cached_property
    def prediction(self) -> Any:
        """The likeliest label, a tuple of the labels whose probability reaches their threshold, or a number."""
        if self.kind == "single":
            return self.names[int(self.mean.argmax())]
        if self.kind == "multi":
            thresholds, pairs = self.calibration.thresholds, zip(self.names, self.mean, strict=True)
            return tuple(name for name, value in pairs if value >= thresholds.get(name, HALF))
        return float(self.mean[0])

    @property
    def probability(self) -> float | None:
        """That of the one label; None for several, and for numbers."""
        return float(self.mean.max()) if self.kind == "single" else None

    def ranked(self) -> list[tuple[str, float]]:
        """The labels with their probabilities, likeliest first."""
        return sorted(zip(self.names, self.mean.tolist(), strict=True), key=lambda pair: -pair[1])


def predictions_from_logits(
    kind: str, names: Sequence[str], logits: npt.NDArray[np.float32], calibration: Calibration
) -> list[TextPrediction]:
    """The prediction for each of N texts, from logits ``(N, P, num_labels)``."""
    values = probabilities(logits, kind, calibration.temperature)
    return [
        TextPrediction(kind=kind, names=tuple(names), logits=of_text, values=of_values, calibration=calibration)
        for of_text, of_values in zip(logits, values, strict=True)
    ]
