"""Intervals and paired tests of compared models, from the answers that their runs have kept."""

import itertools
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.run.predictions import read_predictions, same_figures
from tasks.run.prepare import AnyTask
from tasks.statistics import Interval, Weights, approximate_randomisation, bootstrap, mcnemar

Records = Sequence[Mapping[str, Any]]

TEST_METHOD = (
    "approximate randomisation over items, two-sided; McNemar's exact test for accuracy, for each seed by itself; "
    "p-values are not corrected for the number of pairs"
)


def read_answers(folder: Path, runs: Sequence[Mapping[str, Any]], split: str) -> dict[int, Records]:
    """The kept predictions of some runs by seed; empty if a run has none."""
    found: dict[int, Records] = {run["seed"]: read_predictions(folder / run["run"], split) for run in runs}
    return found if all(found.values()) else {}


def mean_intervals(
    task: AnyTask, runs: Sequence[Mapping[str, Any]], answers: Mapping[int, Records], split: str
) -> dict[str, Interval]:
    """95 % bootstrap intervals of each figure's mean over the runs of one model.

    Items that all runs have answered are drawn for all of them at once; where each run has held-out items of its own,
    they are drawn for each run by itself.
    """
    figures = [task.weighted_metrics(records) for records in answers.values()]
    if not figures or any(each is None for each in figures):
        return {}
    names = [
        name
        for name in runs[0]["final"][split]
        if all(name in same_figures(task, answers[run["seed"]], run["final"][split]) for run in runs)
    ]
    places, count = _places(answers.values())
    counts = [count]
    if any(len(place) < count for place in places):
        counts = [len(place) for place in places]
        places = [np.arange(sum(counts[:index]), sum(counts[: index + 1])) for index in range(len(counts))]

    def means(weights: Weights) -> dict[str, float]:
        found = [of_run(weights[place]) for of_run, place in zip(figures, places, strict=True) if of_run is not None]
        known = [name for name in names if all(name in each for each in found)]
        return {name: float(np.mean([each[name] for each in found])) for name in known}

    return bootstrap(means, *counts, seed=task.settings.seed) if names else {}


def paired_tests(task: AnyTask, answers: Mapping[str, Mapping[int, Records]], metric: str) -> list[dict[str, Any]]:
    """A test for each pair of models that have answered the same items: the difference of the metric's mean over the
    seeds that both have, and its p-value; and, where answers are right or wrong, McNemar's p-value for each seed."""
    tests = []
    for first, second in itertools.combinations(answers, 2):
        seeds = [seed for seed in answers[first] if seed in answers[second]]
        pairs = [(answers[first][seed], answers[second][seed]) for seed in seeds]
        if not pairs or any(_keys(one) != _keys(other) for one, other in pairs):
            continue
        found = _randomised(task, pairs, metric)
        if found is not None:
            test: dict[str, Any] = {"first": first, "second": second, "metric": metric, **found}
            if metric == "accuracy":
                test["mcnemar"] = {
                    str(seed): mcnemar(*map(_right, pair)) for seed, pair in zip(seeds, pairs, strict=True)
                }
            tests.append(test)
    return tests


def _randomised(task: AnyTask, pairs: Sequence[tuple[Records, Records]], metric: str) -> dict[str, float] | None:
    """The mean difference of the metric and its p-value; None if it does not follow from the records."""
    figures = [task.weighted_metrics(_alike(one, other)) for one, other in pairs]
    places, count = _places(one for one, _ in pairs)

    def difference(swapped: npt.NDArray[np.bool_]) -> float:
        found = []
        for of_pair, place in zip(figures, places, strict=True):
            assert of_pair is not None
            other = swapped[place].astype(np.int64)
            one = 1 - other
            first, second = np.concatenate([one, other]), np.concatenate([other, one])
            found.append(of_pair(first)[metric] - of_pair(second)[metric])
        return float(np.mean(found))

    if any(
        each is None or metric not in each(np.ones(2 * len(one), np.int64))
        for each, (one, _) in zip(figures, pairs, strict=True)
    ):
        return None
    return {
        "difference": difference(np.zeros(count, bool)),
        "p_value": approximate_randomisation(difference, count, seed=task.settings.seed),
    }


def _alike(first: Records, second: Records) -> Records:
    """All records, with the fields that both models' have."""
    names = first[0].keys() & second[0].keys()
    return [{name: record[name] for name in record if name in names} for record in (*first, *second)]


def _right(records: Records) -> list[bool]:
    return [record["gold"] == record["predicted"] for record in records]


def _keys(records: Records) -> list[Hashable]:
    """What identifies each item of a file: its line, its id, and which of the items with these it is."""
    seen: Counter[Hashable] = Counter()
    keys: list[Hashable] = []
    for record in records:
        key = (record.get("line"), record.get("id"))
        keys.append((*key, seen[key]))
        seen[key] += 1
    return keys


def _places(parts: Any) -> tuple[list[npt.NDArray[np.int64]], int]:
    """The place of each record among all items of some runs, and the number of these items."""
    keys = [_keys(records) for records in parts]
    index = {key: number for number, key in enumerate(dict.fromkeys(itertools.chain.from_iterable(keys)))}
    return [np.array([index[key] for key in of_run]) for of_run in keys], len(index)
