"""A model that is already trained for a task, and its answers, from which another model learns.

Answers to many texts are kept in a store, so that runs with other seeds, architectures or settings, the trials of a
search and a resumed run share them.
"""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from minibert import Tokenizer
from minibert.checkpoint import Pretrained, open_checkpoint
from minibert.errors import InputError
from minibert.hub import resolve, sha256_of_model
from minibert.training import choose_device, choose_precision, distributed, predict
from tasks.data import Split
from tasks.run.encode import key_of_items
from tasks.run.evaluate import BATCH_TOKENS, batches_by_length
from tasks.run.folder import device_name
from tasks.run.options import read_settings, saved_task
from tasks.run.predictor import trained_model
from tasks.run.store import StoreError, Writer, stored
from tasks.run.streams import say
from tasks.run.task_file import task_file
from tasks.task import Task, label_names

logger = logging.getLogger(__name__)

MANY = 5000
"""Texts from which on answers are worth keeping: half a minute's work of a large teacher on a CPU."""

Logits = npt.NDArray[np.float32]
AnyTask = Task[Any, Any, Any]


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained model of the task.

    Attributes:
        name: as the option gives it.
        task, model, tokenizer: its own.
        order: its columns in the order of the labels of the model that learns.
        sha256: of its files.
    """

    name: str
    task: AnyTask
    model: Pretrained
    tokenizer: Tokenizer
    order: Any
    sha256: str


def load_teacher(task: AnyTask, train: Split[Any], student: Pretrained) -> Teacher:
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
    has_choices = task.labels(train) is None  # which each item brings along
    is_number = getattr(task.settings, "kind", None) == "regression"
    return Teacher(
        name=task.settings.teacher,
        task=own,
        model=model.to(choose_device(task.settings.device)),
        tokenizer=checkpoint.tokenizer,
        order=slice(None) if has_choices else _order_of_labels(student, model, place, is_number=is_number),
        sha256=sha256_of_model(folder),
    )


def _order_of_labels(student: Pretrained, teacher: Pretrained, place: str, *, is_number: bool) -> list[int]:
    """The places of the student's labels among the teacher's.

    Raises:
        InputError: they have different labels.
    """
    if is_number:  # which tools name differently
        return [0]
    own, known = ([name for _, name in sorted(label_names(model).items())] for model in (student, teacher))
    if odd := sorted(set(own) ^ set(known)):
        some = ", ".join(odd[:5]) + (", ..." if len(odd) > 5 else "")
        raise InputError(
            f"{place}: has other labels than the training data ({some} only in one of them); name a model that was "
            "trained with the same ones."
        )
    return [known.index(name) for name in own]


def answers(teacher: Teacher, items: Sequence[Any], precision: str) -> list[Logits]:
    """The teacher's logits for each item, ``(targets, labels)``, in the order of the labels of the model that learns.

    Those of many items come from a store, unless several processes train: these share the work each time.
    """
    if len(items) < MANY or distributed.world_size() > 1:
        return _computed(teacher, items, precision)
    found: list[Logits] = []

    def make(writer: Writer) -> None:
        found[:] = _computed(teacher, items, precision)
        writer.append("shapes", np.array([each.shape for each in found], np.int64).ravel())
        writer.append("logits", np.concatenate([each.ravel() for each in found]))

    device = teacher.model.device
    key = {
        "teacher": teacher.sha256,
        "order": repr(teacher.order),
        **key_of_items(teacher.task, items),
        "tokenizers": metadata.version("tokenizers"),
        "device": [device_name(device), choose_precision(precision, device), torch.__version__],
    }
    try:
        store = stored(key, make, f"the answers of {teacher.name}")
    except StoreError as error:
        logger.warning("%s Going on in memory.", error)
        return found or _computed(teacher, items, precision)
    shapes = store.arrays["shapes"].reshape(-1, 2)
    parts = np.split(store.arrays["logits"], np.cumsum(shapes.prod(axis=1))[:-1])
    return [part.reshape(*shape) for part, shape in zip(parts, shapes, strict=True)]


def _computed(teacher: Teacher, items: Sequence[Any], precision: str) -> list[Logits]:
    """The teacher's logits for each item, a row for each target. The processes of ``torchrun`` share the work, and get
    the same numbers."""
    task, model = teacher.task, teacher.model
    encoded = task.encode(items, teacher.tokenizer, model.config)
    batches = batches_by_length(encoded.lengths, BATCH_TOKENS[model.device.type])
    mine = [[encoded.examples[index] for index in indices] for indices in distributed.shard(batches)]
    shown = distributed.is_rank0()
    if shown and len(items) >= MANY:
        say(f"teacher {teacher.name}: answers {len(items):,} texts before training starts")
    done = []
    with tqdm(
        total=sum(map(len, mine)), desc="teacher", unit=" texts", leave=False, disable=None if shown else True
    ) as bar:
        outputs = predict(model, map(task.collate, mine), precision=precision, device=model.device)
        for examples, (batch, logits) in zip(mine, outputs, strict=True):
            with torch.no_grad():
                of_targets = task.target_logits(model, logits, batch)[:, teacher.order].cpu()
            rows = of_targets.split([*map(task.num_targets, examples)])
            done.append([_own_choices(part.numpy(), each) for part, each in zip(rows, examples, strict=True)])
            bar.update(len(examples))
    by_example: list[Any] = [None] * len(encoded.examples)
    for indices, of_batch in zip(batches, distributed.all_gather(done), strict=True):
        for index, rows_of_example in zip(indices, of_batch, strict=True):
            by_example[index] = rows_of_example
    parts = iter(by_example)
    return [np.concatenate(list(itertools.islice(parts, count))) for count in encoded.counts]


def _own_choices(rows: Logits, example: Any) -> Logits:
    """The logits of an example's own choices, where others in its batch have more."""
    return rows[:, : len(example.lengths)] if hasattr(example, "lengths") else rows
