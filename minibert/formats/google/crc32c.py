"""CRC-32C, the checksum of TensorFlow's files, at the speed of numpy.

The checksum is linear over bits once its start value is folded into the first word, so a long message may be shortened
without changing its result: a word that stands ``d`` bytes before another adds to it what is left of it after ``d``
zero bytes. A row of words is folded into the next row this way, all its words at once, until one row is left; shorter
rows shorten that one again, and a plain loop takes the last bytes.

Sources: Castagnoli et al. 1993 for the polynomial; RFC 3720, appendix B.4 for test vectors; ``crc32_combine`` in zlib
for the operator that stands for a run of zero bytes.
"""

import functools

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # bits reversed, as the register shifts to the right
_ROWS = (16384, 512, 16)  # words in a row, longest first

Words = NDArray[np.uint32]


def crc32c(data: bytes | bytearray | memoryview | NDArray[np.uint8]) -> int:
    """The CRC-32C of a contiguous buffer, which is neither copied nor changed."""
    message = np.frombuffer(data, dtype=np.uint8)
    register = 0xFFFFFFFF
    for width in _ROWS:
        rows = len(message) // (4 * width)
        if rows < 2:
            continue
        words = message[: 4 * width * rows].view("<u4").reshape(rows, width)
        low, high = _zero_bytes(4 * width)
        row = words[0].copy()
        row[0] ^= register
        for following in words[1:]:
            row = low[row & 0xFFFF] ^ high[row >> 16] ^ following
        message = np.concatenate([row.astype("<u4").view(np.uint8), message[4 * width * rows :]])
        register = 0
    table = _byte_table()
    for byte in message.tobytes():
        register = table[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register ^ 0xFFFFFFFF


@functools.cache
def _byte_table() -> list[int]:
    """What one byte in the lowest bits of the register becomes when it is shifted out."""
    table = []
    for register in range(256):
        for _ in range(8):
            register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
        table.append(register)
    return table


@functools.cache
def _zero_bytes(count: int) -> tuple[Words, Words]:
    """What ``count`` zero bytes, a power of two, make of the lower and of the upper half of a register."""
    columns = [_POLYNOMIAL, *(1 << bit for bit in range(31))]  # what one zero bit makes of each bit of the register
    for _ in range((8 * count).bit_length() - 1):
        columns = [_applied(columns, column) for column in columns]
    return _all_sums(columns[:16]), _all_sums(columns[16:])


def _applied(columns: list[int], register: int) -> int:
    result = 0
    for bit, column in enumerate(columns):
        if register >> bit & 1:
            result ^= column
    return result


def _all_sums(columns: list[int]) -> Words:
    table = np.zeros(1, np.uint32)
    for column in columns:
        table = np.concatenate([table, table ^ np.uint32(column)])
    return table
