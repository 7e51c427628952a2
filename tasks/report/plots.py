"""The plots of a report, drawn with matplotlib if it is installed (the extra ``report``).

They are drawn without pyplot, and settings are restored, so that a caller's own plots do not change. matplotlib is
imported inside functions because it is optional and takes half a second.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.data import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The page's light colours. In the page each becomes the CSS variable of that name, and so follows its dark mode.
_COLOURS = {"ink": "#1c1e21", "muted": "#5f6670", "rule": "#d9dce1", "one": "#1f6fb5", "two": "#c2571a"}
_MORE_COLOURS = ("#2a8a63", "#8a5fb0", "#a8861a", "#c0507f")
_FONT = "DejaVu Sans"  # comes with matplotlib
_CJK_FONTS = (
    "Noto Sans CJK TC", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans TC", "Noto Sans SC", "Source Han Sans TC",
    "Source Han Sans SC", "PingFang TC", "PingFang SC", "PingFang HK", "Heiti TC", "Hiragino Sans GB",
    "Arial Unicode MS", "Microsoft JhengHei", "Microsoft YaHei", "SimHei", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
)  # fmt: skip
_LONGEST_LABEL = 32
_MOST_NAMED = 30  # classes whose names fit next to a matrix
_MOST_WRITTEN = 12  # classes whose shares fit into its cells
_MOST_MARKED = 20  # points of a line that are marked


@dataclass(frozen=True)
class Plot:
    """A plot as an SVG element for a page, and as the contents of PNG, SVG and PDF files.

    ``numbered``: no installed font has all characters of the labels, so they are numbered from 1, in the given order.
    """

    svg: str
    files: Mapping[str, bytes]
    numbered: bool = False


def installed() -> bool:
    """Whether matplotlib can be imported."""
    try:
        import matplotlib  # noqa: F401  # an extra
    except ImportError:
        return False
    return True


def curves(
    series: Mapping[str, Sequence[tuple[int, float]]],
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
        from matplotlib.ticker import MaxNLocator  # an extra

        styles = (("one", "-", "o"), ("two", "--", "s"))
        for (label, points), (colour, line, marker) in zip(series.items(), styles, strict=False):
            style: dict[str, Any] = {"linestyle": line, "marker": marker, "color": _COLOURS[colour]}
            axes.plot(*zip(*points, strict=True), markersize=4, label=label, **style)
        if level is not None:
            axes.axhline(level[1], color=_COLOURS["muted"], linewidth=1.2, linestyle="-.", label=_shown(level[0]))
        if best is not None:
            axes.axvline(best, color=_COLOURS["muted"], linewidth=1, linestyle=":", label=f"best epoch, {best}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        epochs = [epoch for points in series.values() for epoch, _ in points]
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        axes.margins(y=0.1)
        axes.set_xlabel("epoch")
        axes.set_ylabel(axis)
        axes.set_title(f"{figure} by epoch", loc="left")
        axes.legend(loc="best", frameon=False, labelcolor=_COLOURS["muted"])
        axes.grid(axis="y")

    return _render(draw, name=name, size=(4.8, 3.2), label=f"{figure} by epoch")


def lines(chart: Chart, *, name: str) -> Plot:
    """The lines of a chart, both axes from 0 to 1."""
    labels, numbered = _labels(list(chart.lines))

    def draw(axes: "Axes") -> None:
        for number, (label, points) in enumerate(zip(labels, chart.lines.values(), strict=True)):
            style: dict[str, Any] = {"marker": "o"} if len(points) <= _MOST_MARKED else {}
            colour = (_COLOURS["one"], _COLOURS["two"], *_MORE_COLOURS)[number % (2 + len(_MORE_COLOURS))]
            axes.plot(*zip(*points, strict=True), color=colour, label=label, markersize=4, linewidth=1.4, **style)
        if chart.diagonal:
            axes.plot((0, 1), (0, 1), color=_COLOURS["muted"], linestyle=":", linewidth=1, label=chart.diagonal)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel(chart.x)
        axes.set_ylabel(chart.y)
        axes.set_title(chart.title, loc="left")
        axes.legend(loc="best", frameon=False, labelcolor=_COLOURS["muted"])
        axes.grid()

    return _render(draw, name=name, size=(4.8, 4.2), label=chart.title, text=labels, numbered=numbered)


def confusion(matrix: Mapping[str, Mapping[str, int]], *, name: str, title: str) -> Plot:
    """A heat map of ``{gold class: {predicted class: count}}``: the share of each gold class by prediction.

    Right and wrong predictions have a colour each, as strong as the square root of the share, so that rare ones are
    visible. Up to 30 classes are named.
    """
    classes = list(matrix)
    counts = np.array([[matrix[gold].get(predicted, 0) for predicted in classes] for gold in classes], dtype=float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    named = len(classes) <= _MOST_NAMED
    labels, numbered = _labels(classes) if named else ([], False)

    long = not numbered and len("".join(labels)) > 24

    def draw(axes: "Axes") -> None:
        from matplotlib.colors import to_rgb  # an extra
        from matplotlib.patches import Patch

        right = np.eye(len(classes), dtype=bool)[..., None]
        hue = np.where(right, to_rgb(_COLOURS["one"]), to_rgb(_COLOURS["two"]))
        faintest = 0.1 if named else 0.4  # a cell among very many is too small to be faint
        strength = np.where(counts > 0, faintest + (0.65 - faintest) * np.sqrt(shares), 0)
        axes.imshow(np.concatenate([hue, strength[..., None]], axis=-1), interpolation="nearest")
        positions = range(len(classes)) if named else []
        axes.set_xticks(positions, labels, rotation=90 if long else 0)
        axes.set_yticks(positions, labels)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(True)
        axes.set_xlabel("predicted")
        axes.set_ylabel("gold")
        axes.set_title(title, loc="left")
        keys = {"right": "one", "wrong": "two"}
        marks = [Patch(facecolor=_COLOURS[colour], alpha=0.65, label=label) for label, colour in keys.items()]
        axes.legend(handles=marks, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, labelcolor=_COLOURS["muted"])
        if len(classes) <= _MOST_WRITTEN:
            for gold, predicted in np.argwhere(counts):
                share = f"{shares[gold, predicted]:.2f}"
                axes.text(predicted, gold, share, ha="center", va="center", fontsize=8, color=_COLOURS["ink"])

    side = 6.4 if long else 4.8
    label = f"Confusion matrix of {len(classes)} classes as a heat map"
    return _render(draw, name=name, size=(side, side), label=label, text=labels, numbered=numbered)


def dots(
    rows: Sequence[tuple[str, Sequence[float]]], *, name: str, figure: str, level: tuple[str, float] | None
) -> Plot:
    """A line for each row: its values as dots, their mean as a stroke; a level as a line through all."""
    labels, numbered = _labels([label for label, _ in rows])

    def draw(axes: "Axes") -> None:
        for height, (_, values) in enumerate(rows):
            at = np.full(len(values), height)
            axes.scatter(values, at, s=26, color=_COLOURS["one"], alpha=0.6, label=None if height else "one seed")
            mean = float(np.mean(values))
            axes.plot(
                [mean, mean], [height - 0.22, height + 0.22], color=_COLOURS["ink"], label=None if height else "mean"
            )
        if level is not None:
            axes.axvline(level[1], color=_COLOURS["two"], linestyle="--", linewidth=1.2, label=_shown(level[0]))
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)
        axes.set_xlabel(figure)
        axes.grid(axis="x")
        # Above the axes, where no dot can be.
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, labelcolor=_COLOURS["muted"])

    size = (4.8, 1.3 + 0.4 * len(rows))
    return _render(draw, name=name, size=size, label=f"{figure} by seed", text=labels, numbered=numbered)


def _render(
    draw: Callable[["Axes"], None],
    *,
    name: str,
    size: tuple[float, float],
    label: str,
    text: Sequence[str] = (),
    numbered: bool = False,
) -> Plot:
    """Calls ``draw`` on axes of ``size`` inches, and renders them in both formats."""
    # Imported here because matplotlib is an extra.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    families = _families("".join(text)) or [_FONT]
    # Files must look the same where the fonts are not installed: outlines in an SVG, embedded fonts in a PDF; TrueType
    # (42), which publishers want, is safe for DejaVu only, since many Chinese fonts are not TrueType.
    printed: Any = {"svg.fonttype": "path", "pdf.fonttype": 42 if families == [_FONT] else 3}
    with matplotlib.rc_context(_style(families, salt=name)):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.add_subplot())
        svg = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(svg, format="svg", transparent=True, dpi=144, metadata=no_metadata)
        files = {"png": _saved(figure, "png", dpi=160)}
        with matplotlib.rc_context(printed):
            files["svg"] = _saved(figure, "svg", metadata=no_metadata)
            files["pdf"] = _saved(figure, "pdf", metadata={"CreationDate": None})
    return Plot(_for_page(svg.getvalue(), name, label), files, numbered)


def _saved(figure: "Figure", format: str, **options: Any) -> bytes:
    """The contents of a file of a format."""
    file = io.BytesIO()
    figure.savefig(file, format=format, facecolor="white", **options)
    return file.getvalue()


def _style(families: Sequence[str], salt: str) -> Any:
    """matplotlib's settings: text stays text in an SVG, and a dollar sign is not mathematics."""
    return {
        "font.family": list(families), "font.size": 10, "text.parse_math": False,
        "svg.fonttype": "none", "svg.hashsalt": salt,
        "text.color": _COLOURS["ink"], "axes.edgecolor": _COLOURS["rule"], "axes.labelcolor": _COLOURS["muted"],
        "xtick.color": _COLOURS["muted"], "ytick.color": _COLOURS["muted"], "grid.color": _COLOURS["rule"],
        "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "legend.fontsize": 9,
    }  # fmt: skip


