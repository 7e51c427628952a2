"""What went wrong where texts have several labels: counts by label, and which labels were given in place of which."""

from collections import Counter
from collections.abc import Sequence

from tasks.statistics import confusion_matrix

NOTE = (
    "A text may have several labels. On the diagonal: texts that have the label and were given it. Elsewhere: texts "
    "that have the label of the row but were not given it, and were given that of the column but do not have it; in "
    "the column {none}, none was given wrongly; in the row {none}, none was missed; where both meet, all is right."
)

Labels = tuple[str, ...]


def counts_by_label(gold: Sequence[Labels], predicted: Sequence[Labels]) -> dict[str, dict[str, int]]:
    """True and false positives and negatives of each label that occurs, in alphabetical order."""
    pairs = [(set(a), set(b)) for a, b in zip(gold, predicted, strict=True)]
    both = Counter(label for a, b in pairs for label in a & b)
    wrong = Counter(label for a, b in pairs for label in b - a)
    missed = Counter(label for a, b in pairs for label in a - b)
    return {
        label: {
            "true_positives": both[label],
            "false_positives": wrong[label],
            "false_negatives": missed[label],
            "true_negatives": len(pairs) - both[label] - wrong[label] - missed[label],
        }
        for label in _occurring(gold, predicted)
    }


def missed_and_wrong(gold: Sequence[Labels], predicted: Sequence[Labels]) -> tuple[dict[str, dict[str, int]], str]:
    """The number of texts by missed and by wrongly given label, and right ones on the diagonal.

    Returns:
        The counts as ``{gold label: {predicted label: count}}``, without those that are 0, with a last row and column
        for no label; and what they are, in words. Both are empty if no label occurs.
    """
    labels = _occurring(gold, predicted)
    if not labels:
        return {}, ""
    none = "none"
    while none in labels:
        none = f"({none})"
    pairs: list[tuple[str, str]] = []
    for a, b in zip(map(set, gold), map(set, predicted), strict=True):
        pairs += [(label, label) for label in a & b]
        pairs += [(missed, wrong) for missed in a - b or {none} for wrong in b - a or {none}]
    return confusion_matrix(pairs, [*labels, none]), NOTE.format(none=none)


def _occurring(gold: Sequence[Labels], predicted: Sequence[Labels]) -> list[str]:
    return sorted({label for labels in (*gold, *predicted) for label in labels})
