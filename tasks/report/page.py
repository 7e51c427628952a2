"""``report.html``: the results of a run on one self-contained page.

Numbers have four digits, as on the terminal. Plots come from :mod:`tasks.report.plots`; without matplotlib, a line says
that they are missing.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.data import Chart, Details, ErrorCase, Mark
from tasks.report import plots
from tasks.report.drawing import Plot
from tasks.report.markup import Html, element, join, marked_text, named_row, number, row, table
from tasks.report.parts import (
    LONG_TABLE,
    Pictures,
    Section,
    difference,
    headline,
    is_average,
    numbers,
    quantity,
    warnings,
    with_interval,
    with_unit,
    words,
    write_page,
)  # fmt: skip

_MOST_IN_PICTURE = 1000  # classes; a cell of more would be less than a pixel
_MOST_IN_MATRIX = 30  # classes; of more, the most confused pairs are listed
_MOST_PAIRS = 25
_NOT_ENTITIES = ", not entities: an entity of three words counts three times"
_LONG_NAME = 5  # characters; longer column names are turned upright


def write_run_report(folder: Path, metrics: Mapping[str, Any], details: Mapping[str, Details]) -> Path:
    """Writes ``report.html`` and, with matplotlib, ``plots/*`` (PNG, SVG, PDF) for one run.

    Args:
        folder: of the run.
        metrics: the content of ``metrics.json``; all but ``task``, ``arch``, ``command`` and ``final`` may be absent.
        details: by evaluated split; the last one comes first on the page.

    Returns:
        The page's path.

    Raises:
        InputError: the folder cannot be written.
    """
    split = list(metrics["final"])[-1]
    figure = _lead_figure(metrics, split)
    pictures = Pictures(folder)
    by_split = {name: _answers(name, shown, pictures) for name, shown in details.items()}
    folded = [
        element("details", element("summary", f"The same for {name}"), *(section.shown() for section in sections))
        for name, sections in by_split.items()
        if name != split and sections
    ]
    return write_page(
        folder,
        metrics,
        title=f"{metrics['task']}, {metrics['arch']}",
        top=[_run_headline(metrics, split, figure), warnings(metrics), _figures(metrics)],
        sections=[*_learning(metrics, figure, pictures), *by_split.get(split, [])],
        rest=join(folded),
    )


# -- one run ---------------------------------------------------------------------------------------------------------


def _lead_figure(metrics: Mapping[str, Any], split: str) -> str:
    """The metric at the top of the page: the one that chose the epoch, unless that was the loss."""
    figures = [name for name in numbers(metrics["final"][split]) if name != "loss"]
    chosen = metrics.get("metric")
    return chosen if chosen in figures else next(iter(figures), "loss")


def _run_headline(metrics: Mapping[str, Any], split: str, figure: str) -> Html:
    value = metrics["final"][split].get(figure)
    shown = [(number(value), f"{words(figure)}, {split}")]
    other = _baseline_figures(metrics, split).get(figure)
    if other is not None:
        test = metrics["final"][split].get("against_linear") or {}
        sure = f", p = {number(test['p_value'])}" if test.get("metric") == figure else ""
        shown += [(number(other), metrics["baseline"]["name"]), (difference(value - other), f"difference{sure}")]
    return headline(shown)


def _baseline_figures(metrics: Mapping[str, Any], split: str) -> dict[str, float]:
    """The baseline's metrics on a split; if they are not given by split, they are the last one's."""
    baseline = metrics.get("baseline") or {}
    if any(isinstance(value, Mapping) for value in baseline.values()):
        return numbers(baseline.get(split, {}))
    return numbers(baseline) if split == list(metrics["final"])[-1] else {}


def _figures(metrics: Mapping[str, Any]) -> Html:
    """All metrics of all splits, and the baseline's; empty if the headline has shown the only one."""
    lines = {}
    intervals: dict[str, Mapping[str, Sequence[float]]] = {}
    for split, figures in reversed(metrics["final"].items()):
        intervals[split] = figures.get("intervals") or {}
        lines[split] = numbers(figures)
        if of_baseline := _baseline_figures(metrics, split):
            lines[f"{split}, {metrics['baseline']['name']}"] = of_baseline
    names = list(dict.fromkeys(name for figures in lines.values() for name in figures))
    rows = [
        named_row(line, *(with_interval(figures.get(name), intervals.get(line, {}).get(name)) for name in names))
        for line, figures in lines.items()
    ]
    if len(names) * len(rows) <= 1:
        return Html()
    note = f"In small print: 95 % intervals ({metrics.get('interval_method')})."
    return join([
        table(["", *map(words, names)], rows, label="Figures by split"),
        *([element("p", note, class_="note")] if any(intervals.values()) else []),
    ])  # fmt: skip


def _learning(metrics: Mapping[str, Any], figure: str, pictures: Pictures) -> list[Section]:
    epochs: Sequence[Mapping[str, Any]] = metrics.get("epochs") or []
    if not epochs:
        return []
    best = max((entry["epoch"] for entry in epochs if entry.get("best")), default=None)

    def curves(name: str, dev: str, train: str, level: tuple[str, float] | None = None) -> Html:
        pairs = {
            label: points
            for label, key in (("dev", dev), ("train", train))
            if (points := [(entry["epoch"], entry[key]) for entry in epochs if entry.get(key) is not None])
        }
        if not pairs:
            return Html()

        def draw(name: str) -> Plot:
            axis = with_unit(dev, metrics)
            return plots.curves(pairs, name=name, figure=words(dev), axis=axis, best=best, level=level)

        return pictures.figure(draw, name=name)

    drawn = [curves("loss", "loss", "train_loss")]
    if figure != "loss":
        value = _baseline_figures(metrics, "dev").get(figure)
        level = None if value is None else (metrics["baseline"]["name"], value)
        drawn.append(curves("metric", figure, f"train_{figure}", level))
    wanted = ("train_loss", "loss", figure, f"train_{figure}", "train_seconds", "tokens_per_second")
    columns = [key for key in dict.fromkeys(wanted) if any(key in entry for entry in epochs)]
    rows = [
        named_row(
            f"{entry['epoch']}, best" if entry["epoch"] == best else str(entry["epoch"]),
            *(quantity(key, entry.get(key)) for key in columns),
            class_="best" if entry["epoch"] == best else None,
        )
        for entry in epochs
    ]
    head = [words(f"dev_{key}" if f"train_{key}" in columns else key) for key in columns]
    values = table(["epoch", *head], rows, label="Figures by epoch", long=len(rows) > LONG_TABLE)
    return [Section("Learning", join([element("div", *drawn, class_="figures"), pictures.note(), values]))]


def _answers(split: str, details: Details, pictures: Pictures) -> list[Section]:
    """Metrics by class, confusion matrix and worst errors of a split."""
    found = []
    if details.rows:
        found.append(Section(f"Classes, {split}", _classes(split, details)))
    if details.confusion:
        found.append(Section(f"Confusion, {split}", _confusion(split, details, pictures)))
    if details.charts:
        drawn = [_chart(split, chart, pictures) for chart in details.charts]
        found.append(Section(f"Probabilities, {split}", element("div", *drawn, class_="figures")))
    if details.errors:
        found.append(Section(f"Worst errors, {split}", _errors(details)))
    return found


def _chart(split: str, chart: Chart, pictures: Pictures) -> Html:
    title = f"{chart.title}, {split}"
    titled = dataclasses.replace(chart, title=title)
    return pictures.figure(
        lambda name: plots.lines(titled, name=name),
        name=f"{chart.name}-{split}",
        caption=chart.caption,
    )


def _classes(split: str, details: Details) -> Html:
    columns = list(dict.fromkeys(column for figures in details.rows.values() for column in figures))
    averages = {name: figures for name, figures in details.rows.items() if is_average(name)}
    classes = [(name, figures) for name, figures in details.rows.items() if name not in averages]
    note = f"{details.title}."
    if long := len(classes) > LONG_TABLE and "f1-score" in columns:
        classes.sort(key=lambda pair: pair[1].get("f1-score", 0.0))
        note += " The weakest class comes first, averages come last."

    def line(name: str, figures: Mapping[str, float]) -> Html:
        cells = []
        for column in columns:
            value = figures.get(column)
            bar = {"class_": "bar", "style": f"--share: {value:.1%}"} if column == "f1-score" and value else {}
            shown = round(value) if column == "support" and value is not None else value
            cells.append(element("td", number(shown), **bar))
        return row(element("th", name, scope="row"), *cells)

    shown = table(
        ["class", *columns],
        [line(*pair) for pair in classes],
        foot=[line(*pair) for pair in averages.items()],
        label=f"Figures by class, {split}",
        long=long,
    )
    return join([element("p", note, class_="note"), shown])


def _confusion(split: str, details: Details, pictures: Pictures) -> Html:
    matrix, counted, totals = details.confusion, details.counted, _totals(details)
    title = f"share of the {counted} of each gold class, {split}"
    picture = Html()
    if len(matrix) <= _MOST_IN_PICTURE:
        picture = pictures.figure(
            lambda name: plots.confusion(matrix, name=name, title=title, totals=totals),
            name=f"confusion-{split}",
            caption="Shares of each gold class; blue is right, orange wrong. The colours follow the square root of the "
            "share, so that rare mistakes show.",
        )
    counts = (_matrix if len(matrix) <= _MOST_IN_MATRIX else _pairs)(split, matrix, totals)
    said = element("p", f"What is counted: {counted}{_NOT_ENTITIES if counted == 'words' else ''}.", class_="note")
    note = [element("p", details.confusion_note, class_="note")] if details.confusion_note else []
    shown = element("div", element("div", said, *note, *counts), picture, class_="figures")
    return join([_label_counts(split, details, pictures), shown])


def _totals(details: Details) -> dict[str, int]:
    """What the counts of each gold class are shares of: the items that have it."""
    sums = {gold: sum(counts.values()) for gold, counts in details.confusion.items()}
    having = {name: n["true_positives"] + n["false_negatives"] for name, n in details.by_label.items()}
    return {gold: having.get(gold, total) for gold, total in sums.items()}


def _label_counts(split: str, details: Details, pictures: Pictures) -> Html:
    """Of labels that do not exclude each other, the four counts of each; empty for others."""
    if not details.by_label:
        return Html()
    counted = details.counted
    columns = list(next(iter(details.by_label.values())))
    rows = [named_row(name, *(number(counts[key]) for key in columns)) for name, counts in details.by_label.items()]
    head = ["label", *map(words, columns)]
    shown = table(head, rows, label=f"Counts by label, {split}", long=len(rows) > LONG_TABLE)
    wrong = {name: n["false_positives"] + n["false_negatives"] for name, n in details.by_label.items()}
    drawn = sorted(wrong, key=lambda name: -wrong[name])[:_MOST_IN_MATRIX]
    counts = {name: n for name, n in details.by_label.items() if name in drawn}
    title = f"{counted} by label, {split}" + (f": the {len(drawn)} with most errors" if len(drawn) < len(wrong) else "")
    picture = pictures.figure(
        lambda name: plots.label_bars(counts, name=name, title=title, axis=f"number of {counted}"),
        name=f"labels-{split}",
        caption=f"To the right of 0: {counted} that have the label; to the left: those it was given to wrongly.",
    )
    note = f"Each label by itself, over all {sum(next(iter(details.by_label.values())).values()):,} {counted}."
    return element("div", element("div", element("p", note, class_="note"), shown), picture, class_="figures")


def _matrix(split: str, matrix: Mapping[str, Mapping[str, int]], totals: Mapping[str, int]) -> list[Html]:
    rows = []
    for gold, counts in matrix.items():
        total = totals[gold]
        cells = []
        for predicted in matrix:
            count = counts.get(predicted, 0)
            kind = "none" if not count else "right" if gold == predicted else "wrong"
            style = f"--share: {60 * min(1, count / total) ** 0.5:.0f}%" if count else None
            cells.append(element("td", number(count), class_=kind, style=style))
        rows.append(row(element("th", gold, scope="row"), *cells))
    shown = table(["gold ↓ predicted →", *matrix], rows, label=f"Confusion matrix, {split}")
    class_ = "matrix upright" if any(len(name) > _LONG_NAME for name in matrix) else "matrix"
    return [element("p", "Counts, a row for each gold class.", class_="note"), element("div", shown, class_=class_)]


def _pairs(split: str, matrix: Mapping[str, Mapping[str, int]], totals: Mapping[str, int]) -> list[Html]:
    pairs = [(n, gold, other) for gold, counts in matrix.items() for other, n in counts.items() if n and gold != other]
    pairs.sort(key=lambda pair: -pair[0])
    rows = [
        row(
            element("th", gold, scope="row"),
            element("td", predicted, class_="words"),
            element("td", number(count)),
            element("td", number(count / totals[gold])),
        )
        for count, gold, predicted in pairs[:_MOST_PAIRS]
    ]
    note = f"The {len(rows)} most confused of {len(pairs):,} pairs among {len(matrix):,} classes."
    head = ["gold", "predicted", "count", "share of gold"]
    shown = table(head, rows, label=f"Most confused pairs, {split}")
    return [element("p", note, class_="note"), element("div", shown, class_="pairs")]


def _errors(details: Details) -> Html:
    errors = details.errors
    note = f"The {len(errors)} wrong answers with the largest loss. The loss is {details.loss}."
    parts = [element("p", note, class_="note")]
    if any(case.marks for case in errors):
        meanings = {"gold": "line below: gold", "predicted": "broken line above: predicted", "both": "both lines: both"}
        for kind, meaning in meanings.items():
            mark = Mark(start=0, end=len(meaning), kind=kind, label="")
            parts.append(element("span", marked_text(meaning, [mark]), class_="key"))
    return join([*parts, element("ol", *map(_error, errors), class_="errors")])


def _error(case: ErrorCase) -> Html:
    place = element("div", element("span", case.place), element("span", f"loss {case.loss:.4f}"), class_="place")
    shown = element("div", marked_text(case.text, case.marks), class_="text", lang="", dir="auto")
    answers = [
        part
        for name, answer in (("gold", case.gold), ("predicted", case.predicted))
        for part in (element("dt", name), element("dd", marked_text(answer, ()), lang="", dir="auto"))
    ]
    return element("li", place, shown, element("dl", *answers, class_="answers"))
