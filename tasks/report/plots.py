"""The plots of a report: each function draws one kind. How a plot becomes a file is in :mod:`tasks.report.drawing`.

Every plot has a title, the units on its axes, and a legend. matplotlib is imported inside functions because it is
optional (the extra ``report``) and takes half a second.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import cycle, groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.data import Chart
from tasks.report.drawing import COLOURS, Plot, render
from tasks.report.fonts import Labels, labels, shortened, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Sequence[tuple[int, float]]
"""Values by epoch."""

_WIDTH = 4.8  # of most plots, in inches
_MOST_NAMED = 30  # classes whose names fit next to a matrix
_MOST_WRITTEN = 12  # classes whose shares fit into its cells
_MOST_MARKED = 20  # points of a line that are marked
# Told apart by marker and line, too, for prints without colour.
_STYLES = (("one", "o"), ("two", "s"), ("three", "^"), ("four", "D"), ("five", "v"), ("six", "P"))
_LINES = ("-", "--", "-.", ":")


def curves(
    series: Mapping[str, Points],
    *,
    name: str,
    figure: str,
    axis: str,
    best: int | None,
    level: tuple[str, float] | None = None,
) -> Plot:
    """Values by epoch.

    Args:
        series: ``(epoch, value)`` pairs by name; the first is drawn solid, the second dashed.
        name: of the plot; makes its ids unique in a page.
        figure: what is drawn.
        axis: the same with its unit.
        best: the epoch to mark.
        level: name and value of something to compare with, such as a baseline.
    """

    def draw(axes: "Axes") -> None:
        for (label, points), style in zip(series.items(), _styles(), strict=False):
            axes.plot(*zip(*points, strict=True), markersize=4, label=_listed(label), **style)
        if level is not None:
            axes.axhline(level[1], color=COLOURS["muted"], linewidth=1.2, linestyle="-.", label=shortened(level[0]))
        if best is not None:
            axes.axvline(best, color=COLOURS["muted"], linewidth=1, linestyle=":", label=f"best epoch, {best}")
        _over_epochs(axes, [epoch for points in series.values() for epoch, _ in points])
        axes.set_ylabel(axis)
        axes.set_title(f"{figure} by epoch", loc="left")
        _legend_below(axes)

    return render(draw, name=name, size=(_WIDTH, 3.6), label=f"{figure} by epoch")


def overlaid_curves(models: Mapping[str, Sequence[Points]], *, name: str, figure: str, axis: str) -> Plot:
    """Values by epoch of several models, each with its runs: their mean, and one standard deviation to both sides.

    Where some of a model's runs have ended, the mean of the others is drawn thin.

    Args:
        models: the runs' ``(epoch, value)`` pairs by model.
        name, figure, axis: as in :func:`curves`.
    """
    names = labels(list(models))
    several = any(len(runs) > 1 for runs in models.values())

    def draw(axes: "Axes") -> None:
        for label, runs, style in zip(names.texts, models.values(), _styles(), strict=False):
            epochs, means, deviations, whole = _mean_by_epoch(runs)
            axes.plot(epochs[:whole], means[:whole], markersize=4, label=_listed(label), **style)
            if whole < len(epochs):
                axes.plot(epochs[whole - 1 :], means[whole - 1 :], color=style["color"], linewidth=0.7)
            below, above = means - deviations, means + deviations
            axes.fill_between(epochs, below, above, color=style["color"], alpha=0.15, linewidth=0)
        _over_epochs(axes, [epoch for runs in models.values() for run in runs for epoch, _ in run])
        axes.set_ylabel(axis)
        axes.set_title(f"{figure} by epoch" + (", mean ± std of runs" if several else ""), loc="left")
        _legend_below(axes)

    return render(
        draw,
        name=name,
        size=(_WIDTH, 3.3 + 0.1 * len(models)),
        label=f"{figure} by epoch, several models",
        labels=names,
    )


def lines(chart: Chart, *, name: str) -> Plot:
    """The lines of a chart, both axes from 0 to 1."""
    names = labels(list(chart.lines))

    def draw(axes: "Axes") -> None:
        for label, points, style in zip(names.texts, chart.lines.values(), _styles(), strict=False):
            marked = style if len(points) <= _MOST_MARKED else {**style, "marker": None}
            axes.plot(*zip(*points, strict=True), markersize=4, linewidth=1.4, label=_listed(label), **marked)
        if chart.diagonal:
            axes.plot((0, 1), (0, 1), color=COLOURS["muted"], linestyle=":", linewidth=1, label=chart.diagonal)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel(chart.x)
        axes.set_ylabel(chart.y)
        axes.set_title(chart.title, loc="left")
        axes.grid()
        _legend_below(axes)

    return render(draw, name=name, size=(_WIDTH, 4.4), label=chart.title, labels=names)


def confusion(
    matrix: Mapping[str, Mapping[str, int]], *, name: str, title: str, totals: Mapping[str, int] | None = None
) -> Plot:
    """A heat map of ``{gold class: {predicted class: count}}``: the share of each gold class by prediction.

    Right and wrong predictions have a colour each, as strong as the square root of the share, so that rare ones are
    visible. Up to 30 classes are named.

    Args:
        matrix: the counts.
        name: of the plot; makes its ids unique in a page.
        title: says what the shares are of.
        totals: what each gold class's counts are shares of; by default their sum.
    """
    classes = list(matrix)
    counts = np.array([[matrix[gold].get(predicted, 0) for predicted in classes] for gold in classes], dtype=float)
    sums = counts.sum(1) if totals is None else np.array([totals[gold] for gold in classes], dtype=float)
    shares = counts / np.maximum(sums[:, None], 1)
    named = len(classes) <= _MOST_NAMED
    names = labels(classes) if named else Labels()
    widest = max(map(width, names.texts), default=0)
    side = _WIDTH if widest < 8 else 6.4
    # An em has 10 of an inch's 72 points. The names on the left, turned or not, and the title leave the rest.
    upright = widest * 10 / 72 > (side - 0.8 - widest * 10 / 72) / max(1, len(classes))

    def draw(axes: "Axes") -> None:
        from matplotlib.colors import to_rgb  # an extra
        from matplotlib.patches import Patch

        right = np.eye(len(classes), dtype=bool)[..., None]
        hue = np.where(right, to_rgb(COLOURS["one"]), to_rgb(COLOURS["two"]))
        faintest = 0.1 if named else 0.4  # a cell among very many is too small to be faint
        strength = np.where(counts > 0, faintest + (0.65 - faintest) * np.sqrt(np.minimum(shares, 1)), 0)
        axes.imshow(np.concatenate([hue, strength[..., None]], axis=-1), interpolation="nearest", aspect="auto")
        positions = range(len(classes)) if named else []
        axes.set_xticks(positions, names.texts, rotation=90 if upright else 0)
        axes.set_yticks(positions, names.texts)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(True)
        axes.set_xlabel("predicted")
        axes.set_ylabel("gold")
        axes.set_title(title, loc="left")
        keys = {"right": "one", "wrong": "two"}
        marks = [Patch(facecolor=COLOURS[colour], alpha=0.65, label=label) for label, colour in keys.items()]
        axes.figure.legend(handles=marks, loc="outside lower center", ncols=2)
        if len(classes) <= _MOST_WRITTEN:
            for gold, predicted in np.argwhere(counts):
                share = f"{shares[gold, predicted]:.2f}"
                axes.text(predicted, gold, share, ha="center", va="center", fontsize=8, color=COLOURS["ink"])

    label = f"Confusion matrix of {len(classes)} classes as a heat map"
    return render(draw, name=name, size=(side, side), label=label, labels=names)


def label_bars(counts: Mapping[str, Mapping[str, int]], *, name: str, title: str, axis: str) -> Plot:
    """A bar for each label of a multi-label task: to the right of 0 the items that have it, found or missed; to the
    left those it was given to wrongly.

    Args:
        counts: ``true_positives``, ``false_positives`` and ``false_negatives`` by label.
        name: of the plot; makes its ids unique in a page.
        title: of the plot.
        axis: what is counted.
    """
    names = labels(list(counts))
    found, missed, wrong = (
        np.array([of_label[key] for of_label in counts.values()])
        for key in ("true_positives", "false_negatives", "false_positives")
    )

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator  # an extra

        heights = np.arange(len(counts))
        bars = (("found", found, 0, "one", 0.65), ("missed", missed, found, "two", 0.65))
        for label, values, left, colour, alpha in bars:
            axes.barh(heights, values, left=left, height=0.7, color=COLOURS[colour], alpha=alpha, label=label)
        hatched: Any = {"facecolor": "none", "edgecolor": COLOURS["two"], "hatch": "////", "linewidth": 0.8}
        axes.barh(heights, -wrong, height=0.7, label="given wrongly", **hatched)
        axes.axvline(0, color=COLOURS["ink"], linewidth=0.8)
        axes.set_yticks(heights, names.texts)
        axes.set_ylim(len(counts) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):g}"))
        axes.set_xlabel(axis)
        axes.set_ylabel("label")
        axes.grid(axis="x")
        axes.set_title(title, loc="left")
        _legend_below(axes)

    size = (_WIDTH, 1.7 + 0.28 * len(counts))
    return render(draw, name=name, size=size, label=f"{axis} by label", labels=names)


def dots(
    rows: Sequence[tuple[str, Sequence[float]]], *, name: str, figure: str, axis: str, level: tuple[str, float] | None
) -> Plot:
    """A line for each row: its values as dots, their mean as a stroke; a level as a line through all."""
    names = labels([label for label, _ in rows])

    def draw(axes: "Axes") -> None:
        for height, (_, values) in enumerate(rows):
            at = np.full(len(values), height)
            axes.scatter(values, at, s=26, color=COLOURS["one"], alpha=0.6, label=None if height else "one seed")
            mean = float(np.mean(values))
            axes.plot(
                [mean, mean], [height - 0.22, height + 0.22], color=COLOURS["ink"], label=None if height else "mean"
            )
        if level is not None:
            axes.axvline(level[1], color=COLOURS["two"], linestyle="--", linewidth=1.2, label=shortened(level[0]))
        axes.set_yticks(range(len(rows)), names.texts)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)
        axes.set_xlabel(axis)
        axes.set_ylabel("model")
        axes.grid(axis="x")
        axes.set_title(f"{figure} by model", loc="left")
        _legend_below(axes)

    size = (_WIDTH, 1.7 + 0.4 * len(rows))
    return render(draw, name=name, size=size, label=f"{figure} by seed", labels=names)


def shots(
    methods: Mapping[str, Mapping[str, Sequence[float]]], *, ticks: Sequence[str], name: str, figure: str, axis: str
) -> Plot:
    """Values by number of training examples: a line through each method's means with their standard deviations, and a
    dot for each draw.

    Args:
        methods: the values of the draws by method and number.
        ticks: the numbers, in order.
        name, figure, axis: as in :func:`curves`.
    """
    several = any(len(values) > 1 for of_method in methods.values() for values in of_method.values())
    # Side by side, so that bars of deviation do not hide each other.
    at_tick = {tick: [method for method, by_tick in methods.items() if tick in by_tick] for tick in ticks}
    places = {
        (method, tick): place + 0.14 * (index - (len(present) - 1) / 2)
        for place, (tick, present) in enumerate(at_tick.items())
        for index, method in enumerate(present)
    }

    def draw(axes: "Axes") -> None:
        for (label, by_tick), style in zip(methods.items(), _styles(), strict=False):
            at = [places[label, tick] for tick in by_tick]
            means = [float(np.mean(values)) for values in by_tick.values()]
            stds = [float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for values in by_tick.values()]
            axes.errorbar(at, means, stds, capsize=3, markersize=5, label=_listed(shortened(label)), **style)
            for place, values in zip(at, by_tick.values(), strict=True):
                if len(values) > 1:
                    axes.scatter(np.full(len(values), place), values, s=9, color=style["color"], alpha=0.45)
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set_xlim(-0.5, len(ticks) - 0.5)
        axes.margins(y=0.1)
        axes.set_xlabel("training examples of each label (0: untrained)")
        axes.set_ylabel(axis)
        axes.grid(axis="y")
        axes.set_title(f"{figure} by number of examples" + (", mean ± std of draws" if several else ""), loc="left")
        _legend_below(axes)

    return render(draw, name=name, size=(_WIDTH, 3.6), label=f"{figure} by number of examples")


WINNER, FINISHED, STOPPED = "winner", "trained to the end", "stopped early"
"""The kinds of trials in :func:`parallel_coordinates`."""


def parallel_coordinates(
    axes_of_values: Mapping[str, Sequence[Any]],
    kinds: Sequence[str],
    *,
    choices: Collection[str],
    logarithmic: Collection[str],
    name: str,
) -> Plot:
    """A line for each trial of a search through the values of its settings and its figure, one upright axis for each.

    Args:
        axes_of_values: the trials' values, by the name of the axis.
        kinds: of the trials: :data:`WINNER`, :data:`FINISHED` or :data:`STOPPED`.
        choices: the axes whose values are choices, evenly spaced.
        logarithmic: those whose values are numbers above 0 on a logarithmic scale.
        name: of the plot; makes its ids unique in a page.
    """
    names = labels(list(axes_of_values))
    scales = [
        _choices(values) if title in choices else _numbers(values, title in logarithmic)
        for title, values in axes_of_values.items()
    ]
    styles: dict[str, dict[str, Any]] = {
        STOPPED: {"color": COLOURS["muted"], "linewidth": 0.8, "alpha": 0.5},
        FINISHED: {"color": COLOURS["one"], "linewidth": 1.4},
        WINNER: {"color": COLOURS["two"], "linewidth": 2.4},
    }

    def draw(axes: "Axes") -> None:
        places = range(len(scales))
        for kind, style in styles.items():  # the winner last, over the others
            lines = [[heights[trial] for heights, _ in scales] for trial, its in enumerate(kinds) if its == kind]
            for index, line in enumerate(lines):
                axes.plot(places, line, label=None if index else kind, **style)
        for place, (_, ticks) in enumerate(scales):
            axes.axvline(place, color=COLOURS["rule"], linewidth=1, zorder=0)
            for text, height in ticks.items():
                axes.annotate(text, (place, height), (4, 0), textcoords="offset points", fontsize=8, va="center")
        axes.set_xticks(places, names.texts)
        axes.set_yticks([])
        axes.set_xlim(-0.2, len(scales) - 0.6)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_title("settings and figure of each trial", loc="left")
        _legend_below(axes)

    size = (max(_WIDTH, 1.6 * len(scales)), 3.8)
    return render(draw, name=name, size=size, label="settings and figure of each trial", labels=names)


def _choices(values: Sequence[Any]) -> tuple[list[float], dict[str, float]]:
    """The heights of values on an axis from 0 to 1, and of the texts beside it."""
    found = sorted(set(values))
    at = {value: index / max(1, len(found) - 1) for index, value in enumerate(found)}
    return [at[value] for value in values], {shortened(str(value)): height for value, height in at.items()}


def _numbers(values: Sequence[float], logarithmic: bool) -> tuple[list[float], dict[str, float]]:
    """The same for numbers."""
    numbers = np.log(values) if logarithmic else np.asarray(values, dtype=float)
    heights = (numbers - numbers.min()) / (float(np.ptp(numbers)) or 1.0)
    return heights.tolist(), {f"{min(values):.3g}": 0.0, f"{max(values):.3g}": float(heights.max())}


# -- what they share -------------------------------------------------------------------------------------------------


def _styles() -> Iterator[dict[str, Any]]:
    """Colour, marker and line of one series after the other."""
    for (colour, marker), line in zip(cycle(_STYLES), cycle(_LINES), strict=False):
        yield {"color": COLOURS[colour], "marker": marker, "linestyle": line}


def _mean_by_epoch(runs: Sequence[Points]) -> tuple[list[int], Any, Any, int]:
    """The epochs, the mean and the sample standard deviation of the runs that have each, and how many all have."""
    points = sorted(point for run in runs for point in run)
    by_epoch = {epoch: [value for _, value in group] for epoch, group in groupby(points, key=lambda point: point[0])}
    means = np.array([np.mean(values) for values in by_epoch.values()])
    deviations = np.array([np.std(values, ddof=1) if len(values) > 1 else 0.0 for values in by_epoch.values()])
    return list(by_epoch), means, deviations, sum(len(values) == len(runs) for values in by_epoch.values())


def _over_epochs(axes: "Axes", epochs: Sequence[int]) -> None:
    """An axis of whole epochs, and lines for the values."""
    from matplotlib.ticker import MaxNLocator  # an extra

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    axes.margins(y=0.1)
    axes.set_xlabel("epoch")
    axes.grid(axis="y")


def _listed(name: str) -> str:
    """A name for a legend; matplotlib leaves out those that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name


def _legend_below(axes: "Axes") -> None:
    """A legend outside of the axes, where it hides nothing."""
    handles, names = axes.get_legend_handles_labels()
    inches = [width(name) * 9 / 72 + 0.6 for name in names]  # with the mark

    def fits(columns: int) -> bool:
        return sum(max(column) for column in np.array_split(inches, columns)) <= _WIDTH

    columns = next((number for number in range(len(names), 1, -1) if fits(number)), 1)
    axes.figure.legend(handles, names, loc="outside lower center", ncols=columns)
