"""Many examples as a few arrays, each made when it is asked for."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar, overload

import numpy as np
import numpy.typing as npt

from minibert.batch import IntSequence
from tasks.run.store import Store, Writer, release

Row = TypeVar("Row", bound=tuple[Any, ...])
Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

_READ = 5000
"""After so many rows, pages of files are released."""
_SEVERAL: Mapping[str, type] = {"array": np.ndarray, "tuple": tuple, "list": list}


class Column(NamedTuple):
    """One field of all rows.

    Attributes:
        kind: ``int``, ``scalar`` (of NumPy), or what holds several numbers: ``array``, ``tuple`` or ``list``.
        values: of the rows, end to end.
        ends: ``(N,)``, where each row's values end; None if it has one.
        width: of the second dimension of arrays; 0 if they have one dimension.
    """

    kind: str
    values: Array
    ends: Indices | None
    width: int

    def of_row(self, index: int) -> Any:
        """The field in one row, as it was."""
        if self.ends is None:
            value = self.values[index]
            return int(value) if self.kind == "int" else value
        values = self.values[self.ends[index - 1] if index else 0 : self.ends[index]]
        if self.kind == "array":
            return values.reshape(-1, self.width) if self.width else values
        return _SEVERAL[self.kind](values.tolist())


class RowWriter:
    """Writes named tuples of integers, NumPy's scalars and arrays, and lists and tuples of integers to a store."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._ends: dict[str, int] = {}

    def append(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Adds rows of one class, whose fields are of the same type in all."""
        if not rows:
            return
        names: Sequence[str] = rows[0]._fields  # type: ignore[attr-defined]  # of a named tuple
        facts = self._writer.facts.setdefault("columns", {})
        for name, values in zip(names, zip(*rows, strict=True), strict=True):
            first = values[0]
            kind = next((kind for kind, cls in _SEVERAL.items() if isinstance(first, cls)), None)
            if kind is None:
                facts[name] = ["int" if isinstance(first, int) else "scalar", 0]
                self._writer.append(name, np.array(values))
                continue
            facts[name] = [kind, first.shape[1] if kind == "array" and first.ndim == 2 else 0]
            parts = [np.asarray(value, None if kind == "array" or len(value) else np.int64) for value in values]
            if kind != "array" and any(part.ndim > 1 or part.dtype.kind not in "iu" for part in parts):
                raise TypeError(f"{name} has a {kind} that does not hold whole numbers alone, which cannot be stored.")
            parts = [part.reshape(-1) for part in parts]
            self._writer.append(name, np.concatenate(parts))
            ends = self._ends.get(name, 0) + np.cumsum([len(part) for part in parts], dtype=np.int64)
            self._writer.append(f"{name}-ends", ends)
            self._ends[name] = int(ends[-1])


class Rows(Sequence[Row], Generic[Row]):
    """The rows that a :class:`RowWriter` wrote, or some of them."""

    def __init__(self, cls: type[Row], columns: Mapping[str, Column], indices: Indices | None = None) -> None:
        self._cls = cls
        self._columns = columns
        self._indices = indices
        self._made = 0

    @classmethod
    def of_store(cls, store: Store, row: type[Row]) -> "Rows[Row]":
        """The rows of a store."""
        columns = {}
        for name in row._fields:  # type: ignore[attr-defined]  # of a named tuple
            kind, width = store.facts["columns"][name]
            columns[name] = Column(kind, store.arrays[name], store.arrays.get(f"{name}-ends"), width)
        return cls(row, columns)

    def __len__(self) -> int:
        if self._indices is not None:
            return len(self._indices)
        column = next(iter(self._columns.values()))
        return len(column.values if column.ends is None else column.ends)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        self._made += 1
        if self._made % _READ == 0:
            self.release()
        row = range(len(self))[index]
        if self._indices is not None:
            row = int(self._indices[row])
        return self._cls(*[column.of_row(row) for column in self._columns.values()])

    def take(self, indices: IntSequence) -> "Rows[Row]":
        """The rows at some indices."""
        chosen = np.asarray(indices, np.int64)
        return Rows(self._cls, self._columns, chosen if self._indices is None else self._indices[chosen])

    @cached_property
    def lengths(self) -> Indices:
        """``(N,)``, the number of tokens of each: of its ``ids``."""
        ends = self._columns["ids"].ends
        assert ends is not None
        lengths = np.diff(ends, prepend=0)
        return lengths if self._indices is None else lengths[self._indices]

    def release(self) -> None:
        """Takes pages of files out of this process's memory."""
        for column in self._columns.values():
            for array in (column.values, column.ends):
                if array is not None:
                    release(array)
