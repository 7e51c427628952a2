"""CRC-32C, the checksum of TensorFlow's files, vectorised with numpy.

Once its start value is folded into the first word, the checksum is linear over bits. So a word can be replaced by its
effect on a later word: its checksum after ``d`` zero bytes, where ``d`` is the distance. The message is viewed as rows
of words, and each row is folded into the next, all words at once, until one row is left. That row is folded again with
shorter rows, and a plain loop handles the last bytes.

Sources: Castagnoli et al. 1993 for the polynomial; RFC 3720, appendix B.4 for test vectors; ``crc32_combine`` in zlib
for the operator of a run of zero bytes.
"""

import functools

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # bits reversed, as the register shifts to the right
_ROWS = (16384, 512, 16)  # words in a row, longest first

Words = NDArray[np.uint32]


def crc32c(data: bytes | bytearray | memoryview | NDArray[np.uint8]) -> int:
    """The CRC-32C of a contiguous buffer."""
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
    """The register after shifting out each value of its lowest byte."""
    table = []
    for register in range(256):
        for _ in range(8):
            register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
        table.append(register)
    return table


@functools.cache
def _zero_bytes(count: int) -> tuple[Words, Words]:
    """The effect of ``count`` zero bytes (a power of two) on the lower and on the upper half of the register."""
    columns = [_POLYNOMIAL, *(1 << bit for bit in range(31))]  # the effect of a zero bit on each bit of the register
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
