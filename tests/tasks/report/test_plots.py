"""Plots: what they change, and what they show."""

import re
import warnings

import pytest
from report_pages import CONFUSION, needs_matplotlib

from tasks.report import plots


@needs_matplotlib
def test_drawing_changes_nothing_of_the_caller() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.confusion(CONFUSION, name="x", title="shares")
    assert dict(matplotlib.rcParams) == before


@needs_matplotlib
def test_numbers_stand_for_names_that_no_font_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "_CJK_FONTS", ())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot = plots.confusion(CONFUSION, name="x", title="shares")
        plain = plots.confusion({"$a$": {"$a$": 1}}, name="x", title="shares")
    assert plot.numbered
    assert "人" not in plot.svg
    assert ">2</text>" in plot.svg
    assert not plain.numbered
    assert ">$a$</text>" in plain.svg  # no formula


@needs_matplotlib
def test_epochs_are_whole_numbers() -> None:
    svg = plots.curves({"dev": [(1, 50.0)]}, name="x", figure="loss", axis="loss (nats)", best=None).svg
    assert ">1</text>" in svg
    assert not re.search(r">[01]\.\d+</text>", svg)
