"""The figures of a comparison as files for a paper: ``comparison.csv`` and ``comparison.tex``."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minibert.files import write_atomically
from tasks.report.parts import words

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
    """Writes ``comparison.csv``, a line for each model and figure, and ``comparison.tex``, a row for each model.

    Raises:
        InputError: the folder cannot be written.
    """
    for name, text in (("comparison.csv", _csv(comparison)), ("comparison.tex", _latex(comparison))):
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


def _cell(spread: Mapping[str, Any] | None) -> str:
    if spread is None:
        return ""
    std = "" if spread["std"] is None else rf" $\pm$ {spread['std']:.4f}"
    interval = spread.get("interval")
    return f"{spread['mean']:.4f}{std}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)
