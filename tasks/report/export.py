"""The figures of a comparison, and those by class, as files for a paper: CSV and LaTeX."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minibert.files import write_atomically
from tasks.report.parts import is_average, words

_COLUMNS = ("model", "weights", "split", "figure", "mean", "std", "low", "high", "worst", "runs")
_ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", **{c: f"\\{c}" for c in "&%$#_{}"}
}  # fmt: skip


def model_names(comparison: Mapping[str, Any]) -> list[str]:
    """A name for each row that tells it from the others."""
    rows = comparison["rows"]
    names = [row["arch"] for row in rows]
    if len(set(names)) < len(names):
        names = [f"{row['arch']} {Path(row.get('weights') or 'small').name}" for row in rows]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    return names


def write_tables(folder: Path, comparison: Mapping[str, Any]) -> None:
    """Writes ``comparison.csv``, a line for each model and figure, and ``comparison.tex``, a row for each model; and,
    where the task has classes, ``comparison-classes.csv``, a line for each model and class, and
    ``comparison-classes.tex``, a row for each class.

    Raises:
        InputError: the folder cannot be written.
    """
    files = {"comparison.csv": _csv(comparison), "comparison.tex": _latex(comparison)}
    if f1_column(comparison) is not None:
        files |= {
            "comparison-classes.csv": _classes_csv(comparison),
            "comparison-classes.tex": _classes_latex(comparison),
        }
    for name, text in files.items():
        data = text.encode("utf-8", errors="backslashreplace")
        write_atomically(folder / name, lambda file, data=data: file.write_bytes(data))  # type: ignore[misc]


def _csv(comparison: Mapping[str, Any]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for name, row in zip(model_names(comparison), comparison["rows"], strict=True):
        for figure, spread in row["figures"].items():
            low, high = spread.get("interval") or (None, None)
            values = {"mean": spread["mean"], "std": spread["std"], "worst": spread["worst"], "low": low, "high": high}
            labels = {"model": name, "weights": row["weights"], "split": comparison["split"], "figure": figure}
            writer.writerow({**labels, **values, "runs": len(spread["values"])})
    return file.getvalue()


def _latex(comparison: Mapping[str, Any]) -> str:
    """A table for booktabs."""
    figures = list(dict.fromkeys(figure for row in comparison["rows"] for figure in row["figures"]))
    head = " & ".join(["model", *(_escaped(words(figure)) for figure in figures)])
    rows = [
        " & ".join([_escaped(name), *(_cell(row["figures"].get(figure)) for figure in figures)]) + r" \\"
        for name, row in zip(model_names(comparison), comparison["rows"], strict=True)
    ]
    lines = [
        f"% {comparison['task']} on {comparison['split']}: mean over runs, standard deviation, 95 % bootstrap interval",
        rf"\begin{{tabular}}{{l{'c' * len(figures)}}}",
        r"\toprule",
        rf"{head} \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def class_names(comparison: Mapping[str, Any]) -> list[str]:
    """The classes of all models in alphabetical order, then the averages."""
    names = dict.fromkeys(name for row in comparison["rows"] for name in row.get("classes") or {})
    return sorted(name for name in names if not is_average(name)) + [name for name in names if is_average(name)]


def f1_column(comparison: Mapping[str, Any]) -> str | None:
    """The name of the column of F1 by class; None if the task has none."""
    columns = _class_columns(comparison)
    return next((name for name in ("f1-score", "f1") if name in columns), None)


def _class_columns(comparison: Mapping[str, Any]) -> list[str]:
    """``precision`` and so on, in order; ``support`` comes last."""
    classes = [of for row in comparison["rows"] for of in (row.get("classes") or {}).values()]
    return sorted(dict.fromkeys(column for of in classes for column in of), key=lambda column: column == "support")


def _classes_csv(comparison: Mapping[str, Any]) -> str:
    columns = _class_columns(comparison)
    head = [name for column in columns for name in (column, f"{column}_std")]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["model", "weights", "split", "class", "runs", *head])
    for model, row in zip(model_names(comparison), comparison["rows"], strict=True):
        for name in class_names(comparison):
            if spreads := row["classes"].get(name):
                runs = max(len(of["values"]) for of in spreads.values())
                values = [spreads.get(column, {}).get(key) for column in columns for key in ("mean", "std")]
                writer.writerow([model, row["weights"], comparison["split"], name, runs, *values])
    return file.getvalue()


def _classes_latex(comparison: Mapping[str, Any]) -> str:
    """A table for booktabs: for each model its columns, side by side; deviations of F1 only, for want of room."""
    rows, models, f1 = comparison["rows"], model_names(comparison), f1_column(comparison)
    columns = [column for column in _class_columns(comparison) if column != "support"]
    width = len(columns)
    spans = " & ".join(rf"\multicolumn{{{width}}}{{c}}{{{_escaped(model)}}}" for model in models)
    rules = "".join(rf"\cmidrule(lr){{{2 + width * i}-{1 + width * (i + 1)}}}" for i in range(len(models)))
    head = " & ".join(["class", *(_escaped(words(column)) for _ in models for column in columns), "support"])
    lines = [
        f"% {comparison['task']} on {comparison['split']} by class: mean over runs, and standard deviation of F1",
        rf"\begin{{tabular}}{{l{'c' * width * len(models)}r}}",
        r"\toprule",
        rf" & {spans} & \\",
        rules,
        rf"{head} \\",
        r"\midrule",
    ]
    averages = False
    for name in class_names(comparison):
        if is_average(name) and not averages:
            lines.append(r"\midrule")
        averages = is_average(name)
        spreads = [row["classes"].get(name) or {} for row in rows]
        support = max((of["support"]["mean"] for of in spreads if "support" in of), default=None)
        cells = [_cell(of.get(column), with_std=column == f1) for of in spreads for column in columns]
        lines.append(" & ".join([_escaped(name), *cells, "" if support is None else f"{support:g}"]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _cell(spread: Mapping[str, Any] | None, *, with_std: bool = True) -> str:
    if spread is None:
        return ""
    std = "" if spread["std"] is None or not with_std else rf" $\pm$ {spread['std']:.4f}"
    interval = spread.get("interval")
    return f"{spread['mean']:.4f}{std}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)
