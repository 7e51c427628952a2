"""SIGTERM, SIGINT and SIGHUP during a run: the first stops it after the current step, the second at once. And runs
that stop after an epoch because they were asked to."""

import contextlib
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from minibert.training import distributed

# SIGHUP comes when a terminal closes or a connection is lost; Windows has none.
WATCHED = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGHUP") if name in signal.Signals.__members__)
# torchrun forwards the Ctrl-C that the terminal has already sent to every process: that is one signal, not two.
_ECHO_SECONDS = 1.0


class Interrupted(Exception):
    """A signal stopped a run between two steps.

    Attributes:
        signal: one of :data:`WATCHED`.
        checkpoint: the newest one to resume from; None if none could be written.
    """

    def __init__(self, number: int, step: int, checkpoint: Path | None) -> None:
        self.signal = signal.Signals(number)
        self.checkpoint = checkpoint
        saved = f"saved to {checkpoint}" if checkpoint else "no checkpoint could be written"
        super().__init__(f"stopped by {self.signal.name} after step {step}; {saved}")

    @property
    def exit_status(self) -> int:
        """The exit status of a command that ends with this: 143 for SIGTERM, 130 for SIGINT, 129 for SIGHUP."""
        return 128 + self.signal


class Paused(Exception):
    """A run stopped after the epoch that it was asked to stop after; its state is saved.

    Attributes:
        history: one record per epoch so far.
    """

    def __init__(self, history: Sequence[Mapping[str, Any]]) -> None:
        self.history = history
        super().__init__(f"stopped after epoch {len(history)}, as asked")


class SignalWatch:
    """Within its ``with`` block, if ``active``, :attr:`received` is the first signal of :data:`WATCHED`; 0 until one
    comes.

    A second signal goes to the handler from outside the block, which ends the process. Signals that the process was
    started to ignore are not watched, and none are outside the main thread, where Python allows no handlers.
    """

    def __init__(self, *, active: bool = True) -> None:
        self.received = 0
        self._active = active
        self._received_at = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "SignalWatch":
        if self._active and threading.current_thread() is threading.main_thread():
            for number in WATCHED:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received, self._received_at = number, time.monotonic()
        elif distributed.world_size() == 1 or time.monotonic() - self._received_at > _ECHO_SECONDS:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, previous in self._previous.items():
            with contextlib.suppress(ValueError):  # an embedding program may leave the block in another thread
                signal.signal(number, signal.SIG_DFL if previous is None else previous)
        self._previous.clear()
