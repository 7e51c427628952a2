"""Plots: what they change, and what they show."""

import logging
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from report_pages import CONFUSION, needs_matplotlib

from tasks.report import drawing, fonts, plots
from tasks.report.fonts import labels
from tasks.report.markup import element
from tasks.report.parts import Pictures

pytestmark = needs_matplotlib


@pytest.fixture(autouse=True)
def _no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """To save time."""
    monkeypatch.setattr(drawing, "_saved", lambda *_, **__: b"")


def texts(svg: str) -> list[str]:
    """The texts of a plot in a page."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_drawing_changes_nothing_of_the_caller() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    level = logging.getLogger("matplotlib.font_manager").level
    plots.confusion(CONFUSION, name="x", title="shares")
    assert dict(matplotlib.rcParams) == before
    assert logging.getLogger("matplotlib.font_manager").level == level


def without_chinese_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_CJK_FONTS", ())


def test_numbers_stand_for_names_that_no_font_has(monkeypatch: pytest.MonkeyPatch) -> None:
    without_chinese_fonts(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot = plots.confusion(CONFUSION, name="x", title="shares")
        plain = plots.confusion({"$a$": {"$a$": 1}}, name="x", title="shares")
    assert plot.key == ["人名", "地名<b>"]
    assert "人" not in plot.svg
    assert "2" in texts(plot.svg)
    assert not plain.key
    assert "$a$" in texts(plain.svg)  # no formula


def test_the_page_says_what_the_numbers_stand_for_and_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_chinese_fonts(monkeypatch)
    drawn = Pictures(tmp_path).figure(lambda name: plots.confusion(CONFUSION, name=name, title="shares"), name="x")
    assert "1: 人名; 2: 地名&lt;b&gt;" in drawn
    assert "apt install fonts-noto-cjk" in drawn
    assert element("figcaption", "") not in drawn


def test_a_font_that_matplotlib_has_not_listed_yet_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """matplotlib keeps its list of fonts in a file, and does not look again when fonts are installed."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    path = next(font.fname for font in manager.ttflist if font.name == "DejaVu Serif")
    listed = [font for font in manager.ttflist if font.name != "DejaVu Serif"]
    monkeypatch.setattr(manager, "ttflist", listed)
    monkeypatch.setattr(fonts, "FONT", "cmr10")  # has Latin letters only
    monkeypatch.setattr(fonts, "_CJK_FONTS", ("DejaVu Serif",))
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    assert labels(["Москва"]) == (["1"], ["Москва"])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [path, __file__])  # one is no font
    assert labels(["Москва"]) == (["Москва"], ())


def test_epochs_are_whole_numbers() -> None:
    svg = plots.curves({"dev": [(1, 50.0)]}, name="x", figure="loss", axis="loss (nats)", best=None).svg
    assert "1" in texts(svg)
    assert not re.search(r">[01]\.\d+</text>", svg)


def test_the_mean_by_epoch_is_of_the_runs_that_have_it() -> None:
    runs = [[(1, 1.0), (2, 2.0), (3, 5.0)], [(1, 3.0), (2, 2.0)]]
    epochs, means, deviations, whole = plots._mean_by_epoch(runs)
    assert (epochs, means.tolist(), whole) == ([1, 2, 3], [2.0, 2.0, 5.0], 2)
    assert deviations == pytest.approx([2**0.5, 0, 0])


_AXIS = {"name": "x", "figure": "F1", "axis": "F1 (0 to 1)"}
_RUNS = [[(1, 0.5), (2, 0.6)], [(1, 0.7)]]
_COUNTS = {"true_positives": 3, "false_positives": 1, "false_negatives": 2, "true_negatives": 4}


