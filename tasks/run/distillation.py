"""Soft targets: what a teacher, a model that is already trained for the task, says about the training data.

They are made before training and kept beside the examples, so that training needs no teacher. Labels belong to items
and words, so that the teacher may have another tokenizer and cut long texts elsewhere.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from minibert.errors import InputError
from minibert.training import Examples, LabelledBatch
from minibert.training.data import NO_CHOICE
from tasks.data import Encoded, Split
from tasks.run.encode import encode
from tasks.run.made_up import made_up
from tasks.run.start_model import StartingModel
from tasks.run.teacher import Logits, Teacher, answers, load_teacher
from tasks.run.unlabelled import read_unlabelled
from tasks.settings import DistillationSettings
from tasks.task import Task

AnyTask = Task[Any, Any, Any]


class SoftExample(NamedTuple):
    """An example with the teacher's logits, a row for each of its targets, and whether it also has gold targets."""

    example: Any
    logits: Logits
    labelled: bool


def collate(task: AnyTask, examples: Sequence[SoftExample]) -> LabelledBatch:
    """The task's batch, with soft targets."""
    batch = task.collate([soft.example for soft in examples])
    widest = max(soft.logits.shape[1] for soft in examples)  # they differ where examples have choices of their own
    padded = [
        np.pad(soft.logits, ((0, 0), (0, widest - soft.logits.shape[1])), constant_values=NO_CHOICE)
        for soft in examples
    ]
    return dataclasses.replace(
        batch,
        lines=tuple(line for line in batch.lines if line),  # only those of the training file are known
        soft_targets=torch.from_numpy(np.concatenate(padded)),
        labelled=torch.tensor([float(soft.labelled) for soft in examples]),
    )


def distillation_loss(task: AnyTask, model: nn.Module, logits: Any, batch: LabelledBatch) -> Tensor:
    """``w D + (1 - w) L`` summed over the batch's targets: D is the distance from the teacher, and L the loss of the
    gold targets, which is left out where there are none; w is ``teacher_weight``."""
    settings: DistillationSettings = task.settings
    assert batch.soft_targets is not None
    assert batch.labelled is not None
    rows = task.target_logits(model, logits, batch)
    distances = task.distances(rows, batch.soft_targets, settings.teacher_temperature)
    gold = (task.losses(model, logits, batch) * batch.labelled).sum()
    return settings.teacher_weight * distances.sum() + (1 - settings.teacher_weight) * gold


def training_data(
    task: AnyTask, splits: Mapping[str, Split[Any]], encoded: Encoded[Any], start: StartingModel
) -> tuple[Examples[Any], dict[str, dict[str, Any]]]:
    """What a run trains on: the examples of ``--train``; with a teacher, these, those of ``--unlabelled`` and
    those of ``--made-up``, with soft targets. And the facts about the teacher and these texts, as about a split.

    Raises:
        InputError: the teacher or the file cannot be used, or the teacher was trained for something else.
    """
    settings, train = task.settings, splits["train"]
    if not isinstance(settings, DistillationSettings) or settings.teacher is None:
        return Examples(encoded.examples, task.collate, task.at_epoch, lengths=encoded.lengths), {}
    teacher = load_teacher(task, train, start.model)
    further = {}  # read and made before the teacher answers, since that takes long
    if settings.unlabelled is not None:
        further["unlabelled"] = read_unlabelled(task, train)
    if settings.made_up:
        further["made_up"] = dataclasses.replace(train, items=made_up(task, train.items, settings.made_up))
    held_out = {task.duplicate_key(item) for part in splits if part != "train" for item in splits[part].items}
    described: dict[str, dict[str, Any]] = {"teacher": {"path": settings.teacher, "sha256": teacher.sha256}}
    examples = _soft_examples(task, teacher, train.items, encoded, labelled=True)
    for name, split in further.items():
        of_items = encode(task, split.items, split.path, start.tokenizer, start.model.config)
        examples += _soft_examples(task, teacher, split.items, of_items, labelled=False)
        described[name] = {
            "path": split.path,
            "sha256": split.sha256,
            "items": len(split.items),
            "also_held_out": sum(task.duplicate_key(item) in held_out for item in split.items),
            **of_items.notes,
        }
    lengths = [len(soft.example.ids) for soft in examples]
    return Examples(examples, partial(collate, task), lengths=lengths), described


def _soft_examples(
    task: AnyTask, teacher: Teacher, items: Sequence[Any], encoded: Encoded[Any], *, labelled: bool
) -> list[SoftExample]:
    """The examples of items, each with its part of the teacher's rows for its item.

    Raises:
        InputError: the teacher sees an item in more parts, or fewer.
    """
    found, examples = [], iter(encoded.examples)
    logits = answers(teacher, items, task.settings.precision)
    for item, count, rows in zip(items, encoded.counts, logits, strict=True):
        own = list(itertools.islice(examples, count))
        ends = np.cumsum([task.num_targets(example) for example in own])
        if ends[-1] != len(rows):
            raise InputError(
                f"--teacher {task.settings.teacher}: answers {len(rows)} times where the model does {ends[-1]} times "
                f"(line {item.line}); give the same prompts as in its run."
            )
        found += [SoftExample(*each, labelled) for each in zip(own, np.split(rows, ends[:-1]), strict=True)]
    return found
