"""The READMEs: short, with links that lead somewhere, and examples that work."""

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from tasks.__main__ import descriptions
from tasks.pretraining.corpus import read_corpus
from tasks.registry import TASKS, settings_class, task_class
from tasks.task import Task

README, CHINESE = ROOT / "README.md", ROOT / "README.zh.md"
PAGES = [
    *ROOT.glob("*.md"),
    *(page for room in ("minibert", "tasks", "weights", "benchmarks") for page in (ROOT / room).rglob("*.md")),
]
EXAMPLE = re.compile(r"^`([\w.]+)`([^\n]*):\n\n```\n(.*?)```$", re.MULTILINE | re.DOTALL)
"""A data file in a task's README: its name, what is said of it, and its content."""


def code(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").split()) <= 900


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("name", TASKS)
def test_the_examples_of_data_files_can_be_read(name: str, tmp_path: Path) -> None:
    examples = EXAMPLE.findall((ROOT / "tasks" / name / "README.md").read_text("utf-8"))
    assert examples or name == "cloze"  # which reads the files of classification
    for file, described, content in examples:
        path = tmp_path / file
        path.write_text(content, "utf-8")
        if name == "pretraining":
            assert read_corpus([str(path)]).items
            continue
        kind = re.search(r"--kind (\w+)", described)
        task: Task[Any, Any, Any] = task_class(name)(settings_class(name)(**({"kind": kind[1]} if kind else {})))
        assert task.read(str(path)).items, file


@pytest.mark.parametrize("page", [README, CHINESE], ids=lambda page: page.name)
def test_the_first_example_of_a_file_can_be_trained_on(page: Path, tmp_path: Path) -> None:
    content = next(part for part in code(page, "") if part.startswith("王 B-PER"))
    path = tmp_path / "train.txt"
    path.write_text(content, "utf-8")
    (sentence,) = task_class("ner")(settings_class("ner")()).read(str(path)).items
    assert [(entity.start, entity.end, entity.type) for entity in sentence.entities] == [(0, 3, "PER")]


@pytest.mark.parametrize("page", [README, CHINESE], ids=lambda page: page.name)
def test_the_python_example_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (example,) = code(page, "python")
    names: dict[str, Any] = {}
    exec(example, names)
    lengths = [len(states) for states in names["batch"].unpack(names["output"].last_hidden_state)]
    assert lengths == [len("长江流经武汉。") + 2, len("我们在那里住了三年，后来去了上海。") + 2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    typed = "\n".join([*code(page, ""), *re.findall(r"`([^`\n]+)`", text)])
    for name in re.findall(r"\bminibert ([a-z][a-z_-]+)", typed):
        assert name.replace("-", "_") in descriptions(), name
