"""The page of a comparison on few examples."""

import re
from pathlib import Path
from typing import Any

import pytest
from report_pages import Page

from minibert.files import write_json
from minibert.training import Metric
from tasks import registry
from tasks.run.grid import spread

SVM = "TF-IDF 1-2-grams + linear SVM"


def row(shots: str, method: str, accuracy: list[float], macro_f1: list[float], runs: list[str]) -> dict[str, Any]:
    figures = {"accuracy": accuracy, "macro_f1": macro_f1}
    spreads = {name: spread(values, Metric(name)) for name, values in figures.items()}
    return {"shots": shots, "method": method, "runs": runs, **spreads}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        row("0", "prompt", [0.5], [0.4], ["prompt-0"]),
        row("8", "prompt", [0.6, 0.8], [0.5, 0.7], ["prompt-8-42", "prompt-8-43"]),
        row("8", SVM, [0.55, 0.65], [0.45, 0.55], []),
    ]
    data = {"path": "a.tsv", "sha256": "ab", "texts": 24, "labels": {"0": 12, "1": 12}}
    content = {
        "task": "cloze", "command": "python -m tasks.cloze --shots 0 8", "rows": rows, "train": {**data, "texts": 96},
        "test": data, "seeds": [42, 43], "settings": {"lr": 5e-5}, "versions": {"torch": "2.13"},
        "warnings": ["take care"],
    }  # fmt: skip
    write_json(tmp_path / "comparison.json", content)
    return tmp_path


@pytest.mark.usefixtures("without_matplotlib")
def test_the_page_has_each_figure_of_each_method(folder: Path) -> None:
    assert registry.run("report", [str(folder)]) == folder / "report.html"
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert page.rows.count(["examples of each label", "prompt", SVM]) == 2
    assert ["0", "0.5000", ""] in page.rows
    assert ["8", "0.7000 ± 0.14140.60000.8000", "0.6000 ± 0.0707"] in page.rows
    assert ["8", "0.6000 ± 0.14140.50000.7000", "0.5000 ± 0.0707"] in page.rows
    assert "accuracy, prompt, 8 examples of each label0.7000 ± 0.1414" in page.text
    assert "take care" in page.text
    links = [link for link in page.links if link.endswith("report.html")]
    assert links == ["prompt-8-42/report.html", "prompt-8-43/report.html"] * 2
    assert {"accuracy", "macro-f1", "data", "settings"} <= set(page.ids)
    assert ["texts", "96", "24"] in page.rows
    assert not re.search("matplotlib.*matplotlib", page.text)  # it is said once
