"""``report.html`` of a comparison: models side by side on one self-contained page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tasks.report import plots
from tasks.report.drawing import Plot
from tasks.report.export import class_names, f1_column, model_names
from tasks.report.markup import Html, element, join, named_row, number, table
from tasks.report.parts import (
    LONG_TABLE,
    Pictures,
    Section,
    difference,
    headline,
    is_average,
    quantity,
    spread,
    warnings,
    with_unit,
    words,
    write_page,
)  # fmt: skip


def write_comparison_report(folder: Path, comparison: Mapping[str, Any]) -> Path:
    """Writes ``report.html`` and, with matplotlib, ``plots/*`` (PNG, SVG, PDF) for several runs.

    Args:
        folder: of the comparison, with the runs' folders in it.
        comparison: the content of ``comparison.json``; all but ``task``, ``command``, ``metric`` and ``rows`` may be
            absent.

    Returns:
        The page's path.

    Raises:
        InputError: the folder cannot be written.
    """
    choose = max if comparison.get("metric_higher_is_better", True) else min
    best = choose(comparison["rows"], key=lambda line: line["mean"])
    pictures = Pictures(folder)
    return write_page(
        folder,
        comparison,
        title=f"{comparison['task']}, compared",
        top=[_comparison_headline(comparison, best), warnings(comparison)],
        sections=[
            Section("Models", _models(comparison, best, pictures)),
            *_figures(comparison),
            *_tests(comparison),
            *_learning(comparison, pictures),
            *_classes(comparison),
            Section("Speed and memory", _costs(comparison)),
        ],
        rest=Html(),
    )


def _comparison_headline(comparison: Mapping[str, Any], best: Mapping[str, Any]) -> Html:
    seeds = len(best["values"])
    of = [words(comparison["metric"]), comparison.get("split"), best["arch"]]
    of.append(f"mean of {seeds} seeds" if seeds > 1 else "one seed")
    shown: list[tuple[str, str]] = [(spread(best), ", ".join(filter(None, of)))]
    if baseline := comparison.get("baseline"):
        shown += [(spread(baseline), baseline["name"]), (difference(best["mean"] - baseline["mean"]), "difference")]
    return headline(shown)


def _models(comparison: Mapping[str, Any], best: Mapping[str, Any], pictures: Pictures) -> Html:
    rows, baseline, figure = comparison["rows"], comparison.get("baseline"), words(comparison["metric"])
    body = []
    for line in rows:
        collapsed = [element("small", f"{line['collapsed']} collapsed", class_="line")] if line.get("collapsed") else []
        body.append(
            named_row(
                join([line["arch"], element("small", line.get("origin") or line.get("weights") or "")]),
                spread(line),
                join([number(line.get("worst")), *collapsed]),
                _by_seed(line),
                class_="best" if line is best else None,
            )
        )
    foot = []
    if baseline:
        worst = number(baseline.get("worst"))
        foot = [named_row(baseline["name"], spread(baseline), worst, _by_seed(baseline))]
    head = ["model", f"{figure}, mean ± std", "worst", "by seed"]

    names, values = model_names(comparison), [line["values"] for line in rows]

    def draw(name: str) -> Plot:
        level = (baseline["name"], baseline["mean"]) if baseline else None
        axis = with_unit(comparison["metric"], comparison)
        return plots.dots(list(zip(names, values, strict=True)), name=name, figure=figure, axis=axis, level=level)

    shown = table(head, body, foot=foot, label="Models compared")
    return join([shown, pictures.figure(draw, name="comparison"), pictures.note()])


def _figures(comparison: Mapping[str, Any]) -> list[Section]:
    """Every figure of every model."""
    rows = comparison["rows"]
    names = list(dict.fromkeys(name for line in rows for name in line.get("figures") or {}))
    if not names:
        return []
    body = []
    for model, line in zip(model_names(comparison), rows, strict=True):
        spreads = [line["figures"].get(name) for name in names]
        body.append(named_row(model, *("" if each is None else spread(each) for each in spreads)))
    note = f"Means over runs; in small print, standard deviations and 95 % intervals ({comparison['interval_method']})."
    shown = table(["model", *map(words, names)], body, label="All figures by model")
    files = "The same is in comparison.csv and, for LaTeX, in comparison.tex."
    return [Section("All figures", join([element("p", note, " ", files, class_="note"), shown]))]


def _tests(comparison: Mapping[str, Any]) -> list[Section]:
    """The paired tests, a row for each pair of models."""
    if not comparison.get("tests"):
        return []
    rows = []
    for test in comparison["tests"]:
        by_seed = ", ".join(f"{number(value)} (seed {seed})" for seed, value in (test.get("mcnemar") or {}).items())
        pair = f"{test['first']} − {test['second']}"
        rows.append(named_row(pair, difference(test["difference"]), number(test["p_value"]), by_seed))
    head = ["models", f"{words(comparison['metric'])}, difference", "p, randomisation", "p, McNemar"]
    note = element("p", f"On the same items: {comparison['test_method']}.", class_="note")
    return [Section("Differences", join([note, table(head, rows, label="Differences between models")]))]


def _learning(comparison: Mapping[str, Any], pictures: Pictures) -> list[Section]:
    """The dev figures of each model by epoch, laid over each other; none without matplotlib."""
    drawn = []
    rows = list(zip(model_names(comparison), comparison["rows"], strict=True))
    for figure in dict.fromkeys(("loss", comparison["metric"])):
        curves = {model: (row.get("curves") or {}).get(figure, ()) for model, row in rows}
        models = {model: [run for run in runs if run] for model, runs in curves.items() if any(runs)}

        def draw(name: str, figure: str = figure, models: Any = models) -> Plot:
            axis = with_unit(figure, comparison)
            return plots.overlaid_curves(models, name=name, figure=f"dev {words(figure)}", axis=f"dev {axis}")

        if models:
            drawn.append(pictures.figure(draw, name=f"{'loss' if figure == 'loss' else 'metric'}-by-epoch"))
    if not any(drawn):
        return []
    note = ""
    if any(len(row["values"]) > 1 for _, row in rows):
        note = "Means over runs, with a band of one standard deviation. Thin where some of the runs had ended."
    content = [element("div", *drawn, class_="figures"), *([element("p", note, class_="note")] if note else [])]
    return [Section("Learning", join(content))]


def _classes(comparison: Mapping[str, Any]) -> list[Section]:
    """F1 by class and model; precision and recall likewise, folded."""
    rows, models = comparison["rows"], model_names(comparison)
    names, f1 = class_names(comparison), f1_column(comparison)
    if f1 is None:
        return []

    def line(name: str, column: str) -> Html:
        of_models = [(row["classes"].get(name) or {}).get(column) for row in rows]
        best = max((of["mean"] for of in of_models if of), default=None)
        cells = []
        for row, of in zip(rows, of_models, strict=True):
            shown = Html() if of is None else spread(of)
            if of and len(of["values"]) < len(row["values"]):
                shown = join(
                    [shown, element("small", f"in {len(of['values'])} of {len(row['values'])} runs", class_="line")]
                )
            cells.append(element("strong", shown) if len(rows) > 1 and of and of["mean"] == best else shown)
        support = [row["classes"][name]["support"]["mean"] for row in rows if "support" in row["classes"].get(name, {})]
        return named_row(name, *cells, number(_whole(max(support))) if support else "")

    def of_column(column: str) -> Html:
        classes, averages = ([name for name in names if is_average(name) == wanted] for wanted in (False, True))
        return table(
            ["class", *models, "support"],
            [line(name, column) for name in classes],
            foot=[line(name, column) for name in averages],
            label=f"{column} by class and model",
            long=len(classes) > LONG_TABLE,
        )

    others = [column for column in ("precision", "recall") if any(column in of for of in rows[0]["classes"].values())]
    folded = [element("details", element("summary", f"{column} by class"), of_column(column)) for column in others]
    note = f"{words(f1)} by class on {comparison['split']}: means over runs, ± standard deviation; the best is bold. "
    files = "All columns are in comparison-classes.csv and, for LaTeX, in comparison-classes.tex."
    return [Section("Classes", join([element("p", note, files, class_="note"), of_column(f1), *folded]))]


def _whole(value: float) -> float:
    """A mean count: a whole number if it is one."""
    return round(value) if value == round(value) else value


def _costs(comparison: Mapping[str, Any]) -> Html:
    """Time and memory of each model's runs."""
    keys = ("train_seconds", "tokens_per_second", "parameters", "peak_memory_bytes")
    rows = [named_row(line["arch"], *(quantity(key, line.get(key)) for key in keys)) for line in comparison["rows"]]
    return table(["model", *map(words, keys)], rows, label="Speed and memory")


def _by_seed(line: Mapping[str, Any]) -> Html:
    """Each seed's value, linked to the report of its run."""
    values = line.get("values") or []
    unknown = [None] * len(values)
    shown = []
    for value, run, seed in zip(values, line.get("runs") or unknown, line.get("seeds") or unknown, strict=True):
        title = None if seed is None else f"seed {seed}"
        href = None if run is None else quote(f"{run}/report.html", errors="surrogateescape")
        shown.append(element("a", number(value), href=href, title=title))  # a link only if there is an href
    return join(shown)
