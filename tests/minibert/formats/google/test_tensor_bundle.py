"""TensorFlow's checkpoints: files that it wrote, files that it reads, and files that nobody should have made."""

import hashlib
import json
import random
import struct
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minibert.errors import InputError
from minibert.formats.google.crc32c import crc32c
from minibert.formats.google.leveldb_table import encode_varint, masked, write_table
from minibert.formats.google.tensor_bundle import TensorBundle, write_bundle

LISTS = sorted(path for path in GOLDEN.glob("*/*.json") if path.with_suffix(".index").exists())
DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint8, torch.bool,
)  # fmt: skip
UNREADABLE = ("string", "complex64")

Records = list[tuple[bytes, bytes]]


# ---- Checksums


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


def test_crc32c_equals_a_loop_over_bits_at_every_length_and_around_every_row() -> None:
    data = random.Random(0).randbytes(2 * 65536 + 130)
    lengths = [*range(200), 2047, 2048, 4095, 4096, 4097, 65535, 65537, 2 * 65536 - 1, 2 * 65536, 2 * 65536 + 129]
    for length in lengths:
        assert crc32c(data[:length]) == crc32c_by_bits(data[:length]), length
    assert crc32c(memoryview(data)[1:70000]) == crc32c_by_bits(data[1:70000])  # not aligned


# ---- What TensorFlow wrote


def bytes_of(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("path", LISTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_checkpoint_of_tensorflow_reads_as_tensorflow_reads_it(path: Path) -> None:
    variables = json.loads(path.read_text(encoding="utf-8"))["variables"]
    bundle = TensorBundle(path.with_suffix(""))
    assert bundle.names() == list(variables)
    read = 0
    for name, facts in variables.items():
        entry = bundle.entry(name)
        assert list(entry.shape) == facts["shape"]
        assert entry.dtype == facts["dtype"]
        if entry.dtype not in UNREADABLE and not entry.sliced:
            tensor = bundle.read(name)
            assert tensor.shape == entry.shape
            assert str(tensor.dtype) == f"torch.{entry.dtype}"
            assert hashlib.sha256(bytes_of(tensor)).hexdigest() == facts["sha256"]
            read += 1
    assert read >= 1


def test_the_checkpoints_are_there_and_cover_what_they_should() -> None:
    assert len(LISTS) == 9
    types = TensorBundle(GOLDEN / "bundles" / "types")
    found = {types.entry(name).dtype for name in types.names()}
    assert {str(dtype).removeprefix("torch.") for dtype in DTYPES} <= found
    shards = TensorBundle(GOLDEN / "bundles" / "shards")
    assert {shards.entry(name).shard for name in shards.names()} == {0, 1, 2}


@pytest.mark.parametrize(
    ("bundle", "name", "reason"),
    [
        ("types", "string", "type string"),
        ("types", "complex64", "type complex64"),
        ("types", "no such name", "holds no tensor 'no such name'"),
        ("sliced", "table", "stored in slices"),
    ],
)
def test_what_cannot_be_read_is_listed_and_refused_by_name(bundle: str, name: str, reason: str) -> None:
    opened = TensorBundle(GOLDEN / "bundles" / bundle)
    with pytest.raises(InputError, match=reason):
        opened.read(name)


def test_a_tensor_that_was_read_is_a_copy(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model.ckpt", {"a": torch.ones(3)})
    bundle = TensorBundle(tmp_path / "model.ckpt")
    bundle.read("a").zero_()
    assert bundle.read("a").tolist() == [1, 1, 1]


# ---- What we write


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, Tensor]:
    names = draw(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), unique=True))
    made = {}
    for name in names:
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
        values = torch.randint(0, 2 if (dtype := draw(st.sampled_from(DTYPES))) == torch.bool else 128, shape)
        made[name] = values.to(dtype)
    return made


@settings(max_examples=40)
@given(tensors())
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, written: dict[str, Tensor]) -> None:
    prefix = tmp_path_factory.mktemp("bundle") / "model.ckpt"
    write_bundle(prefix, written)
    bundle = TensorBundle(prefix)
    assert bundle.names() == sorted(written, key=str.encode)
    for name, tensor in written.items():
        read = bundle.read(name)
        assert read.dtype == tensor.dtype
        assert torch.equal(read, tensor)
    assert sorted(path.name for path in prefix.parent.iterdir()) == [
        "model.ckpt.data-00000-of-00001",
        "model.ckpt.index",
    ]


def test_transposed_tensors_and_parameters_are_written_by_value(tmp_path: Path) -> None:
    written = {"t": torch.arange(6.0).view(2, 3).T, "p": torch.nn.Parameter(torch.ones(2))}
    write_bundle(tmp_path / "model.ckpt", written)
    bundle = TensorBundle(tmp_path / "model.ckpt")
    assert torch.equal(bundle.read("t"), written["t"])
    assert torch.equal(bundle.read("p"), written["p"].detach())


@pytest.mark.parametrize(
    "written", [{"a": torch.ones(1, dtype=torch.complex64)}, {"": torch.ones(1)}, {"\0a": torch.ones(1)}]
)
def test_what_the_format_cannot_hold_is_not_written(written: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        write_bundle(tmp_path / "model.ckpt", written)
    assert not list(tmp_path.iterdir())


def test_tensorflow_reads_what_is_written(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is the oracle of this test")
    names = [f"{dtype}/x" for dtype in DTYPES]
    written = {name: torch.randint(0, 2, (3, 4)).to(dtype) for name, dtype in zip(names, DTYPES, strict=True)}
    written |= {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "Ümläut": torch.randn(70000)}
    written |= {f"many/{i}/kernel": torch.full((1,), float(i)) for i in range(5000)}
    write_bundle(tmp_path / "model.ckpt", written)
    reader = tf.train.load_checkpoint(str(tmp_path / "model.ckpt"))
    assert reader.get_variable_to_shape_map() == {name: list(tensor.shape) for name, tensor in written.items()}
    for name, tensor in written.items():
        assert reader.get_variable_to_dtype_map()[name].name == str(tensor.dtype).removeprefix("torch.")
        assert np.asarray(reader.get_tensor(name)).tobytes() == bytes_of(tensor)


def test_an_index_of_several_blocks_of_tensorflow_is_read(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow", reason="TensorFlow writes this file")
    names = [f"layer_{i}/kernel" for i in range(9000)]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "model.ckpt"), tensor_names=names, shape_and_slices=[""] * len(names),
        tensors=[tf.constant([i, -i]) for i in range(len(names))],
    )  # fmt: skip
    bundle = TensorBundle(tmp_path / "model.ckpt")
    assert (tmp_path / "model.ckpt.index").stat().st_size > 262144  # the size of a block
    assert bundle.names() == sorted(names)
    assert all(bundle.read(name).tolist() == [i, -i] for i, name in enumerate(names))


# ---- Files that nobody should have made


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
    "number cut off": (table_of([b"\xff" + struct.pack("<2I", 0, 1)]), "cut off within a number"),
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
    "field cut off": (table_of([block_of([GOOD[0], (b"a", b"\x12\x7f\x01")])]), "cut off"),
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


# ---- Mutations


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


def test_mutated_files_are_refused_or_read_rightly_in_bounded_memory(tmp_path: Path) -> None:
    crc32c(bytes(1 << 18))  # builds its tables, which are not the files' memory
    read_of = fuzz(tmp_path, rounds=2000, seed=0)
    assert all(count > 0 for count in read_of.values()), read_of  # the mutations are not all too wild
