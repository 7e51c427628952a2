"""The inputs of a command: whether they and its output can be opened, and the chunks in which they are read.

The functions take the options of :func:`tasks.predict.arguments.add_input_options`, and ``out``.
"""

import argparse
import os
import sys
from pathlib import Path

from minibert.errors import InputError
from minibert.training import distributed
from tasks.predict.arguments import SKIP
from tasks.predict.chunks import chunks
from tasks.predict.paused import chunks_as_they_come, may_pause
from tasks.predict.progress import Progress
from tasks.predict.resume import Numbered
from tasks.read.records import ReadOptions
from tasks.read.stream import Position, records
from tasks.settings import check_encoding, column_names

_NOT_WRITTEN = (".gz", ".zip", ".parquet", ".arrow", ".feather", ".xlsx")


def check_given(options: argparse.Namespace) -> None:
    """Looks at what the command was given before a model is loaded.

    Raises:
        InputError: the encoding is unknown, a standard stream that is needed is closed, or the output cannot be a file
            there or is the input.
    """
    if options.encoding is not None:
        check_encoding(options.encoding)
    if options.file == "-" and sys.stdin is None:
        raise InputError("FILE: standard input is closed; name a file.")
    if options.out is None:
        if sys.stdout is None:
            raise InputError("--out: needed, since standard output is closed.")
        return
    out = Path(options.out)
    folder = Path(os.path.realpath(out)).parent  # that of the file which a link names
    if not folder.is_dir():
        raise InputError(f"--out {out}: there is no folder {folder}; make it first.")
    if out.suffix.lower() in _NOT_WRITTEN:
        raise InputError(f"--out {out}: answers are not written in that form; name a file in .jsonl, .csv or .tsv.")
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; name a file in it.")
    if out.exists() and Path(options.file).exists() and out.samefile(options.file):
        raise InputError(f"--out {out}: is the input itself, which the answers would replace; name another file.")


def numbered_chunks(options: argparse.Namespace, position: Position) -> Numbered:
    """The chunks of the input. Those of a file are full, whatever the time it takes, so that its answers are the same
    each time, and processes can share them by number."""
    reading = ReadOptions(encoding=options.encoding, columns=column_names(options.columns))
    paused = distributed.world_size() == 1 and may_pause(options.file)
    inputs = records(options.file, options.format, reading, keep_refused=options.on_error == SKIP, position=position)
    return enumerate(chunks_as_they_come(inputs) if paused else chunks(inputs))


def shown_progress(options: argparse.Namespace, position: Position) -> Progress:
    """Shown once, and not among answers on the same terminal."""
    elsewhere = options.out is not None or not sys.stdout.isatty()
    return Progress(position, shown=distributed.is_rank0() and elsewhere)