def _for_page(svg: str, name: str, label: str) -> str:
    """An SVG file as an element of a page: unique ids, the page's colours, a flexible width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)  # would apply to the whole page
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    for variable, colour in _COLOURS.items():
        svg = re.sub(rf"(fill|stroke): {colour}", rf"\1: var(--{variable}, {colour})", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).strip()


def _labels(names: Sequence[str]) -> tuple[list[str], bool]:
    """The names, shortened, and False; or numbers, and True, if no installed font has their characters."""
    shown = [_shown(name) for name in names]
    if _families("".join(shown)) is not None:
        return shown, False
    return [str(index) for index in range(1, len(names) + 1)], True


def _shown(name: str) -> str:
    shown = "".join(char if char.isprintable() else f"U+{ord(char):04X}" for char in name)
    return shown if len(shown) <= _LONGEST_LABEL else f"{shown[: _LONGEST_LABEL - 1]}…"


def _families(text: str) -> list[str] | None:
    """Installed font families that together have every character of ``text``; None if there are none."""
    from matplotlib import font_manager  # an extra

    names = {font.name for font in font_manager.fontManager.ttflist}

    def missing(family: str, chars: set[str]) -> set[str]:
        font = font_manager.get_font(font_manager.findfont(family))
        return {char for char in chars if not font.get_char_index(ord(char))}

    left = missing(_FONT, set(text))
    if not left:
        return [_FONT]
    return next(([_FONT, family] for family in _CJK_FONTS if family in names and not missing(family, left)), None)
