"""From axes to a plot in a page and in files, with matplotlib if it is installed (the extra ``report``).

Plots are drawn without pyplot, and settings are restored, so that a caller's own plots do not change. matplotlib is
imported inside functions because it is optional and takes half a second.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.report.fonts import FONT, Labels, families, without_font_warnings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "ink": "#1c1e21", "muted": "#5f6670", "rule": "#d9dce1", "one": "#1f6fb5", "two": "#c2571a", "three": "#1a7f5a",
    "four": "#8250a8", "five": "#8a6d00", "six": "#b02a63",
}  # fmt: skip
"""The page's light colours. In the page each becomes the CSS variable of that name, and so follows its dark mode."""


@dataclass(frozen=True)
class Plot:
    """A plot as an SVG element for a page, and as the contents of PNG, SVG and PDF files.

    ``key``: what the numbers in it stand for, from 1, if no installed font has all characters of the names.
    """

    svg: str
    files: Mapping[str, bytes]
    key: Sequence[str] = ()


def installed() -> bool:
    """Whether matplotlib can be imported."""
    try:
        import matplotlib  # noqa: F401  # an extra
    except ImportError:
        return False
    return True


def render(
    draw: Callable[["Axes"], None],
    *,
    name: str,
    size: tuple[float, float],
    label: str,
    labels: Labels = Labels(),  # noqa: B008  # immutable
) -> Plot:
    """Calls ``draw`` on axes, and renders them in all formats.

    Args:
        draw: puts marks, title, axis labels and legend on the axes.
        name: of the plot; makes its ids unique in a page.
        size: in inches.
        label: what the plot shows, for screen readers.
        labels: the names in it that come from data.
    """
    # Imported here because matplotlib is an extra.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fonts = families("".join(labels.texts)) or [FONT]
    # Files must look the same where the fonts are not installed: outlines in an SVG, embedded fonts in a PDF; TrueType
    # (42), which publishers want, is safe for DejaVu only, since many Chinese fonts are not TrueType.
    printed: Any = {"svg.fonttype": "path", "pdf.fonttype": 42 if fonts == [FONT] else 3}
    with matplotlib.rc_context(_style(fonts, salt=name)), without_font_warnings():
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
    return Plot(_for_page(svg.getvalue(), name, label), files, labels.key)


def _saved(figure: "Figure", format: str, **options: Any) -> bytes:
    """The contents of a file of a format."""
    file = io.BytesIO()
    figure.savefig(file, format=format, facecolor="white", **options)
    return file.getvalue()


def _style(fonts: Sequence[str], salt: str) -> Any:
    """matplotlib's settings: text stays text in an SVG, and a dollar sign is not mathematics."""
    return {
        "font.family": list(fonts), "font.size": 10, "text.parse_math": False,
        "svg.fonttype": "none", "svg.hashsalt": salt,
        "text.color": COLOURS["ink"], "axes.edgecolor": COLOURS["rule"], "axes.labelcolor": COLOURS["muted"],
        "xtick.color": COLOURS["muted"], "ytick.color": COLOURS["muted"], "grid.color": COLOURS["rule"],
        "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "legend.fontsize": 9, "legend.frameon": False, "legend.labelcolor": COLOURS["muted"],
    }  # fmt: skip


def _for_page(svg: str, name: str, label: str) -> str:
    """An SVG file as an element of a page: unique ids, the page's colours, a flexible width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)  # would apply to the whole page
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    for variable, colour in COLOURS.items():
        svg = re.sub(rf"(fill|stroke): {colour}", rf"\1: var(--{variable}, {colour})", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).strip()