@pytest.mark.parametrize(
    ("plot", "shown"),
    [
        (
            lambda: plots.curves({"dev": [(1, 0.5)]}, best=1, level=("SVM", 0.4), **_AXIS),
            ["F1 by epoch", "epoch", "F1 (0 to 1)", "dev", "SVM", "best epoch, 1"],
        ),
        (
            lambda: plots.overlaid_curves({"bert": _RUNS, "_albert": _RUNS[1:]}, **_AXIS),
            ["F1 by epoch, mean ± std of runs", "epoch", "F1 (0 to 1)", "bert", " _albert"],
        ),
        (
            lambda: plots.confusion({"A": {"A": 3}}, name="x", title="share of the words of each gold class"),
            ["share of the words of each gold class", "gold", "predicted", "right", "wrong", "1.00"],
        ),
        (
            lambda: plots.label_bars({"A": _COUNTS}, name="x", title="texts by label", axis="number of texts"),
            ["texts by label", "number of texts", "label", "A", "found", "missed", "given wrongly"],
        ),
        (
            lambda: plots.dots([("bert", [0.5, 0.6])], level=("SVM", 0.4), **_AXIS),
            ["F1 by model", "model", "F1 (0 to 1)", "bert", "one seed", "mean", "SVM"],
        ),
        (
            lambda: plots.shots({"prompt": {"0": [0.4], "8": [0.5, 0.6]}}, ticks=("0", "8"), **_AXIS),
            ["F1 by number of examples, mean ± std of draws", "F1 (0 to 1)", "0", "8", "prompt",
             "training examples of each label (0: untrained)"],
        ),
        (
            lambda: plots.parallel_coordinates(
                {"head": ["crf", "linear"], "lr": [1e-4, 1e-3], "F1 (0 to 1)": [0.5, 0.75]},
                [plots.STOPPED, plots.WINNER], choices={"head"}, logarithmic={"lr"}, name="x",
            ),
            ["settings and figure of each trial", "head", "crf", "linear", "lr", "0.0001", "0.001", "F1 (0 to 1)",
             "0.5", "0.75", "stopped early", "winner"],
        ),
    ],
    ids=["curves", "overlaid", "confusion", "label_bars", "dots", "shots", "parallel coordinates"],
)  # fmt: skip
def test_every_plot_has_a_title_units_and_a_legend(plot: Any, shown: list[str]) -> None:
    drawn = plot()
    assert set(shown) <= set(texts(drawn.svg))
    assert set(drawn.files) == {"png", "svg", "pdf"}


def test_numbers_lie_on_the_scale_that_they_were_drawn_on() -> None:
    """A trial in the middle of a logarithmic scale, and one in the middle of a plain one, are at half the height."""
    trials = {"lr": [1e-5, 1e-4, 1e-3], "F1": [0.2, 0.4, 0.6]}
    given = {"kinds": [plots.STOPPED] * 3, "choices": (), "name": "x"}
    right = plots.parallel_coordinates(trials, logarithmic={"lr"}, **given)
    wrong = plots.parallel_coordinates(trials, logarithmic=(), **given)

    def levels(svg: str) -> list[bool]:
        lines = re.findall(r'd="M [\d.]+ ([\d.]+) \s*L [\d.]+ ([\d.]+) \s*"[^>]*stroke-width: 0.8', svg)
        return [abs(float(left) - float(right)) < 0.01 for left, right in lines]

    assert levels(right.svg)[:3] == [True] * 3
    assert levels(wrong.svg)[:3] == [True, False, True]


def test_shares_are_of_the_totals_where_these_are_given() -> None:
    matrix = {"A": {"A": 1, "B": 2}, "B": {"A": 0, "B": 4}}
    svg = plots.confusion(matrix, name="x", title="shares", totals={"A": 2, "B": 8}).svg
    assert {"0.50", "1.00"} <= set(texts(svg))
    assert texts(svg).count("0.50") == 2


def test_long_names_are_turned_before_they_overlap() -> None:
    def turned(names: list[str]) -> bool:
        svg = plots.confusion({name: {name: 1} for name in names}, name="x", title="shares").svg
        return any(
            "rotate(-90" in text for text in re.findall("<text[^>]*>", svg)[: len(names)]
        )  # the ticks come first

    assert not turned(["A", "B", "C"])
    assert turned([f"a name of a class, {index}" for index in range(4)])
