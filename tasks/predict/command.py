"""Answers from a trained run: ``python -m tasks.predict RUN [FILE | -]``, one JSON line for each input.

The input is streamed, a chunk at a time, so it may be of any size; a pipe is answered whenever it pauses. Batches
within a chunk are made by length; answers keep the order of the input. Under ``torchrun`` the processes share the
chunks.
"""

import argparse
import contextlib
import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from minibert.errors import InputError
from minibert.files import is_special, write_atomically
from minibert.training import choose_device, distributed
from tasks.predict.answerer import load
from tasks.predict.arguments import SKIP, parse
from tasks.predict.inputs import check_given, numbered_chunks, shown_progress
from tasks.predict.output import Part, Sink, delimiter_of, join, make_sink, standard_output
from tasks.predict.resume import Numbered, PartialFile, origin
from tasks.predict.writing import Tally, write_answers
from tasks.read.stream import Position
from tasks.run.processors import use_threads
from tasks.settings import ONNX

# Options that decide what the answers are, or how they are written.
_ANSWER_OPTIONS = (
    "format", "encoding", "columns", "text_column", "threshold", "top_k", "unknown", "device", "precision",
    "batch_tokens", "engine",
)  # fmt: skip

Write = Callable[[Numbered, Sink], Tally]


def main(argv: Sequence[str] | None = None) -> None:
    """Reads inputs, and writes answers.

    Raises:
        InputError: the run or an input cannot be used.
    """
    options = parse(argv)
    use_threads(options.threads)
    out = None if options.out is None else Path(options.out)
    check_given(options)
    if out is not None:
        _check_output(out, options)
    wanted = "cpu" if options.engine == ONNX and options.device == "auto" else options.device
    with distributed.process_group(choose_device(wanted)) as device:
        if distributed.world_size() > 1:
            _check_shareable(out, options)
        answerer = load(
            options.run,
            device=str(device),
            precision=options.precision,
            threshold=options.threshold,
            text_column=options.text_column,
            top_k=options.top_k,
            unknown=options.unknown,
            batch_tokens=options.batch_tokens,
            engine=options.engine,
        )
        position = Position()
        progress = shown_progress(options, position)

        def write(numbered: Numbered, sink: Sink) -> Tally:
            return write_answers(answerer, numbered, sink, skip=options.on_error == SKIP, progress=progress)

        numbered = numbered_chunks(options, position)
        if distributed.world_size() > 1:
            assert out is not None
            _write_together(write, numbered, out, options)
        else:
            _write_alone(write, numbered, out, options).require_answers()


def _check_output(out: Path, options: argparse.Namespace) -> None:
    if is_special(out):
        if options.resume:
            raise InputError(f"--resume: {out} is no regular file, and keeps nothing to go on with.")
        return
    if options.resume and not Path(options.file).is_file():
        raise InputError(f"--resume: {options.file} must be a regular file, which can be read again from its start.")
    _partial_file(out, options).check(resume=options.resume)


def _check_shareable(out: Path | None, options: argparse.Namespace) -> None:
    if out is None:
        raise InputError("--out: needed under torchrun, to join the parts of several processes.")
    if is_special(out):
        raise InputError(f"--out {out}: several processes need a regular file, to join their parts in.")
    if options.file == "-":
        raise InputError("FILE: several processes cannot share standard input; name a file.")
    if options.resume:
        raise InputError("--resume: only one process can go on with a file; start it without torchrun.")


def _partial_file(out: Path, options: argparse.Namespace) -> PartialFile:
    """The file in which the answers grow. A table has other columns where bad inputs are skipped."""
    delimiter = delimiter_of(out)
    names = _ANSWER_OPTIONS if delimiter is None else (*_ANSWER_OPTIONS, "on_error")
    made_from = origin(options.file, options.run, {name: getattr(options, name) for name in names})
    return PartialFile(out, made_from, delimiter=delimiter)


def _write_alone(write: Write, numbered: Numbered, out: Path | None, options: argparse.Namespace) -> Tally:
    kind = {"skip": options.on_error == SKIP, "unknown": options.unknown}
    if out is None:
        return write(numbered, make_sink(standard_output(), out, **kind))
    if is_special(out):  # a pipe or a device, which is never replaced
        with open(out, "w", encoding="utf-8", newline="") as file:
            return write(numbered, make_sink(file, out, **kind))
    partial = _partial_file(out, options)
    with partial.growing(resume=options.resume) as file:
        rest = partial.rest(numbered, file)
        return write(rest, make_sink(file, out, columns=partial.columns(), **kind))


def _write_together(write: Write, numbered: Numbered, out: Path, options: argparse.Namespace) -> None:
    """Every process writes its share of the chunks to a part of its own; process 0 joins the parts."""
    rank, size = distributed.rank(), distributed.world_size()
    target = Path(os.path.realpath(out))
    parts = [target.with_name(f".{target.name}.{number}-of-{size}.part") for number in range(size)]

    def join_into(path: Path) -> None:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(path, "w", encoding="utf-8", newline=""))
            opened = [stack.enter_context(open(part, encoding="utf-8", newline="\n")) for part in parts]
            join(opened, make_sink(file, out, skip=options.on_error == SKIP, unknown=options.unknown))

    try:
        with open(parts[rank], "w", encoding="utf-8", newline="\n") as file:
            mine = write(itertools.islice(numbered, rank, None, size), Part(file))
        total = Tally.of(distributed.all_gather([mine]))
        if distributed.is_rank0():
            write_atomically(target, join_into)
        distributed.wait_for_all()
        total.require_answers()
    finally:
        for part in parts:  # the others' too, because torchrun kills them when this process fails
            with contextlib.suppress(OSError):
                part.unlink()
