"""Reading files of bounded size with clear errors, and writing files atomically."""

import contextlib
import hashlib
import json
import math
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from minibert.errors import InputError, WriteError

_MOST_BYTES = 64 << 20  # of a JSON file; a tokenizer.json of 250,000 pieces has 17 MB
_MOST_VALUES = 3_000_000  # in a JSON file: each takes up to 64 bytes in Python


def read_bytes(path: Path, *, most: int) -> bytes:
    """The content of a regular file: anything else, such as a pipe or a device, might never end.

    Raises:
        InputError: there is no such file, it is not a regular one, or it has more than ``most`` bytes.
    """
    try:
        # A pipe would wait for a writer at open.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"{path}: not a regular file; name the file itself.")
            content = file.read(most + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:  # a null character in its name
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a file name ({error}).") from None
    if len(content) > most:
        raise InputError(f"{path}: has more than {most:,} bytes, too many for what it should be; check the file.")
    return content


def sha256_of(path: Path) -> str:
    """The sha256 of a file, of any size."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_lines(path: Path, *, most: int) -> list[str]:
    """The lines of a regular file in UTF-8, without line feeds; see :func:`read_bytes`."""
    try:
        return read_bytes(path, most=most).decode("utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not valid UTF-8.") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Reads a file with one JSON object; otherwise InputError names the file and the line."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: contains a {type(values).__name__}, not a JSON object.")
    return values


def read_json(path: Path) -> Any:
    """Reads a file with one JSON value; otherwise InputError names the file and the line."""
    raw = read_bytes(path, most=_MOST_BYTES)
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > _MOST_VALUES:
        raise InputError(f"{path}: has more than {_MOST_VALUES:,} values, too many for what it should be.")
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON ({error.msg}).") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not valid UTF-8.") from None
    except ValueError as error:  # such as a number with thousands of digits
        raise InputError(f"{path}: not readable as JSON ({error}).") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply to be a settings file.") from None


def read_json_lines(path: Path) -> list[Any]:
    """The values of a file with one in each line, in UTF-8. Unlike ``str.splitlines``, lines end at line feeds alone:
    a text in JSON may contain U+2028, U+0085 and such.

    Raises:
        ValueError: a line is damaged.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return [json.loads(line) for line in file]


def write_json(path: Path, values: object) -> None:
    """Writes an object, in which numbers that JSON lacks, such as a limit of infinity, become texts."""
    text = json.dumps(without_infinities(values), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def without_infinities(value: object) -> object:
    """``value`` as :func:`write_json` writes it."""
    if isinstance(value, Mapping):
        return {key: without_infinities(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_infinities(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def is_special(path: Path) -> bool:
    """Whether a path is there and is neither a regular file nor a link to one: a pipe, a device, a folder."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def replace_whole(target: Path, written: Path) -> None:
    """Syncs a file that is written to disk, and renames it to ``target``; an old file's permissions are kept.

    Raises:
        OSError: it cannot be done; an old file is untouched.
    """
    if target.exists():
        written.chmod(stat.S_IMODE(target.stat().st_mode))
    sync(written)
    os.replace(written, target)


def sync(path: Path) -> None:
    """Flushes a file's content, or a folder's entries, to disk."""
    is_posix = os.name == "posix"
    if path.is_dir() and not is_posix:  # other systems cannot open a folder
        return
    handle = os.open(path, os.O_RDONLY if is_posix else os.O_RDWR)  # others flush only what is open for writing
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they are not there.

    Raises:
        InputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made ({error.strerror}); name another folder.") from None


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls ``write`` with a temporary file in the same folder, syncs it to disk, and renames it to ``path``.

    A link stays, and the file that it names is replaced. An old file's permissions are kept.

    Raises:
        WriteError: the disk is full or cannot be written; an old file at ``path`` is untouched.
        InputError: ``path`` is a pipe, a device or a folder, which is never replaced.
    """
    if is_special(path):
        raise InputError(f"{path}: is not a regular file, so it is not replaced; name another file.")
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a killed process with the same number
        temporary.touch(exist_ok=False)  # never through a link that someone else has put there
        mode = temporary.stat().st_mode  # the folder's default: some writers restrict it to the owner
        write(temporary)
        temporary.chmod(stat.S_IMODE(mode))
        replace_whole(target, temporary)
    except (OSError, SafetensorError) as error:
        raise WriteError(f"{path}: cannot be written ({error}).") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path, *, synced: bool = True) -> Iterator[Path]:
    """A folder that appears whole at the end of the block, or not at all; the block fills the one it is given.

    Args:
        path: of the folder; it may be there, if it is empty.
        synced: whether it is on the disk before it appears, so that a power cut finds it whole, too.

    Raises:
        InputError: ``path`` is there, and is not an empty folder.
        OSError: it cannot be written.
    """
    path = path.absolute()
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: exists and is not an empty folder; choose another.")
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(staging, ignore_errors=True)  # of a killed process with the same number
    staging.mkdir()
    try:
        yield staging
        for written in (*staging.rglob("*"), staging) if synced else ():
            sync(written)
        if path.is_dir():
            path.rmdir()
        os.replace(staging, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
