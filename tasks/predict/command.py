"""Answers from a trained run: ``python -m tasks.predict RUN [FILE | -]``, one JSON line for each input.

The input is read as it comes, a chunk at a time, so that its size does not matter; within a chunk, batches are made by
length, and the answers keep the input's order. Under ``torchrun`` the processes share the chunks out among them.
"""

import contextlib
import heapq
import io
import itertools
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import torch
import torch.distributed as dist

from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.files import write_whole
from tasks.data import nonzero_counts
from tasks.predict.arguments import parser
from tasks.read.stream import Record, records
from tasks.registry import TASKS, settings_class, task_class
from tasks.run.options import read_settings, saved_task
from tasks.run.predictor import Predictor
from tasks.settings import SETTINGS_FILE

_CHUNK = 2048  # inputs
_CHUNK_CHARACTERS = 1_000_000

# For a checkpoint that another tool has fine-tuned.
_TASK_OF_HEAD = {
    "ForTokenClassification": "ner",
    "ForSequenceClassification": "classification",
    "ForQuestionAnswering": "span_qa",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Reads inputs, and writes answers.

    Raises:
        InputError: the run or an input cannot be used.
    """
    options = parser().parse_args(argv)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1 and options.out is None:
        raise InputError("--out: needed where several processes predict, to put their parts together.")
    if options.out is not None and not Path(options.out).parent.is_dir():
        raise InputError(f"--out {options.out}: there is no folder {Path(options.out).parent}; make it first.")
    if options.out is not None and Path(options.out).is_dir():
        raise InputError(f"--out {options.out}: is a folder; name a file in it.")
    if options.out is not None and _is_same_file(options.out, options.file):
        raise InputError(f"--out {options.out}: is the input itself, which the answers would replace; name another.")
    if world > 1 and options.file == "-":
        raise InputError("FILE: several processes cannot share standard input; name a file.")
    device = own_device() if world > 1 and options.device == "auto" else options.device
    predictor = load(options.run, device=device, precision=options.precision)
    numbered = enumerate(chunks(records(options.file, options.format)))
    if options.out is None:
        if isinstance(sys.stdout, io.TextIOWrapper):  # JSON is UTF-8, whatever the terminal's encoding
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        write_answers(predictor, numbered, sys.stdout, mark=False)
        return
    out = Path(options.out)
    if world == 1:
        write_whole(out, lambda path: _write(predictor, numbered, path, mark=False))
        return
    dist.init_process_group("gloo")
    parts = [out.with_name(f".{out.name}.{number}-of-{world}.part") for number in range(world)]
    try:
        _write(predictor, itertools.islice(numbered, rank, None, world), parts[rank], mark=True)
        _wait_for_the_others()
        if rank == 0:
            write_whole(out, lambda path: _join(parts, path))
        _wait_for_the_others()
    finally:
        for part in parts:  # those of the others too, as torchrun stops them when this one fails
            with contextlib.suppress(OSError):
                part.unlink()
        dist.destroy_process_group()


def _is_same_file(first: str, second: str) -> bool:
    """Whether both are there and are one file, under whatever names."""
    return Path(first).exists() and Path(second).exists() and Path(first).samefile(second)


def own_device() -> str:
    """Of the GPUs here the one that is this process's turn, or the CPU."""
    count = torch.cuda.device_count()
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % count}" if count else "cpu"


def _wait_for_the_others() -> None:
    try:
        dist.barrier()
    except RuntimeError:
        raise InputError("another of the processes has stopped; its own message says why.") from None


def _write(predictor: Predictor, numbered: Iterable[tuple[int, Sequence[Record]]], path: Path, mark: bool) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        write_answers(predictor, numbered, file, mark)


def load(run: str, *, device: str, precision: str) -> Predictor:
    """A run's task with its settings, model and tokenizer; the task of a checkpoint without settings is told by its
    head.

    Raises:
        InputError: it is no run, or cannot be used.
    """
    file = Path(run) / SETTINGS_FILE
    if file.is_file():
        name = saved_task(file)
        if name not in TASKS:
            raise InputError(f"{file}: the task {name!r} is not one of {', '.join(TASKS)}.")
        values = read_settings(file, settings_class(name), name)
        checkpoint = open_checkpoint(run)
    elif several := sorted(Path(run).glob(f"*/{SETTINGS_FILE}")):
        raise InputError(f"{run}: holds several runs; name one of them, such as {several[0].parent}.")
    else:
        checkpoint = open_checkpoint(run)
        classes = checkpoint.architectures
        names = [_TASK_OF_HEAD[head] for head in _TASK_OF_HEAD if any(class_.endswith(head) for class_ in classes)]
        if not names:
            raise InputError(f"{run}: is no run of a task, and its config.json names no head; name a run folder.")
        name = names[0]
        values = task_class(name).settings_from_config(checkpoint.config)
    task = task_class(name)(settings_class(name)(**values))
    return Predictor.load(task, checkpoint, device=device, precision=precision)


def chunks(inputs: Iterable[Record]) -> Iterator[list[Record]]:
    """Cuts a stream into lists of at most 2,048 inputs and about a million characters."""
    chunk: list[Record] = []
    size = 0
    for record in inputs:
        chunk.append(record)
        size += sum(len(value) for value in record.fields.values() if isinstance(value, (str, list)))
        if len(chunk) == _CHUNK or size >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def write_answers(
    predictor: Predictor, parts: Iterable[tuple[int, Sequence[Record]]], file: IO[str], mark: bool
) -> None:
    """Writes a JSON line for each input; to standard error the speed, and how much of the input was cut or unknown.

    Args:
        predictor: gives the answers.
        parts: numbered chunks of inputs.
        file: to write to.
        mark: begin each line with its chunk's number and a tab.
    """
    started = time.perf_counter()
    count = 0
    for number, chunk in parts:
        answers = predictor.answer([predictor.task.parse_input(record.fields, record.place) for record in chunk])
        for record, answer in zip(chunk, answers, strict=True):
            identity = {"id": record.fields["id"]} if "id" in record.fields else {}
            line = json.dumps({**identity, **answer}, ensure_ascii=False)
            file.write(f"{number}\t{line}\n" if mark else f"{line}\n")
        file.flush()
        count += len(chunk)
    seconds = time.perf_counter() - started
    speed = f"{count:,} inputs in {seconds:.1f} s, {count / seconds:,.0f} a second"
    print("; ".join([speed, *nonzero_counts(predictor.notes)]), file=sys.stderr)


def _join(parts: Sequence[Path], out: Path) -> None:
    """Puts marked parts together in the order of their chunks' numbers."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(part, encoding="utf-8", newline="\n")) for part in parts]
        with open(out, "w", encoding="utf-8", newline="\n") as joined:
            for line in heapq.merge(*files, key=lambda line: int(line.partition("\t")[0])):
                joined.write(line.partition("\t")[2])
