"""The fields of a record of questions, with the path of each for messages."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from minibert.errors import InputError
from tasks.read.json_values import Object
from tasks.read.notes import Notes
from tasks.read.records import Record, shown
from tasks.read.tables import find

CONTEXT_NAMES = ("context", "context_text", "passage", "paragraph", "上下文", "文章")


class Fields:
    """The fields of a record or of an object inside it, with the path of each for messages."""

    def __init__(
        self, record: Record, fields: Mapping[str, Any] | None = None, path: str | None = None, line: int | None = None
    ) -> None:
        self.fields = record.fields if fields is None else fields
        self.line = record.line if line is None else line
        self.place = record.path if path is None else path
        self.record = record
        self._file = record.place.rpartition(", ")[0]

    def place_of(self, name: str) -> str:
        """The path of a field; the context is one of the paragraph around a question."""
        place = re.sub(r"\.?qas\[\d+\]$", "", self.place) if name in CONTEXT_NAMES else self.place
        return f"{place}.{name}" if place else name

    def error(self, name: str, problem: str) -> InputError:
        """The error for a problem in one field."""
        word = "row" if self.record.place.rpartition(", ")[2].startswith("row") else "line"
        return InputError(f"{self._file}, {word} {self.line}: {self.place_of(name)} {problem}")

    def name(self, names: Sequence[str]) -> str:
        """The first of several names that the record has; InputError if it has none."""
        found = find(list(self.fields), names)
        if found is None:
            some = ", ".join(repr(other[:40]) for other in list(self.fields)[:8])
            raise self.error(names[0], f"is missing; the object has {some or 'no field'}.")
        return found

    def text(self, names: Sequence[str], notes: Notes) -> str:
        """A string, perhaps alone in a list."""
        name = self.name(names)
        value = self.fields[name]
        if isinstance(value, list) and len(value) == 1:
            notes.repair("lists of one text read as that text", self.line)
            value = value[0]
        if not isinstance(value, str):
            raise self.error(name, f"is {shown(value)}, not a string.")
        return value

    def filled_text(self, names: Sequence[str], notes: Notes) -> str:
        """A string that is not blank."""
        text = self.text(names, notes)
        if not text.strip():
            raise self.error(self.name(names), "is blank.")
        return text

    def inner(self, name: str, index: int, value: Mapping[str, Any]) -> "Fields":
        """One object of the list in a field."""
        line = value.line if isinstance(value, Object) else self.line
        return Fields(self.record, value, self.place_of(f"{name}[{index}]"), line)
