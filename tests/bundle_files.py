"""TensorFlow checkpoints built byte by byte, good ones and damaged ones, for tests that a reader refuses the damage."""

import random
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minibert.formats.google.crc32c import crc32c
from minibert.formats.google.leveldb_table import encode_varint, masked

Records = list[tuple[bytes, bytes]]


def bytes_of(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return encode_varint(number << 3) + encode_varint(value % (1 << 64))
    return encode_varint(number << 3 | 2) + encode_varint(len(value)) + value


def header(num_shards: int = 1, more: bytes = b"") -> bytes:
    return field(1, num_shards) + more + field(3, field(1, 1))


def entry(
    *, dtype: int = 1, shape: Sequence[int] = (2,), shard: int = 0, offset: int = 0, size: int = 8, data: bytes = b""
) -> bytes:
    dimensions = b"".join(field(2, field(1, length)) for length in shape)
    numbers = field(1, dtype) + field(2, dimensions) + field(3, shard) + field(4, offset) + field(5, size)
    return numbers + b"\x35" + struct.pack("<I", masked(crc32c(data)))


DATA = np.arange(8, dtype=np.float32).tobytes()
GOOD: Records = [
    (b"", header()),
    (b"a/kernel", entry(data=DATA[:8])),
    (b"a/kernel/adam_m", entry(shape=(2, 2), offset=8, size=16, data=DATA[8:24])),
    (b"b", entry(shape=(), offset=24, size=4, data=DATA[24:28])),
]


def sealed(block: bytes, kind: int = 0) -> bytes:
    content = block + bytes([kind])
    return content + struct.pack("<I", masked(crc32c(content)))


def block_of(records: Records, *, compressed_names: bool = True) -> bytes:
    """A block as TensorFlow lays it out: names by what they share with the one before, a restart at each sixteenth."""
    block, restarts, last = bytearray(), [], b""
    for number, (key, value) in enumerate(records):
        shared = 0
        if number % 16 == 0 or not compressed_names:
            restarts.append(len(block))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        block += encode_varint(shared) + encode_varint(len(key) - shared) + encode_varint(len(value))
        block += key[shared:] + value
        last = key
    restarts = restarts or [0]
    return bytes(block) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table_of(blocks: Sequence[bytes], *, kind: int = 0, handles: Sequence[tuple[int, int]] | None = None) -> bytes:
    """An index from the contents of its blocks, with right checksums whatever they hold."""
    file, found = b"", []
    for block in blocks:
        found.append((len(file), len(block)))
        file += sealed(block, kind)
    listed = [
        (b"%04d" % number, encode_varint(offset) + encode_varint(size))
        for number, (offset, size) in enumerate(found if handles is None else handles)
    ]
    footer = b""
    for block in (block_of([]), block_of(listed)):
        footer += encode_varint(len(file)) + encode_varint(len(block))
        file += sealed(block)
    return file + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def place(folder: Path, index: bytes, *shards: bytes) -> Path:
    files = {f"m.data-{number:05d}-of-{len(shards):05d}": shard for number, shard in enumerate(shards)}
    for name, content in {"m.index": index, **files}.items():
        (folder / name).unlink(missing_ok=True)  # an earlier one may still be mapped
        (folder / name).write_bytes(content)
    return folder / "m"


Mutation = Callable[[random.Random], tuple[bytes, bytes]]


def mangled(data: bytes, chance: random.Random) -> bytes:
    """The data with a few bytes changed, cut out, doubled or put in."""
    bytes_ = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(bytes_) + 1)
        length = chance.choice((1, 1, 2, 4, 9))
        noise = chance.choice((b"\xff", b"\x00", b"\x80", b"\x7f", chance.randbytes(1))) * length
        kind = chance.randrange(5)
        if kind == 0:
            bytes_[at : at + length] = noise
        elif kind == 1:
            del bytes_[at : at + length]
        elif kind == 2:
            bytes_[at:at] = noise
        elif kind == 3:
            bytes_[at:at] = bytes_[max(0, at - 9 * length) : at]
        elif at < len(bytes_):
            bytes_[at] ^= 1 << chance.randrange(8)
    return bytes(bytes_)


def mutated_values(chance: random.Random) -> bytes:
    records = [(key, mangled(value, chance) if chance.random() < 0.5 else value) for key, value in GOOD]
    return table_of([block_of(records)])


def mutated_blocks(chance: random.Random) -> bytes:
    blocks = [block_of(GOOD[:2]), block_of(GOOD[2:])]
    blocks[1] = mangled(blocks[1], chance)
    return table_of(blocks)


def mutated_handles(chance: random.Random) -> bytes:
    blocks = [block_of(GOOD[:2]), block_of(GOOD[2:])]
    numbers = (0, 1, 5, len(blocks[0]), len(blocks[0]) + 5, len(blocks[1]), 2**32, 2**63, 2**64 - 1)
    handles = [(chance.choice(numbers), chance.choice(numbers)) for _ in range(chance.randint(1, 6))]
    return table_of(blocks, handles=handles)


MUTATIONS: Mapping[str, Callable[[random.Random], bytes]] = {
    "values": mutated_values,
    "blocks": mutated_blocks,
    "handles": mutated_handles,
    "file": lambda chance: mangled(table_of([block_of(GOOD)]), chance),
}
