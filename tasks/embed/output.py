"""How vectors are written: as an array in numpy's format, or as JSON lines."""

from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from tasks.embed.task import VECTOR
from tasks.predict.answerer import Answer
from tasks.predict.output import JsonLines

_DECIMALS = 6  # as all numbers of answers


class NpyFile:
    """A ``.npy`` file that grows: float32 ``(N, C)``, of which no more than a chunk is in memory.

    The header has room for any N (numpy leaves it there for the axis that grows), so it is written first, and again at
    the end.

    Args:
        file: to write to, at its start; can be seeked.
        width: C. An input that was skipped has a row of NaN, so that rows and inputs have the same numbers.
    """

    def __init__(self, file: IO[bytes], width: int) -> None:
        self._file = file
        self._missing = np.full(width, np.nan, np.float32)
        self._rows = 0
        self._write_header()

    def write(self, number: int, answers: Sequence[Answer]) -> None:
        rows = [answer[VECTOR] if _has_vector(answer) else self._missing for answer in answers]
        self._file.write(np.asarray(rows, "<f4").tobytes())
        self._rows += len(rows)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        shape = (self._rows, len(self._missing))
        npy.write_array_header_1_0(self._file, {"descr": "<f4", "fortran_order": False, "shape": shape})


class VectorLines(JsonLines):
    """An object a line, the vector as a list of numbers."""

    def write(self, number: int, answers: Sequence[Answer]) -> None:
        super().write(
            number, [{**answer, VECTOR: _listed(answer)} if _has_vector(answer) else answer for answer in answers]
        )


def _has_vector(answer: Answer) -> bool:
    """Whether it was made here: the field of an input that was skipped may have the same name."""
    return isinstance(answer.get(VECTOR), np.ndarray)


def _listed(answer: Answer) -> Any:
    return answer[VECTOR].astype(np.float64).round(_DECIMALS).tolist()
