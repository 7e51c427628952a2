"""Figures by class and averaged, against worked examples and the definitions counted out."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.classification.data import LabelledText
from tasks.classification.scores import in_words, text_metrics, text_scores


def items(labels: Sequence[Any]) -> list[LabelledText]:
    return [LabelledText("t", None, label, line) for line, label in enumerate(labels, 1)]


def counted(
    gold: Sequence[set[str]], predicted: Sequence[set[str]], names: Sequence[str]
) -> tuple[float, float, float]:
    """Precision, recall and F1 over the decisions on the given names, by counting them."""
    hits = sum(name in g and name in p for g, p in zip(gold, predicted, strict=True) for name in names)
    answers = sum(name in p for p in predicted for name in names)
    wanted = sum(name in g for g in gold for name in names)
    precision, recall = hits / answers if answers else 0.0, hits / wanted if wanted else 0.0
    return precision, recall, 2 * hits / (answers + wanted) if answers + wanted else 0.0


def ratios(row: dict[str, float]) -> tuple[float, float, float]:
    return row["precision"], row["recall"], row["f1-score"]


# -- one label --------------------------------------------------------------------------------------------------------


def test_two_classes_by_hand() -> None:
    """Of five sarcastic headlines three are found, beside one that is not: precision 3/4, recall 3/5."""
    gold = ["1", "1", "1", "1", "1", "0", "0", "0"]
    predicted = ["1", "1", "1", "0", "0", "1", "0", "0"]
    scores = text_scores("single", items(gold), predicted)
    assert scores.metrics == pytest.approx({
        "accuracy": 5 / 8,
        "macro_precision": (3 / 4 + 2 / 4) / 2, "macro_recall": (3 / 5 + 2 / 3) / 2,
        "macro_f1": (2 / 3 + 4 / 7) / 2, "weighted_f1": (5 * 2 / 3 + 3 * 4 / 7) / 8,
        "binary_precision": 3 / 4, "binary_recall": 3 / 5, "binary_f1": 2 / 3,
    })  # fmt: skip
    assert scores.rows["0"] == pytest.approx({"precision": 2 / 4, "recall": 2 / 3, "f1-score": 4 / 7, "support": 3})
    assert "the binary metrics are those of 1" in scores.title


@pytest.mark.slow
@given(st.lists(st.tuples(*2 * [st.sampled_from("abcd")]), min_size=1, max_size=30))
@settings(max_examples=50)
def test_single_labels_follow_the_definitions(pairs: list[tuple[str, str]]) -> None:
    gold, predicted = map(list, zip(*pairs, strict=True))
    scores = text_scores("single", items(gold), predicted)
    names = sorted({*gold, *predicted})
    by_class = {name: counted([{g} for g in gold], [{p} for p in predicted], [name]) for name in names}
    assert [*scores.rows] == [*names, "macro avg", "weighted avg"]
    for name in names:
        assert ratios(scores.rows[name]) == pytest.approx(by_class[name])
        assert scores.rows[name]["support"] == gold.count(name)
    macro = np.mean([by_class[name] for name in names], axis=0)
    weighted = np.mean([by_class[g] for g in gold], axis=0)
    assert ratios(scores.rows["macro avg"]) == pytest.approx(macro)
    assert ratios(scores.rows["weighted avg"]) == pytest.approx(weighted)
    figures = text_metrics("single", items(gold), predicted)
    assert figures["accuracy"] == pytest.approx(sum(g == p for g, p in pairs) / len(pairs))
    assert [figures[f"macro_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(macro)
    assert figures["weighted_f1"] == pytest.approx(weighted[2])
    assert ("binary_f1" in figures) is (len(names) == 2)


# -- several labels ---------------------------------------------------------------------------------------------------


def test_several_labels_by_hand() -> None:
    """Four right of five answers and six gold labels; ``a`` 2/2 and 2/3, ``b`` 1/2 and 1/2, ``c`` 1/1 and 1/1."""
    gold = [("a", "b"), ("a",), ("a", "c"), ("b",), ()]
    predicted = [("a", "b"), ("a",), ("c",), (), ("b",)]
    figures = text_metrics("multi", items(gold), predicted)
    assert figures == pytest.approx({
        "micro_f1": 2 * 4 / (5 + 6), "macro_f1": (4 / 5 + 1 / 2 + 1) / 3, "subset_accuracy": 2 / 5,
    })  # fmt: skip


LABELS = st.sets(st.sampled_from("abc")).map(sorted).map(tuple)


@pytest.mark.slow
@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=15))
@settings(max_examples=50)
def test_several_labels_follow_the_definitions(pairs: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
    gold, predicted = map(list, zip(*pairs, strict=True))
    scores = text_scores("multi", items(gold), predicted)
    sets = [set(g) for g in gold], [set(p) for p in predicted]
    names = sorted(set().union(*sets[0], *sets[1]))
    by_class = {name: counted(*sets, [name]) for name in names}
    assert [*scores.rows] == [*names, "micro avg", "macro avg", "weighted avg"]
    for name in names:
        assert ratios(scores.rows[name]) == pytest.approx(by_class[name])
    assert ratios(scores.rows["micro avg"]) == pytest.approx(counted(*sets, names))
    macro = np.mean([by_class[name] for name in names], axis=0) if names else (0, 0, 0)
    assert ratios(scores.rows["macro avg"]) == pytest.approx(tuple(macro))
    assert scores.metrics["micro_f1"] == scores.rows["micro avg"]["f1-score"]
    assert scores.metrics["macro_f1"] == scores.rows["macro avg"]["f1-score"]
    assert scores.metrics["subset_accuracy"] == pytest.approx(sum(g == p for g, p in pairs) / len(pairs))


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_numbers_by_hand() -> None:
    """Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: their covariance is 4.5, their variances 4.5 and 5."""
    figures = text_metrics("regression", items([1.0, 2.0, 2.0, 5.0]), [1.0, 2.0, 3.0, 9.0])
    assert figures == pytest.approx({
        "mse": (0 + 0 + 1 + 16) / 4, "mae": (0 + 0 + 1 + 4) / 4,
        "pearson": 18.5 / (9 * 38.75) ** 0.5, "spearman": (4.5 / 5) ** 0.5,
    })  # fmt: skip


@given(st.lists(st.tuples(*2 * [st.integers(-3, 3).map(float)]), min_size=1, max_size=12))
def test_spearman_is_pearson_of_mean_ranks(pairs: list[tuple[float, float]]) -> None:
    gold, predicted = map(list, zip(*pairs, strict=True))

    def ranks(values: list[float]) -> list[float]:
        return [sum(w < v for w in values) + (1 + sum(w == v for w in values)) / 2 for v in values]

    figures = text_metrics("regression", items(gold), predicted)
    of_ranks = text_metrics("regression", items(ranks(gold)), ranks(predicted))
    assert figures["spearman"] == pytest.approx(of_ranks["pearson"])
    assert -1 - 1e-9 <= figures["pearson"] <= 1 + 1e-9


def test_numbers_that_are_all_the_same_correlate_with_nothing() -> None:
    for gold, predicted in (([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]), ([2.0, 2.0], [1.0, 3.0]), ([1.0], [1.0])):
        figures = text_metrics("regression", items(gold), predicted)
        assert figures["pearson"] == figures["spearman"] == 0


# -- for people -------------------------------------------------------------------------------------------------------


def columns_end_at(line: str) -> list[int]:
    """Where the words of a line end on a screen, counting a wide character as two columns."""
    at, ends = 0, []
    for character, following in zip(line, line[1:] + " ", strict=True):
        at += 1 + (unicodedata.east_asian_width(character) in "WF")
        if character != " " and following == " ":
            ends.append(at)
    return ends


def test_the_table_is_aligned_also_under_chinese_names() -> None:
    gold = ["臺北市衛生局", "臺北市衛生局", "b", "b"]
    table = text_scores("single", items(gold), ["臺北市衛生局", "b", "b", "b"]).table
    lines = [line for line in table.splitlines() if line]
    assert lines[2].split() == ["臺北市衛生局", "1.0000", "0.5000", "0.6667", "2"]
    assert lines[-1].split() == ["accuracy", "0.7500"]
    # Names may hold a space; the four columns stand right of them.
    assert len({tuple(columns_end_at(line)[-4:]) for line in lines[:-1]}) == 1


def many(classes: int) -> tuple[list[LabelledText], list[str]]:
    """Class ``n`` has ``n + 1`` texts, and the first is taken for class ``absent``, which has none: the F1 of class 0
    and of ``absent`` are 0, and that of the others grows with ``n``."""
    gold = [f"c{n:02}" for n in range(classes - 1) for _ in range(n + 1)]
    first = [index == 0 or gold[index - 1] != label for index, label in enumerate(gold)]
    return items(gold), ["absent" if wrong else label for label, wrong in zip(gold, first, strict=True)]


def test_of_many_classes_the_table_shows_the_worst() -> None:
    table = text_scores("single", *many(41)).table
    assert table.startswith("The 10 of 41 classes with the lowest F1:")
    names = [line.split()[0] for line in table.splitlines()[1:] if line and line[0] != " "]
    assert names == ["c00", "absent", *(f"c{n:02}" for n in range(1, 9)), "macro", "weighted", "accuracy"]


def test_of_forty_classes_the_table_shows_all() -> None:
    scores = text_scores("single", *many(40))
    names = [line.split()[0] for line in scores.table.splitlines() if line and line[0] != " "]
    assert names == ["absent", *(f"c{n:02}" for n in range(39)), "macro", "weighted", "accuracy"]


def test_labels_in_words() -> None:
    assert [in_words(label) for label in ("a", ("a", "b"), (), 3.14159, 2.0)] == ["a", "a, b", "no label", "3.142", "2"]
