"""Fitting the n-gram scores of a text classifier.

A linear support-vector machine is fitted on the training texts. Its scores and the encoder's logits are then weighed so
that the labels of the dev data are likeliest: the encoder, which has learnt the training texts by heart, is surer of
itself than it should be.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from minibert.ngrams import NgramScores, bigram_rows, unigram_rows
from tasks.classification.examples import TextExample
from tasks.classification.settings import ClassificationSettings
from tasks.data import Encoded

Floats = npt.NDArray[np.floating[Any]]

MOST_LABELS = 1000
"""That have scores unless it is asked for: more take more than 128 MB, and hours."""
_LARGEST = 50.0
"""The largest weight of a machine's scores, which are -1 and 1 for texts at its margins."""
_LEAST = 0.01
"""The least weight of the encoder's logits."""


def fit_ngrams(
    ngrams: NgramScores,
    encoded: Mapping[str, Encoded[TextExample]],
    logits: Sequence[Floats],
    settings: ClassificationSettings,
) -> None:
    """Fits the scores, in place.

    Args:
        ngrams: with K labels.
        encoded: ``train``, the texts that the machine is fitted on, and ``dev``, by which its scores are weighed.
        logits: for each item of dev the encoder's of its texts, ``(P, K)``.
        settings: of the run: one label or several, the weights of rare ones, and the seed of the solver.
    """
    (buckets, labels), kind = ngrams.weight.shape, settings.kind
    train, dev = (encoded[name].examples for name in ("train", "dev"))
    rows = _rows(train, buckets)
    counts = np.bincount(np.concatenate([np.unique(each) for each in rows]), minlength=buckets)
    frequency = np.log((1 + len(train)) / (1 + counts)) + 1  # as scikit-learn smooths it
    weight, bias = _fit(_features(rows, frequency), _targets(train), labels, settings)
    scores = _features(_rows(dev, buckets), frequency) @ weight + bias
    encoders, own = _weights(np.concatenate(logits), scores, _of_labels(dev, labels, kind), kind)
    with torch.no_grad():
        ngrams.weight.copy_(torch.from_numpy(own * weight * frequency[:, None]))
        ngrams.frequency.copy_(torch.from_numpy(frequency))
        ngrams.bias.copy_(torch.from_numpy(own * bias))
        ngrams.log_weight.fill_(math.log(encoders))


def _of_labels(examples: Sequence[TextExample], labels: int, kind: str) -> Floats:
    """1 for each label of a text, ``(N, K)``."""
    targets = _targets(examples)
    return targets if kind == "multi" else np.eye(labels)[targets]


def _targets(examples: Sequence[TextExample]) -> npt.NDArray[Any]:
    """The index of each text's label, ``(N,)``; of several labels, 1 for each that it has, ``(N, K)``."""
    return np.array([example.target for example in examples])


def _rows(examples: Sequence[TextExample], buckets: int) -> list[npt.NDArray[np.int64]]:
    """The rows of each text's n-grams."""
    found = []
    for example in examples:
        ids = example.ids.astype(np.int64)
        found.append(np.concatenate([unigram_rows(ids, buckets), bigram_rows(ids[:-1], ids[1:], buckets)]))
    return found


def _features(rows: Sequence[npt.NDArray[np.int64]], frequency: Floats) -> Any:
    """A sparse matrix ``(N, buckets)``, as :class:`~minibert.ngrams.NgramScores` computes it."""
    # Imported here because scipy takes a second.
    from scipy.sparse import csr_matrix

    values = np.concatenate([frequency[each] / np.linalg.norm(frequency[each]) for each in rows])
    ends = np.cumsum([0, *map(len, rows)])
    matrix = csr_matrix((values, np.concatenate(rows), ends), shape=(len(rows), len(frequency)))
    matrix.sum_duplicates()
    return matrix


def _fit(
    features: Any, targets: npt.NDArray[Any], labels: int, settings: ClassificationSettings
) -> tuple[Floats, Floats]:
    """A machine for each label against the rest: weights ``(buckets, K)`` and biases ``(K,)``, -1 for a label that no
    text has and 1 for one that all have."""
    # Imported here because scikit-learn takes a second.
    from sklearn.svm import LinearSVC

    weight, bias = np.zeros((features.shape[1], labels), np.float32), np.zeros(labels, np.float32)
    for label in range(labels):
        having = targets[:, label] > 0 if targets.ndim > 1 else targets == label
        if having.all() or not having.any():
            bias[label] = 1 if having.any() else -1
            continue
        machine = LinearSVC(random_state=settings.seed, class_weight=settings.class_weights).fit(features, having)
        weight[:, label], bias[label] = machine.coef_[0], machine.intercept_[0]
    return weight, bias


def _weights(logits: Floats, scores: Floats, of_labels: Floats, kind: str) -> tuple[float, float]:
    """The numbers for which ``a logits + b scores`` have the least cross-entropy, which is a convex function of
    both."""
    # Imported here because scipy takes a second.
    from scipy import optimize, special

    def entropy(weights: Floats) -> float:
        both = weights[0] * logits + weights[1] * scores
        if kind == "single":
            return float(-(special.log_softmax(both, axis=1) * of_labels).sum() / len(both))
        return float(-special.log_expit(both * (2 * of_labels - 1)).mean())

    bounds = [(_LEAST, 5.0), (0.0, _LARGEST)]
    a, b = optimize.minimize(entropy, x0=(0.5, 5.0), bounds=bounds, method="L-BFGS-B").x
    return float(a), float(b)
