"""The command line of every task, and its manners: one sentence and status 2 for what a person can correct."""

import contextlib
import io
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from minibert.errors import InputError
from minibert.training import Interrupted
from tasks.folder import stopped_by, to_go_on
from tasks.preparation import dry_run
from tasks.seeds import repeat
from tasks.settings import Command, parse
from tasks.task import Task
from tasks.training import train


def run_task(task_class: type[Task[Any, Any, Any]], argv: Sequence[str] | None = None) -> Path | None:
    """Runs ``python -m tasks.NAME``: once, or with several seeds; returns the run folder.

    Raises:
        InputError: something that was given cannot be used.
    """
    command = asked(task_class, argv)
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


def asked(task_class: type[Task[Any, Any, Any]], argv: Sequence[str] | None) -> Command:
    """What the command line of a task asks for."""
    return parse(
        task_class.settings_class,
        argv,
        task=task_class.name,
        about=task_class.about,
        if_small=task_class.if_small,
    )


@contextlib.contextmanager
def resumable(typed: str, *, levels: int) -> Iterator[None]:
    """Where a signal stops training in the block, says how to go on, and exits with 143 or 130.

    Args:
        typed: the command that was given.
        levels: how far up from the folder of checkpoints the command's own folder lies.
    """
    try:
        yield
    except Interrupted as stop:
        if os.environ.get("RANK", "0") == "0":  # set by torchrun; the processes have parted already
            print(f"{stop}.", file=sys.stderr)
            if stop.checkpoint is not None:
                print(to_go_on(typed, stop.checkpoint.parents[levels]), file=sys.stderr)
        sys.exit(stop.exit_status)


def command_line(program: str, argv: Sequence[str] | None) -> str:
    """The command that does this again, from the start."""
    arguments = sys.argv[1:] if argv is None else argv
    return shlex.join(["python", "-m", program, *(argument for argument in arguments if argument != "--resume")])


def run(main: Callable[[], object]) -> None:
    """Runs a command: what a person can correct is printed as one sentence, with exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without Chinese must not end a run
            stream.reconfigure(errors="backslashreplace")
    # Leave by way of the clean-ups that an exception would run; training has a better answer of its own.
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        main()
    except BrokenPipeError:  # who reads the output has read enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still wants to write
        sys.exit(141)  # as a shell reports it
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print("stopped.", file=sys.stderr)
        sys.exit(128 + stopped_by(stop))
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(number)
