"""What the reports of runs and comparisons share: the page, its first and last sections, plots, and numbers."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from minibert.files import write_atomically
from tasks.report.drawing import Plot, installed
from tasks.report.markup import Html, element, join, named_row, number, table, verbatim
from tasks.settings import AVERAGES

REPORT_FILE = "report.html"
LONG_TABLE = 30
"""Rows; longer tables scroll."""
_STYLE = Path(__file__).with_name("report.css")
_NO_PLOTS = "There are no plots without matplotlib: pip install -e '.[report]' in minibert's folder adds them."
_NO_FONT = (
    "No installed font has all the names, so numbers stand for them. With a Chinese font, such as Noto Sans CJK (on "
    "Debian and Ubuntu: apt install fonts-noto-cjk), minibert report draws the names."
)


class Section(NamedTuple):
    """A part of the page, listed in its table of contents."""

    name: str
    content: Html

    @property
    def id(self) -> str:
        return re.sub(r"\W+", "-", self.name.lower())

    def shown(self) -> Html:
        return element("section", element("h2", self.name, id=self.id), self.content)


def write_page(
    folder: Path, record: Mapping[str, Any], *, title: str, top: Iterable[Html], sections: Iterable[Section], rest: Html
) -> Path:
    """Writes ``report.html``.

    Args:
        folder: to write to.
        record: of the run or comparison.
        title: of the page.
        top: what comes before the sections.
        sections: of this kind of page.
        rest: folded parts, before the data, the settings and so on.

    Raises:
        InputError: the folder cannot be written.
    """
    first, last = [_command(record), *sections], _circumstances(record)
    head = join([
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", verbatim(title)),
        element("style", Html(_STYLE.read_text(encoding="utf-8"))),
    ])  # fmt: skip
    links = [element("a", section.name, href=f"#{section.id}") for section in (*first, *last)]
    header = element("header", element("h1", title), *_origin(record), element("nav", *links))
    shown = [[section.shown() for section in part] for part in (first, last)]
    body = element("body", header, element("main", *top, *shown[0], rest, *shown[1]))
    page = f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n{body}</html>\n'
    path = folder / REPORT_FILE
    # The command may contain a file name that is not UTF-8, which must not prevent the page.
    write_atomically(path, lambda file: file.write_text(page, encoding="utf-8", errors="backslashreplace"))
    return path


class Pictures:
    """Puts plots into the page and into the folder ``plots/``; leaves them out without matplotlib."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "plots"
        self._installed = installed()

    def figure(self, draw: Callable[[str], Plot], *, name: str, caption: str = "") -> Html:
        """The plot that ``draw`` makes; ``name`` is its file name and makes its ids unique."""
        if not self._installed:
            return Html()
        plot = draw(name)
        self._folder.mkdir(exist_ok=True)
        for ending, content in plot.files.items():
            write_atomically(self._folder / f"{name}.{ending}", partial(Path.write_bytes, data=content))
        captions = [caption] if caption else []
        if plot.key:
            captions.append(_NO_FONT)
            captions.append("; ".join(f"{number}: {name}" for number, name in enumerate(plot.key, 1)))
        return element("figure", Html(plot.svg), *(element("figcaption", line) for line in captions))

    def note(self) -> Html:
        """A note if there are no plots."""
        return Html() if self._installed else element("p", _NO_PLOTS, class_="note")


def headline(pairs: Iterable[tuple[str, str]]) -> Html:
    """Large numbers with captions; the first is the largest."""
    return element("dl", *(element("div", element("dt", t), element("dd", v)) for v, t in pairs), class_="headline")


def warnings(record: Mapping[str, Any]) -> Html:
    if not record.get("warnings"):
        return Html()
    items = [element("li", warning) for warning in record["warnings"]]
    return element("aside", element("strong", "To know before reading on"), element("ul", *items), class_="warnings")


def _origin(record: Mapping[str, Any]) -> list[Html]:
    """The model; when and where it was trained."""
    facts = []
    if record.get("started"):
        started = datetime.fromisoformat(record["started"])
        facts.append(f"{started:%Y-%m-%d %H:%M} {started.tzname() or ''}".strip())
        if record.get("finished"):
            facts.append(duration((datetime.fromisoformat(record["finished"]) - started).total_seconds()))
    facts += [record[key] for key in ("device", "precision") if record.get(key)]
    if record.get("seed") is not None:
        facts.append(f"seed {record['seed']}")
    return [element("p", line, class_="note") for line in (record.get("origin"), " · ".join(facts)) if line]


def _command(record: Mapping[str, Any]) -> Section:
    return Section("Command", element("pre", element("code", verbatim(record["command"])), tabindex="0"))


