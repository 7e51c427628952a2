"""Runs that a signal stopped: what to print, and how to resume them."""

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from minibert.training import Interrupted, distributed
from tasks.run.console import program
from tasks.run.streams import output_may_end, say


@contextlib.contextmanager
def explain_interruption(typed: str, *, levels: int) -> Iterator[None]:
    """If a signal stops training in the block, says how to resume it, and exits with 128 plus the signal's number. What
    becomes of its output does not stop it.

    Args:
        typed: the command line.
        levels: how many folders up from a checkpoint's parent the command's own folder is.
    """
    try:
        with output_may_end():
            yield
    except Interrupted as stop:
        if os.environ.get("RANK", "0") == "0":  # set by torchrun; the process group is gone already
            say(f"{stop}.", error=True)
            if stop.checkpoint is not None:
                say(resume_hint(typed, stop.checkpoint.parents[levels]), error=True)
        sys.exit(stop.exit_status)
    except distributed.PeerLost as lost:
        if os.environ.get("LOCAL_RANK", "0") == "0":  # once on each node, since process 0 may be the one that is lost
            nodes = "" if os.environ.get("GROUP_WORLD_SIZE", "1") == "1" else ", on every node, with its --rdzv options"
            say(
                f"error: {lost}. Checkpoints are whole: to go on from the newest one{nodes}, or from the start if "
                f"there is none:\n{typed} --resume",
                error=True,
            )
        sys.exit(1)


def command_line(module: str, argv: Sequence[str] | None) -> str:
    """The command line that repeats this run; under ``torchrun`` with as many processes."""
    arguments = sys.argv[1:] if argv is None else argv
    words = program(module).split()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        nodes = os.environ["GROUP_WORLD_SIZE"]
        launcher = ["torchrun", *(["--nnodes", nodes] if nodes != "1" else [])]
        launcher += ["--nproc-per-node", os.environ["LOCAL_WORLD_SIZE"]]
        words = [*launcher, *(words[1:] if words[0] == "python" else ["--no-python", *words])]
    return shlex.join([*words, *(argument for argument in arguments if argument != "--resume")])


def resume_hint(command: str, folder: Path) -> str:
    """What to type to resume in a folder."""
    return f"To resume: {command}{'' if ' --out' in command else f' --out {shlex.quote(str(folder))}'} --resume"


def stopped_by(stop: KeyboardInterrupt) -> int:
    """The signal behind it: none is named for SIGINT; commands have SIGTERM raise it with its number."""
    return int(stop.args[0]) if stop.args else signal.SIGINT
