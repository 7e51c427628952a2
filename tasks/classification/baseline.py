"""A linear model on n-grams, which a fine-tuned model must beat to be worth its cost."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.classification.data import LabelledText
from tasks.classification.scores import text_metrics
from tasks.data import Baseline

Predict = Callable[[Any], list[Any]]
"""Features of texts (a sparse matrix of scikit-learn) -> a prediction for each text."""

# Chinese, Japanese and Korean text by character, since most of it has no spaces between words; other letters and digits
# by word; and every punctuation mark, since style matters.
_CJK = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_TOKEN = rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]"


def linear_baseline(
    train: Sequence[LabelledText],
    tests: Mapping[str, Sequence[LabelledText]],
    *,
    kind: str,
    seed: int,
    class_weights: str | None = None,
) -> Baseline:
    """Fits TF-IDF n-grams (1 and 2 tokens; logarithmic counts) and a linear support-vector machine.

    With several labels there is one machine for each; for numbers, ridge regression. The two texts of a pair are
    concatenated.

    Args:
        train: the training data.
        tests: the data to score, by name.
        kind: one of :data:`tasks.classification.labels.KINDS`.
        seed: of the solver; the same seed gives the same result.
        class_weights: ``balanced``, as for the encoder; None for none.

    Returns:
        Its ``record`` has ``name``; ``seconds`` in all; and the metrics of each of ``tests``, from
        :func:`tasks.classification.scores.text_metrics`.
    """
    # Imported here because scikit-learn takes a second.
    from sklearn.feature_extraction.text import TfidfVectorizer

    started = time.perf_counter()
    vectorizer = TfidfVectorizer(token_pattern=_TOKEN, ngram_range=(1, 2), sublinear_tf=True)
    features = vectorizer.fit_transform(map(_text, train))
    labels: list[Any] = [item.label for item in train]
    if kind == "regression":
        predict = _ridge(features, labels, seed)
    else:
        predict = (_svm if kind == "single" else _svm_by_label)(features, labels, seed, class_weights)
    answers = {split: predict(vectorizer.transform(map(_text, items))) for split, items in tests.items()}
    metrics = {split: text_metrics(kind, items, answers[split]) for split, items in tests.items()}
    name = "ridge regression" if kind == "regression" else "linear SVM"
    record = {"name": f"TF-IDF 1-2-grams + {name}", "seconds": time.perf_counter() - started, **metrics}
    return Baseline(record=record, answers=answers)


def _text(item: LabelledText) -> str:
    return item.text if item.pair is None else f"{item.text}\n{item.pair}"


def _svm(features: Any, labels: Sequence[str], seed: int, weights: str | None) -> Predict:
    """One label for each text: one-versus-rest."""
    # Imported here because scikit-learn takes a second.
    from sklearn.svm import LinearSVC

    if len(set(labels)) == 1:  # which LinearSVC refuses
        return lambda texts: [labels[0]] * texts.shape[0]
    machine = LinearSVC(random_state=seed, class_weight=weights).fit(features, labels)
    return lambda texts: list(map(str, machine.predict(texts)))


def _svm_by_label(features: Any, labels: Sequence[tuple[str, ...]], seed: int, weights: str | None) -> Predict:
    """Any number of labels: a machine for each that predicts whether a text has it."""
    names = sorted({name for of_text in labels for name in of_text})
    machines = [
        _svm(features, [name if name in of_text else "" for of_text in labels], seed, weights) for name in names
    ]

    def predict(texts: Any) -> list[tuple[str, ...]]:
        answers = [machine(texts) for machine in machines]
        return [tuple(answer[row] for answer in answers if answer[row]) for row in range(texts.shape[0])]

    return predict


def _ridge(features: Any, labels: Sequence[float], seed: int) -> Predict:
    # Imported here because scikit-learn takes a second.
    from sklearn.linear_model import Ridge

    model = Ridge(random_state=seed).fit(features, labels)
    return lambda texts: [float(number) for number in model.predict(texts)]
