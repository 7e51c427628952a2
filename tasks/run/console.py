"""How every command behaves: one sentence and exit status 2 for mistakes a person can correct, clean exits on signals.

Nothing here needs torch, so that help and refusals are instant.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from minibert.errors import InputError, out_of_memory_explained
from minibert.shown import shown
from tasks.run.processors import set_up_threads
from tasks.run.streams import safe_streams

# SIGHUP comes when a terminal closes or a connection is lost; Windows has none.
TERMINATING = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if name in signal.Signals.__members__)


def program(module: str) -> str:
    """How the command in a module is started: ``minibert NAME`` for ``tasks.NAME``, or ``python -m MODULE``."""
    if Path(sys.argv[0]).stem == "minibert":  # the console script
        return f"minibert {module.rpartition('.')[2].replace('_', '-')}"
    return f"python -m {module}"


def run_main(main: Callable[[], object]) -> None:
    """Runs a command; prints mistakes that a person can correct as one sentence, and exits with status 2."""
    _keep_freed_memory()
    set_up_threads()
    with safe_streams(), _signals_raise():
        try:
            _check_arguments()
            with out_of_memory_explained():
                main()
        except BrokenPipeError:  # the reader of the output, such as head, has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still flushes
            sys.exit(141)  # as shells report SIGPIPE
        except (InputError, OSError) as error:
            print(f"error: {shown(error, most=4000)}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt as stop:
            print("stopped.", file=sys.stderr)
            sys.exit(128 + int(stop.args[0] if stop.args else signal.SIGINT))


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Within the block, SIGTERM and SIGHUP exit through the clean-up code that an exception would run, unless the
    process was started to ignore them, as by nohup. Training handles the signals itself."""
    before = {
        number: signal.signal(number, _stop) for number in TERMINATING if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _check_arguments() -> None:
    for argument in sys.argv[1:]:
        try:
            argument.encode()
        except UnicodeEncodeError:
            encoding = sys.getfilesystemencoding()
            raise InputError(
                f"the argument {argument!r} is not {encoding}, the encoding of this terminal's locale; change it, or "
                "set LC_ALL=C.UTF-8."
            ) from None


def _keep_freed_memory() -> None:
    """Makes the C library keep freed memory for later allocations instead of returning it to the system.

    Each optimizer step on a CPU frees and allocates the same memory, and the system clears every returned page again: a
    tenth of the time for small models. Does nothing unless the C library is glibc.
    """
    trim_threshold, mmap_threshold = -1, -3  # glibc's malloc.h
    with contextlib.suppress(OSError, TypeError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**25)  # the largest value allowed; larger blocks are returned


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(number)
