"""leveldb's sorted table of keys and values, which TensorFlow uses for the index of a checkpoint.

The file is a sequence of blocks, each with a checksum: data blocks, one for filters, one that lists the data blocks,
and a footer with the locations of the last two. Files are untrusted: each length is checked against the available
bytes before use, and no byte is read for two entries.

Source: leveldb's ``doc/table_format.md``, ``util/coding.h`` and ``util/crc32c.h``.
"""

import struct
from collections.abc import Iterator, Sequence

from minibert.formats.google.crc32c import crc32c

MAX_KEY_LENGTH = 4096  # bytes

_FOOTER = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER = 5  # after each block: its compression and checksum


class DamagedError(Exception):
    """The bytes are damaged; the caller adds the file's name."""


def abbreviate(name: str | bytes) -> str:
    """A name for a message, abbreviated if it is long."""
    return repr(name) if len(name) <= 100 else repr(name[:97])[:-1] + "...'"


# ---- Reading


def read_table(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records of a table, sorted by key.

    Raises:
        DamagedError: the bytes are not a table, or use a compression.
    """
    if len(file) < _FOOTER or struct.unpack("<Q", file[-8:])[0] != _MAGIC:
        raise DamagedError("not the index of a TensorFlow V2 checkpoint, or cut off")
    begin = len(file) - _FOOTER
    filters, position = _handle(file, begin, len(file) - 8)
    blocks, _ = _handle(file, position, len(file) - 8)
    for _ in _block(file, filters, begin):
        pass  # there are no filters; this checks the block
    last_key: bytes | None = None
    first_free = length_of_keys = 0
    for _, value in _block(file, blocks, begin):
        handle, _ = _handle(value, 0, len(value))
        if handle[0] < first_free:  # so that no block is read twice
            raise DamagedError(f"its blocks overlap or are out of order at byte {handle[0]}")
        first_free = sum(handle) + _TRAILER
        for key, content in _block(file, handle, begin):
            if last_key is not None and key <= last_key:
                raise DamagedError(f"the name {abbreviate(key)} appears twice or out of order")
            last_key = key
            length_of_keys += len(key)
            if length_of_keys > 16 * len(file):  # keys share prefixes, so a small file could have huge keys
                raise DamagedError("its names are too long for a checkpoint")
            yield key, content


def _handle(data: bytes, position: int, end: int) -> tuple[tuple[int, int], int]:
    """The offset and the size of a block, and the position after them."""
    offset, position = varint(data, position, end)
    size, position = varint(data, position, end)
    return (offset, size), position


def _block(file: bytes, handle: tuple[int, int], limit: int) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block; each key stores only what differs from the previous one."""
    offset, size = handle
    if offset + size + _TRAILER > limit:
        raise DamagedError(f"a block of {size} bytes at byte {offset} does not fit into the file")
    block, kind = file[offset : offset + size], file[offset + size]
    (checksum,) = struct.unpack_from("<I", file, offset + size + 1)
    if masked(crc32c(file[offset : offset + size + 1])) != checksum:
        raise DamagedError(f"the block at byte {offset} does not match its checksum")
    if kind != 0:
        what = "compressed with snappy, as in TensorFlow 1.0 and 1.1" if kind == 1 else f"of unknown kind {kind}"
        raise DamagedError(f"the block at byte {offset} is {what}, but only uncompressed blocks are supported")
    restarts = struct.unpack_from("<I", block, size - 4)[0] if size >= 4 else size
    end = size - 4 - 4 * restarts
    if end < 0:
        raise DamagedError(f"the block at byte {offset} has no room for its own table")
    position, key = 0, b""
    while position < end:
        shared, position = varint(block, position, end)
        own, position = varint(block, position, end)
        length, position = varint(block, position, end)
        if shared > len(key) or shared + own > MAX_KEY_LENGTH or own + length > end - position:
            raise DamagedError(f"the block at byte {offset} has an entry with impossible lengths")
        key = key[:shared] + block[position : position + own]
        position += own + length
        yield key, block[position - length : position]


def varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Decodes a number of up to 64 bits in groups of seven, lowest first; returns it and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise DamagedError("truncated within a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, position
    raise DamagedError("has a number of more than 64 bits")


def masked(checksum: int) -> int:
    """A checksum in its stored form (leveldb's ``crc32c::Mask``), which suits bytes that contain checksums."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


# ---- Writing


def write_table(records: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A table with one data block; the records must be sorted by key."""
    file = bytearray()

    def append(records: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Adds a block, and returns its handle."""
        offset = len(file)
        file.extend(_block_with_trailer(records))
        return encode_varint(offset) + encode_varint(len(file) - offset - _TRAILER)

    data = append(records)
    filters = append([])
    blocks = append([(records[-1][0], data)])
    file += (filters + blocks).ljust(_FOOTER - 8, b"\0") + struct.pack("<Q", _MAGIC)
    return bytes(file)


def _block_with_trailer(records: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A block with its trailer. Every key is written in full and is a restart point, which the format allows."""
    block = bytearray()
    restarts = []
    for key, value in records:
        restarts.append(len(block))
        block += encode_varint(0) + encode_varint(len(key)) + encode_varint(len(value)) + key + value
    restarts = restarts or [0]
    block += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts)) + b"\0"  # 0: not compressed
    return bytes(block) + struct.pack("<I", masked(crc32c(block)))


def encode_varint(value: int) -> bytes:
    """The inverse of :func:`varint`."""
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
