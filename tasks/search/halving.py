"""Successive halving: many trials for a few epochs, the best third of them for three times as many, and so on.

Jamieson and Talwalkar 2016; the number of trials and epochs of each round are those of Li et al. 2020 (A System for
Massively Parallel Hyperparameter Tuning, algorithm 1, with r = 1 epoch and s = 0).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from minibert.training import Metric

FACTOR = 3
"""Each round keeps one in so many trials, and trains them for so many times the epochs."""


class Round(NamedTuple):
    """How many trials are trained, and up to which epoch."""

    trials: int
    epochs: int


def rounds(trials: int, epochs: int) -> list[Round]:
    """The rounds of a search; the last one trains to the end.

    Args:
        trials: of the first round.
        epochs: of a whole run.
    """
    last = 0
    while min(trials, epochs) >= FACTOR ** (last + 1):
        last += 1
    return [Round(trials // FACTOR**number, epochs // FACTOR ** (last - number)) for number in range(last + 1)]


@dataclass(kw_only=True)
class Trial:
    """One run of a search.

    Attributes:
        name: of its folder.
        settings: those that are searched.
        history: one record per epoch so far.
        complete: whether it was trained to its end.
        failure: why it could not go on.
        diverged: whether that is its settings' doing, and would come again.
    """

    name: str
    settings: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]] = field(default=())
    complete: bool = False
    failure: str | None = None
    diverged: bool = False

    def has_done(self, epochs: int) -> bool:
        """Whether it has these epochs behind it; early stopping may have made it shorter."""
        return self.complete or len(self.history) >= epochs

    def best(self, epochs: int) -> Mapping[str, Any]:
        """The record of its best epoch among the first ones."""
        return [record for record in self.history[:epochs] if record["best"]][-1]


def ranked(trials: Iterable[Trial], epochs: int, metric: Metric) -> list[Trial]:
    """The trials that have done these epochs, the best first: by the figures of their best epoch until then, which is
    the one a run keeps; among equal ones by its loss, then in the order given."""
    sign = -1 if metric.higher_is_better else 1

    def key(trial: Trial) -> tuple[float, float]:
        best = trial.best(epochs)
        return sign * best[metric.name], best["loss"]

    return sorted((trial for trial in trials if trial.has_done(epochs)), key=key)
