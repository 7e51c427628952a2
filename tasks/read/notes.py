"""How a file was understood: what was repaired, and what was left out, counted by name."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from minibert.errors import InputError

_SHOWN = 3  # refused rows that are named, of those that are left out
_ADVICE = "--skip-invalid leaves out rows like this one, and counts them."


class Notes:
    """Counts while one file is read.

    Attributes:
        skip_invalid: whether rows that cannot be used are left out; otherwise they are refused. None where they always
            are.
        rows: how many the file has.
        repaired: what was read otherwise than it is written, by name.
        left_out: rows that did not become items, by the reason.
        facts: such as ``format`` and ``encoding``.
        warnings: sentences for the terminal.
    """

    def __init__(self, *, skip_invalid: bool | None = False) -> None:
        self.skip_invalid = skip_invalid
        self.rows = 0
        self.repaired: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.facts: dict[str, Any] = {}
        self.warnings: list[str] = []
        self._first: dict[str, int] = {}
        self._refused: list[str] = []

    def repair(self, name: str, line: int, count: int = 1) -> None:
        """Counts something that is read otherwise than it is written."""
        if count:
            self.repaired[name] += count
            self._first.setdefault(name, line)

    def leave_out(self, name: str, line: int) -> None:
        """Counts a row that does not become an item."""
        self.left_out[name] += 1
        self._first.setdefault(name, line)

    @property
    def names_next(self) -> bool:
        """Whether the message about the next refused row is shown: of those that are left out, the first ones' are."""
        return len(self._refused) < _SHOWN

    def refuse(self, error: InputError, line: int) -> None:
        """Raises ``error``, or with ``skip_invalid`` counts the row."""
        if not self.skip_invalid:
            raise error if self.skip_invalid is None else InputError(f"{error} {_ADVICE}")
        self.leave_out("invalid rows", line)
        if self.names_next:
            self._refused.append(str(error))

    @contextlib.contextmanager
    def row(self, line: int) -> Iterator[None]:
        """Within the block, an InputError is about one row; see :meth:`refuse`."""
        try:
            yield
        except InputError as error:
            self.refuse(error, line)

    @classmethod
    def joined(cls, parts: "Sequence[Notes]") -> "Notes":
        """Those of several files as one; the facts are the first one's."""
        if len(parts) == 1:
            return parts[0]
        whole = cls()
        for part in parts:
            whole.rows += part.rows
            whole.repaired.update(part.repaired)
            whole.left_out.update(part.left_out)
            whole.warnings += part.warnings
            whole._first = {**part._first, **whole._first}
            whole._refused = [*whole._refused, *part._refused][:_SHOWN]
        whole.facts = {**parts[0].facts, "files": len(parts)} if parts else {}
        return whole

    def to_json(self) -> dict[str, Any]:
        """For the record of a run."""
        counts = {"repaired": dict(self.repaired), "left_out": dict(self.left_out)}
        return {**self.facts, "rows": self.rows, **{name: value for name, value in counts.items() if value}}

    def in_words(self) -> list[str]:
        """For the terminal: a line on what the file is, and one each on what was repaired and left out."""
        facts = [f"{name.replace('_', ' ')} {value}" for name, value in self.facts.items() if name != "format"]
        lines = [f"read as {self.facts.get('format', 'text')}; " + ", ".join([f"{self.rows:,} rows", *facts])]
        for title, counts in (("repaired", self.repaired), ("left out", self.left_out)):
            if counts:
                listed = (f"{count:,} {name} (first in line {self._first[name]})" for name, count in counts.items())
                lines.append(f"{title}: {', '.join(listed)}")
        return [*lines, *(f"left out: {message}" for message in self._refused), *self.warnings]
