"""Records of DataTurks: ``{"annotation": [{"label": ["PER"], "points": [{"start": 0, "end": 6, "text": ...}]}]}``."""

from collections.abc import Mapping
from typing import Any

from tasks.read.notes import Notes
from tasks.read.records import Record


def is_record(fields: Mapping[str, Any]) -> bool:
    """Whether the fields are those of DataTurks, which has null where nothing was marked."""
    given = fields.get("annotation")
    if given is None:
        return "annotation" in fields and "extras" in fields
    return isinstance(given, list) and all(isinstance(each, dict) and "points" in each for each in given)


def spans(record: Record, notes: Notes) -> list[dict[str, Any]]:
    """The spans, with a start, an end behind the last character, and a label; those without a label are passed over.

    Raises:
        InputError: one has no places.
    """
    notes.facts["layout"] = "DataTurks"
    found: list[dict[str, Any]] = []
    for each in record.fields["annotation"] or []:
        label, points = each.get("label"), each["points"]
        if not isinstance(points, list) or not all(map(_has_end, points)):
            raise record.error(f"the annotation {str(each)[:80]} has no points, each with a start and an end.")
        notes.repair("spans without a label passed over", record.line, not label)
        if label:
            found += [{**point, "end": point["end"] + 1, "label": label} for point in points]
    return found


def _has_end(point: Any) -> bool:
    return isinstance(point, dict) and type(point.get("end")) is int
