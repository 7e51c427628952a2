"""A task with random examples for each head, to take optimizer steps with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks.gpu.plan import Plan
from benchmarks.ours import optimizer_step
from minibert import EncoderConfig, pack
from minibert.training import Examples, LabelledBatch, TrainingSettings
from minibert.training.state import RunState
from minibert.training.step import OptimizerStep
from tasks.classification.examples import TextExample
from tasks.classification.settings import ClassificationSettings
from tasks.classification.task import ClassificationTask
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

Ids = npt.NDArray[np.int32]

_TAGS = {0: "O", 1: "B-X", 2: "I-X"}


@dataclass(frozen=True, kw_only=True)
class Head:
    """A task, its examples, and how they become a batch."""

    task: Any
    examples: Sequence[Any]
    collate: Callable[[Sequence[Any]], LabelledBatch]
    labels: dict[int, str] | None = None

    def model(self, config: EncoderConfig, seed: int = 0) -> nn.Module:
        """Of random weights."""
        torch.manual_seed(seed)
        model: nn.Module = self.task.model_class(config if self.labels is None else config.with_labels(self.labels))
        return model

    def losses(self, model: nn.Module, module: nn.Module, batch: LabelledBatch) -> Tensor:
        """Of each example, by ``model`` or the ``module`` around it."""
        losses: Tensor = self.task.losses(model, batch.output_of(module), batch)
        return losses

    def step(
        self, model: nn.Module, precision: str, device: torch.device, **settings: Any
    ) -> tuple[OptimizerStep, RunState]:
        """The optimizer step over the examples, in the run's settings."""
        return optimizer_step(
            model,
            device=device,
            data=Examples(self.examples, self.collate),
            size=len(self.examples),
            loss=lambda module, batch: self.losses(model, module, batch).sum(),
            precision=precision,
            divergence=self.task.divergence(model),
            settings=TrainingSettings(**settings),
        )


def head(name: str, plan: Plan, **options: Any) -> tuple[Head, EncoderConfig]:
    """The head of a name in :data:`HEADS`, over sentences of the plan, and the model's shape."""
    work = plan.workload(**{"size": plan.sizes.small, "sequences": plan.sizes.checked, **options})
    return HEADS[name]([ids.astype(np.int32) for ids in work.sequences]), work.config


def words(ids: Sequence[Ids], which: str = "linear") -> Head:
    """Tags, by a linear head or a CRF."""
    task = NerTask(NerSettings(head=which))
    examples = [Window(row, np.array([-100, *[1] * (len(row) - 2), -100], np.int16), 1) for row in ids]
    return Head(task=task, examples=examples, collate=task.collate, labels=_TAGS)


def _texts(ids: Sequence[Ids], kind: str, pooling: str) -> Head:
    task = ClassificationTask(ClassificationSettings(kind=kind, pooling=pooling))
    target: Any = {"single": 1, "multi": np.ones(3, np.float32), "regression": np.float32(1)}[kind]
    examples = [TextExample(row, np.zeros(len(row), np.int8), target, 1) for row in ids]
    labels = {0: "score"} if kind == "regression" else {0: "a", 1: "b", 2: "c"}
    return Head(task=task, examples=examples, collate=task.collate, labels=labels)


def _spans(ids: Sequence[Ids]) -> Head:
    task = SpanQaTask(SpanQaSettings())
    offsets = np.zeros((1, 2), np.int32)
    examples = [SpanWindow(row, np.zeros(len(row), np.int8), (1, 2), 1, offsets, (0, 1), 1) for row in ids]
    return Head(task=task, examples=examples, collate=task.collate)


def _choices(ids: Sequence[Ids]) -> Head:
    task = MultipleChoiceTask(MultipleChoiceSettings())
    groups = [ids[start : start + 2] for start in range(0, len(ids), 2)]
    examples = [GroupExample.join([(row, [0] * len(row)) for row in rows], target=0, line=1) for rows in groups]
    return Head(task=task, examples=examples, collate=task.collate)


def _chunks(ids: Sequence[Ids]) -> Head:
    """One masked word in each chunk, and the relation of each pair, for families that have one."""

    def collate(rows: Sequence[Any]) -> LabelledBatch:
        inputs = pack(rows)
        targets = torch.ones(2 * len(rows), dtype=torch.int64)
        positions = inputs.cu_seqlens[:-1].long() + 1
        return LabelledBatch(inputs=inputs, targets=targets, num_targets=len(rows), positions=positions)

    return Head(task=PretrainingTask(PretrainingSettings(corpus=("corpus.txt",))), examples=ids, collate=collate)


HEADS: dict[str, Callable[[Sequence[Ids]], Head]] = {
    "words": words,
    "crf": lambda ids: words(ids, "crf"),
    "texts": lambda ids: _texts(ids, "single", "first"),
    "several labels": lambda ids: _texts(ids, "multi", "first"),
    "numbers": lambda ids: _texts(ids, "regression", "mean"),
    "spans": _spans,
    "choices": _choices,
    "pretraining": _chunks,
}
