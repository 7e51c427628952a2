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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from minibert.errors import InputError
from minibert.files import is_special, write_atomically
from minibert.training import choose_device, distributed
from tasks.data import nonzero_counts
from tasks.predict.answerer import Answerer, ParsedInput, load
from tasks.predict.arguments import parser
from tasks.predict.chunks import chunks
from tasks.read.records import ReadOptions, Record
from tasks.read.stream import records
from tasks.run.streams import say
from tasks.settings import ONNX, check_encoding, column_names


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
    wanted = "cpu" if options.engine == ONNX and options.device == "auto" else options.device
    with distributed.process_group(choose_device(wanted)) as device:
        if distributed.world_size() > 1:
            _check_shareable(out, options.file)
        answerer = load(
            options.run,
            device=str(device),
            precision=options.precision,
            threshold=options.threshold,
            engine=options.engine,
        )
        reading = ReadOptions(encoding=options.encoding, columns=column_names(options.columns))
        numbered = enumerate(chunks(records(options.file, options.format, reading)))
        if out is None:
            if hasattr(sys.stdout, "reconfigure"):  # JSON is UTF-8, whatever the terminal's encoding
                sys.stdout.reconfigure(encoding="utf-8", newline="\n")
            write_answers(answerer, numbered, sys.stdout)
        elif is_special(out):  # a pipe or a device, which is never replaced
            _write(answerer, numbered, out)
        elif distributed.world_size() == 1:
            write_atomically(out, lambda path: _write_or_keep(answerer, numbered, path, out))
        else:
            _write_together(answerer, numbered, out)


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


def _write_together(answerer: Answerer, numbered: Iterable[tuple[int, Sequence[Record]]], out: Path) -> None:
    """Every process writes its share of the chunks to a part of its own; process 0 joins the parts."""
    rank, size = distributed.rank(), distributed.world_size()
    out = Path(os.path.realpath(out))
    parts = [out.with_name(f".{out.name}.{number}-of-{size}.part") for number in range(size)]
    try:
        _write(answerer, itertools.islice(numbered, rank, None, size), parts[rank], numbers=True)
        distributed.wait_for_all()
        if distributed.is_rank0():
            write_atomically(out, lambda path: _join(parts, path))
        distributed.wait_for_all()
    finally:
        for part in parts:  # the others' too, because torchrun kills them when this process fails
            with contextlib.suppress(OSError):
                part.unlink()


def _write(
    answerer: Answerer, numbered: Iterable[tuple[int, Sequence[Record]]], path: Path, *, numbers: bool = False
) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        write_answers(answerer, numbered, file, numbers=numbers)


def _write_or_keep(
    answerer: Answerer, numbered: Iterable[tuple[int, Sequence[Record]]], temporary: Path, out: Path
) -> None:
    """Writes all answers; if an input cannot be used, keeps those before it under another name."""
    try:
        _write(answerer, numbered, temporary)
    except InputError as error:
        if not temporary.stat().st_size:
            raise
        partial = Path(f"{os.path.realpath(out)}.partial")
        os.replace(temporary, partial)
        raise InputError(f"{error} The answers before it are in {partial}.") from None


def write_answers(
    answerer: Answerer, numbered: Iterable[tuple[int, Sequence[Record]]], file: IO[str], *, numbers: bool = False
) -> None:
    """Writes a JSON line for each input; to standard error the speed, and how much of the input was cut or unknown.

    Args:
        answerer: makes the answers.
        numbered: chunks of inputs with their numbers.
        file: to write to.
        numbers: begin each line with its chunk's number and a tab.

    Raises:
        InputError: an input cannot be used; the answers to those before it have been written.
    """
    started = time.perf_counter()
    count = 0
    for number, chunk in numbered:
        parsed, unusable = _parsed(answerer, chunk)
        for answer in answerer.answer(parsed):
            line = json.dumps(answer, ensure_ascii=False)
            file.write(f"{number}\t{line}\n" if numbers else f"{line}\n")
        file.flush()
        if unusable is not None:
            raise unusable
        count += len(chunk)
    seconds = time.perf_counter() - started
    speed = f"{count:,} inputs in {seconds:.1f} s, {count / seconds:,.0f} a second"
    say("; ".join([speed, *nonzero_counts(answerer.notes)]), error=True)


def _parsed(answerer: Answerer, chunk: Sequence[Record]) -> tuple[list[ParsedInput], InputError | None]:
    """The inputs of a chunk up to the first that cannot be used, and the error that says why."""
    parsed: list[ParsedInput] = []
    for record in chunk:
        try:
            parsed.append(answerer.parse(record.fields, record.where))
        except InputError as error:
            return parsed, error
    return parsed, None


def _join(parts: Sequence[Path], out: Path) -> None:
    """Merges parts by the numbers of their chunks."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(part, encoding="utf-8", newline="\n")) for part in parts]
        with open(out, "w", encoding="utf-8", newline="\n") as joined:
            for line in heapq.merge(*files, key=lambda line: int(line.partition("\t")[0])):
                joined.write(line.partition("\t")[2])
