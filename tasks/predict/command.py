"""Answers from a trained run: ``python -m tasks.predict RUN [FILE | -]``, one JSON line for each input.

The input is streamed, a chunk at a time, so it may be of any size. Batches within a chunk are made by length; answers
keep the order of the input. Under ``torchrun`` the processes share the chunks.
"""

import contextlib
import heapq
import itertools
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.files import is_special, write_atomically
from minibert.hub import resolve
from minibert.training import choose_device, distributed
from tasks.data import nonzero_counts
from tasks.predict.arguments import parser
from tasks.read.records import ReadOptions, Record
from tasks.read.stream import records
from tasks.registry import TASKS, settings_class, task_class
from tasks.run.options import read_settings, saved_task, taken_over
from tasks.run.predictor import Predictor
from tasks.run.streams import say
from tasks.run.task_file import task_file
from tasks.settings import SETTINGS_FILE, check_encoding, column_names

_CHUNK = 2048  # inputs
_CHUNK_CHARACTERS = 1_000_000

# For a checkpoint that another tool has fine-tuned.
_TASK_OF_HEAD = {
    "ForTokenClassification": "ner",
    "ForSequenceClassification": "classification",
    "ForQuestionAnswering": "span_qa",
    "ForMultipleChoice": "multiple_choice",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Reads inputs, and writes answers.

    Raises:
        InputError: the run or an input cannot be used.
    """
    options = parser().parse_args(argv)
    out = None if options.out is None else Path(options.out)
    if options.encoding is not None:
        check_encoding(options.encoding)
    if options.file == "-" and sys.stdin is None:
        raise InputError("FILE: standard input is closed; name a file.")
    if out is not None:
        _check_output(out, options.file)
    elif sys.stdout is None:
        raise InputError("--out: needed, since standard output is closed.")
    with distributed.process_group(choose_device(options.device)) as device:
        if distributed.world_size() > 1:
            _check_shareable(out, options.file)
        predictor = load(options.run, device=str(device), precision=options.precision, threshold=options.threshold)
        reading = ReadOptions(encoding=options.encoding, columns=column_names(options.columns))
        numbered = enumerate(chunks(records(options.file, options.format, reading)))
        if out is None:
            if hasattr(sys.stdout, "reconfigure"):  # JSON is UTF-8, whatever the terminal's encoding
                sys.stdout.reconfigure(encoding="utf-8", newline="\n")
            write_answers(predictor, numbered, sys.stdout)
        elif is_special(out):  # a pipe or a device, which is never replaced
            _write(predictor, numbered, out)
        elif distributed.world_size() == 1:
            write_atomically(out, lambda path: _write_or_keep(predictor, numbered, path, out))
        else:
            _write_together(predictor, numbered, out)


def _check_output(out: Path, file: str) -> None:
    folder = Path(os.path.realpath(out)).parent  # that of the file which a link names
    if not folder.is_dir():
        raise InputError(f"--out {out}: there is no folder {folder}; make it first.")
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; name a file in it.")
    if out.exists() and Path(file).exists() and out.samefile(file):
        raise InputError(f"--out {out}: is the input itself, which the answers would replace; name another file.")


def _check_shareable(out: Path | None, file: str) -> None:
    if out is None:
        raise InputError("--out: needed under torchrun, to join the parts of several processes.")
    if is_special(out):
        raise InputError(f"--out {out}: several processes need a regular file, to join their parts in.")
    if file == "-":
        raise InputError("FILE: several processes cannot share standard input; name a file.")


def _write_together(predictor: Predictor, numbered: Iterable[tuple[int, Sequence[Record]]], out: Path) -> None:
    """Every process writes its share of the chunks to a part of its own; process 0 joins the parts."""
    rank, size = distributed.rank(), distributed.world_size()
    out = Path(os.path.realpath(out))
    parts = [out.with_name(f".{out.name}.{number}-of-{size}.part") for number in range(size)]
    try:
        _write(predictor, itertools.islice(numbered, rank, None, size), parts[rank], numbers=True)
        distributed.wait_for_all()
        if distributed.is_rank0():
            write_atomically(out, lambda path: _join(parts, path))
        distributed.wait_for_all()
    finally:
        for part in parts:  # the others' too, because torchrun kills them when this process fails
            with contextlib.suppress(OSError):
                part.unlink()


def _write(
    predictor: Predictor, numbered: Iterable[tuple[int, Sequence[Record]]], path: Path, *, numbers: bool = False
) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        write_answers(predictor, numbered, file, numbers=numbers)


def _write_or_keep(
    predictor: Predictor, numbered: Iterable[tuple[int, Sequence[Record]]], temporary: Path, out: Path
) -> None:
    """Writes all answers; if an input cannot be used, keeps those before it under another name."""
    try:
        _write(predictor, numbered, temporary)
    except InputError as error:
        if not temporary.stat().st_size:
            raise
        partial = Path(f"{os.path.realpath(out)}.partial")
        os.replace(temporary, partial)
        raise InputError(f"{error} The answers before it are in {partial}.") from None


def load(run: str, *, device: str, precision: str, threshold: str | None = None) -> Predictor:
    """A run's task with its settings, model and tokenizer, from the model's folder alone; for a checkpoint of another
    tool, its head decides.

    Args:
        run: its folder, or a name on the hub.
        device, precision: as in :meth:`~tasks.run.predictor.Predictor.load`.
        threshold: in place of that of the run, for several labels.

    Raises:
        InputError: it is not a run, or cannot be used.
    """
    folder = resolve(run)
    file = task_file(folder)
    if file is not None:
        name = saved_task(file)
        if name not in TASKS:
            raise InputError(f"{file}: the task {name!r} is not one of {', '.join(TASKS)}.")
        values = read_settings(file, settings_class(name), name)
        checkpoint = open_checkpoint(folder)
    elif several := sorted(folder.glob(f"*/{SETTINGS_FILE}")):
        raise InputError(f"{run}: holds several runs; name one of them, such as {several[0].parent}.")
    else:
        checkpoint = open_checkpoint(folder)
        classes = checkpoint.architectures
        names = [_TASK_OF_HEAD[head] for head in _TASK_OF_HEAD if any(class_.endswith(head) for class_ in classes)]
        if not names:
            raise InputError(f"{run}: is no run of a task, and its config.json names no head; name a run folder.")
        name = names[0]
        values = task_class(name).settings_from_checkpoint(checkpoint)
        values |= taken_over(folder, settings_class(name), name)  # its CRF, if it has one
    if threshold is not None:
        values["threshold"] = _threshold(threshold, values, name)
    task = task_class(name)(settings_class(name)(**values))
    return Predictor.load(task, checkpoint, device=device, precision=precision)


def _threshold(threshold: str, values: Mapping[str, Any], task: str) -> str:
    """The threshold, where the run has one.

    Raises:
        InputError: it has none, or this is no number.
    """
    if task != "classification" or values.get("kind") != "multi":
        raise InputError(f"--threshold {threshold}: only models of several labels have one; leave it out.")
    try:
        float(threshold)
    except ValueError:
        raise InputError(f"--threshold {threshold}: give a probability from 0 to 1.") from None
    return threshold


def chunks(inputs: Iterable[Record]) -> Iterator[list[Record]]:
    """Cuts a stream into lists of at most 2,048 inputs and about a million characters.

    Raises:
        InputError: an input cannot be read; those before it have been yielded.
    """
    chunk: list[Record] = []
    size = 0
    unreadable = None
    try:
        for record in inputs:
            chunk.append(record)
            size += sum(len(value) for value in record.fields.values() if isinstance(value, (str, list)))
            if len(chunk) == _CHUNK or size >= _CHUNK_CHARACTERS:
                yield chunk
                chunk, size = [], 0
    except InputError as error:
        unreadable = error
    if chunk:
        yield chunk
    if unreadable is not None:
        raise unreadable


def write_answers(
    predictor: Predictor, numbered: Iterable[tuple[int, Sequence[Record]]], file: IO[str], *, numbers: bool = False
) -> None:
    """Writes a JSON line for each input; to standard error the speed, and how much of the input was cut or unknown.

    Args:
        predictor: makes the answers.
        numbered: chunks of inputs with their numbers.
        file: to write to.
        numbers: begin each line with its chunk's number and a tab.

    Raises:
        InputError: an input cannot be used; the answers to those before it have been written.
    """
    started = time.perf_counter()
    count = 0
    for number, chunk in numbered:
        items, unusable = _parsed(predictor, chunk)
        answers = predictor.answer(items) if items else []
        for record, answer in zip(chunk, answers, strict=unusable is None):
            line = json.dumps(with_input(record.fields, answer), ensure_ascii=False)
            file.write(f"{number}\t{line}\n" if numbers else f"{line}\n")
        file.flush()
        if unusable is not None:
            raise unusable
        count += len(chunk)
    seconds = time.perf_counter() - started
    speed = f"{count:,} inputs in {seconds:.1f} s, {count / seconds:,.0f} a second"
    say("; ".join([speed, *nonzero_counts(predictor.notes)]), error=True)


def _parsed(predictor: Predictor, chunk: Sequence[Record]) -> tuple[list[Any], InputError | None]:
    """The items of a chunk up to the first that cannot be used, and the error that says why."""
    items: list[Any] = []
    for record in chunk:
        try:
            items.append(predictor.task.parse_input(record.fields, record.place))
        except InputError as error:
            return items, error
    return items, None


def with_input(fields: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an input, then those of its answer.

    A field that has the name of one of the answer's, but another value, is called ``input_NAME``.
    """
    taken = {*fields, *answer}
    passed: dict[str, Any] = {}
    for name, value in fields.items():
        if name not in answer:
            passed[name] = value
        elif answer[name] != value:
            new = f"input_{name}"
            while new in taken:
                new = f"input_{new}"
            taken.add(new)
            passed[new] = value
    return {**passed, **answer}


def _join(parts: Sequence[Path], out: Path) -> None:
    """Merges parts by the numbers of their chunks."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(part, encoding="utf-8", newline="\n")) for part in parts]
        with open(out, "w", encoding="utf-8", newline="\n") as joined:
            for line in heapq.merge(*files, key=lambda line: int(line.partition("\t")[0])):
                joined.write(line.partition("\t")[2])
