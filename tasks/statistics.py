"""How sure a figure is, and whether two models differ: the bootstrap, McNemar's test, swapping; counts.

A figure is a function of how often each item counts: 1 for each item gives the figure itself. So one function serves
resampling (items drawn with replacement) and swapping (items of one model or of the other).
"""

import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.int64]
Figures = Callable[[Weights], Mapping[str, float]]
"""From how often each item counts, ``(N,)``, to figures by name."""
Interval = tuple[float, float]

RESAMPLES = 1000
SHUFFLES = 1000
METHOD = f"percentile bootstrap over items, {RESAMPLES:,} resamples"


def bootstrap(figures: Figures, *counts: int, seed: int, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """95 % percentile intervals (Efron and Tibshirani 1993, section 13.3), each over the samples that have the figure:
    one without a positive of any label has no average precision.

    Args:
        figures: of all items.
        counts: the number of items of each part, at least one; a sample has as many items of each part.
        seed: the same seed gives the same intervals.
        resamples: how many samples to draw.
    """
    generator = np.random.default_rng(seed)

    def sample() -> Weights:
        parts = [np.bincount(generator.integers(0, count, count), minlength=count) for count in counts]
        return np.concatenate(parts)

    found = [figures(sample()) for _ in range(resamples)]
    names = dict.fromkeys(itertools.chain.from_iterable(found))
    return {name: _interval([each[name] for each in found if name in each]) for name in names}


def _interval(values: Sequence[float]) -> Interval:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """The two-sided p-value of McNemar's exact test: two models that are right or wrong on the same items.

    Under the null hypothesis, the items that just one of them has right are a fair coin's.
    """
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    total = only_first + only_second
    ways = tail = 1  # to choose k of all, for k = 0
    for k in range(min(only_first, only_second)):
        ways = ways * (total - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**total)


def approximate_randomisation(
    difference: Callable[[npt.NDArray[np.bool_]], float], count: int, *, seed: int, shuffles: int = SHUFFLES
) -> float:
    """The two-sided p-value of a difference between two models (Noreen 1989; Yeh 2000).

    Args:
        difference: of the figure, after the two models' answers to the marked items, ``(N,)``, were swapped.
        count: the number of items.
        seed: the same seed gives the same p-value.
        shuffles: how often to swap at random.

    Returns:
        ``(r + 1) / (shuffles + 1)`` for ``r`` shuffles with at least the difference that was found.
    """
    generator = np.random.default_rng(seed)
    found = abs(difference(np.zeros(count, bool)))
    as_large = sum(abs(difference(generator.random(count) < 0.5)) >= found - 1e-12 for _ in range(shuffles))
    return (as_large + 1) / (shuffles + 1)


def confusion_matrix(pairs: Iterable[tuple[str, str]], labels: Sequence[str] = ()) -> dict[str, dict[str, int]]:
    """Counts by gold and by predicted label: a row for each label, in the order of ``labels`` (by default the
    alphabetical one), with the counts that are not 0, in the same order."""
    counts = Counter(pairs)
    rows: dict[str, dict[str, int]] = {
        name: {} for name in labels or sorted({name for pair in counts for name in pair})
    }
    place = {name: number for number, name in enumerate(rows)}
    for gold, predicted in sorted(counts, key=lambda pair: place[pair[1]]):
        rows[gold][predicted] = counts[gold, predicted]
    return rows


def numbered(values: Iterable[Hashable]) -> npt.NDArray[np.int64]:
    """``(N,)``, equal numbers for equal values, from 0, in the order in which they come."""
    numbers: dict[Hashable, int] = {}
    return np.fromiter((numbers.setdefault(value, len(numbers)) for value in values), np.int64)
