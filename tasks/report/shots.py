"""``report.html`` of a comparison on few examples: each method's figures by number of training examples."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tasks.report import plots
from tasks.report.markup import Html, element, join, named_row, number, table
from tasks.report.parts import Pictures, Section, headline, spread, warnings, with_unit, words, write_page

_FIGURES = ("accuracy", "macro_f1")


def write_shots_report(folder: Path, comparison: Mapping[str, Any]) -> Path:
    """Writes ``report.html`` and, with matplotlib, ``plots/*`` (PNG, SVG, PDF) for ``tasks.cloze --shots``.

    Args:
        folder: of the comparison, with the runs' folders in it.
        comparison: the content of ``comparison.json``; its rows have ``shots``, ``method``, ``runs`` and figures.

    Returns:
        The page's path.

    Raises:
        InputError: the folder cannot be written.
    """
    rows = comparison["rows"]
    best = max(rows, key=lambda row: row[_FIGURES[0]]["mean"])
    pictures = Pictures(folder)
    of_best = f"{words(_FIGURES[0])}, {best['method']}, {_amount(best['shots'])}"
    return write_page(
        folder,
        {**comparison, "data": {"examples": comparison["train"], "test": comparison["test"]}},
        title=f"{comparison['task']}, few examples",
        top=[headline([(spread(best[_FIGURES[0]]), of_best)]), warnings(comparison), pictures.note()],
        sections=[
            Section(f"{words(figure)[0].upper()}{words(figure)[1:]}", _figure(comparison, figure, pictures))
            for figure in _FIGURES
        ],
        rest=Html(),
    )


def _amount(shots: str) -> str:
    return "all examples" if shots == "all" else "no training" if shots == "0" else f"{shots} examples of each label"


def _figure(comparison: Mapping[str, Any], figure: str, pictures: Pictures) -> Html:
    rows = comparison["rows"]
    counts = list(dict.fromkeys(row["shots"] for row in rows))
    cells = {(row["shots"], row["method"]): row for row in rows}
    methods = list(dict.fromkeys(method for _, method in cells))
    values = {
        method: {each: cells[each, method][figure]["values"] for each in counts if (each, method) in cells}
        for method in methods
    }
    picture = pictures.figure(
        lambda name: plots.shots(
            values, ticks=counts, name=name, figure=words(figure), axis=with_unit(figure, comparison)
        ),
        name=f"{figure.replace('_', '-')}-by-shots",
    )
    body = [named_row(each, *(_cell(cells.get((each, method)), figure) for method in methods)) for each in counts]
    seeds = len(comparison["seeds"])
    what = f"mean ± standard deviation of {seeds} draws of the examples, and the figure of each draw"
    note = f"On {comparison['test']['texts']:,} test texts: {what if seeds > 1 else 'one draw of the examples'}."
    shown = table(["examples of each label", *methods], body, label=f"{words(figure)} by number of examples")
    return join([element("p", note, class_="note"), shown, picture])


def _cell(row: Mapping[str, Any] | None, figure: str) -> Html:
    """Mean and deviation, and the figure of each draw, linked to the page of its run if it was trained."""
    if row is None:
        return Html()
    shown = [spread(row[figure])]
    if row["runs"] and row["shots"] != "0":
        pairs = zip(row[figure]["values"], row["runs"], strict=True)
        shown += [
            element("a", number(value), href=quote(f"{run}/report.html", errors="surrogateescape"))
            for value, run in pairs
        ]
    return join(shown)
