"""What a search may choose from: ranges, choices, and the settings that are drawn."""

import math
import random
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from minibert.errors import InputError
from tasks.classification.settings import ClassificationSettings
from tasks.search.arguments import read_options, read_settings
from tasks.search.space import Choices, Range, draw_settings

BASE = ["--task", "classification", "--budget", "9"]


def test_ranges_and_choices_are_told_from_what_all_trials_share() -> None:
    options = read_options([
        *BASE, "--lr", "1e-5..1e-3", "--batch-size", "8", "16", "--weight-decay", "0..0.1", "--max-length", "16..64",
        "--pooling", "first", "mean", "--epochs", "9", "--clean", "a -> b", "c ->", "--head-lr=0.01",
        "--out", "here", "--resume",
    ])  # fmt: skip
    assert options.space == {
        "lr": Range(1e-5, 1e-3),
        "batch_size": Choices((8, 16)),
        "weight_decay": Range(0.0, 0.1),
        "max_length": Range(16, 64),
        "pooling": Choices(("first", "mean")),
    }
    assert (options.out, options.resume) == ("here", True)
    settings = read_settings(options)
    assert isinstance(settings, ClassificationSettings)
    assert (settings.epochs, settings.head_lr, settings.out, settings.clean) == (9, 0.01, "here", ("a -> b", "c ->"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--lr 1e-3..1e-4", "--lr 1e-3..1e-4: the first end of a range must be below the second"),
        ("--lr 1e-4..1e-4", "the first end of a range must be below the second"),
        ("--lr 1e-5...1e-3", "--lr 1e-5...1e-3: a range has two dots, as in 1e-5..1e-4."),
        ("--lr 1e-4..", "--lr 1e-4..: '' is not a number; write a range as 1e-5..1e-4."),
        ("--lr 1e-4..2e-4..3e-4", "'2e-4..3e-4' is not a number"),
        ("--lr ten 20", "--lr ten 20: 'ten' is not a number"),
        ("--batch-size 8 1.5", "'1.5' is not a whole number"),
        ("--lr 0..1e-3", "--lr 0..1e-3: must be a number above 0"),
        ("--lr 1..inf", "--lr 1..inf: must be a number above 0"),
        ("--lr nan 1", "--lr nan 1: must be a number above 0"),
        ("--layer-decay 0.5..1.5", "--layer-decay 0.5..1.5: must be above 0 and at most 1"),
        ("--lr 1e-5..1e-4 1e-3", "give one range, as in 1e-5..1e-4, or several values"),
        ("--lr 0.1 1e-1", "has a value twice"),
        ("--pooling first..mean --lr 1 2", "--pooling first..mean: use one of first, mean"),
        ("--pooling first last", "--pooling first last: use one of first, mean"),
        ("--epochs 3 9", "--epochs 3 9: all trials have the same; give one value"),
        ("--seed 1..9", "--seed 1..9: all trials have the same"),
        ("--metric accuracy loss", "all trials have the same"),
        ("--dev-share 0.1..0.2", "all trials have the same"),
        ("--save-steps 1 2", "all trials have the same"),
        ("--kind single multi", "all trials have the same"),
        ("--train a.txt b.txt", "--train a.txt b.txt: all trials have the same"),
        ("--lr 1e-3", "nothing is searched; give a range"),
        ("--lr 1 2 --seeds 3", "--seeds: all trials have one seed"),
        ("--lr 1 2 --dry-run", "--dry-run: looks at one task"),
        ("--lr 1 2 --weight-decay 0.1", "--weight-decay: set it in a settings file"),
        ("--lr 1 2 --resume", "--resume: needs --out"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_sentence(given: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_settings(read_options([*BASE, *given.split()]))
    assert message in str(caught.value)


def test_what_no_trial_could_be_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("batch_tokens = 512\n")
    given = [*BASE, "--config", str(tmp_path / "settings.toml"), "--batch-size", "8", "16", "--lr", "1e-4..1e-3"]
    with pytest.raises(InputError, match="batch_tokens: cannot be combined with --batch-size"):
        read_settings(read_options(given))


def test_a_budget_of_one_is_no_search() -> None:
    with pytest.raises(InputError, match="--budget 1: must be 2 or more"):
        read_options(["--task", "ner", "--budget", "1", "--lr", "1", "2"])


def test_every_setting_of_a_trial_is_accepted_by_the_task() -> None:
    options = read_options([*BASE, "--lr", "1e-5..1e-3", "--r-drop", "0..2", "--batch-size", "8..32"])
    names = {field.name for field in fields(ClassificationSettings)}
    for settings in draw_settings(options.space, 50, 0):
        assert settings.keys() <= names
        ClassificationSettings(**settings)


def test_rates_are_drawn_log_uniformly_and_from_zero_uniformly() -> None:
    """By the test of Kolmogorov and Smirnov against the exact distributions."""
    rng = random.Random(0)
    rates = [Range(1e-6, 1e-2).draw(rng) for _ in range(2000)]
    assert (
        stats.kstest([math.log(rate) for rate in rates], stats.uniform(math.log(1e-6), math.log(1e4)).cdf).pvalue > 0.01
    )
    shares = [Range(0.0, 0.5).draw(rng) for _ in range(2000)]
    assert stats.kstest(shares, stats.uniform(0, 0.5).cdf).pvalue > 0.01


def test_whole_numbers_are_whole_and_reach_both_ends() -> None:
    rng = random.Random(0)
    for low, high in [(1, 3), (0, 2), (8, 9)]:
        drawn = [Range(low, high).draw(rng) for _ in range(300)]
        assert set(drawn) == set(range(low, high + 1))
        assert all(isinstance(value, int) for value in drawn)


@given(st.floats(1e-9, 1e3), st.floats(1.001, 1e6), st.integers(0, 99))
def test_what_is_drawn_lies_in_the_range_and_is_short(low: float, factor: float, seed: int) -> None:
    value = Range(low, low * factor).draw(random.Random(seed))
    assert low <= value <= low * factor
    assert value in (low, low * factor, float(f"{value:.3g}"))


def test_trials_differ_and_depend_on_the_seed_alone() -> None:
    space: dict[str, Any] = {"batch_size": Choices((8, 16, 32)), "pooling": Choices(("first", "mean", "max"))}
    everything = draw_settings(space, 9, 3)
    assert len({tuple(settings.values()) for settings in everything}) == 9
    assert draw_settings(space, 9, 3) == everything
    assert draw_settings(space, 9, 4) != everything
    with pytest.raises(InputError, match="--budget 10: the ranges and choices have 9 combinations; give that many"):
        draw_settings(space, 10, 3)
