"""TensorFlow's V2 checkpoints ("tensor bundles"), read and written without TensorFlow.

``PREFIX.index`` is a sorted table from tensor names to entries; ``PREFIX.data-00000-of-00001`` (or several shards) has
the tensors' bytes. Every block of the index and every tensor has a checksum, and all are verified. Memory for a tensor
is allocated only after its entry has been checked against the data file. Only the small index stays in memory; data
files are memory-mapped.

Sources: TensorFlow's ``tensor_bundle.h`` (the comment at its top) for the files, and ``tensor_bundle.proto``,
``tensor_shape.proto``, ``types.proto`` and ``versions.proto`` for the index's values.
"""

import math
import mmap
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minibert.errors import InputError
from minibert.files import write_atomically
from minibert.formats.google.crc32c import crc32c
from minibert.formats.google.leveldb_table import (
    MAX_KEY_LENGTH,
    DamagedError,
    abbreviate,
    encode_varint,
    masked,
    read_table,
    varint,
    write_table,
)

__all__ = ["Entry", "TensorBundle", "crc32c", "write_bundle"]

_MAX_INDEX_SIZE = 16 << 20  # bytes; BERT-large's has 12 KiB, or three times that with optimizer state
_MAX_DIMENSIONS = 32

# DataType in types.proto.
_TYPE_NAMES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64", 9: "int64",
    10: "bool", 14: "bfloat16", 17: "uint16", 18: "complex128", 19: "float16", 20: "resource", 21: "variant",
    22: "uint32", 23: "uint64",
}  # fmt: skip
_DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in (
        "float32", "float64", "int32", "uint8", "int16", "int8", "int64", "bool", "bfloat16", "float16",
    )
}  # fmt: skip
_TYPE_NUMBERS = {_DTYPES[name]: number for number, name in _TYPE_NAMES.items() if name in _DTYPES}


@dataclass(frozen=True)
class Entry:
    """The location and type of a tensor.

    Attributes:
        dtype: torch's name, or TensorFlow's name of an unsupported type (``string``).
        shape: its dimensions.
        shard: the number of the data file.
        offset: of its first byte in that file.
        size: in bytes.
        checksum: masked CRC-32C of its bytes.
        sliced: whether it is stored in slices, under other names.
    """

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


# ---- The bundle


