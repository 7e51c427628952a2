"""What is fitted on dev once the best epoch is known: one temperature, and the thresholds of several labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from minibert.errors import InputError

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]

HALF = 0.5
BINS = 15
_MOST_ITEMS = 20_000  # to fit a temperature on
_LOWEST, _HIGHEST = 0.05, 20.0


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was fitted on dev; the defaults change nothing.

    Attributes:
        temperature: the logits are divided by it.
        thresholds: label -> the least probability at which a text has it; one half for labels that are not there.
    """

    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"temperature": self.temperature, **({"thresholds": self.thresholds} if self.thresholds else {})}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], place: str) -> "Calibration":
        """What :meth:`to_json` gave.

        Raises:
            InputError: it holds anything else; the message begins with ``place``.
        """
        temperature, thresholds = values.get("temperature"), values.get("thresholds", {})
        right = (
            values.keys() <= {"temperature", "thresholds"}
            and type(temperature) is float
            and 0 < temperature < np.inf
            and isinstance(thresholds, dict)
            and all(type(value) is float and 0 <= value <= 1 for value in thresholds.values())
        )
        if not right:
            raise InputError(
                f'{place}: "calibration" must hold a temperature above 0 and thresholds from 0 to 1; copy the file '
                "from the run again."
            )
        return cls(temperature=float(values["temperature"]), thresholds=dict(thresholds))


def probabilities(logits: Floats, kind: str, temperature: float = 1.0) -> Floats:
    """``(..., num_labels)`` -> the same: softmax of one label, sigmoid of several; numbers stay as they are."""
    if kind == "regression":
        return logits
    scaled = torch.from_numpy(logits).double() / temperature
    found: Floats = (scaled.softmax(-1) if kind == "single" else scaled.sigmoid()).numpy()
    return found


def fit_temperature(logits: Floats, gold: npt.NDArray[Any], kind: str) -> float:
    """The temperature under which the labels are likeliest, between 1/20 and 20 (Guo et al. 2017, "On Calibration of
    Modern Neural Networks", section 4.2).

    Of several labels, each is a choice of its own. With several prompts, the likelihood is that of their mean.

    Args:
        logits: ``(N, P, num_labels)``, for N texts in P prompts.
        gold: ``(N,)``, the index of the one label; or ``(N, num_labels)``, 1 for each label of several.
        kind: ``single`` or ``multi``.

    Returns:
        1 where every choice is right, since nothing speaks against the most extreme one.
    """
    # Imported here because SciPy takes a second.
    from scipy.optimize import minimize_scalar

    step = -(-len(logits) // _MOST_ITEMS)
    kept, wanted = torch.from_numpy(logits[::step]).double(), torch.from_numpy(gold[::step])
    before = probabilities(logits[::step], kind).mean(axis=1)
    wrong = before.argmax(-1) != gold[::step] if kind == "single" else (before >= HALF) != (gold[::step] > 0)
    if not wrong.any():
        return 1.0

    def loss(log_temperature: float) -> float:
        scaled = kept / np.exp(log_temperature)
        if kind == "single":
            of_gold = scaled.log_softmax(-1).take_along_dim(wanted[:, None, None], dim=-1)[..., 0]
        else:
            of_gold = F.logsigmoid(torch.where(wanted[:, None] > 0, scaled, -scaled))
        return -float(of_gold.logsumexp(dim=1).mean())

    ends = np.log([_LOWEST, _HIGHEST])
    return float(np.exp(minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-6}).x))


def best_threshold(probability: Floats, gold: Bools) -> float:
    """The threshold with the highest F1: half way between two probabilities; of equals, the one nearest to one half.

    Args:
        probability, gold: ``(N,)``, of the choices that the threshold decides.

    Returns:
        One half where no choice is gold.
    """
    if not gold.any():
        return HALF
    order = np.argsort(-probability, kind="stable")
    sorted_probability = probability[order].astype(np.float64)
    true = np.cumsum(gold[order])
    f1 = 2 * true / (np.arange(1, len(order) + 1) + gold.sum())
    below = np.append(sorted_probability[1:], 0.0)
    f1[:-1][sorted_probability[:-1] == below[:-1]] = -1  # no threshold lies between equals
    middle = (sorted_probability + below) / 2
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(middle[best[np.abs(middle[best] - HALF).argmin()]])


def best_thresholds(probability: Floats, gold: Bools, *, each: bool) -> list[float]:
    """:func:`best_threshold` for each label, or one for all of them.

    Args:
        probability, gold: ``(N, num_labels)``.
        each: whether each label has its own.
    """
    if each:
        return [best_threshold(*of_label) for of_label in zip(probability.T, gold.T, strict=True)]
    return [best_threshold(probability.ravel(), gold.ravel())] * probability.shape[1]


def reliability(
    confidence: Floats, right: Bools, weights: npt.NDArray[np.int64] | None = None
) -> list[tuple[float, float, int]]:
    """For each of 15 bins of equal width that is not empty: mean confidence, share of right choices, and their number.

    Args:
        confidence: ``(N,)``, the probability of each choice.
        right: ``(N,)``, whether the choice was right.
        weights: ``(N,)``, how often each choice counts; once by default.
    """
    counted = np.ones(len(confidence)) if weights is None else weights
    bins = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence)
    counts, sums, hits = (
        np.bincount(bins, weights=counted * values, minlength=BINS) for values in (1.0, confidence, right)
    )
    return [(float(sums[i] / n), float(hits[i] / n), int(n)) for i, n in enumerate(counts) if n]


def expected_calibration_error(bins: Sequence[tuple[float, float, int]]) -> float:
    """The mean distance of confidence and accuracy over bins, weighted by their size (Guo et al. 2017, section 2), from
    :func:`reliability`."""
    total = sum(count for _, _, count in bins)
    return sum(count * abs(confidence - share) for confidence, share, count in bins) / total