def _circumstances(record: Mapping[str, Any]) -> list[Section]:
    found = []
    if data := record.get("data"):
        found.append(Section("Data", _data(data)))
    if resources := record.get("resources"):
        shown = {words(key): quantity(key, value) for key, value in resources.items() if value is not None}
        found.append(Section("Speed and memory", _facts(shown, short=True)))
    if settings := record.get("settings"):
        shown = {name: _setting(value) for name, value in settings.items()}
        found.append(Section("Settings", _facts(shown, short=True)))
    if versions := record.get("versions"):
        found.append(Section("Versions", join([_facts(versions, short=True), _facts(_provenance(record))])))
    return found


def _provenance(record: Mapping[str, Any]) -> dict[str, str]:
    """The commit of minibert, and the files of the weights that a run started from."""
    facts = {}
    code, start = record.get("minibert") or {}, record.get("starting_weights") or {}
    if code.get("commit"):
        facts["minibert"] = f"commit {code['commit']}" + (", with changes" if code.get("modified") else "")
    if start:
        hub = [f"{name} {start[name]}" for name in ("revision", "commit") if start.get(name)]
        facts["starting weights"] = ", ".join([start["folder"], *hub])
        facts["loading"] = start.get("loading", "")
    return facts | {name: f"sha256 {sha256}" for name, sha256 in start.get("sha256", {}).items()}


def _data(data: Mapping[str, Mapping[str, Any]]) -> Html:
    columns = {split: facts for split, described in data.items() if (facts := dict(_flat(described)))}
    names = list(dict.fromkeys(name for facts in columns.values() for name in facts))
    rows = [named_row(name, *(number(facts.get(name)) for facts in columns.values())) for name in names]
    files = {
        split: join([described["path"], " ", element("code", f"sha256 {described.get('sha256', 'unknown')}")])
        for split, described in data.items()
        if described.get("path")
    }
    return join([table(["", *columns], rows, label="The data"), _facts(files)])


def _flat(described: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """The facts about a split, by readable names; a long list of counts is given as its length."""
    for key, value in described.items():
        if not isinstance(value, Mapping):
            if key not in ("path", "sha256"):
                yield words(key), value
        elif len(value) > LONG_TABLE:
            yield f"different {words(key)}", len(value)
        else:
            yield from ((f"{words(key)}: {name}", count) for name, count in value.items())


def _facts(facts: Mapping[str, str], short: bool = False) -> Html:
    """Names and values; short ones in columns."""
    pairs = [(element("dt", name), element("dd", value)) for name, value in facts.items()]
    if short:
        return element("dl", *(element("div", *pair) for pair in pairs), class_="facts columns")
    return element("dl", *(part for pair in pairs for part in pair), class_="facts")


def difference(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def spread(line: Mapping[str, Any]) -> Html:
    """Mean, standard deviation and interval of some runs' figures."""
    std, interval = line.get("std"), line.get("interval")
    return join([
        number(line["mean"]),
        *([element("small", f" ± {number(std)}")] if std is not None else []),
        *([element("small", " to ".join(map(number, interval)), class_="line")] if interval else []),
    ])  # fmt: skip


def with_interval(value: Any, interval: Sequence[float] | None) -> Html:
    """A figure and, in small print, its interval."""
    if interval is None:
        return join([number(value)])
    return join([number(value), element("small", " to ".join(map(number, interval)), class_="line")])


def is_average(name: str) -> bool:
    """Whether a row of a table by class is of all classes."""
    return name in AVERAGES


def with_unit(figure: str, record: Mapping[str, Any]) -> str:
    """A figure's name, and its unit or range."""
    if figure == "loss":
        numbers = (record.get("settings") or {}).get("kind") == "regression"
        return "loss (squared error)" if numbers else "loss (nats)"
    return f"{words(figure)} (0 to 1)" if re.search("f1|accuracy|exact|precision|recall", figure) else words(figure)


def words(name: str) -> str:
    """``strict_f1`` -> ``strict F1``, ``train_seconds`` -> ``train time``."""
    name = name.removesuffix("_bytes").replace("_", " ")
    name = re.sub(r"\bper second$", "a second", re.sub(r"\bseconds$", "time", name))
    return re.sub(r"\bf1\b", "F1", name)


def quantity(key: str, value: Any) -> str:
    """A number formatted by its name: times and sizes in readable units, counts as whole numbers even if means."""
    if value is None:
        return ""
    if key.endswith("_seconds"):
        return duration(value)
    if key.endswith("_bytes"):
        return f"{value / 2**20:,.0f} MiB" if value < 2**30 else f"{value / 2**30:.2f} GiB"
    return number(round(value) if key.endswith(("per_second", "parameters")) else value)


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    """The values that are numbers."""
    return {name: value for name, value in figures.items() if isinstance(value, (int, float))}


def _setting(value: Any) -> str:
    if value is None or value == () or value == []:
        return "not set"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
