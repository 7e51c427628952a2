"""Tasks of label-studio: records whose annotations are lists of results."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.read.notes import Notes
from tasks.read.records import Record, shown


def results(record: Record, notes: Notes) -> list[Any] | None:
    """The results of a task of label-studio; None if the annotation is cancelled, which is counted.

    Raises:
        InputError: nobody has annotated it.
    """
    annotations = record.fields.get("annotations", record.fields.get("completions"))
    annotations = [each for each in annotations or () if isinstance(each, dict) and "result" in each]
    valid = [each for each in annotations if not each.get("was_cancelled")]
    if annotations and not valid:
        notes.leave_out("cancelled annotations", record.line)
        return None
    if not valid:
        raise record.error("is a task without an annotation.")
    notes.repair("further annotations of one text passed over", record.line, len(valid) - 1)
    chosen = next((each for each in valid if each.get("ground_truth")), valid[0])
    if not isinstance(chosen["result"], list):
        raise record.error(f"the result of an annotation is {shown(chosen['result'])}, not a list.")
    return chosen["result"]


def is_task(fields: Mapping[str, Any]) -> bool:
    """Whether a record is a task of label-studio with annotations of its own."""
    annotations = fields.get("annotations", fields.get("completions"))
    if not isinstance(annotations, list):
        return False
    return any(isinstance(each, dict) and "result" in each for each in annotations) or (
        not annotations and ("predictions" in fields or "inner_id" in fields)
    )


def of_text(record: Record, name: str, results: Sequence[Any], notes: Notes) -> list[Any]:
    """The results about one of the texts of a task; spans of others are counted.

    Raises:
        InputError: there are several texts, and their names do not show which is which.
    """
    targets = [str(part.get("to_name", "")) if _is_span(part) else "" for part in results]
    others = {target for target in targets if target != name and isinstance(record.fields.get(target), str)}
    kept = [part for part, target in zip(results, targets, strict=True) if target not in others]
    notes.repair("spans of other texts passed over", record.line, len(results) - len(kept))
    names = sorted({*targets} - others - {""})
    if len(names) > 1:
        raise record.error(f"has spans of several texts ({', '.join(names)[:99]}); remove those not of {name}.")
    return kept


def _is_span(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("value"), dict) and "start" in part["value"]