class TensorBundle:
    """A checkpoint on disk. Opening it reads and checks the whole index; tensors are read on demand.

    Args:
        prefix: the path without ``.index`` and ``.data-...``, as in TensorFlow (``.../bert_model.ckpt``).

    Raises:
        InputError: a file is missing or damaged, or uses an unsupported feature.
    """

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        self.prefix = Path(prefix)
        self._index = Path(f"{self.prefix}.index")
        try:
            num_shards, entries = _parse_index(self._read_index())
        except DamagedError as error:
            raise InputError(f"{self._index}: {error}; download or save the checkpoint again.") from None
        self._num_shards = num_shards
        shards = {entry.shard for entry in entries.values() if not entry.sliced}
        self._files = {shard: self._map(shard) for shard in sorted(shards)}
        try:
            _check_locations(entries, {shard: len(file) for shard, file in self._files.items()})
        except DamagedError as error:
            raise InputError(
                f"{self._index}: {error}; the index and the data are from different checkpoints or incomplete; "
                "download both again."
            ) from None
        # Slices of a tensor have names that begin with a zero byte.
        self._entries = {name: entry for name, entry in entries.items() if not name.startswith("\0")}

    def names(self) -> list[str]:
        """The names of all tensors, sorted, including unsupported ones."""
        return list(self._entries)

    def entry(self, name: str) -> Entry:
        """The entry of a tensor; InputError if there is none of this name."""
        if name not in self._entries:
            raise InputError(f"{self._index}: has no tensor {name!r}.")
        return self._entries[name]

    def read(self, name: str) -> Tensor:
        """A copy of a tensor.

        Raises:
            InputError: there is no such tensor, its type is not supported, it is stored in slices, or it is damaged.
        """
        entry = self.entry(name)
        if entry.sliced:
            raise InputError(
                f"{self._index}: {name!r} is stored in slices (a partitioned variable), which are not supported; save "
                "the checkpoint again without a partitioner."
            )
        if entry.dtype not in _DTYPES:
            raise InputError(f"{self._index}: {name!r} is of type {entry.dtype}, which is not supported.")
        dtype = _DTYPES[entry.dtype]
        file = self._files[entry.shard]
        # numpy's memory, because a freed block of torch's, which is aligned, is not reused for the next tensor.
        data = torch.from_numpy(np.array(file[entry.offset : entry.offset + entry.size]))
        if isinstance(file.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            file.base.madvise(mmap.MADV_DONTNEED)  # the mapped pages are no longer needed
        if masked(crc32c(data.numpy())) != entry.checksum:
            raise InputError(
                f"{self._shard_path(entry.shard)}: the bytes of {name!r} do not match their checksum; the file is "
                "damaged, download it again."
            )
        if dtype == torch.bool and bool((data > 1).any()):
            raise InputError(
                f"{self._shard_path(entry.shard)}: {name!r} contains a boolean that is neither 0 nor 1; save the "
                "checkpoint again."
            )
        # torch cannot view an empty numpy array.
        return data.view(dtype).reshape(entry.shape) if entry.size else torch.empty(entry.shape, dtype=dtype)

    def _read_index(self) -> bytes:
        try:
            status = self._index.stat()
            regular, small = stat.S_ISREG(status.st_mode), status.st_size <= _MAX_INDEX_SIZE
            if regular and small:
                with open(self._index, "rb") as file:
                    return file.read(status.st_size)
        except FileNotFoundError:
            raise InputError(
                f"{self._index}: no such file; pass a TensorFlow checkpoint as the common prefix of its .index and "
                ".data files."
            ) from None
        except (OSError, ValueError) as error:  # ValueError: the path contains a zero byte
            raise InputError(f"{self._index}: cannot be read ({error}); check the path and its permissions.") from None
        what = f"larger than {_MAX_INDEX_SIZE >> 20} MiB" if regular else "not a file"
        raise InputError(f"{self._index}: {what}, so not the index of a checkpoint; check the path.")

    def _shard_path(self, shard: int) -> Path:
        return Path(f"{self.prefix}.data-{shard:05d}-of-{self._num_shards:05d}")

    def _map(self, shard: int) -> NDArray[np.uint8]:
        path = self._shard_path(shard)
        try:
            if path.stat().st_size == 0:  # an empty file cannot be mapped
                return np.zeros(0, np.uint8)
            return np.memmap(path, np.uint8, mode="r")
        except FileNotFoundError:
            raise InputError(
                f"{path}: missing, though {self._index.name} refers to it; download this file too."
            ) from None
        except (OSError, ValueError) as error:  # numpy converts some OSErrors to ValueError
            raise InputError(f"{path}: cannot be read ({error}); check the path and its permissions.") from None


def _check_locations(entries: Mapping[str, Entry], lengths: Mapping[int, int]) -> None:
    """Checks that each tensor lies within its shard, and that no two overlap."""
    ranges = sorted(
        (entry.shard, entry.offset, entry.offset + entry.size, name)
        for name, entry in entries.items()
        if not entry.sliced
    )
    for shard, _, end, name in ranges:
        if end > lengths[shard]:
            raise DamagedError(
                f"{abbreviate(name)} ends at byte {end} of data shard {shard}, which has {lengths[shard]}"
            )
    filled = [location for location in ranges if location[1] < location[2]]
    for (shard, _, end, name), (next_shard, begin, _, next_name) in pairwise(filled):
        if shard == next_shard and begin < end:
            raise DamagedError(f"{abbreviate(name)} and {abbreviate(next_name)} overlap in data shard {shard}")


# ---- The index: a header under the empty name, then an entry for each tensor


def _parse_index(file: bytes) -> tuple[int, dict[str, Entry]]:
    """The number of shards, and the entries by name."""
    records = read_table(file)
    first, header = next(records, (None, b""))
    if first != b"":
        raise DamagedError("does not start with the header of a TensorFlow checkpoint")
    num_shards = _parse_header(header)
    entries = {}
    for key, content in records:
        name = _text(key)
        try:
            entries[name] = _parse_entry(content, num_shards)
        except DamagedError as error:
            raise DamagedError(f"the entry of {abbreviate(name)}: {error}") from None
    return num_shards, entries


def _text(key: bytes) -> str:
    if key.startswith(b"\0"):  # a slice of a tensor: not text, and never looked up by name
        return key.decode("latin-1")
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError:
        raise DamagedError(f"the name {abbreviate(key)} is not UTF-8") from None


# ---- The values: three small protocol buffer messages

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def _fields(message: bytes, kinds: Mapping[int, int]) -> Iterator[tuple[int, int, bytes]]:
    """The fields of a message in ``kinds``: field number, and value as a number or as bytes.

    Args:
        message: the bytes of the message.
        kinds: field number -> wire type; other fields are skipped.
    """
    position, end = 0, len(message)
    while position < end:
        tag, position = varint(message, position, end)
        field, kind = tag >> 3, tag & 7
        number, content = 0, b""
        if kind == _VARINT:
            number, position = varint(message, position, end)
        elif kind in (_FIXED32, _FIXED64, _BYTES):
            if kind == _BYTES:
                size, position = varint(message, position, end)
            else:
                size = 4 if kind == _FIXED32 else 8
            if size > end - position:
                raise DamagedError("a field is truncated")
            content = message[position : position + size]
            position += size
            if kind == _FIXED32:
                (number,) = struct.unpack("<I", content)
        else:
            raise DamagedError(f"a field of unknown kind {kind}")
        if field in kinds:
            if kind != kinds[field]:
                raise DamagedError(f"field {field} is of the wrong kind")
            yield field, number, content


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _parse_header(message: bytes) -> int:
    """BundleHeaderProto: returns the number of shards; the other fields must have their only known values."""
    num_shards = 0
    for field, number, content in _fields(message, {1: _VARINT, 2: _VARINT, 3: _BYTES}):
        if field == 1:
            num_shards = _signed(number)
        elif field == 2 and number != 0:
            raise DamagedError("written on a big-endian machine, which is not supported")
        elif field == 3:
            for _, min_consumer, _ in _fields(content, {2: _VARINT}):
                if min_consumer > 1:
                    raise DamagedError(f"requires version {min_consumer} of the format; only version 1 is supported")
    if not 1 <= num_shards <= 99999:
        raise DamagedError(f"its header gives {num_shards} data files")
    return num_shards


def _parse_entry(message: bytes, num_shards: int) -> Entry:
    """BundleEntryProto, checked for consistency."""
    dtype = shard = offset = size = checksum = 0
    shape: tuple[int, ...] = ()
    sliced = False
    kinds = {1: _VARINT, 2: _BYTES, 3: _VARINT, 4: _VARINT, 5: _VARINT, 6: _FIXED32, 7: _BYTES}
    for field, number, content in _fields(message, kinds):
        if field == 1:
            dtype = number
        elif field == 2:
            shape = _parse_shape(content)
        elif field == 3:
            shard = _signed(number)
        elif field == 4:
            offset = _signed(number)
        elif field == 5:
            size = _signed(number)
        elif field == 6:
            checksum = number
        else:
            sliced = True
    if not 0 <= shard < num_shards:
        raise DamagedError(f"data shard {shard} of {num_shards}")
    if offset < 0 or size < 0:
        raise DamagedError(f"{size} bytes at byte {offset}")
    name = _TYPE_NAMES.get(dtype, f"number {dtype}")
    if name in _DTYPES:
        item = _DTYPES[name].itemsize
        if math.prod(max(length, 1) for length in shape) * item >= 1 << 63:
            raise DamagedError(f"the shape {shape} is larger than any memory")
        if not sliced and size != math.prod(shape) * item:
            raise DamagedError(f"{name} of shape {shape} does not take {size} bytes")
    return Entry(name, shape, shard, offset, size, checksum, sliced)


def _parse_shape(message: bytes) -> tuple[int, ...]:
    """TensorShapeProto: field 2 is a repeated message whose field 1 is a length; field 3 is unknown_rank."""
    shape = []
    for field, number, content in _fields(message, {2: _BYTES, 3: _VARINT}):
        if field == 3 and number:
            raise DamagedError("a shape of unknown rank")
        if field == 2:
            length = 0
            for _, number, _ in _fields(content, {1: _VARINT}):
                length = _signed(number)
            shape.append(length)
    if len(shape) > _MAX_DIMENSIONS:
        raise DamagedError(f"a shape of {len(shape)} dimensions")
    if min(shape, default=0) < 0:
        raise DamagedError(f"the shape {tuple(shape)} has a negative length")
    return tuple(shape)


# ---- Writing


def write_bundle(prefix: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
    """Writes a TensorFlow checkpoint with one shard; each file is written atomically, the index last.

    Raises:
        ValueError: a tensor's name, dtype or number of dimensions cannot be written.
        OSError: the files cannot be written.
    """
    records = [(b"", _field(1, 1) + _field(3, _field(1, 1)))]  # one shard, format version 1
    for name, tensor in tensors.items():
        if tensor.dtype not in _TYPE_NUMBERS:
            raise ValueError(f"{name!r}: {tensor.dtype} cannot be written; convert it to one of {list(_TYPE_NUMBERS)}.")
        if not 0 < len(name.encode()) <= MAX_KEY_LENGTH or "\0" in name:
            raise ValueError(f"{name!r} cannot be a tensor's name in a TensorFlow checkpoint.")
        if tensor.dim() > _MAX_DIMENSIONS:
            raise ValueError(f"{name!r}: {tensor.dim()} dimensions cannot be written, only {_MAX_DIMENSIONS}.")

    def write_data(path: Path) -> None:
        offset = 0
        with open(path, "wb") as file:
            for name, tensor in sorted(tensors.items(), key=lambda item: item[0].encode()):
                data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
                file.write(data.data)
                shape = b"".join(_field(2, _field(1, length)) for length in tensor.shape)
                entry = _field(1, _TYPE_NUMBERS[tensor.dtype]) + _field(2, shape)
                entry += _field(4, offset) + _field(5, data.size) + b"\x35" + struct.pack("<I", masked(crc32c(data)))
                records.append((name.encode(), entry))
                offset += data.size

    write_atomically(Path(f"{prefix}.data-00000-of-00001"), write_data)
    index = write_table(records)
    write_atomically(Path(f"{prefix}.index"), lambda path: path.write_bytes(index))


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return encode_varint(number << 3 | _VARINT) + encode_varint(value)
    return encode_varint(number << 3 | _BYTES) + encode_varint(len(value)) + value
