"""Reading ``--unlabelled``: texts for a teacher to answer."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minibert.errors import InputError
from minibert.shown import shown
from tasks.data import Split
from tasks.read.notes import Notes
from tasks.read.records import read_options, source_sha256
from tasks.read.stream import is_tagged_word, records
from tasks.task import Task

logger = logging.getLogger(__name__)

AnyTask = Task[Any, Any, Any]


def read_unlabelled(task: AnyTask, train: Split[Any]) -> Split[Any]:
    """The texts as prediction reads them, without blank ones; labels in columns or fields of their own are ignored.

    Raises:
        InputError: the file cannot be read, or only once, has no texts, or its lines begin or end with labels, which
            would be learnt as text.
    """
    path = task.settings.unlabelled
    options = read_options(task.settings)
    if Path(path.removesuffix(".gz")).suffix.lower() not in (".csv", ".tsv"):
        options = dataclasses.replace(options, columns=())  # those of a table, such as --train
    sha256 = source_sha256(path, options.encoding)
    notes = Notes(skip_invalid=options.skip_invalid)
    items, lines = [], []
    for record in records(path, "auto", options, keep_refused=True):
        with notes.row(record.line):
            if record.refused is not None:
                raise record.refused
            item = task.parse_input(record.fields, record.place)
            if any(text.strip() for text in task.texts(item)):
                items.append(item)
                lines.append(record.fields.get("text"))
    for line in notes.in_words()[1:]:
        logger.warning("--unlabelled %s: %s", path, line)
    if not items:
        raise InputError(f"--unlabelled {path}: has no texts; name another file.")
    _refuse_labels_in(task, train, [line for line in lines if isinstance(line, str)])
    return Split(path=path, sha256=sha256, items=items)


def _refuse_labels_in(task: AnyTask, train: Split[Any], lines: Sequence[str]) -> None:
    """Refuses lines of a training file: a word and its tag, or a label and its text."""
    starts = tuple(f"{name}{space}" for name in (task.labels(train) or {}).values() for space in " \t")
    with_labels = [line for line in lines if is_tagged_word(line) or line.startswith(starts)]
    if len(with_labels) <= len(lines) / 2:
        return
    raise InputError(
        f"--unlabelled {task.settings.unlabelled}: its texts seem to have labels in them, as in "
        f"{shown(repr(with_labels[0]), 60)}; give the texts alone, one a line, or in a table or JSON."
    )
