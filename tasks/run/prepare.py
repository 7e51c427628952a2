"""What a run needs before it writes anything: data, model, and the encoded data."""

import contextlib
import dataclasses
import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minibert.checkpoint import Pretrained
from minibert.training import Examples
from minibert.training.settings import TrainingSettings
from tasks.data import Encoded, Split, nonzero_counts
from tasks.run.distillation import training_data
from tasks.run.encode import encode
from tasks.run.splits import read_splits
from tasks.run.start_model import StartingModel, load_starting_model
from tasks.run.streams import say
from tasks.settings import RunSettings
from tasks.task import Task

AnyTask = Task[Any, Any, Any]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything that a run needs, read and checked.

    Attributes:
        splits: the data, by ``train``, ``dev`` and perhaps ``test``.
        encoded: the data as the model sees it.
        start: the model and tokenizer.
        training: what the run trains on: all of ``train``, and perhaps more.
        described: the facts about each split, and what else is trained on, that the record and the report show.
    """

    splits: Mapping[str, Split[Any]]
    encoded: Mapping[str, Encoded[Any]]
    start: StartingModel
    training: Examples[Any]
    described: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that is ready to train.

    Attributes:
        task: with its settings.
        prepared: its data and model.
        folder: where it writes.
        device, device_name, precision: where and how it computes.
        command: what to type to repeat it.
        started: when it did.
        resume: whether to continue from the folder's newest checkpoint.
        stop_after: the epoch to stop after, with a checkpoint; None for the last one.
        weights: the checkpoint that the model starts from, with the sha256 of its files; None for new weights.
    """

    task: AnyTask
    prepared: Prepared
    folder: Path
    device: torch.device
    device_name: str
    precision: str
    command: str
    started: str
    resume: bool
    stop_after: int | None
    weights: Mapping[str, Any] | None

    @property
    def model(self) -> Pretrained:
        return self.prepared.start.model

    @property
    def file_hashes(self) -> dict[str, str]:
        """The sha256 of each data file, and of a teacher, by a name for messages; a resumed run must have the same."""
        return {f"the {name} file": described["sha256"] for name, described in self.prepared.described.items()}


def prepare(task: AnyTask) -> Prepared:
    """Reads and encodes the data, and makes the model; writes nothing, unless the task stores what it has read.

    Raises:
        InputError: something that was given cannot be used.
    """
    with _without_collection():
        splits = task.stored_splits(lambda: read_splits(task))
        task.resolve_settings(splits["train"])
        start = load_starting_model(task, splits["train"])
        config = start.model.config
        encoded = {
            name: encode(task, split.items, split.path, start.tokenizer, config) for name, split in splits.items()
        }
        described = _described(task, splits, encoded)
        training, more = training_data(task, splits, encoded["train"], start)
    described |= {**more, **task.other_sources()}
    return Prepared(splits=splits, encoded=encoded, start=start, training=training, described=described)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Within the block, Python's garbage collector is off: it would scan millions of words again and again and find no
    cycles, for a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _described(
    task: AnyTask, splits: Mapping[str, Split[Any]], encoded: Mapping[str, Encoded[Any]]
) -> dict[str, dict[str, Any]]:
    repeated = task.count_duplicates(splits)
    described = {}
    for name, split in splits.items():
        lengths = np.asarray(encoded[name].lengths)
        median, p90, p99 = (int(value) for value in np.percentile(lengths, (50, 90, 99), method="higher"))
        described[name] = {
            "path": split.source,
            "sha256": split.sha256,
            **({} if split.draw is None else {"draw": dict(split.draw)}),
            **task.describe(split),
            "tokens": {"median": median, "p90": p90, "p99": p99, "longest": int(lengths.max())},
            **repeated[name],
            **split.notes,
            **task.count_oddities(split.items),
            **encoded[name].notes,
        }
    return described


def data_lines(task: AnyTask, prepared: Prepared) -> list[str]:
    """About each split, for the terminal: how its file was understood, its size, and its tokens."""
    lines = []
    said = set()
    for name, split in prepared.splits.items():
        if split.path not in said:
            said.add(split.path)
            lines += [f"{split.path}: {line}" for line in split.understood]
        described = prepared.described[name]
        counts = {key: described.get(key, 0) for key in ("also_in_train", "duplicates")}
        counts |= {**task.count_oddities(split.items), **prepared.encoded[name].notes}
        tokens = described["tokens"]
        lines.append("; ".join([f"{name:5} {split.source}: {task.summary(split)}", *nonzero_counts(counts)]))
        lines.append(f"      tokens: median {tokens['median']}, 99% {tokens['p99']}, longest {tokens['longest']}")
    if teacher := prepared.described.get("teacher"):
        also = "".join(
            f", also for {prepared.described[name]['items']:,} {texts}"
            for name, texts in (("unlabelled", "texts without labels"), ("made_up", "made-up texts"))
            if name in prepared.described
        )
        kept = f", {teacher['variance_kept']:.1%} of the variance of its states" if "variance_kept" in teacher else ""
        lines.append(f"      learns from the teacher {teacher['path']}{also}{kept}")
    return lines


def settings_line(settings: RunSettings) -> str:
    """The settings that differ from the defaults, such as ``lr = 0.001, epochs = 10``."""
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    defaults |= dataclasses.asdict(TrainingSettings())  # where one default depends on another
    changed = {
        name: value for name, value in dataclasses.asdict(settings).items() if value not in (None, defaults[name])
    }
    return ", ".join(f"{name} = {value}" for name, value in changed.items()) or "all settings at their defaults"


def dry_run(task: AnyTask) -> None:
    """Prints the data, the model, the settings and the first example; writes nothing."""
    prepared = prepare(task)
    say("\n".join(data_lines(task, prepared)))
    say(f"model {prepared.start.line}")
    say(f"with  {settings_line(task.settings)}")
    encoded = prepared.encoded["train"]
    example = encoded.examples[0]
    first = next(index for index, count in enumerate(encoded.counts) if count)  # an item may have none
    say(f"the first example: {prepared.splits['train'].items[first]}")
    say(f"  tokens: {' '.join(prepared.start.tokenizer.convert_ids_to_tokens(example.ids))}")
    for name, value in example._asdict().items():
        say(f"  {name}: {np.asarray(value).tolist()}")
