"""Records of texts with labels, as annotation tools write them: label-studio, Prodigy, doccano, spaCy, MultiNLI."""

from typing import Any

from minibert.errors import InputError
from tasks.read.folders import MISSING, OTHER
from tasks.read.label_studio import is_task, results
from tasks.read.notes import Notes
from tasks.read.records import Record
from tasks.read.spans import is_answered

LABEL = "label"
_OF_TOOLS = frozenset(("answer", "annotations", "completions", "accept", "gold_label"))
"""The fields by which the records of tools are told."""


def with_label(record: Record, notes: Notes) -> Record | None:
    """A record whose label, if a tool has it elsewhere, is in the field ``label``; None if it is left out, and counted.

    Raises:
        InputError: it is a task of label-studio that nobody has annotated.
    """
    fields = record.fields
    if fields.keys().isdisjoint(_OF_TOOLS):  # most records: for speed
        if fields.get(LABEL) != "-" or "sentence2" not in fields:
            return record
        notes.leave_out('pairs with the label "-"', record.line)  # OCNLI, where the annotators do not agree
        return None
    if not is_answered(fields, record.line, notes):
        return None
    if is_task(fields):
        notes.facts["layout"] = "tasks of label-studio"
        chosen = results(record, notes)
        if chosen is None:
            return None
        rest = {name: value for name, value in fields.items() if name not in ("annotations", "completions")}
        return record._replace(fields={**rest, LABEL: _choices(chosen)})
    if isinstance(fields.get("accept"), list) and "options" in fields:  # Prodigy's choices
        return record._replace(fields={**fields, LABEL: fields["accept"]})
    if fields.get("gold_label") == "-":  # MultiNLI, where the annotators do not agree
        notes.leave_out('rows with the gold_label "-"', record.line)
        return None
    return record


def refuse_brat(record: Record, path: str) -> None:
    """Raises InputError if a record is of a folder that shows no classes, though it may have folders in it."""
    if not {OTHER, MISSING}.isdisjoint(record.fields):
        raise InputError(
            f"{path}: is a folder of texts, perhaps with brat's .ann files, whose spans are no labels of texts; put "
            "the texts of each class, without .ann files, into a folder of its own."
        )


def _choices(results: list[Any]) -> list[Any]:
    """What is chosen in the results of label-studio."""
    chosen: list[Any] = []
    for part in results:
        value = part.get("value") if isinstance(part, dict) else None
        if isinstance(value, dict):
            for name in ("choices", "rating", "number"):
                if name in value:
                    chosen += value[name] if isinstance(value[name], list) else [value[name]]
    return chosen
