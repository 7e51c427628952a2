"""The recipe in tasks/README.md, exactly as it stands: its files, put into a copy of the package, train and predict."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

README = (ROOT / "tasks" / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`(tasks/tone/\w+\.py)`[^`]*(?:`[^`\n]+`[^`]*)*?```python\n(.*?)```", README, re.M | re.S))
[ENTRY] = re.findall(r'^    "tone": .*\n', README, re.M)
REQUESTS = [
    (label, f"{start} {what} number {number}")
    for number, what in enumerate(("the door", "a window", "the report", "some tea", "that letter"))
    for label, starts in {
        "polite": ("could you kindly bring", "please would you bring", "i would be grateful for"),
        "rude": ("bring now", "hurry up with", "give me"),
    }.items()
    for start in starts
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the new task in it."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "tasks", folder / "tasks", ignore=shutil.ignore_patterns("__pycache__", "samples"))
    (folder / "minibert").symlink_to(ROOT / "minibert")
    (folder / "tasks" / "tone").mkdir()
    for path, text in {"tasks/tone/__init__.py": "", **FILES}.items():
        (folder / path).write_text(text, encoding="utf-8")
    registry = folder / "tasks" / "registry.py"
    text = registry.read_text(encoding="utf-8")
    assert "\nTASKS = {\n" in text
    registry.write_text(text.replace("\nTASKS = {\n", f"\nTASKS = {{\n{ENTRY}"), encoding="utf-8")
    (folder / "requests.tsv").write_text("".join(f"{label}\t{text}\n" for label, text in REQUESTS), encoding="utf-8")
    return folder


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_the_recipe_is_short() -> None:
    assert FILES.keys() == {"tasks/tone/__main__.py", "tasks/tone/settings.py", "tasks/tone/task.py"}
    assert sum(text.count("\n") for text in [*FILES.values(), ENTRY]) <= 70


TRAIN_AND_PREDICT = """
import sys

sys.modules["matplotlib"] = None  # the plots would take longer than the run
from tasks.registry import run

run("tone", sys.argv[1:])
run("predict", ["runs/tone", "new.txt"])
"""


@pytest.mark.slow
def test_the_new_task_trains_and_predicts(folder: Path) -> None:
    (folder / "new.txt").write_text("please would you bring a chair\nhurry up with the chair\n", encoding="utf-8")
    done = python(
        folder, "-c", TRAIN_AND_PREDICT, "--train", "requests.tsv", "--weights", "random", "--epochs", "8",
        "--dev-share", "0.3", "--batch-size", "4", "--precision", "fp32", "--out", "runs/tone",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    metrics = json.loads((folder / "runs/tone/metrics.json").read_text(encoding="utf-8"))
    assert metrics["task"] == "tone"
    assert metrics["final"]["dev"]["accuracy"] > 0.9
    assert (folder / "runs/tone/report.html").is_file()
    answers = [json.loads(line) for line in done.stdout.splitlines()[-2:]]
    assert [answer["label"] for answer in answers] == ["polite", "rude"]
    assert all(0.5 < answer["probability"] <= 1 for answer in answers)


@pytest.mark.slow
def test_the_new_task_has_help_and_says_what_is_wrong(folder: Path) -> None:
    done = python(folder, "-m", "tasks.tone", "--help")
    assert "tell polite requests from rude ones" in " ".join(done.stdout.split())
    done = python(folder, "-m", "tasks.tone")
    assert (done.returncode, done.stderr) == (2, "error: --train: needed; this task has no sample.\n")
    (folder / "bad.tsv").write_text("polite\tplease\nno tab\n", encoding="utf-8")
    done = python(folder, "-m", "tasks.tone", "--train", "bad.tsv")
    assert (done.returncode, done.stderr) == (2, "error: bad.tsv, line 2: expected a label, a tab and a text.\n")
