"""The folder of a run, its log, and what a run records about its machine."""

import contextlib
import itertools
import json
import logging
import platform
import shutil
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
from minibert.files import write_atomically, write_json
from tasks.settings import SETTINGS_FILE

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
METRICS_FILE = "metrics.json"


def new_run_folder(out: str | None, task: str, arch: str, *, resume: bool = False, mark: str = SETTINGS_FILE) -> Path:
    """Makes the folder of a run: ``out``, or the next free ``runs/TASK-ARCH-N``.

    Args:
        out: a folder to make or, with ``resume``, to continue in.
        task, arch: for the name.
        resume: ``out`` may contain a run.
        mark: a pattern for a file by which a run of this kind is recognised; it tells one run from several.

    Raises:
        InputError: the folder has other content, or cannot be written.
    """
    folder = Path(out) if out is not None else Path("runs")
    try:
        if out is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()) and not resume:
                resumable = "continue the run in it with --resume, or " if any(folder.glob(mark)) else ""
                raise InputError(
                    f"--out {folder}: is not empty; {resumable}name a new folder, so that nothing in it is lost."
                )
            remove_unfinished_files(folder)
            if any(path.is_file() for path in folder.rglob("*")) and not any(folder.glob(mark)):
                raise InputError(
                    f"--out {folder}: contains no run of this kind; name the folder to --resume, with --seeds if "
                    "it has several runs."
                )
        else:
            folder = _numbered(folder, f"{task}-{arch}")
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--out {folder}: cannot be written ({error}).") from None
    return folder


def _numbered(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        with contextlib.suppress(FileExistsError):  # two runs may start at once
            (parent / f"{name}-{number}").mkdir()
            break
    return parent / f"{name}-{number}"


def remove_unfinished_files(folder: Path) -> None:
    """Removes files that a run left half-written when it was killed."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def no_folder_without_model(folder: Path) -> Iterator[None]:
    """Removes a new folder if the block fails before it has saved a model or a checkpoint.

    A folder that had content before stays.
    """
    was_empty = not any(folder.iterdir())
    try:
        yield
    except BaseException:
        if was_empty and not any((folder / name).exists() for name in ("model.safetensors", CHECKPOINTS)):
            shutil.rmtree(folder, ignore_errors=True)
        raise


class RunLog:
    """``train_log.jsonl``: one JSON object per line, written immediately.

    A record that cannot be written is written with a later one.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "train_log.jsonl"
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
        """Keeps the first ``count`` records, since a resumed run will make the others again; ``seconds`` continues
        from the last one kept."""
        if self._path.exists():
            kept = self._path.read_text(encoding="utf-8").splitlines(keepends=True)[:count]
            write_atomically(self._path, lambda path: path.write_text("".join(kept), encoding="utf-8"))
            if kept:
                self._started = time.perf_counter() - json.loads(kept[-1])["seconds"]


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
