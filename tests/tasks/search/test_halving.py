"""The rounds of successive halving: how many trials, up to which epoch, and who goes on."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibert.training import Metric
from tasks.search.halving import Trial, ranked, rounds


@pytest.mark.parametrize(
    ("trials", "epochs", "expected"),
    [
        # Li et al. 2020, table 1, bracket 0: n = 9, r = 1, R = 9, eta = 3.
        (9, 9, [(9, 1), (3, 3), (1, 9)]),
        (27, 9, [(27, 1), (9, 3), (3, 9)]),
        (27, 27, [(27, 1), (9, 3), (3, 9), (1, 27)]),
        (9, 27, [(9, 3), (3, 9), (1, 27)]),
        (27, 10, [(27, 1), (9, 3), (3, 10)]),
        (27, 3, [(27, 1), (9, 3)]),
        (27, 1, [(27, 1)]),
        (2, 9, [(2, 9)]),
        (5, 4, [(5, 1), (1, 4)]),
    ],
)
def test_trials_and_epochs_of_each_round(trials: int, epochs: int, expected: list[tuple[int, int]]) -> None:
    assert rounds(trials, epochs) == expected


def cost(trials: int, epochs: int) -> int:
    """Epochs in all, if a trial that goes on is resumed."""
    planned = [(0, 0), *rounds(trials, epochs)]
    return sum(count * (until - before) for (_, before), (count, until) in pairwise(planned))


@given(st.integers(9, 300), st.integers(9, 100))
def test_all_rounds_take_at_most_a_third_of_the_full_grid(trials: int, epochs: int) -> None:
    assert cost(trials, epochs) <= trials * epochs / 3


def trial(name: str, *figures: float, complete: bool = False, losses: tuple[float, ...] = ()) -> Trial:
    best = -1.0
    history: list[dict[str, Any]] = []
    for epoch, figure in enumerate(figures, 1):
        loss = losses[epoch - 1] if losses else 1.0
        history.append({"epoch": epoch, "accuracy": figure, "loss": loss, "best": figure > best})
        best = max(best, figure)
    return Trial(name=name, settings={}, history=history, complete=complete)


def names(trials: list[Trial]) -> str:
    return "".join(trial.name for trial in trials)


def test_trials_are_ranked_by_their_best_epoch_so_far_and_then_by_its_loss() -> None:
    trials = [trial("a", 0.5, 0.4), trial("b", 0.3, 0.6), trial("c", 0.5, 0.5, losses=(0.9, 0.8)), trial("d", 0.5)]
    assert names(ranked(trials, 1, Metric("accuracy"))) == "cadb"
    assert names(ranked(trials, 2, Metric("accuracy"))) == "bca"  # d has not done two epochs
    assert names(ranked(trials, 1, Metric("accuracy", higher_is_better=False))) == "bcad"


def test_a_trial_that_stopped_early_stays_in_the_race() -> None:
    trials = [trial("a", 0.5, 0.6, 0.7), trial("b", 0.9, complete=True)]
    assert names(ranked(trials, 3, Metric("accuracy"))) == "ba"


def test_later_epochs_do_not_change_an_earlier_ranking() -> None:
    """So a search that was killed chooses the same trials again."""
    trials = [trial("a", 0.5), trial("b", 0.4, 0.9, 0.9)]
    assert names(ranked(trials, 1, Metric("accuracy"))) == "ab"
