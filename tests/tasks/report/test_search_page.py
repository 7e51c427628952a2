"""The page of a search."""

from pathlib import Path
from typing import Any

import pytest
from report_pages import Page, needs_matplotlib

from minibert.files import write_json
from tasks import registry


def trial(name: str, lr: float, head: str, *accuracies: float, **more: Any) -> dict[str, Any]:
    epochs = [{"epoch": 1 + i, "accuracy": figure, "best": True} for i, figure in enumerate(accuracies)]
    settings = {"lr": lr, "head": head}
    return {"name": name, "settings": settings, "history": epochs, "complete": False, "failure": None, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trials = [
        trial("trial-001", 1e-4, "crf", 0.5),
        trial("trial-002", 1e-3, "linear", 0.625, 0.75, 0.875, complete=True),
        trial("trial-003", 1e-2, "crf", failure="the loss is nan"),
    ]
    command = "python -m tasks.ner --lr 0.001 --head linear"
    final = {"dev": {"accuracy": 0.875}, "test": {"accuracy": 0.8125, "intervals": {}}}
    record = {
        "task": "ner", "command": "python -m tasks.search", "metric": "accuracy", "metric_higher_is_better": True,
        "space": {"lr": {"low": 1e-4, "high": 1e-2}, "head": ["crf", "linear"]}, "trials": trials, "epochs_trained": 4,
        "rounds": [{"trials": 3, "epochs": 1}, {"trials": 1, "epochs": 3}], "warnings": ["trial-003 failed: nan"],
        "winner": {"trial": "trial-002", "command": command, "final": final}, "settings": {"epochs": 3},
    }  # fmt: skip
    write_json(tmp_path / "search.json", record)
    return tmp_path


@pytest.mark.usefixtures("without_matplotlib")
def test_the_page_has_every_trial_and_what_to_type(folder: Path) -> None:
    assert registry.run("report", [str(folder)]) == folder / "report.html"
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    rows = [row for row in page.rows if row and row[0].startswith("trial")]
    assert rows == [
        ["trial", "accuracy, dev", "epochs", "lr", "head"],
        ["trial-002", "0.8750", "3", "0.001", "linear"],
        ["trial-001", "0.5000", "1", "0.0001", "crf"],
        ["trial-003", "", "failed", "0.01", "crf"],
    ]
    assert ["test", "0.8125"] in page.rows
    assert "python -m tasks.ner --lr 0.001 --head linear" in page.text
    assert "epochs trained; all trials to the end would take 94" in page.text
    assert "trial-003 failed: nan" in page.text
    assert [link for link in page.links if "trial-" in link] == ["trial-002/report.html"]


@needs_matplotlib
def test_the_plot_has_an_axis_for_each_setting_and_one_for_the_figure(folder: Path) -> None:
    page = registry.run("report", [str(folder)]).read_text(encoding="utf-8")
    for text in ("lr", "head", "crf", "linear", "dev accuracy (0 to 1)", "winner", "stopped early"):
        assert f">{text}</text>" in page
    assert sorted(path.name for path in (folder / "plots").iterdir()) == ["trials.pdf", "trials.png", "trials.svg"]
