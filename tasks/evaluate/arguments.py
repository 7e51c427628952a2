"""The arguments of ``python -m tasks.evaluate``."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minibert.errors import InputError
from tasks.predict.arguments import add_device_options, add_engine_option, require_positive
from tasks.read.spans import OFFSETS
from tasks.run.arguments import ArgumentParser
from tasks.run.console import program
from tasks.settings import check_exist

# How to read the file: settings of tasks, under the same names.
LIKE_RUN = ("text_column", "pair_column", "label_column", "tag_column", "label_names", "scheme", "offsets")
OF_FILE = ("columns", "encoding", "skip_invalid")


def parser() -> ArgumentParser:
    """``python -m tasks.evaluate``."""
    parser = ArgumentParser(
        prog=program("tasks.evaluate"),
        description="Compare the answers of a trained run with the labels of a file.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, or a fine-tuned checkpoint's folder or hub name")
    parser.add_argument("file", metavar="FILE", help="labelled, in any format that the run's task reads")
    reading = parser.add_argument_group("reading the file (default: as the run's own files)")
    for role in ("text", "pair", "tag"):
        _add(reading, f"{role}_column", metavar="NAME", help=f"name of the column or field of the {role}")
    _add(reading, "label_column", nargs="+", metavar="NAME", help="the same of the label, or one for each of several")
    _add(reading, "label_names", nargs="+", metavar="NAME", help="names of labels or tags that are whole numbers")
    _add(reading, "scheme", help="of tags: auto, iob1, bio, bioes, bmes, io")
    _add(reading, "offsets", choices=OFFSETS, help="unit of the offsets of spans")
    container = parser.add_argument_group("the file itself")
    _add(container, "columns", nargs="+", metavar="NAME", help="names of the columns of a table without a header")
    _add(container, "encoding", help="such as gb18030 or big5 (default: utf-8)")
    _add(container, "skip_invalid", action="store_true", help="leave out rows that cannot be used, and count them")
    parser.add_argument("--threshold", metavar="X", help="of several labels, in place of the run's")
    parser.add_argument("--out", metavar="FILE.json", help="also write the figures here, whole or not at all")
    add_device_options(parser, precision="auto")
    add_engine_option(parser)
    return parser


def _add(group: "argparse._ActionsContainer", name: str, **options: Any) -> None:
    group.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, **options)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, by default those of the process; those of reading only where they are given.

    Raises:
        InputError: one of them cannot be used.
    """
    options = parser().parse_args(argv)
    require_positive("--batch-tokens", options.batch_tokens)
    require_positive("--threads", options.threads)
    check_exist([options.file])
    if options.out is not None:
        _check_new(options.out)
    return options


def _check_new(out: str) -> None:
    if not out.endswith(".json"):
        raise InputError(f"--out {out}: must end in .json; python -m tasks.predict writes the answers.")
    if os.path.lexists(out):
        raise InputError(f"--out {out}: exists; remove it, or name a new file, so that nothing is lost.")
    if not Path(out).absolute().parent.is_dir():
        raise InputError(f"--out {out}: its folder does not exist; make it, or name another.")


def check_arguments(argv: Sequence[str]) -> None:
    """Shows the help, or refuses."""
    parse(argv)
