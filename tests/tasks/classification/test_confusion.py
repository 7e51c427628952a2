"""Confusion where texts have several labels, against scikit-learn and against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.classification.confusion import counts_by_label, missed_and_wrong

LABELS = ("a", "b", "c", "none", "飲食")
TEXTS = st.lists(st.tuples(st.sets(st.sampled_from(LABELS)), st.sets(st.sampled_from(LABELS))), min_size=1, max_size=12)


@given(TEXTS)
def test_counts_are_those_of_scikit_learn(texts: list[tuple[set[str], set[str]]]) -> None:
    from sklearn.metrics import multilabel_confusion_matrix

    gold, predicted = ([tuple(sorted(pair[side])) for pair in texts] for side in (0, 1))
    found = counts_by_label(gold, predicted)
    occurring = sorted(set().union(*gold, *predicted))
    assert list(found) == occurring
    if occurring:
        indicators = [[[label in of_text for label in LABELS] for of_text in side] for side in (gold, predicted)]
        matrices = multilabel_confusion_matrix(*map(np.array, indicators))
        for label, ((tn, fp), (fn, tp)) in zip(LABELS, matrices, strict=True):
            if label in occurring:
                assert found[label] == {
                    "true_positives": tp, "false_positives": fp, "false_negatives": fn, "true_negatives": tn,
                }  # fmt: skip


@given(TEXTS)
def test_missed_labels_stand_beside_the_wrong_ones_of_the_same_text(texts: list[tuple[set[str], set[str]]]) -> None:
    gold, predicted = ([tuple(pair[side]) for pair in texts] for side in (0, 1))
    matrix, note = missed_and_wrong(gold, predicted)
    occurring = set().union(*gold, *predicted)
    if not occurring:
        assert (matrix, note) == ({}, "")
        return
    none = list(matrix)[-1]
    assert none not in occurring
    assert none in note
    for row in matrix:
        for column in matrix:
            expected = 0
            for a, b in texts:
                missed = row in a - b if row != none else a <= b
                wrong = column in b - a if column != none else b <= a
                expected += row in a & b if row == column != none else missed and wrong
            assert matrix[row].get(column) == (expected or None), (row, column)


def test_a_confusion_by_hand() -> None:
    gold = [("a", "b"), ("a",), ("b",), ("a",)]
    predicted = [("a", "b"), ("b",), (), ("a", "b")]
    matrix, note = missed_and_wrong(gold, predicted)
    assert matrix == {
        "a": {"a": 2, "b": 1},
        "b": {"b": 1, "none": 1},
        "none": {"b": 1, "none": 1},
    }
    assert note.startswith("A text may have several labels.")
    assert matrix["none"]["none"] / len(gold) == pytest.approx(0.25)  # the subset accuracy
