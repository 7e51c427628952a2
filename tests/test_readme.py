"""What README shows of data files is what the tasks read."""

import re
from pathlib import Path
from typing import Any

from conftest import ROOT

from tasks.classification.settings import ClassificationSettings
from tasks.classification.task import ClassificationTask
from tasks.ner.settings import NerSettings
from tasks.ner.task import NerTask
from tasks.qa.settings import QaSettings
from tasks.qa.task import QaTask
from tasks.span_qa.settings import SpanQaSettings
from tasks.span_qa.task import SpanQaTask
from tasks.task import Task

README = ROOT / "README.md"
TASKS: dict[str, Task[Any, Any, Any]] = {
    "ner": NerTask(NerSettings()),
    "classification": ClassificationTask(ClassificationSettings()),
    "classification --kind multi": ClassificationTask(ClassificationSettings(kind="multi")),
    "qa": QaTask(QaSettings()),
    "span_qa": SpanQaTask(SpanQaSettings()),
}


def test_the_examples_of_data_files_can_be_read(tmp_path: Path) -> None:
    block = next(part for part in README.read_text("utf-8").split("```") if part.startswith("\n# tasks.ner: "))
    examples = re.findall(r"# tasks\.([a-z_]+(?: --kind multi)?)(.*)\n((?:[^#].*\n)+)", block)
    assert len(examples) == block.count("# tasks.")
    assert {name for name, _, _ in examples} == TASKS.keys()
    for number, (name, described, content) in enumerate(examples):
        ending = ".csv" if "CSV" in described else ".jsonl" if content.startswith("{") else ".txt"
        path = tmp_path / f"{number}{ending}"
        path.write_text(content, "utf-8")
        assert TASKS[name].read(str(path)).items, name
