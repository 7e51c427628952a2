"""Arrays that are made once and then mapped into memory: what many texts become before a model sees them.

Each store is a folder of its own in the cache folder, named by a hash of everything that its content depends on, so
that a store is never out of date. It holds a file for each array, and a manifest with their types and sha256, and
appears whole or not at all. One process makes it; others that need it wait.
"""

import contextlib
import hashlib
import json
import logging
import mmap
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from minibert.errors import InputError
from minibert.files import new_folder, read_json_object, sha256_of, write_json
from tasks.run.lock import lock_file

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "MINIBERT_CACHE"
LARGE = 10_000_000
"""Bytes of a file of labelled texts from which on it is worth storing what becomes of it."""
_MANIFEST = "manifest.json"
_FORMAT = 6  # of stores; a change to what is made of the same text must raise it

Array = npt.NDArray[Any]


def cache_folder() -> Path:
    """Where stores are kept: the folder that ``MINIBERT_CACHE`` names, else ``minibert`` in that of ``XDG_CACHE_HOME``,
    else ``~/.cache/minibert``."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    # Unlike Path.home, expanduser leaves "~" where nobody has a home.
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "minibert")


def is_large(path: str) -> bool:
    """Whether what becomes of a file of labelled texts is stored: some seconds' work."""
    return os.path.isfile(path) and os.path.getsize(path) >= LARGE


class StoreError(InputError):
    """A store cannot be written, or not be read back."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """Arrays by name, mapped from files, read-only; and facts about them, as JSON."""

    key: str
    arrays: Mapping[str, Array]
    facts: Mapping[str, Any]


class Writer:
    """Writes arrays of any length, a part at a time.

    Attributes:
        facts: to be kept with them.
    """

    def __init__(self, folder: Path) -> None:
        self.facts: dict[str, Any] = {}
        self._folder = folder
        self._files: dict[str, tuple[IO[bytes], Any]] = {}
        self._arrays: dict[str, dict[str, Any]] = {}

    def append(self, name: str, values: Array) -> None:
        """Adds values to an array of one dimension, which is made if there is none of this name."""
        if name not in self._files:
            self._files[name] = open(self._folder / _file(name), "wb"), hashlib.sha256()  # noqa: SIM115
            self._arrays[name] = {"dtype": values.dtype.str}
        if values.dtype.str != self._arrays[name]["dtype"]:
            raise TypeError(f"{name} has values of {values.dtype} behind others of {self._arrays[name]['dtype']}.")
        content = np.ascontiguousarray(values).data
        file, digest = self._files[name]
        file.write(content)
        digest.update(content)

    def close(self) -> None:
        """Closes the files, whatever has been written."""
        for file, _ in self._files.values():
            with contextlib.suppress(OSError):
                file.close()

    def finish(self) -> None:
        """Writes what is still in buffers, and the manifest."""
        for name, (file, digest) in self._files.items():
            file.flush()
            self._arrays[name]["sha256"] = digest.hexdigest()
        write_json(self._folder / _MANIFEST, {"arrays": self._arrays, "facts": self.facts})


def stored(key: Mapping[str, Any], make: Callable[[Writer], None], what: str) -> Store:
    """The store of a key. One that is missing, or damaged, is made first.

    Args:
        key: everything that the content depends on, as JSON.
        make: writes the content.
        what: it is, for messages.

    Raises:
        StoreError: it cannot be written, as on a full disk.
        InputError: ``make`` raised it.
    """
    name = hashlib.sha256(json.dumps([_FORMAT, key], sort_keys=True).encode()).hexdigest()[:32]
    folder = cache_folder() / "corpora" / name
    if (found := _open(folder)) is not None:
        return found
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f"{name}.lock")):
            if (found := _open(folder)) is None:  # no other process has made it in the meantime
                logger.info("writing %s to %s", what, folder)
                _make(folder, make)
                found = _open(folder)
    except OSError as error:
        raise StoreError(
            f"{folder}: {what} cannot be written ({error.strerror or error}); make room, or name another folder in the "
            f"environment variable {CACHE_VARIABLE}."
        ) from None
    if found is None:
        raise StoreError(
            f"{folder}: reads differently from what was written; check the disk, or name another folder in "
            f"the environment variable {CACHE_VARIABLE}."
        )
    return found


def release(array: Array) -> None:
    """Takes a mapped array's pages out of this process's memory; they are mapped again when they are read."""
    mapped = array.base.obj if isinstance(array.base, memoryview) else None
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        mapped.madvise(mmap.MADV_DONTNEED)


def _make(folder: Path, make: Callable[[Writer], None]) -> None:
    for left in [folder, *folder.parent.glob(f".{folder.name}.*.tmp")]:  # damaged, or of processes that were killed
        if left.exists():
            shutil.rmtree(left)
    with new_folder(folder, synced=False) as staging:  # what a power cut damages fails its check, and is made again
        writer = Writer(staging)
        try:
            make(writer)
            writer.finish()
        finally:
            writer.close()


def _open(folder: Path) -> Store | None:
    """The store in a folder if it is whole; a damaged one is logged.

    Every byte is checked: it takes a second per gigabyte, no longer than to see that the texts are the same.
    """
    if not folder.exists():
        return None
    try:
        manifest = read_json_object(folder / _MANIFEST)
        described = manifest["arrays"]
        with ThreadPoolExecutor() as threads:
            hashes = threads.map(lambda name: sha256_of(folder / _file(name)), described)
            damaged = [
                name for name, found in zip(described, hashes, strict=True) if found != described[name]["sha256"]
            ]
        if damaged:
            raise InputError(f"{folder / _file(damaged[0])}: its sha256 is another one.")
        arrays = {name: _mapped(folder / _file(name), each["dtype"]) for name, each in described.items()}
        return Store(key=folder.name, arrays=arrays, facts=manifest["facts"])
    except (InputError, OSError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s is damaged, and made again (%s)", folder, error)
        return None


def _mapped(path: Path, dtype: str) -> Array:
    if path.stat().st_size == 0:  # which cannot be mapped
        return np.empty(0, dtype)
    with open(path, "rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype)


def _file(name: str) -> str:
    return f"{name}.bin"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Within the block, no other process is in one for this path; it waits for its turn."""
    with open(path, "ab") as file:
        lock_file(file.fileno(), path, wait=True)
        yield
