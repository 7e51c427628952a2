"""Reading JSON files with clear errors, and writing files atomically."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from minibert.errors import InputError


def read_json_object(path: Path) -> dict[str, Any]:
    """Reads a file with one JSON object; otherwise InputError names the file and the line."""
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON ({error.msg}).") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not valid UTF-8.") from None
    except ValueError as error:  # such as a number with thousands of digits
        raise InputError(f"{path}: not readable as JSON ({error}).") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply to be a settings file.") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: contains a {type(values).__name__}, not a JSON object.")
    return values


def write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls ``write`` with a temporary file in the same folder, syncs it to disk, and renames it to ``path``.

    Raises:
        InputError: the disk is full or cannot be written; an old file at ``path`` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # the folder's default; some writers restrict it to the owner
        write(temporary)
        temporary.chmod(mode)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be written ({error}).") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
