"""How answers are written: as JSON lines, as a table, or as a part that another process joins."""

import csv
import heapq
import itertools
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from tasks.predict.answerer import Answer
from tasks.predict.unknown import UNKNOWN
from tasks.run.streams import say

ERROR, LINE = "error", "line"
"""The fields of an input that is skipped: why, and its line in the file."""
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


class Sink(Protocol):
    """Where answers go."""

    def write(self, number: int, answers: Sequence[Answer]) -> None:
        """Writes the answers to a chunk, by its number, so that others can read them at once."""

    def close(self) -> None:
        """Writes what has been held back; the file stays open."""


class JsonLines:
    """An object a line."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, number: int, answers: Sequence[Answer]) -> None:
        for answer in answers:
            self._file.write(f"{json.dumps(answer, ensure_ascii=False)}\n")
        self._file.flush()

    def close(self) -> None:
        pass


class Part:
    """The share of one of several processes: each line begins with the number of its chunk."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, number: int, answers: Sequence[Answer]) -> None:
        for answer in answers:
            self._file.write(f"{number}\t{json.dumps(answer, ensure_ascii=False)}\n")

    def close(self) -> None:
        pass


class Table:
    """A row an answer, below a header: texts as they are, nothing for null, anything else as JSON.

    The columns are the fields of the first chunk that has an answer. Fields that first come up later are left out, and
    said at the end: an input's own fields, as an answer's are known from the first one.

    Args:
        file: to write to, without translation of line breaks.
        delimiter: between cells.
        also: columns that the first answers may lack.
        columns: of a table that is gone on with; its header has been written.
    """

    def __init__(self, file: IO[str], delimiter: str, *, also: Sequence[str] = (), columns: Sequence[str] = ()) -> None:
        self._file = file
        self._writer = csv.writer(file, delimiter=delimiter)
        self._also = also
        self._columns = list(columns)
        self._held: list[Answer] = []
        self._left_out: dict[str, None] = {}

    def write(self, number: int, answers: Sequence[Answer]) -> None:
        self._held += answers
        if self._columns or any(map(self._is_answered, answers)):
            self._write_held()

    def close(self) -> None:
        if self._held:
            self._write_held()
        if self._left_out:
            names = ", ".join(self._left_out)
            say(f"not in the table, since the first inputs do not have them: {names}; JSON lines have all.", error=True)

    def _is_answered(self, answer: Answer) -> bool:
        return ERROR not in self._also or ERROR not in answer

    def _write_held(self) -> None:
        if not self._columns:
            answered = [answer for answer in self._held if self._is_answered(answer)] or self._held
            names = [*dict.fromkeys(name for answer in answered for name in answer), *self._also]
            self._columns = list(dict.fromkeys(names))
            self._writer.writerow(self._columns)
        for answer in self._held:
            self._writer.writerow([_cell(answer.get(name)) for name in self._columns])
            self._left_out |= dict.fromkeys(name for name in answer if name not in self._columns)
        self._held = []
        self._file.flush()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def delimiter_of(out: Path | None) -> str | None:
    """Between the cells of a table, by the name of its file; None for JSON lines."""
    return None if out is None else _DELIMITERS.get(out.suffix.lower())


def standard_output() -> IO[str]:
    """Standard output in UTF-8, which JSON is in, whatever the terminal's encoding."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    return sys.stdout


def make_sink(file: IO[str], out: Path | None, *, skip: bool, unknown: bool, columns: Sequence[str] = ()) -> Sink:
    """What writes answers to an open file, by the name under which it will be known.

    Args:
        file: to write to.
        out: its name; None for standard output.
        skip, unknown: whether there may be inputs that are skipped, and unknown parts.
        columns: see :class:`Table`.
    """
    delimiter = delimiter_of(out)
    if delimiter is None:
        return JsonLines(file)
    also = [*([UNKNOWN] if unknown else []), *([ERROR, LINE] if skip else [])]
    return Table(file, delimiter, also=also, columns=columns)


def join(parts: Iterable[IO[str]], into: Sink) -> None:
    """Merges :class:`Part` files by the numbers of their chunks."""
    lines = heapq.merge(*parts, key=lambda line: int(line.partition("\t")[0]))
    for number, of_chunk in itertools.groupby(lines, key=lambda line: int(line.partition("\t")[0])):
        into.write(number, [json.loads(line.partition("\t")[2]) for line in of_chunk])
    into.close()
