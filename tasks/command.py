"""The command line of every task, and its manners: one sentence and status 2 for what a person can correct.

Nothing here needs torch before the options have been read, so that help and refusals come at once.
"""

import contextlib
import ctypes
import importlib
import io
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from minibert.errors import InputError
from tasks.options import check_options
from tasks.settings import parse

if TYPE_CHECKING:
    from tasks.task import Task


def start(name: str) -> NoReturn:
    """Runs ``python -m tasks.NAME`` to its end, from the head of its file: reads the options, and only then imports the
    file as a module, with all that it needs."""

    def main() -> None:
        check_options(name, sys.argv[1:])
        importlib.import_module(f"tasks.{name}").main()

    run(main)
    sys.exit()


def run_task(task_class: "type[Task[Any, Any, Any]]", argv: Sequence[str] | None = None) -> Path | None:
    """Runs ``python -m tasks.NAME``: once, or with several seeds; returns the run folder.

    Raises:
        InputError: something that was given cannot be used.
    """
    # Here because they bring torch.
    from tasks.preparation import dry_run
    from tasks.seeds import repeat
    from tasks.training import train

    command = parse(task_class.settings_class, argv, task=task_class.name)
    task = task_class(command.settings)
    if command.dry_run:
        dry_run(task)
        return None
    typed = command_line(f"tasks.{task.name}", argv)
    if command.settings.seeds > 1:
        name = command.settings.arch or "seeds"
        with resumable(typed, levels=2):
            return repeat(task_class, [command.settings], name=name, command=typed, resume=command.resume)
    with resumable(typed, levels=1):
        return train(task, command=typed, resume=command.resume)


@contextlib.contextmanager
def resumable(typed: str, *, levels: int) -> Iterator[None]:
    """Where a signal stops training in the block, says how to go on, and exits with 143 or 130.

    Args:
        typed: the command that was given.
        levels: how far up from the folder of checkpoints the command's own folder lies.
    """
    from minibert.training import Interrupted  # here because it brings torch

    try:
        yield
    except Interrupted as stop:
        if os.environ.get("RANK", "0") == "0":  # set by torchrun; the processes have parted already
            print(f"{stop}.", file=sys.stderr)
            if stop.checkpoint is not None:
                print(to_go_on(typed, stop.checkpoint.parents[levels]), file=sys.stderr)
        sys.exit(stop.exit_status)


def command_line(program: str, argv: Sequence[str] | None) -> str:
    """The command that does this again, from the start; under ``torchrun`` with as many processes."""
    arguments = sys.argv[1:] if argv is None else argv
    launcher = ["python"]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        nodes = os.environ["GROUP_WORLD_SIZE"]
        launcher = ["torchrun", *(["--nnodes", nodes] if nodes != "1" else [])]
        launcher += ["--nproc-per-node", os.environ["LOCAL_WORLD_SIZE"]]
    return shlex.join([*launcher, "-m", program, *(argument for argument in arguments if argument != "--resume")])


def to_go_on(command: str, folder: Path) -> str:
    """What to type to go on in a folder."""
    return f"To go on: {command}{'' if ' --out' in command else f' --out {shlex.quote(str(folder))}'} --resume"


def run(main: Callable[[], object]) -> None:
    """Runs a command: what a person can correct is printed as one sentence, with exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without Chinese must not end a run
            stream.reconfigure(errors="backslashreplace")
    _keep_freed_memory()
    # Leave by way of the clean-ups that an exception would run; training has a better answer of its own.
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        _check_arguments()
        main()
    except BrokenPipeError:  # who reads the output has read enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still wants to write
        sys.exit(141)  # as a shell reports it
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        print(
            f"error: out of memory; give less at a time (--max-length, --micro-batch-size) or stop what else fills it. "
            f"{error}",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print("stopped.", file=sys.stderr)
        sys.exit(128 + stopped_by(stop))
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_arguments() -> None:
    for argument in sys.argv[1:]:
        try:
            argument.encode()
        except UnicodeEncodeError:
            encoding = sys.getfilesystemencoding()
            raise InputError(
                f"the argument {argument!r} is not {encoding}, which this terminal is said to write; write it so, or "
                "set LC_ALL=C.UTF-8."
            ) from None


def _is_out_of_memory(error: Exception) -> bool:
    """Whether Python, or PyTorch (which need not have been imported), could not get memory."""
    named = type(error).__name__ in ("MemoryError", "OutOfMemoryError")
    return named or "DefaultCPUAllocator: can't allocate memory" in str(error)


def _keep_freed_memory() -> None:
    """Has the C library keep what is freed, for what is allocated next, instead of giving it back to the system.

    An optimizer step on a CPU frees and allocates the same memory as the one before it, and the system clears each page
    of it anew: for small models that is a tenth of the time. Does nothing where the C library is not glibc.
    """
    trim_threshold, mmap_threshold = -1, -3  # glibc's malloc.h
    with contextlib.suppress(OSError, TypeError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**25)  # the largest that it takes; larger blocks go back


def stopped_by(stop: KeyboardInterrupt) -> int:
    """The signal behind it: SIGINT raises it without a word, and a command makes SIGTERM raise it with its number."""
    return int(stop.args[0]) if stop.args else signal.SIGINT


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(number)
