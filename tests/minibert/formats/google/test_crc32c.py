"""The checksum of TensorFlow's files, against published vectors and a loop over bits."""

import random

import pytest

from minibert.formats.google.crc32c import crc32c


def crc32c_by_bits(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        # RFC 3720, appendix B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_of_published_vectors(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum


@pytest.mark.slow
def test_crc32c_equals_a_loop_over_bits_at_every_length_and_around_every_row() -> None:
    data = random.Random(0).randbytes(2 * 65536 + 130)
    lengths = [*range(200), 2047, 2048, 4095, 4096, 4097, 65535, 65537, 2 * 65536 - 1, 2 * 65536, 2 * 65536 + 129]
    for length in lengths:
        assert crc32c(data[:length]) == crc32c_by_bits(data[:length]), length
    assert crc32c(memoryview(data)[1:70000]) == crc32c_by_bits(data[1:70000])  # not aligned
