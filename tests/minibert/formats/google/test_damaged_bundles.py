"""TensorFlow checkpoints that nobody should have made: refused with the reason, in bounded memory."""

import random
import struct
import tracemalloc
from pathlib import Path

import pytest
import torch
from bundle_files import DATA, GOOD, MUTATIONS, block_of, bytes_of, entry, field, header, mangled, place, table_of
from conftest import GOLDEN
from torch import Tensor

from minibert.errors import InputError
from minibert.formats.google.crc32c import crc32c
from minibert.formats.google.leveldb_table import encode_varint, masked, write_table
from minibert.formats.google.tensor_bundle import TensorBundle, write_bundle


def read_all(prefix: Path) -> dict[str, Tensor]:
    bundle = TensorBundle(prefix)
    return {name: bundle.read(name) for name in bundle.names()}


def expected() -> dict[str, Tensor]:
    values = torch.arange(8.0)
    return {"a/kernel": values[:2], "a/kernel/adam_m": values[2:6].view(2, 2), "b": values[6]}


@pytest.mark.parametrize(
    "index",
    [
        table_of([block_of(GOOD)]),
        table_of([block_of(GOOD, compressed_names=False)]),
        table_of([block_of(GOOD[:2]), block_of(GOOD[2:3]), block_of(GOOD[3:])]),
        table_of([block_of([(b"", header(more=field(99, b"from the future"))), *GOOD[1:]])]),
        write_table(GOOD),
    ],
    ids=["shared names", "whole names", "three blocks", "unknown field", "as we write it"],
)
def test_the_builder_of_these_files_builds_good_ones(index: bytes, tmp_path: Path) -> None:
    read = read_all(place(tmp_path, index, DATA))
    assert read.keys() == expected().keys()
    assert all(torch.equal(read[name], value) for name, value in expected().items())


def one(**changes: object) -> bytes:
    """An index of one entry, which differs from a good one in ``changes``."""
    return table_of([block_of([(b"", header()), (b"a", entry(**{"data": DATA[:8], **changes}))])])  # type: ignore[arg-type]


BAD_INDEXES: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "cut off"),
    "zeros": (bytes(4096), "not the index"),
    "no records": (table_of([block_of([])]), "header"),
    "no blocks": (table_of([]), "header"),
    "no header": (table_of([block_of(GOOD[1:])]), "header"),
    "empty header": (table_of([block_of([(b"", b"")])]), "0 data files"),
    "negative shards": (table_of([block_of([(b"", header(-1))])]), "-1 data files"),
    "many shards": (table_of([block_of([(b"", header(10**6))])]), "1000000 data files"),
    "big-endian": (table_of([block_of([(b"", header(more=field(2, 1)))])]), "big-endian"),
    "newer version": (table_of([block_of([(b"", field(1, 1) + field(3, field(2, 2)))])]), "version 2"),
    "snappy": (table_of([block_of(GOOD)], kind=1), "snappy"),
    "unknown compression": (table_of([block_of(GOOD)], kind=7), "unknown kind 7"),
    "endless name": (table_of([block_of([*GOOD[:1], (b"x" * 4000, b"\x0b")])]), r"x\.\.\.'"),
    "duplicate name": (table_of([block_of([*GOOD, GOOD[-1]])]), "twice or out of order"),
    "duplicate name in two blocks": (table_of([block_of(GOOD), block_of(GOOD[-1:])]), "twice or out of order"),
    "descending names": (table_of([block_of([GOOD[0], GOOD[3], GOOD[1]])]), "twice or out of order"),
    "name that is not UTF-8": (table_of([block_of([GOOD[0], (b"\xff", GOOD[1][1])])]), "not UTF-8"),
    "same block twice": (table_of([block_of(GOOD)], handles=[(0, len(block_of(GOOD)))] * 2), "overlap"),
    "block outside": (table_of([block_of(GOOD)], handles=[(10**6, 10)]), "does not fit"),
    "giant block": (table_of([block_of(GOOD)], handles=[(0, 2**63)]), "does not fit"),
    "block that is the index block": (table_of([], handles=[(13, 12)]), "checksum|lengths|restarts|room|cut off"),
    "block of no bytes": (table_of([b""]), "no room"),
    "giant restarts": (table_of([struct.pack("<I", 2**32 - 1)]), "no room"),
    "shares with no name": (table_of([b"\x05\x00\x00" + struct.pack("<2I", 0, 1)]), "lengths"),
    "giant name": (table_of([b"\x00" + encode_varint(2**40) + b"\x00" + struct.pack("<2I", 0, 1)]), "lengths"),
    "giant value": (table_of([b"\x00\x00" + encode_varint(2**63) + struct.pack("<2I", 0, 1)]), "lengths"),
    "endless number": (table_of([b"\xff" * 64 + struct.pack("<2I", 0, 1)]), "64 bits"),
    "number cut off": (table_of([b"\xff" + struct.pack("<2I", 0, 1)]), "truncated within a number"),
    "negative length": (one(shape=(-2,)), "negative length"),
    "two negative lengths": (one(shape=(-1, -2)), "negative length"),
    "overflowing shape": (one(shape=(2**32, 2**32), size=0), "larger than any memory"),
    "overflowing empty shape": (one(shape=(0, 2**62), size=0), "larger than any memory"),
    "shape that disagrees with the size": (one(shape=(3,)), "does not take 8 bytes"),
    "type that disagrees with the size": (one(dtype=2), "does not take 8 bytes"),
    "many dimensions": (one(shape=(1,) * 100), "100 dimensions"),
    "negative size": (one(dtype=7, size=-8), "-8 bytes"),
    "negative offset": (one(offset=-8), "at byte -8"),
    "giant offset": (one(offset=2**62), "ends at byte"),
    "end outside the data": (one(offset=len(DATA) - 4), "ends at byte 36 of data shard 0, which has 32"),
    "shard that is not": (one(shard=1), "data shard 1 of 1"),
    "negative shard": (one(shard=-1), "data shard -1 of 1"),
    "overlap": (
        table_of([block_of([GOOD[0], GOOD[1], (b"b", entry(offset=4, data=DATA[4:12]))])]),
        "'a/kernel' and 'b' overlap",
    ),
    "field of the wrong kind": (table_of([block_of([GOOD[0], (b"a", field(1, b"x"))])]), "wrong kind"),
    "field cut off": (table_of([block_of([GOOD[0], (b"a", b"\x12\x7f\x01")])]), "truncated"),
    "group": (table_of([block_of([GOOD[0], (b"a", b"\x0b")])]), "unknown kind 3"),
}  # fmt: skip


