"""The folder of a run, its log, and what a run records about its machine."""

import contextlib
import itertools
import json
import logging
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from minibert.errors import InputError
from minibert.files import read_json_object, write_atomically, write_json
from minibert.training.checkpoints import Checkpoints
from tasks.run.lock import LOCK_FILE, has_content, locked
from tasks.settings import SETTINGS_FILE

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
METRICS_FILE = "metrics.json"
LOG_FILE = "train_log.jsonl"


def new_run_folder(
    out: str | None,
    task: str,
    arch: str,
    *,
    held: contextlib.ExitStack,
    resume: bool = False,
    mark: str = SETTINGS_FILE,
) -> Path:
    """Makes the folder of a run: ``out``, or the next free ``runs/TASK-ARCH-N``; locks it until ``held`` closes.

    Args:
        out: a folder to make or, with ``resume``, to continue in.
        task, arch: for the name.
        held: when it closes, a folder that is new and still empty is removed.
        resume: ``out`` may contain a run.
        mark: a pattern for a file by which a run of this kind is recognised; it tells one run from several.

    Raises:
        InputError: the folder has other content, or cannot be written, or another run is using it.
    """
    folder = Path(out) if out is not None else Path("runs")
    try:
        if out is not None:
            is_new = not folder.is_dir()
            folder.mkdir(parents=True, exist_ok=True)
        else:
            folder, is_new = _numbered(folder, f"{task}-{arch}"), True
        if is_new:
            held.callback(_remove_if_empty, folder)
        held.enter_context(locked(folder))
        if has_content(folder) and not resume:
            resumable = "continue the run in it with --resume, or " if any(folder.glob(mark)) else ""
            raise InputError(
                f"--out {folder}: is not empty; {resumable}name a new folder, so that nothing in it is lost."
            )
        remove_unfinished_files(folder)
        if has_files(folder) and not any(folder.glob(mark)):
            raise InputError(
                f"--out {folder}: contains no run of this kind; name the folder to --resume, with --seeds if "
                "it has several runs."
            )
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--out {folder}: cannot be written ({error}).") from None
    return folder


def has_files(folder: Path) -> bool:
    return any(path.is_file() and path.name != LOCK_FILE for path in folder.rglob("*"))


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # it has files in it
        folder.rmdir()


def _numbered(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        with contextlib.suppress(FileExistsError):  # two runs may start at once
            (parent / f"{name}-{number}").mkdir()
            break
    return parent / f"{name}-{number}"


def checkpoints(folder: Path) -> Checkpoints:
    """The checkpoints of a run, to look at."""
    return Checkpoints(folder / CHECKPOINTS, keep=2)


def remove_unfinished_files(folder: Path) -> None:
    """Removes files that a run left half-written when it was killed."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


# What a run writes before it has saved a model or a checkpoint.
_FIRST_FILES = (SETTINGS_FILE, "tokenizer.json", "tokenizer_config.json", LOG_FILE, "tensorboard/events.out.*")


@contextlib.contextmanager
def no_files_without_model(folder: Path) -> Iterator[None]:
    """If the block fails before it has saved a model or a checkpoint, removes what a run writes first.

    Other files, and a folder that had content before, stay as they are.
    """
    was_empty = not has_content(folder)
    try:
        yield
    except BaseException:
        has_model = (folder / "model.safetensors").exists()
        if was_empty and not has_model and not checkpoints(folder).steps():
            remove_unfinished_files(folder)
            _remove_if_empty(folder / CHECKPOINTS)
            for path in [path for pattern in _FIRST_FILES for path in folder.glob(pattern)]:
                path.unlink(missing_ok=True)
            _remove_if_empty(folder / "tensorboard")
        raise


class RunLog:
    """``train_log.jsonl``: one JSON object per line, written immediately.

    A record that cannot be written is written with a later one.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG_FILE
        self._started = time.perf_counter()
        self._unwritten = b""

    def write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps({**record, "seconds": round(time.perf_counter() - self._started, 2)}, ensure_ascii=False)
        self._unwritten += f"{line}\n".encode()
        try:
            with open(self._path, "ab", buffering=0) as file:  # unbuffered, so that it is known how much was written
                self._unwritten = self._unwritten[file.write(self._unwritten) :]
        except OSError as error:
            logger.warning("%s: cannot be written (%s); the run continues.", self._path, error.strerror)

    def truncate(self, count: int) -> None:
        """Keeps the first ``count`` records, as far as they can be read, since a resumed run will make the others
        again; ``seconds`` continues from the last one kept."""
        if self._path.exists():
            kept, seconds = [], 0.0
            for line in self._path.read_bytes().splitlines(keepends=True)[:count]:
                try:
                    seconds = float(json.loads(line)["seconds"])
                except (ValueError, TypeError, KeyError):  # damaged, as by a loss of power
                    break
                kept.append(line)
            write_atomically(self._path, lambda path: path.write_bytes(b"".join(kept)))
            self._started = time.perf_counter() - seconds


def versions() -> dict[str, str]:
    """The versions of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in ("minibert", "torch", "tokenizers", "numpy", "seqeval", "safetensors"):
        with contextlib.suppress(metadata.PackageNotFoundError):  # minibert is not installed when run from a checkout
            found[name] = metadata.version(name)
    return found


def device_name(device: torch.device) -> str:
    """The product name of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):  # on Linux the product name is in a file
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{name}, {torch.get_num_threads()} threads"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    write_atomically(folder / METRICS_FILE, lambda path: write_json(path, metrics))


# What is read again from a run's record, with its type.
_RECORDED: dict[str, type] = {
    "task": str, "arch": str, "origin": str, "seed": int, "settings": dict, "data": dict, "epochs": list, "final": dict,
    "resources": dict, "collapsed": bool, "warnings": list,
}  # fmt: skip


def read_metrics(folder: Path) -> dict[str, Any]:
    """The record of a run, as :func:`write_metrics` left it.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    path = folder / METRICS_FILE
    metrics = read_json_object(path)
    wrong = [name for name, kind in _RECORDED.items() if not isinstance(metrics.get(name), kind)]
    if not wrong:
        described = metrics["data"].values()
        hashed = all(isinstance(part, dict) and isinstance(part.get("sha256"), str) for part in described)
        figures = bool(metrics["final"]) and all(isinstance(final, dict) for final in metrics["final"].values())
        wrong = [*([] if hashed else ["data"]), *([] if figures else ["final"])]
    if wrong:
        raise InputError(
            f"{path}: is not the record of a run, without a usable {wrong[0]}; copy it from the run again, or train "
            "anew."
        )
    return metrics


def reset_peak_memory(device: torch.device) -> None:
    """Makes :func:`peak_memory` count from now on, where the system supports it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):  # Linux only
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory(device: torch.device) -> int | None:
    """The peak memory of this process in bytes: on the GPU, or in main memory if the system reports it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
    try:
        import resource  # imported here because Windows has none
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
