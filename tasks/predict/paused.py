"""Inputs from a pipe, whose writer may wait for an answer before it writes on.

A thread reads them. What it has read while the last inputs were answered is the next chunk, as in
:mod:`tasks.serve.batching`: nobody waits for a chunk to be full.
"""

import os
import stat
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Generic

from minibert.files import is_special
from tasks.predict.chunks import Chunk, Given


def may_pause(file: str) -> bool:
    """Whether a file (``-`` for standard input) is a pipe, a terminal or another device, not a file on a disk."""
    if file == "-":
        return not stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
    path = Path(file)
    return is_special(path) and not path.is_dir()


def chunks_as_they_come(inputs: Iterable[Given]) -> Iterator[Chunk[Given]]:
    """Cuts a stream into chunks of what there is, and at least one input. It is read one full chunk ahead.

    Raises:
        BaseException: whatever ``inputs`` raises; those before have been yielded.
    """
    buffer: _Buffer[Given] = _Buffer()
    # A daemon: nothing wakes a thread that waits for a pipe, so the process ends without it.
    threading.Thread(target=buffer.fill, args=(inputs,), name="reader of inputs", daemon=True).start()
    try:
        while chunk := buffer.take():
            yield chunk
    finally:
        buffer.close()


class _Buffer(Generic[Given]):
    """What has been read and not yet taken: at most a full chunk."""

    def __init__(self) -> None:
        self._chunk: Chunk[Given] = Chunk()
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None

    def fill(self, inputs: Iterable[Given]) -> None:
        """Reads to the end, or until the buffer is closed; waits while it is full."""
        try:
            for given in inputs:
                with self._changed:
                    self._changed.wait_for(lambda: self._ended or not self._chunk.is_full)
                    if self._ended:
                        return
                    self._chunk.append(given)
                    self._changed.notify_all()
        except BaseException as error:  # raised where the inputs are taken
            self._error = error
        self.close()

    def take(self) -> Chunk[Given]:
        """What there is, once there is anything; empty at the end.

        Raises:
            BaseException: the stream's, once everything before it is taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._chunk)
            taken, self._chunk = self._chunk, Chunk()
            self._changed.notify_all()
        if not taken and self._error is not None:
            raise self._error
        return taken

    def close(self) -> None:
        """Ends the reading, and the waiting."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
