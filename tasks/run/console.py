"""How every command behaves: one sentence and exit status 2 for mistakes a person can correct, clean exits on signals.

Nothing here needs torch, so that help and refusals are instant.
"""

import contextlib
import ctypes
import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from minibert.errors import InputError


def program(module: str) -> str:
    """How the command in a module is started: ``minibert NAME`` for ``tasks.NAME``, or ``python -m MODULE``."""
    if Path(sys.argv[0]).stem == "minibert":  # the console script
        return f"minibert {module.rpartition('.')[2].replace('_', '-')}"
    return f"python -m {module}"


def run_main(main: Callable[[], object]) -> None:
    """Runs a command; prints mistakes that a person can correct as one sentence, and exits with status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show Chinese must not end a run
            stream.reconfigure(errors="backslashreplace")
    _keep_freed_memory()
    # Exit through the clean-up code that an exception would run; training handles the signal itself.
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        _check_arguments()
        main()
    except BrokenPipeError:  # the reader of the output, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still flushes
        sys.exit(141)  # as shells report SIGPIPE
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        print(
            f"error: out of memory; lower --max-length, set micro_batch_size in a settings file, or stop other "
            f"programs. {error}",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print("stopped.", file=sys.stderr)
        sys.exit(128 + int(stop.args[0] if stop.args else signal.SIGINT))
    finally:
        signal.signal(signal.SIGTERM, before)


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


def _is_out_of_memory(error: Exception) -> bool:
    """Whether Python or PyTorch (which may not be imported) ran out of memory."""
    named = type(error).__name__ in ("MemoryError", "OutOfMemoryError")
    return named or "DefaultCPUAllocator: can't allocate memory" in str(error)


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
