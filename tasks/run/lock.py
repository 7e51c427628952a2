"""The lock of a run's folder: two runs in one folder would mix their files. It ends with the process that holds it."""

import contextlib
import logging
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from minibert.errors import InputError
from minibert.shown import shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within the block, this process owns a run folder; the file of the lock goes with the block.

    Raises:
        InputError: another run owns it; the message names its process.
    """
    handle = _lock(folder)
    try:
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                (folder / LOCK_FILE).unlink()
            os.close(handle)


def lock_file(file: int, path: Path, *, wait: bool = False) -> bool:
    """Locks an open file, for this process and as long as it is open.

    Args:
        file: its descriptor.
        path: for the warning where there are no locks, as on some network file systems.
        wait: until another process that has locked it closes it.

    Returns:
        Whether it is locked.

    Raises:
        BlockingIOError: another process has locked it.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:
        logger.warning("%s: cannot be locked (%s); start no other process that writes there.", path, error.strerror)
        return False
    return True


def has_content(folder: Path) -> bool:
    """Whether there is anything in a folder but its lock."""
    return any(path.name != LOCK_FILE for path in folder.iterdir())


def _lock(folder: Path) -> int | None:
    """The open file of the lock, which is held for as long as it is open; None where there are no locks."""
    path = folder / LOCK_FILE
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            if not lock_file(handle, path):
                os.close(handle)
                path.unlink()
                return None
        except BlockingIOError:
            owner = shown(os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "another process")
            os.close(handle)
            raise InputError(
                f"--out {folder}: {owner} is running in it; wait for it to end, or name another folder."
            ) from None
        if _is_at(path, handle):
            break
        os.close(handle)  # its owner has just removed it
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
    return handle


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
