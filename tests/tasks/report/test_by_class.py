"""Classes and epochs of compared models, side by side: on the page and in files for a paper."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from report_pages import Page, needs_matplotlib

from minibert.files import write_json
from minibert.training import Metric
from tasks import registry
from tasks.report.parts import is_average
from tasks.run.grid import Results
from tasks.run.variants import _row

NAMES = ("precision", "recall", "f1-score")


def run(name: str, reports: dict[str, tuple[float, float, float, float]], **more: Any) -> dict[str, Any]:
    """What of a run's record a comparison needs."""
    report = {label: dict(zip((*NAMES, "support"), values, strict=True)) for label, values in reports.items()}
    resources = dict.fromkeys(("train_seconds", "tokens_per_second", "peak_memory_bytes", "parameters"), 1)
    return {
        "run": name, "arch": name.partition("-")[0], "weights": None, "origin": "", "collapsed": False,
        "seed": int(name.partition("-")[2]), "resources": resources, "epochs": [],
        "final": {"test": {"loss": 1.0, "strict_f1": 0.5, "report": report}}, **more,
    }  # fmt: skip


def epochs(*values: float) -> list[dict[str, float]]:
    return [{"epoch": epoch, "loss": 2 * value, "strict_f1": value} for epoch, value in enumerate(values, 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A comparison of two models with two runs each; the class B_1 occurs in one run of albert's alone."""
    average = {"micro avg": (0.5, 0.5, 0.5, 12.0)}
    runs = {
        "bert": [
            run("bert-42", {"地名": (0.5, 0.25, 0.3, 10.0), **average}, epochs=epochs(0.1, 0.2, 0.3)),
            run("bert-43", {"地名": (0.7, 0.35, 0.5, 10.0), **average}, epochs=epochs(0.3, 0.4)),
        ],
        "albert": [
            run("albert-42", {"地名": (0.6, 0.6, 0.6, 10.0), **average}),
            run(
                "albert-43", {"地名": (0.6, 0.6, 0.6, 10.0), "B_1": (0.0, 0.0, 0.0, 2.0), **average}, epochs=epochs(0.6)
            ),
        ],
    }
    rows = [_row(of_row, Metric("strict_f1"), {}) for of_row in runs.values()]
    write_json(tmp_path / "comparison.json", {
        "task": "ner", "command": "python -m tasks.compare --task ner", "metric": "strict_f1", "split": "test",
        "metric_higher_is_better": True, "rows": rows, "interval_method": "bootstrap", "test_method": "",
    })  # fmt: skip
    return tmp_path


def test_a_class_may_have_a_name_that_sounds_like_an_average() -> None:
    names = ("micro avg", "weighted avg", "accuracy", "stock avg")
    assert [is_average(name) for name in names] == [True, True, False, False]


def test_what_some_runs_lack_is_of_the_others() -> None:
    """A figure that one run's data do not have is left out, and one of a class is of the runs that have it."""
    runs = [
        run("bert-42", {"A": (0.5, 0.25, 0.3, 10.0)}),
        run("bert-43", {"A": (0.7, 0.35, 0.5, 10.0), "B": (0.1, 0.2, 0.3, 0.0)}),
    ]
    runs[0]["final"]["test"]["binary_f1"] = runs[1]["final"]["test"]["report"]["A"]["AUC"] = 0.25
    for order in (runs, runs[::-1]):
        row = _row(order, Metric("strict_f1"), {})
        assert row["figures"].keys() == {"loss", "strict_f1"}
        assert row["classes"]["A"]["precision"]["mean"] == pytest.approx(0.6)
        assert row["classes"]["A"]["AUC"]["values"] == [0.25]
        assert row["classes"]["B"]["recall"]["values"] == [0.2]


@pytest.mark.usefixtures("without_matplotlib")
def test_the_page_has_each_class_of_each_model(folder: Path) -> None:
    registry.run("report", [str(folder)])
    source = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert page.rows.count(["class", "bert", "albert", "support"]) == 3  # F1, precision, recall
    assert ["地名", "0.4000 ± 0.1414", "0.6000 ± 0.0000", "10"] in page.rows
    assert ["地名", "0.6000 ± 0.1414", "0.6000 ± 0.0000", "10"] in page.rows
    assert ["地名", "0.3000 ± 0.0707", "0.6000 ± 0.0000", "10"] in page.rows
    assert page.rows.count(["B_1", "", "0.0000in 1 of 2 runs", "2"]) == 3
    assert page.rows.count(["micro avg", "0.5000 ± 0.0000", "0.5000 ± 0.0000", "12"]) == 3
    assert "<td><strong>0.6000<small> ± 0.0000</small></strong></td>" in source  # the best
    assert "<strong>0.4000" not in source
    assert "learning" not in page.ids


def test_the_files_have_each_class_of_each_model(folder: Path) -> None:
    registry.run("report", [str(folder)])
    with (folder / "comparison-classes.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["model"], line["class"], line["runs"]) for line in lines] == [
        ("bert", "地名", "2"), ("bert", "micro avg", "2"),
        ("albert", "B_1", "1"), ("albert", "地名", "2"), ("albert", "micro avg", "2"),
    ]  # fmt: skip
    assert float(lines[0]["f1-score"]) == pytest.approx(0.4)
    assert float(lines[0]["f1-score_std"]) == pytest.approx(0.02**0.5)
    assert float(lines[0]["recall"]) == pytest.approx(0.3)
    assert (lines[2]["support"], lines[2]["f1-score_std"]) == ("2.0", "")
    latex = (folder / "comparison-classes.tex").read_text(encoding="utf-8")
    assert r" & \multicolumn{3}{c}{bert} & \multicolumn{3}{c}{albert} & \\" in latex
    assert r"\cmidrule(lr){2-4}\cmidrule(lr){5-7}" in latex
    body = [line for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {line.count("&") for line in body} == {7}
    assert r"地名 & 0.6000 & 0.3000 & 0.4000 $\pm$ 0.1414 & 0.6000 & 0.6000 & 0.6000 $\pm$ 0.0000 & 10 \\" in body
    assert r"B\_1 &  &  &  & 0.0000 & 0.0000 & 0.0000 & 2 \\" in body


@needs_matplotlib
def test_learning_curves_are_laid_over_each_other(folder: Path) -> None:
    registry.run("report", [str(folder)])
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert "learning" in page.ids
    for title in ("dev loss by epoch, mean ± std of runs", "dev strict F1 by epoch, mean ± std of runs"):
        assert title in page.text
    assert {path.name for path in (folder / "plots").iterdir()} == {
        f"{name}.{ending}"
        for name in ("comparison", "loss-by-epoch", "metric-by-epoch")
        for ending in ("png", "svg", "pdf")
    }


def test_a_comparison_keeps_the_figures_of_each_epoch_and_class() -> None:
    runs = [run("bert-42", {"A": (1, 1, 1, 4.0)}, epochs=epochs(0.1, 0.2)), run("bert-43", {"A": (0, 0, 0, 2.0)})]
    row = _row(runs, Metric("strict_f1"), {})
    assert row["curves"] == {"loss": [[(1, 0.2), (2, 0.4)], []], "strict_f1": [[(1, 0.1), (2, 0.2)], []]}
    assert row["classes"]["A"]["support"]["values"] == [4.0, 2.0]
    assert row["classes"]["A"]["f1-score"]["mean"] == 0.5


def test_warnings_name_their_runs_unless_all_have_them() -> None:
    warned = {"bert-42": ["all", "some"], "bert-43": ["all", "some"], "albert-42": ["all", "one"]}
    runs = [{"run": name, "warnings": warnings} for name, warnings in warned.items()]
    results = Results(runs={"bert": runs[:2], "albert": runs[2:]}, failures=["albert-43 failed: x"])
    assert results.warnings == ["albert-43 failed: x", "all", "bert-42, bert-43: some", "albert-42: one"]
    assert not [text for text in Results(runs={"run": runs[:1]}).warnings if re.search("bert", text)]
