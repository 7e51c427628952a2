"""Intervals and tests, against scipy and against counting all possibilities."""

import itertools

import numpy as np
import pytest

from tasks.classification.scores import text_metrics
from tasks.classification.weighted import weighted_probability_figures, weighted_text_metrics
from tasks.statistics import approximate_randomisation, bootstrap, confusion_matrix, mcnemar

scipy_stats = pytest.importorskip("scipy.stats")


def test_a_confusion_matrix_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import confusion_matrix as theirs

    generator = np.random.default_rng(4)
    gold, predicted = (["abcdef"[i] for i in generator.integers(0, most, 60)] for most in (5, 6))
    found = confusion_matrix(zip(gold, predicted, strict=True))
    assert list(found) == list("abcdef")
    assert [[found[a].get(b, 0) for b in "abcdef"] for a in "abcdef"] == theirs(gold, predicted).tolist()
    assert all(count and list(row) == sorted(row) for row in found.values() for count in row.values())


def test_the_interval_of_a_share_is_scipys() -> None:
    right = np.random.default_rng(1).random(200) < 0.7
    low, high = bootstrap(lambda w: {"accuracy": float(w @ right / w.sum())}, 200, seed=3, resamples=9000)["accuracy"]
    theirs = scipy_stats.bootstrap(
        (right.astype(float),), np.mean, method="percentile", n_resamples=9000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert (low, high) == pytest.approx(tuple(theirs), abs=0.006)


def test_the_interval_of_an_f1_is_scipys() -> None:
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(5)
    gold = generator.integers(0, 3, 150)
    predicted = np.where(generator.random(150) < 0.75, gold, generator.integers(0, 3, 150))
    records = [{"gold": str(a), "predicted": str(b)} for a, b in zip(gold, predicted, strict=True)]
    ours = bootstrap(weighted_text_metrics("single", records), 150, seed=1, resamples=2000)["macro_f1"]
    theirs = scipy_stats.bootstrap(
        (gold, predicted), lambda a, b: f1_score(a, b, average="macro"), paired=True, vectorized=False,
        method="percentile", n_resamples=2000, rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert ours == pytest.approx(tuple(theirs), abs=0.015)


def test_samples_without_a_positive_of_any_label_have_no_part_in_its_interval() -> None:
    """A label with three positives, and another with two, of 40 texts; against sklearn on the same samples."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    generator = np.random.default_rng(2)
    gold = np.zeros((40, 2), bool)
    gold[[3, 17, 30], 0] = gold[[5, 17], 1] = True
    values = generator.random((40, 2)) + 0.3 * gold
    records = [
        {
            "gold": [name for name, has in zip("ab", row, strict=True) if has],
            "probabilities": dict(zip("ab", of_text.tolist(), strict=True)),
        }
        for row, of_text in zip(gold, values, strict=True)
    ]
    found = bootstrap(weighted_probability_figures("multi", records), 40, seed=5)
    generator, expected = np.random.default_rng(5), []
    for _ in range(1000):
        drawn = generator.integers(0, 40, 40)
        known = [column for column in range(2) if 0 < gold[drawn, column].sum() < 40]
        if known:
            expected.append(
                [
                    np.mean([score(gold[drawn, column], values[drawn, column]) for column in known])
                    for score in (average_precision_score, roc_auc_score)
                ]
            )
    assert 900 < len(expected) < 1000
    low, high = np.percentile(expected, (2.5, 97.5), axis=0)
    assert found["macro_average_precision"] == pytest.approx((low[0], high[0]), abs=1e-12)
    assert found["macro_auc"] == pytest.approx((low[1], high[1]), abs=1e-12)


def test_the_seed_alone_decides() -> None:
    values = np.arange(30.0)
    found = [bootstrap(lambda w: {"mean": float(w @ values)}, 30, seed=seed, resamples=50) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_weights_are_copies(kind: str) -> None:
    """Of a text that counts three times there might as well be three, and of one that does not count none: classes
    that occur in such alone are no part of a mean."""
    generator = np.random.default_rng(0)
    draw = {
        "single": lambda: "abcdefghijklmnopqrstuvwxyz"[generator.integers(26)],
        "multi": lambda: tuple(name for name in "abcdefghijklmnopqrstuvwxyz" if generator.random() < 0.04),
        "regression": lambda: float(generator.integers(0, 6)),
    }[kind]
    records = [{"gold": draw(), "predicted": draw()} for _ in range(60)]
    weights = np.where(generator.random(60) < 0.5, 0, generator.integers(1, 4, 60))
    copies = [record for record, weight in zip(records, weights, strict=True) for _ in range(weight)]
    if kind != "regression":
        assert {str(record["gold"]) for record in copies} < {str(record["gold"]) for record in records}
    from tasks.classification.data import LabelledText

    items = [LabelledText("", None, record["gold"], 1) for record in copies]
    expected = text_metrics(kind, items, [record["predicted"] for record in copies])
    assert weighted_text_metrics(kind, records)(weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("only_first", "only_second"), [(0, 0), (1, 0), (5, 5), (12, 3), (3, 12), (200, 260), (30_000, 30_300)]
)
def test_mcnemar_is_scipys_binomial_test(only_first: int, only_second: int) -> None:
    first = [True] * only_first + [False] * only_second + [True, False, True]
    second = [False] * only_first + [True] * only_second + [True, False, True]
    total = only_first + only_second
    expected = scipy_stats.binomtest(only_first, total, 0.5).pvalue if total else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


def test_randomisation_approaches_the_share_of_all_swaps() -> None:
    generator = np.random.default_rng(4)
    gold, one, two = (generator.integers(0, 2, 10) for _ in range(3))
    one[:7] = gold[:7]

    def f1(predicted: np.ndarray) -> float:
        return float(2 * (predicted & gold).sum() / (predicted.sum() + gold.sum()))

    def difference(swapped: np.ndarray) -> float:
        return f1(np.where(swapped, two, one)) - f1(np.where(swapped, one, two))

    found = difference(np.zeros(10, bool))
    swaps = [np.array(each) for each in itertools.product((False, True), repeat=10)]
    share = np.mean([abs(difference(swap)) >= abs(found) - 1e-12 for swap in swaps])
    assert 0.02 < share < 0.9
    assert approximate_randomisation(difference, 10, seed=0, shuffles=4000) == pytest.approx(share, abs=0.03)
