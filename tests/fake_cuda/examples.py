"""What is traced: a task with its examples for each head, and the smallest models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from conftest import tiny_config
from torch import nn

from minibert import EncoderConfig, pack
from minibert.training import LabelledBatch
from tasks.classification.settings import ClassificationSettings
from tasks.classification.task import ClassificationTask, TextExample
from tasks.data import GroupExample
from tasks.multiple_choice.settings import MultipleChoiceSettings
from tasks.multiple_choice.task import MultipleChoiceTask
from tasks.ner.settings import NerSettings
from tasks.ner.task import NerTask
from tasks.ner.word_labels import Window
from tasks.pretraining.settings import PretrainingSettings
from tasks.pretraining.task import PretrainingTask
from tasks.span_qa.settings import SpanQaSettings
from tasks.span_qa.task import SpanQaTask, SpanWindow
from tasks.task import Task

LENGTHS = (3, 5, 4, 6)
TAGS = {0: "O", 1: "B-X", 2: "I-X"}
_SMALLEST = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A task, its examples, and how they become a batch (of tensors with values, on the host)."""

    task: Task[Any, Any, Any]
    examples: Sequence[Any]
    collate: Callable[[Sequence[Any]], LabelledBatch]
    labels: dict[int, str] | None = None

    def model(self, config: EncoderConfig) -> nn.Module:
        """Without values, on the meta device."""
        with torch.device("meta"):
            return self.task.model_class(config if self.labels is None else config.with_labels(self.labels))


def workload(head: str, lengths: Sequence[int] = LENGTHS) -> Workload:
    """Of a head by its name in :data:`HEADS`, over sequences of these lengths."""
    random = np.random.default_rng(0)
    return HEADS[head]([random.integers(5, 90, length, dtype=np.int32) for length in lengths])


def smallest(family: str, **changes: Any) -> EncoderConfig:
    """Two layers; ALBERT's is one that is applied twice."""
    groups = {"num_hidden_groups": 1, "inner_group_num": 1} if family == "albert" else {}
    return tiny_config(family, **{**_SMALLEST, **groups, **changes})


def _words(ids: list[Any], head: str) -> Workload:
    task = NerTask(NerSettings(head=head))
    examples = [Window(row, np.array([-100, *[1] * (len(row) - 2), -100], np.int16), 1) for row in ids]
    return Workload(task=task, examples=examples, collate=task.collate, labels=TAGS)


def _texts(ids: list[Any], kind: str, pooling: str) -> Workload:
    task = ClassificationTask(ClassificationSettings(kind=kind, pooling=pooling))
    target = {"single": 1, "multi": np.ones(3, np.float32), "regression": np.float32(1)}[kind]
    examples = [TextExample(row, np.zeros(len(row), np.int8), target, 1) for row in ids]
    labels = {0: "score"} if kind == "regression" else {0: "a", 1: "b", 2: "c"}
    return Workload(task=task, examples=examples, collate=task.collate, labels=labels)


def _spans(ids: list[Any]) -> Workload:
    task = SpanQaTask(SpanQaSettings())
    offsets = np.zeros((1, 2), np.int32)
    examples = [SpanWindow(row, np.zeros(len(row), np.int8), (1, 2), 1, offsets, (0, 1), 1) for row in ids]
    return Workload(task=task, examples=examples, collate=task.collate)


def _choices(ids: list[Any]) -> Workload:
    task = MultipleChoiceTask(MultipleChoiceSettings())
    examples = [GroupExample.join([(row, [0] * len(row)) for row in ids[:count]], target=1, line=1) for count in (2, 3)]
    return Workload(task=task, examples=examples, collate=task.collate)


def _chunks(ids: list[Any]) -> Workload:
    """Masked words, one in each chunk, and the relation of each pair, which RoBERTa does not read."""
    task = PretrainingTask(PretrainingSettings(corpus=("corpus.txt",)))

    def collate(rows: Sequence[Any]) -> LabelledBatch:
        inputs = pack(rows)
        targets = torch.zeros(2 * len(rows), dtype=torch.int64)
        return LabelledBatch(
            inputs=inputs, targets=targets, num_targets=len(rows), positions=inputs.cu_seqlens[:-1].long() + 1
        )

    return Workload(task=task, examples=ids, collate=collate)


HEADS: dict[str, Callable[[list[Any]], Workload]] = {
    "words": lambda ids: _words(ids, "linear"),
    "crf": lambda ids: _words(ids, "crf"),
    "texts": lambda ids: _texts(ids, "single", "first"),
    "several labels": lambda ids: _texts(ids, "multi", "first"),
    "numbers": lambda ids: _texts(ids, "regression", "mean"),
    "spans": _spans,
    "choices": _choices,
    "pretraining": _chunks,
}
