"""Reads files that ``torch.save`` wrote, if they contain only plain tensors and settings.

``torch.load(weights_only=True)`` does not run arbitrary code, but its allow list is longer than a checkpoint needs and
includes calls that can allocate any amount of memory; and it trusts the sizes in the file. So the file is scanned
first: which functions it would call, how deeply it is nested, and whether its archive is intact. What was scanned is
what is read: the archive has the one layout that all readers read alike, and the pickle that torch finds in it is the
scanned one.
"""

import argparse
import io
import os
import pickletools
import re
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from minibert.errors import InputError
from minibert.formats.names import check_number
from minibert.formats.zip_layout import check_entries, check_layout

_ZIP_START = b"PK\x03\x04"  # of the zip archives that torch.save writes since torch 1.6
_OLDER_PICKLES = 5  # an older file is a magic number, a version, a platform, the object, its storages' keys; then data
_MOST_CONTAINERS = 50_000  # about 10,000 tensors; hashing tuples nested ten times deeper overflows Python's stack
_MOST_OPERATIONS = 600_000  # a tensor takes about 40
_MOST_PICKLE_BYTES = 32 << 20

_CALLS = {
    "collections OrderedDict",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
}
_CONTAINERS = {"EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "LIST", "DICT", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_LOOKUPS = {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"}
_STORAGE = re.compile(r"torch [A-Z][A-Za-z0-9]*Storage")
_NAMESPACE = "argparse Namespace"


def read_torch_file(path: Path, *, allow_namespace: bool = False) -> Any:
    """The object in a file, with its tensors memory-mapped where the file allows it.

    Args:
        path: the file.
        allow_namespace: whether the file may contain an ``argparse.Namespace``.

    Raises:
        InputError: it cannot be read, is damaged, or contains anything else. No code in it has run.
    """
    try:
        if not path.is_file() and path.exists():  # a pipe would wait for ever
            raise ValueError("it is not a regular file")
        with open(path, "rb") as file:
            before = os.fstat(file.fileno())
            is_archive = file.read(len(_ZIP_START)) == _ZIP_START
            file.seek(0)
            calls = _calls_of_archive(path, file) if is_archive else _calls_of_older_file(file)
        allowed = _CALLS | ({_NAMESPACE} if allow_namespace else set())
        if odd := sorted(call for call in calls if call not in allowed and not _STORAGE.fullmatch(call)):
            raise ValueError(f"it contains {odd[0].replace(' ', '.')[:80]!r}")
        with torch.serialization.safe_globals([argparse.Namespace] if allow_namespace else []):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
        if _version(os.stat(path)) != _version(before):
            raise ValueError("it changed while it was read")
        return content
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except Exception as error:  # an untrusted file can make the readers raise anything
        reason = (str(error).strip().split("\n")[0] or type(error).__name__)[:300]
        if "lightning" in reason.lower():
            raise InputError(
                f"{path}: a PyTorch Lightning checkpoint with more than weights, which runs code when read ({reason}). "
                "Keep its weights alone, where Lightning is installed: import torch; torch.save(torch.load(FILE, "
                "weights_only=False)['state_dict'], 'pytorch_model.bin')"
            ) from None
        raise InputError(
            f"{path}: not a file of plain tensors ({reason}). Files that run code when read are refused: save it as "
            "safetensors, or with its weights and settings only; if it is damaged, download it again."
        ) from None


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _calls_of_archive(path: Path, file: IO[bytes]) -> set[str]:
    """The names that an archive's pickles look up, after checking its layout, its sizes and every record's checksum."""
    check_layout(file)
    calls: set[str] = set()
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        check_entries(entries, path)
        for entry in entries:
            if entry.filename.lower().endswith(".pkl"):
                if entry.file_size > _MOST_PICKLE_BYTES:
                    raise ValueError(f"{entry.filename} has {entry.file_size:,} bytes")
                pickle = archive.read(entry)
                calls |= _calls_of_pickle(io.BytesIO(pickle))
                if pickle != _as_torch_reads(path, entry.filename):
                    raise ValueError("two readers read it differently")
            with archive.open(entry) as record:
                while record.read(1 << 20):
                    pass  # reading to the end verifies the checksum, which memory-mapping does not
    return calls


def _as_torch_reads(path: Path, name: str) -> bytes:
    """A record as ``torch.load`` finds it."""
    record: bytes = torch._C.PyTorchFileReader(str(path)).get_record(name.partition("/")[2])
    return record


def _calls_of_older_file(file: IO[bytes]) -> set[str]:
    calls: set[str] = set()
    for _ in range(_OLDER_PICKLES):
        calls |= _calls_of_pickle(file)
    return calls


def _calls_of_pickle(file: IO[bytes]) -> set[str]:
    """All names (``module name``) that a pickle looks up, found without running it."""
    calls: set[str] = set()
    containers = 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name == "GLOBAL":
            calls.add(str(argument))
        elif opcode.name in _CONTAINERS:
            containers += 1
            if containers > _MOST_CONTAINERS:
                raise ValueError("it is nested too deeply")
        elif opcode.name in _LOOKUPS:
            raise ValueError(f"it contains the pickle operation {opcode.name}")
        if number > _MOST_OPERATIONS:
            raise ValueError("its pickle is too long")
    return calls


def plain_tensors(state: Any, path: Path) -> dict[str, Tensor]:
    """Checks that ``state`` is a dictionary from names to tensors, and returns it.

    Raises:
        InputError: it is something else, or its tensors claim more bytes than the file has.
    """
    if not isinstance(state, dict) or not all(type(name) is str and len(name) <= 300 for name in state):
        raise InputError(f"{path}: is not a dictionary of tensors.")
    check_number(len(state), path)
    total = 0
    for name, value in state.items():
        if not (isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"):
            raise InputError(f"{path}: is not a dictionary of tensors: {name!r} is not one.")
        total += value.numel() * value.element_size()
    if total > 2 * path.stat().st_size:  # twice: a tied decoder and its embedding are one in the file
        raise InputError(f"{path}: its tensors claim {total:,} bytes, more than the file has; it is damaged.")
    return state