@pytest.mark.parametrize(("index", "reason"), BAD_INDEXES.values(), ids=BAD_INDEXES)
def test_a_bad_index_is_refused_with_its_name_and_the_reason(index: bytes, reason: str, tmp_path: Path) -> None:
    prefix = place(tmp_path, index, DATA)
    with pytest.raises(InputError, match=reason) as caught:
        TensorBundle(prefix)
    assert len(str(caught.value)) < len(str(prefix)) + 300
    assert str(caught.value).startswith(f"{prefix}.index: ")


def test_truth_values_other_than_0_and_1_are_refused(tmp_path: Path) -> None:
    index = one(dtype=10, shape=(8,), data=b"\x00\x01\x02" + bytes(5))
    with pytest.raises(InputError, match="neither 0 nor 1"):
        read_all(place(tmp_path, index, b"\x00\x01\x02" + bytes(5)))


@pytest.mark.parametrize("prefix", ["", ".", "no such folder/m", "m\0"])
def test_a_path_that_is_none_is_refused(prefix: str) -> None:
    with pytest.raises(InputError, match=r"\.index: "):
        TensorBundle(prefix)


@pytest.mark.parametrize("lost", ["m.index", "m.data-00000-of-00001"])
def test_a_missing_file_is_named(lost: str, tmp_path: Path) -> None:
    prefix = place(tmp_path, table_of([block_of(GOOD)]), DATA)
    (tmp_path / lost).unlink()
    with pytest.raises(InputError, match=lost):
        TensorBundle(prefix)
    (tmp_path / lost).mkdir()
    with pytest.raises(InputError, match=lost):
        TensorBundle(prefix)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    for path in (GOLDEN / "bundles").glob("shards.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "shards.data-00001-of-00003").unlink()
    with pytest.raises(InputError, match="data-00001-of-00003"):
        TensorBundle(tmp_path / "shards")


def test_an_index_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "m.index", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="larger than"):
        TensorBundle(tmp_path / "m")


