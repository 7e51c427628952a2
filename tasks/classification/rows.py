"""The texts and labels of many records, without the rest of them, while a file is read."""

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from minibert.shown import shown
from tasks.read.records import Record

_BLOCK = 5000
"""Rows whose texts are put together."""
_MANY = 20  # rows, of which one with a label of its own is worth a warning


class LabelledRow(NamedTuple):
    """What a record says: its texts and its label as the file has them, and its line; the record itself, where they are
    not texts alone."""

    texts: Sequence[str]
    label: Any
    line: int
    record: Record | None


class LabelledRows:
    """The rows of a file, in order.

    Args:
        path: the file.
        columns: of the texts.
        label_column: for :meth:`record_of`.

    Attributes:
        distinct: each label that is a text or a whole number, once, by itself.
        others: all labels that are not.
    """

    def __init__(self, path: str, columns: Sequence[str], label_column: str) -> None:
        self._path = path
        self._columns = columns
        self._label_column = label_column
        self._place = ""
        self._blocks: list[tuple[bytes, array[int]]] = []
        self._waiting: list[str] = []
        self._labels: list[Any] = []
        self._lines = array("q")
        self._records: dict[int, Record] = {}
        self.distinct: dict[str | int, str | int] = {}
        self.others: list[Any] = []

    def __len__(self) -> int:
        return len(self._lines)

    def append(self, record: Record, label: Any) -> None:
        """Adds a record with its label."""
        fields, _, line, path, _ = record
        if type(label) is str or type(label) is int:  # true and false equal 1 and 0
            label = self.distinct.setdefault(label, label)  # one of many that are equal is kept
        else:
            self.others.append(label)
        if not self._place:
            self._place = f"{self._path}, {'row' if record.place.endswith(f', row {line}') else 'line'} "
        texts = [fields.get(column) for column in self._columns]
        if path or record.place != f"{self._place}{line}" or not all(type(text) is str for text in texts):
            self._records[len(self._lines)] = record
            texts = [""] * len(texts)
        self._waiting += texts  # type: ignore[arg-type]  # they are texts
        self._labels.append(label)
        self._lines.append(line)
        if len(self._waiting) >= _BLOCK * len(self._columns):
            self._flush()

    def first_label_warnings(self) -> list[str]:
        """About the first row of a table that is said to have no header: it may be one, if its label is in no other of
        many rows."""
        first = self._labels[0] if len(self) >= _MANY else None
        if not isinstance(first, str) or self._labels.count(first) > 1:
            return []
        return [
            f"line {self._lines[0]} has a label that no other row has ({shown(first, 40)}); if the line is a header, "
            "leave out --columns, and give --text-column and --label-column where its names are not recognised."
        ]

    def _flush(self) -> None:
        # UTF-8, as a character outside Latin would make all others of a text two or four times as large.
        joined = "".join(self._waiting).encode("utf-8", "surrogatepass")
        self._blocks.append((joined, array("I", map(len, self._waiting))))
        self._waiting = []

    def __iter__(self) -> Iterator[LabelledRow]:
        self._flush()
        texts = self._texts()
        for index, (label, line) in enumerate(zip(self._labels, self._lines, strict=True)):
            yield LabelledRow([next(texts) for _ in self._columns], label, line, self._records.get(index))

    def _texts(self) -> Iterator[str]:
        for joined, lengths in self._blocks:
            text, start = joined.decode("utf-8", "surrogatepass"), 0
            for length in lengths:
                yield text[start : start + length]
                start += length

    def record_of(self, row: LabelledRow) -> Record:
        """The record of a row, as far as it is known."""
        if row.record is not None:
            return row.record
        fields = {self._label_column: row.label, **dict(zip(self._columns, row.texts, strict=True))}
        return Record(fields, f"{self._place}{row.line}", row.line)
