"""The folder of a run's checkpoints: written atomically, verified before use, the oldest removed.

A checkpoint is a folder such as ``step-00000120`` with safetensors files, ``state.json``, and ``manifest.json``, which
holds the sha256 of the others. It is written under a temporary name, the manifest last, synced to disk, and renamed.
Reading it runs no code from it.
"""

import errno
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from minibert.errors import InputError
from minibert.files import is_special, read_bytes, sha256_of, sync

logger = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_STATE = "state.json"
_NAME = re.compile(r"step-(\d+)")
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The content of a checkpoint.

    Attributes:
        tensors: by file (without its suffix) and name.
        values: everything else, as JSON with NaN and infinities.
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    values: Mapping[str, Any]


class Checkpoints:
    """The checkpoints in a folder, by step.

    Args:
        folder: created when the first one is saved.
        keep: how many of the newest to keep.
        find_damage: says what is wrong with the content of an intact one, or None.
    """

    def __init__(
        self, folder: Path, *, keep: int, find_damage: Callable[[Snapshot], str | None] = lambda _: None
    ) -> None:
        self.folder = folder
        self._keep = keep
        self._find_damage = find_damage

    def save(self, step: int, snapshot: Snapshot, *, best_step: int | None) -> bool:
        """Writes a checkpoint, then removes old ones, except that of ``best_step``, and damaged newer ones.

        Returns:
            Whether it was written. If not, a warning says why, and the others are kept.
        """
        unfinished = self.folder / f"{_UNFINISHED}{_folder_name(step)}"
        path = self.folder / _folder_name(step)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_unfinished()
            _write(unfinished, snapshot)
            replaced = self.folder / f"{_UNFINISHED}replaced"
            if path.exists():  # it is damaged, or was saved at the same step before the evaluation
                os.rename(path, replaced)
            os.rename(unfinished, path)
            sync(self.folder)
            shutil.rmtree(replaced, ignore_errors=True)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            newest = self.newest_path()
            available = "there is none yet" if newest is None else f"the newest is {newest.name}"
            logger.warning("%s: cannot be written (%s); the run goes on, %s.", path, _reason(error), available)
            return False
        up_to_now = [saved for saved in self.steps() if saved <= step]
        for other in set(self.steps()) - {*up_to_now[: self._keep], best_step}:
            shutil.rmtree(self.folder / _folder_name(other), ignore_errors=True)
        return True

    def keep_only_newest(self) -> Path | None:
        """Removes all checkpoints but the newest intact one, and returns it."""
        newest = self.newest_path()
        for step in self.steps():
            if self.folder / _folder_name(step) != newest:
                shutil.rmtree(self.folder / _folder_name(step), ignore_errors=True)
        return newest

    def steps(self) -> list[int]:
        """The steps of all checkpoints, intact or damaged, newest first."""
        try:
            names = [_NAME.fullmatch(entry.name) for entry in self.folder.iterdir()]
        except OSError:
            return []
        return sorted((int(name[1]) for name in names if name), reverse=True)

    def newest_path(self) -> Path | None:
        """The folder of the newest intact checkpoint."""
        paths = (self.folder / _folder_name(step) for step in self.steps())
        return next((path for path in paths if find_damage(path) is None), None)

    def read_newest(self) -> Snapshot | None:
        """The newest intact checkpoint; a warning names each damaged one that is skipped."""
        self._finish_save()
        return next((snapshot for step in self.steps() if (snapshot := self.read(step))), None)

    def read(self, step: int) -> Snapshot | None:
        """The checkpoint of a step; None, with a warning, if it is damaged."""
        path = self.folder / _folder_name(step)
        damage = find_damage(path)
        if damage is None:
            try:
                tensors = {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}
                snapshot = Snapshot(tensors=tensors, values=json.loads((path / _STATE).read_text(encoding="utf-8")))
                damage = self._find_damage(snapshot)
                if damage is None:
                    return snapshot
            except (OSError, ValueError, SafetensorError, RecursionError) as error:
                damage = _reason(error)
        logger.warning("%s: not used, because it is damaged (%s).", path, damage)
        return None

    def _finish_save(self) -> None:
        """Gives a checkpoint its name if the run was killed when it had written all of it."""
        for unfinished in self.folder.glob(f"{_UNFINISHED}step-*"):
            path = self.folder / unfinished.name.removeprefix(_UNFINISHED)
            if not path.exists() and find_damage(unfinished) is None:
                os.rename(unfinished, path)

    def _remove_unfinished(self) -> None:
        """Removes what a run left that was killed while it saved."""
        for entry in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(entry, ignore_errors=True)


def _folder_name(step: int) -> str:
    return f"step-{step:08}"


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _write(folder: Path, snapshot: Snapshot) -> None:
    folder.mkdir()
    for name, tensors in snapshot.tensors.items():
        save_file(dict(tensors), folder / f"{name}.safetensors")
    (folder / _STATE).write_text(json.dumps(snapshot.values, indent=1), encoding="utf-8")
    for file in folder.iterdir():
        sync(file)
    manifest = folder / _MANIFEST
    manifest.write_bytes(_manifest(folder))
    sync(manifest)
    sync(folder)


def _manifest(folder: Path) -> bytes:
    """The manifest of the files as they are."""
    hashes = {}
    for path in sorted(folder.iterdir()):
        if path.name != _MANIFEST:
            if is_special(path):  # a pipe would wait for a writer
                raise OSError(errno.EINVAL, "not a regular file", str(path))
            hashes[path.name] = sha256_of(path)
    return (json.dumps({"sha256": hashes}, indent=1) + "\n").encode()


def find_damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, in a few words; None if it is intact."""
    try:
        written = read_bytes(folder / _MANIFEST, most=1 << 20)
        if written != _manifest(folder):
            return f"its files do not match its {_MANIFEST}"
    except InputError as error:
        return str(error).removesuffix(".")
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return None


def require_no_checkpoints(folder: Path) -> None:
    """Raises InputError if a new run would mix its checkpoints with those of an earlier run."""
    if Checkpoints(folder, keep=2).steps():
        raise InputError(f"{folder}: holds checkpoints of an earlier run; give --resume, or another --out.")
