"""Answers from a trained run: ``python -m tasks.predict RUN [FILE | -]``, one JSON line for each input.

The input is streamed, a chunk at a time, so it may be of any size. Batches within a chunk are made by length; answers
keep the order of the input. Under ``torchrun`` the processes share the chunks.
"""

import contextlib
import heapq
import io
import itertools
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from minibert.errors import InputError
from minibert.files import write_atomically
from minibert.training import choose_device, distributed
from tasks.data import nonzero_counts
from tasks.predict.answerer import Answerer, load
from tasks.predict.arguments import parser
from tasks.predict.chunks import chunks
from tasks.read.stream import Record, records


def main(argv: Sequence[str] | None = None) -> None:
    """Reads inputs, and writes answers.

    Raises:
        InputError: the run or an input cannot be used.
    """
    options = parser().parse_args(argv)
    out = None if options.out is None else Path(options.out)
    if out is not None:
        _check_output(out, options.file)
    with distributed.process_group(choose_device(options.device)) as device:
        if distributed.world_size() > 1:
            _check_shareable(out, options.file)
        answerer = load(options.run, device=str(device), precision=options.precision, threshold=options.threshold)
        numbered = enumerate(chunks(records(options.file, options.format)))
        if out is None:
            if isinstance(sys.stdout, io.TextIOWrapper):  # JSON is UTF-8, whatever the terminal's encoding
                sys.stdout.reconfigure(encoding="utf-8", newline="\n")
            write_answers(answerer, numbered, sys.stdout)
        elif distributed.world_size() == 1:
            write_atomically(out, lambda path: _write(answerer, numbered, path))
        else:
            _write_together(answerer, numbered, out)


def _check_output(out: Path, file: str) -> None:
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}; make it first.")
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; name a file in it.")
    if out.exists() and Path(file).exists() and out.samefile(file):
        raise InputError(f"--out {out}: is the input itself, which the answers would replace; name another file.")


def _check_shareable(out: Path | None, file: str) -> None:
    if out is None:
        raise InputError("--out: needed under torchrun, to join the parts of several processes.")
    if file == "-":
        raise InputError("FILE: several processes cannot share standard input; name a file.")


def _write_together(answerer: Answerer, numbered: Iterable[tuple[int, Sequence[Record]]], out: Path) -> None:
    """Every process writes its share of the chunks to a part of its own; process 0 joins the parts."""
    rank, size = distributed.rank(), distributed.world_size()
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


def write_answers(
    answerer: Answerer, numbered: Iterable[tuple[int, Sequence[Record]]], file: IO[str], *, numbers: bool = False
) -> None:
    """Writes a JSON line for each input; to standard error the speed, and how much of the input was cut or unknown.

    Args:
        answerer: makes the answers.
        numbered: chunks of inputs with their numbers.
        file: to write to.
        numbers: begin each line with its chunk's number and a tab.
    """
    started = time.perf_counter()
    count = 0
    for number, chunk in numbered:
        for answer in answerer.answer([answerer.parse(record.fields, record.place) for record in chunk]):
            line = json.dumps(answer, ensure_ascii=False)
            file.write(f"{number}\t{line}\n" if numbers else f"{line}\n")
        file.flush()
        count += len(chunk)
    seconds = time.perf_counter() - started
    speed = f"{count:,} inputs in {seconds:.1f} s, {count / seconds:,.0f} a second"
    print("; ".join([speed, *nonzero_counts(answerer.notes)]), file=sys.stderr)


def _join(parts: Sequence[Path], out: Path) -> None:
    """Merges parts by the numbers of their chunks."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(part, encoding="utf-8", newline="\n")) for part in parts]
        with open(out, "w", encoding="utf-8", newline="\n") as joined:
            for line in heapq.merge(*files, key=lambda line: int(line.partition("\t")[0])):
                joined.write(line.partition("\t")[2])
