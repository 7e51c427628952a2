"""All tasks by name."""

from typing import Any

from tasks.classification import ClassificationTask
from tasks.cloze import ClozeTask
from tasks.ner import NerTask
from tasks.pretraining import PretrainingTask
from tasks.qa import QaTask
from tasks.span_qa import SpanQaTask
from tasks.task import Task

TASKS: dict[str, type[Task[Any, Any, Any]]] = {
    task.name: task for task in (NerTask, ClassificationTask, QaTask, SpanQaTask, ClozeTask, PretrainingTask)
}
