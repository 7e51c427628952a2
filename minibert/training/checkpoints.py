"""The folder of a run's checkpoints: each one whole, verified before it is used, the oldest removed.

A checkpoint is a folder ``step-00000120`` of safetensors files, ``state.json``, and ``manifest.json`` with the sha256
of the others. It is written under another name, brought to the disk, and renamed, the manifest last; reading it runs
no code from it.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from minibert.errors import InputError

logger = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_STATE = "state.json"
_NAME = re.compile(r"step-(\d+)")
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What a checkpoint holds.

    Attributes:
        tensors: by file (without ending) and name.
        values: everything else, as JSON has it, with NaN and infinities.
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    values: Mapping[str, Any]


class Checkpoints:
    """Checkpoints by step.

    Args:
        folder: made when the first one is saved.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder
        self._keep = keep

    def save(self, step: int, snapshot: Snapshot, *, best_step: int | None) -> bool:
        """Writes a checkpoint, then removes old ones, except that of ``best_step``, and damaged newer ones.

        Returns:
            Whether it is on the disk. Where it cannot be written, a warning says why, and the others stay.
        """
        unfinished = self.folder / f"{_UNFINISHED}{_name(step)}"
        path = self.folder / _name(step)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_unfinished()
            _write(unfinished, snapshot)
            if path.exists():  # damaged, or of the same step before its evaluation; older ones stand behind it
                shutil.rmtree(path)
            os.rename(unfinished, path)
            _sync(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            newest = self.newest_path()
            behind = "there is none yet" if newest is None else f"the newest is {newest.name}"
            logger.warning("%s: cannot be written (%s); the run goes on, %s.", path, _reason(error), behind)
            return False
        up_to_here = [saved for saved in self.steps() if saved <= step]
        for other in set(self.steps()) - {*up_to_here[: self._keep], best_step}:
            shutil.rmtree(self.folder / _name(other), ignore_errors=True)
        return True

    def keep_only_newest(self) -> Path | None:
        """Removes all but the newest whole one, and gives it."""
        newest = self.newest_path()
        for step in self.steps():
            if self.folder / _name(step) != newest:
                shutil.rmtree(self.folder / _name(step), ignore_errors=True)
        return newest

    def steps(self) -> list[int]:
        """The steps that there are checkpoints of, newest first, whole or damaged."""
        try:
            names = [_NAME.fullmatch(entry.name) for entry in self.folder.iterdir()]
        except OSError:
            return []
        return sorted((int(name[1]) for name in names if name), reverse=True)

    def newest_path(self) -> Path | None:
        """The newest one that is whole."""
        paths = (self.folder / _name(step) for step in self.steps())
        return next((path for path in paths if _problem(path) is None), None)

    def newest(self) -> Snapshot | None:
        """The newest whole checkpoint; a warning names each damaged one that is passed over."""
        return next((snapshot for step in self.steps() if (snapshot := self.read(step))), None)

    def read(self, step: int) -> Snapshot | None:
        """The checkpoint of a step; None, with a warning, where it is damaged."""
        path = self.folder / _name(step)
        problem = _problem(path)
        if problem is None:
            try:
                tensors = {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}
                return Snapshot(tensors=tensors, values=json.loads((path / _STATE).read_text(encoding="utf-8")))
            except (OSError, ValueError, SafetensorError) as error:
                problem = _reason(error)
        logger.warning("%s: not used, because it is damaged (%s).", path, problem)
        return None

    def _remove_unfinished(self) -> None:
        """Removes what a run that was killed while it saved has left."""
        for entry in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(entry, ignore_errors=True)


def _name(step: int) -> str:
    return f"step-{step:08}"


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _write(folder: Path, snapshot: Snapshot) -> None:
    folder.mkdir()
    for name, tensors in snapshot.tensors.items():
        save_file(dict(tensors), folder / f"{name}.safetensors")
    (folder / _STATE).write_text(json.dumps(snapshot.values, indent=1), encoding="utf-8")
    for file in folder.iterdir():
        _sync(file)
    manifest = folder / _MANIFEST
    manifest.write_bytes(_manifest(folder))
    _sync(manifest)
    _sync(folder)


def _sync(path: Path) -> None:
    """Brings a file's content, or a folder's names, to the disk."""
    if os.name != "posix" and path.is_dir():  # only POSIX systems open folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _manifest(folder: Path) -> bytes:
    """The manifest that fits the files as they are."""
    hashes = {}
    for path in sorted(folder.iterdir()):
        if path.name != _MANIFEST:
            with open(path, "rb") as file:
                hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return (json.dumps({"sha256": hashes}, indent=1) + "\n").encode()


def _problem(folder: Path) -> str | None:
    """What is wrong with a checkpoint, in a few words; None where it is whole."""
    try:
        written = (folder / _MANIFEST).read_bytes()
        if written != _manifest(folder):
            return f"its files are not those of its {_MANIFEST}"
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return None


def require_no_checkpoints(folder: Path) -> None:
    """Raises InputError where a new run would mix its checkpoints with an earlier run's."""
    if Checkpoints(folder, keep=2).steps():
        raise InputError(f"{folder}: holds checkpoints of an earlier run; give --resume, or another --out.")
