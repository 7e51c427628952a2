"""Soft targets: what a teacher, a model that is already trained for the task, says about the training data.

They are computed once, before training, and kept beside the examples, so that training needs no teacher. Labels belong
to items and words, so that the teacher may have another tokenizer and cut long texts elsewhere.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from minibert import Tokenizer
from minibert.checkpoint import Pretrained, open_checkpoint
from minibert.errors import InputError
from minibert.hub import resolve, sha256_of_model
from minibert.training import Examples, LabelledBatch, choose_device, distributed, predict
from minibert.training.data import NO_CHOICE
from tasks.data import Encoded, Split
from tasks.read.records import read_options
from tasks.read.stream import records
from tasks.read.text_file import read_raw
from tasks.run.encode import encode
from tasks.run.evaluate import BATCH_TOKENS, batches_by_length
from tasks.run.options import read_settings, saved_task
from tasks.run.predictor import trained_model
from tasks.run.start_model import StartingModel
from tasks.run.task_file import task_file
from tasks.settings import DistillationSettings
from tasks.task import Task, label_names

AnyTask = Task[Any, Any, Any]
Logits = npt.NDArray[np.float32]


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
    task: AnyTask, train: Split[Any], encoded: Encoded[Any], start: StartingModel
) -> tuple[Examples[Any], dict[str, dict[str, Any]]]:
    """What a run trains on: the examples of ``--train``; with a teacher, these and those of ``--unlabelled``, with soft
    targets. And the facts about the teacher and the unlabelled texts, as about a split.

    Raises:
        InputError: the teacher or the file cannot be used, or the teacher was trained for something else.
    """
    settings = task.settings
    if not isinstance(settings, DistillationSettings) or settings.teacher is None:
        return Examples(encoded.examples, task.collate, task.at_epoch, lengths=encoded.lengths), {}
    teacher = _load_teacher(task, train, start.model)
    described: dict[str, dict[str, Any]] = {"teacher": {"path": settings.teacher, "sha256": teacher.sha256}}
    examples = _soft_examples(task, teacher, train.items, encoded, labelled=True)
    if settings.unlabelled is not None:
        items = _read_unlabelled(task, settings.unlabelled)
        of_items = encode(task, items, settings.unlabelled, start.tokenizer, start.model.config)
        examples += _soft_examples(task, teacher, items, of_items, labelled=False)
        sha256 = read_raw(settings.unlabelled).sha256
        described["unlabelled"] = {
            "path": settings.unlabelled, "sha256": sha256, "items": len(items), **of_items.notes
        }  # fmt: skip
    lengths = [len(soft.example.ids) for soft in examples]
    return Examples(examples, partial(collate, task), lengths=lengths), described


@dataclass(frozen=True, kw_only=True)
class _Teacher:
    """A trained model of the task.

    Attributes:
        task, model, tokenizer: its own.
        order: its columns in the order of the labels of the model that learns.
        sha256: of its files.
    """

    task: AnyTask
    model: Pretrained
    tokenizer: Tokenizer
    order: Any
    sha256: str


def _load_teacher(task: AnyTask, train: Split[Any], student: Pretrained) -> _Teacher:
    """The teacher: a run of the same task, or a checkpoint of another tool.

    Raises:
        InputError: it is neither, or answers something else.
    """
    folder = resolve(task.settings.teacher)
    place, file = f"--teacher {task.settings.teacher}", task_file(folder)
    if file is not None and (name := saved_task(file)) != task.name:
        raise InputError(f"{place}: is a run of {name}; name one of {task.name}.")
    checkpoint = open_checkpoint(folder)
    of_task = type(task.settings)
    values = task.settings_from_checkpoint(checkpoint) if file is None else read_settings(file, of_task, task.name)
    own = type(task)(of_task(**values))
    task.check_teacher(own, place)
    model = trained_model(own, checkpoint)
    return _Teacher(
        task=own,
        model=model.to(choose_device(task.settings.device)),
        tokenizer=checkpoint.tokenizer,
        order=slice(None) if task.labels(train) is None else _order_of_labels(student, model, place),
        sha256=sha256_of_model(folder),
    )


def _order_of_labels(student: Pretrained, teacher: Pretrained, place: str) -> list[int]:
    """The places of the student's labels among the teacher's.

    Raises:
        InputError: they have different labels.
    """
    if student.config.num_labels == teacher.config.num_labels == 1:  # a number, which tools name differently
        return [0]
    own, known = ([name for _, name in sorted(label_names(model).items())] for model in (student, teacher))
    if odd := sorted(set(own) ^ set(known)):
        some = ", ".join(odd[:5]) + (", ..." if len(odd) > 5 else "")
        raise InputError(
            f"{place}: has other labels than the training data ({some} only in one of them); name a model that was "
            "trained with the same ones."
        )
    return [known.index(name) for name in own]


def _read_unlabelled(task: AnyTask, path: str) -> list[Any]:
    """The items of a file as prediction reads them, without blank ones.

    Raises:
        InputError: it cannot be read, or has none.
    """
    reading = dataclasses.replace(read_options(task.settings), skip_invalid=False)
    items = [task.parse_input(record.fields, record.place) for record in records(path, "auto", reading)]
    items = [item for item in items if any(text.strip() for text in task.texts(item))]
    if not items:
        raise InputError(f"--unlabelled {path}: has no texts; name another file.")
    return items


def _item_logits(teacher: _Teacher, items: Sequence[Any], precision: str) -> list[Logits]:
    """The teacher's logits for each item, a row for each target. The processes of ``torchrun`` share the work, and get
    the same numbers."""
    task, model = teacher.task, teacher.model
    encoded = task.encode(items, teacher.tokenizer, model.config)
    batches = batches_by_length(encoded.lengths, BATCH_TOKENS[model.device.type])
    mine = [[encoded.examples[index] for index in indices] for indices in distributed.shard(batches)]
    done = []
    outputs = predict(model, map(task.collate, mine), precision=precision, device=model.device)
    for examples, (batch, logits) in zip(mine, outputs, strict=True):
        with torch.no_grad():
            of_targets = task.target_logits(model, logits, batch)[:, teacher.order].cpu()
        rows = of_targets.split([*map(task.num_targets, examples)])
        done.append([_own_choices(part.numpy(), each) for part, each in zip(rows, examples, strict=True)])
    by_example: list[Any] = [None] * len(encoded.examples)
    for indices, of_batch in zip(batches, distributed.all_gather(done), strict=True):
        for index, rows_of_example in zip(indices, of_batch, strict=True):
            by_example[index] = rows_of_example
    parts = iter(by_example)
    return [np.concatenate(list(itertools.islice(parts, count))) for count in encoded.counts]


def _own_choices(rows: Logits, example: Any) -> Logits:
    """The logits of an example's own choices, where others in its batch have more."""
    return rows[:, : len(example.lengths)] if hasattr(example, "lengths") else rows


def _soft_examples(
    task: AnyTask, teacher: _Teacher, items: Sequence[Any], encoded: Encoded[Any], *, labelled: bool
) -> list[SoftExample]:
    """The examples of items, each with its part of the teacher's rows for its item.

    Raises:
        InputError: the teacher sees an item in more parts, or fewer.
    """
    found, examples = [], iter(encoded.examples)
    logits = _item_logits(teacher, items, task.settings.precision)
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
