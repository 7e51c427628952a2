"""Standard input, output and error as they may be: closed, of another encoding, a terminal that is gone."""

import contextlib
import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from minibert.shown import shown, shown_lines

logger = logging.getLogger(__name__)

_LONGEST_LINE = 4000


def say(text: str, *, error: bool = False) -> None:
    """Prints text for people, in which labels, names and values from files may stand: control characters as escapes,
    lines that are too long without their middle.

    Args:
        text: of one line or several.
        error: print to standard error.
    """
    lines = (shown(line, most=_LONGEST_LINE) for line in text.split("\n"))
    print("\n".join(lines), file=sys.stderr if error else sys.stdout, flush=True)


class EscapingStream:
    """A text stream that writes control characters as escapes; all else is the stream's own.

    What is written to a terminal that is gone, as after a lost connection, is dropped: the signal that comes with it
    ends a run in order.

    Attributes:
        may_end: whether what a full disk or a pipe without a reader refuses is dropped as well, after a warning.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.may_end = False

    def write(self, text: str) -> int:
        with self._without_what_is_gone():
            self._stream.write(shown_lines(text))
        return len(text)

    def flush(self) -> None:
        with self._without_what_is_gone():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _without_what_is_gone(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            is_terminal = error.errno == errno.EIO
            if not (is_terminal or self.may_end):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # for what Python still flushes
            if not is_terminal:
                logger.warning("what this command prints can no longer be written (%s); it goes on.", error.strerror)


@contextlib.contextmanager
def output_may_end() -> Iterator[None]:
    """Within the block, whose work is in files, a full disk behind standard output or error, or a pipe that nobody
    reads any more, ends what is printed, and not the work."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, EscapingStream)]
    for stream in streams:
        stream.may_end = True
    try:
        yield
    finally:
        for stream in streams:
            stream.may_end = False


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record), most=2000)


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """Within the block, what the process prints and logs cannot steer a terminal, and never fails for its encoding.

    A closed standard stream is opened on the null device: otherwise the next file that is opened takes its number, and
    what is written to the stream lands in that file. ``sys.stdin`` and ``sys.stdout`` stay None, so that a command that
    needs them can refuse.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    before = sys.stdout, sys.stderr
    if sys.stderr is None:  # print would take standard output in its place
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show Chinese must not end a run
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is not None:
        sys.stdout = EscapingStream(sys.stdout)
    sys.stderr = EscapingStream(sys.stderr)
    warnings = logging.StreamHandler(sys.stderr)
    warnings.setLevel(logging.WARNING)
    warnings.setFormatter(_OneLine())
    last_resort, logging.lastResort = logging.lastResort, warnings
    try:
        yield
    finally:
        logging.lastResort = last_resort
        sys.stdout, sys.stderr = before