def test_names_cannot_explode(tmp_path: Path) -> None:
    name, nothing = b"n" * 4000, entry(shape=(0,), size=0)
    block, shared = bytearray(), 0
    for number in range(20000):
        fresh = name[shared:] + b"%05d" % number
        block += encode_varint(shared) + encode_varint(len(fresh)) + encode_varint(len(nothing)) + fresh + nothing
        shared = len(name)
    index = table_of([block_of(GOOD[:1]), bytes(block) + struct.pack("<2I", 0, 1)])
    tracemalloc.start()
    with pytest.raises(InputError, match="too long"):
        TensorBundle(place(tmp_path, index, DATA))
    assert tracemalloc.get_traced_memory()[1] < 20 * len(index)
    tracemalloc.stop()


def test_a_tensor_takes_no_more_memory_than_itself(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", {"a": torch.zeros(1 << 20), "b": torch.zeros(1 << 20)})
    crc32c(bytes(1 << 18))  # builds its tables
    tracemalloc.start()
    bundle = TensorBundle(tmp_path / "m")
    bundle.read("a")
    assert tracemalloc.get_traced_memory()[1] < 5 << 20  # "a" takes 4 MiB
    tracemalloc.stop()


@pytest.mark.parametrize("length", [*range(0, 48), *range(48, len(table_of([block_of(GOOD)])), 7)])
def test_an_index_that_is_cut_off_is_refused(length: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m\.index"):
        TensorBundle(place(tmp_path, table_of([block_of(GOOD)])[:length], DATA))


def test_data_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    for length in range(28):
        with pytest.raises(InputError, match=r"m\.index: 'b' ends|ends at byte"):
            TensorBundle(place(tmp_path, table_of([block_of(GOOD)]), DATA[:length]))


def test_a_flipped_bit_of_the_data_is_found(tmp_path: Path) -> None:
    index = table_of([block_of(GOOD)])
    for bit in range(0, 28 * 8, 3):
        data = bytearray(DATA)
        data[bit // 8] ^= 1 << bit % 8
        prefix = place(tmp_path, index, bytes(data))
        with pytest.raises(InputError, match="do not match their checksum"):
            read_all(prefix)


def test_a_flipped_bit_in_each_byte_of_the_index_is_found_or_harmless(tmp_path: Path) -> None:
    index, chance = table_of([block_of(GOOD)]), random.Random(0)
    harmless = 0
    for at in range(len(index)):
        flipped = bytearray(index)
        flipped[at] ^= 1 << chance.randrange(8)
        try:
            read = read_all(place(tmp_path, bytes(flipped), DATA))
        except InputError:
            continue
        harmless += 1
        assert read.keys() == expected().keys()
        assert all(torch.equal(read[name], value) for name, value in expected().items())
    assert harmless < 40  # the footer's filling


def fuzz(folder: Path, *, rounds: int, seed: int) -> dict[str, int]:
    """Reads ``rounds`` mutated checkpoints from ``folder``, and counts those that were read by kind of mutation.

    Raises:
        AssertionError: anything but InputError escaped, a value is not what the data's bytes say, or memory grew.
    """
    chance = random.Random(seed)
    read_of = dict.fromkeys([*MUTATIONS, "data"], 0)
    good = table_of([block_of(GOOD)])
    for number in range(rounds):
        kind = chance.choice(list(read_of))
        index = good if kind == "data" else MUTATIONS[kind](chance)
        data = mangled(DATA, chance) if kind == "data" else DATA
        prefix = place(folder, index, data)
        if number % 8 == 0:  # it slows everything down
            tracemalloc.start()
        try:
            bundle = TensorBundle(prefix)
            for name in bundle.names():
                try:
                    tensor = bundle.read(name)
                except InputError:
                    continue
                entry = bundle.entry(name)
                assert bytes_of(tensor) == data[entry.offset : entry.offset + entry.size], (seed, number)
                assert masked(crc32c(bytes_of(tensor))) == entry.checksum
                read_of[kind] += 1
        except InputError as error:
            assert str(error).startswith(str(folder)), (seed, number)  # noqa: PT017
        except Exception as error:
            raise AssertionError(f"round {number} of seed {seed} ({kind}): {error!r}") from error
        if tracemalloc.is_tracing():
            assert tracemalloc.get_traced_memory()[1] < 1 << 18, (seed, number)
            tracemalloc.stop()
    return read_of


@pytest.mark.slow
def test_mutated_files_are_refused_or_read_rightly_in_bounded_memory(tmp_path: Path) -> None:
    crc32c(bytes(1 << 18))  # builds its tables, which are not the files' memory
    read_of = fuzz(tmp_path, rounds=2000, seed=0)
    assert all(count > 0 for count in read_of.values()), read_of  # the mutations are not all too wild
