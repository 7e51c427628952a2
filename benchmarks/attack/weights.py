"""Hostile weights: pickles, archives, safetensors, TensorFlow's bundles, fairseq's files."""

import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.attack.damage import mutate
from benchmarks.attack.values import change, odd_value
from minibert.formats import huggingface
from minibert.formats.fairseq.checkpoint import open_fairseq_checkpoint
from minibert.formats.google.crc32c import crc32c
from minibert.formats.google.leveldb_table import masked, write_table
from minibert.formats.google.tensor_bundle import TensorBundle, write_bundle

MARKER = "attack-marker"
"""Part of the name of what a payload makes: the worker counts it as code that ran."""


class Payload:
    """What runs a call where it is unpickled."""

    def __init__(self, call: tuple[Any, ...]) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def _payload(folder: Path, chance: random.Random) -> Payload:
    import os  # quick; here, so that no name of this module is a call of the system

    marker = str(folder / f"{MARKER}-{chance.random()}")
    return Payload(
        chance.choice(
            (
                (os.mkdir, (marker,)),
                (os.system, (f"touch {marker}",)),
                (eval, (f"__import__('os').mkdir({marker!r})",)),
                (exec, (f"open({marker!r}, 'w')",)),
                (open, (marker, "w")),
                (getattr, ("x", "upper")),
                (torch.load, (marker,)),
                (torch.save, ({}, marker)),
                (Path.touch, (Path(marker),)),
                (map, (os.mkdir, [marker])),
                (bytearray, (2**33,)),
                (torch.zeros, (2**33,)),
            )
        )
    )


def _state() -> dict[str, Any]:
    return {f"bert.{i}.weight": torch.full((i + 1, 4), float(i)) for i in range(6)}


@cache
def _good(older: bool) -> bytes:
    file = io.BytesIO()
    torch.save(_state(), file, _use_new_zipfile_serialization=not older)
    return file.getvalue()


def _opcodes(chance: random.Random) -> bytes:
    """A pickle of random operations."""
    names = [b"os\nsystem\n", b"builtins\neval\n", b"torch._utils\n_rebuild_tensor_v2\n", b"collections\nOrderedDict\n"]
    parts = [
        lambda: b"c" + chance.choice(names), lambda: b"]", lambda: b"}", lambda: b")", lambda: b"(", lambda: b"N",
        lambda: b"K" + bytes([chance.randrange(256)]), lambda: b"R", lambda: b"b", lambda: b"a", lambda: b"s",
        lambda: b"\x85", lambda: b"\x86", lambda: b"q\x00", lambda: b"h\x00", lambda: b"u", lambda: b"e", lambda: b"0",
        lambda: b"X\x03\x00\x00\x00abc", lambda: b"Q", lambda: b"\x81", lambda: b"\x93", lambda: b"1", lambda: b"2",
        lambda: b"r" + struct.pack("<I", chance.choice((1, 2**20, 2**31, 2**32 - 1))),
        lambda: b"\x8a\x09" + bytes(8) + b"\x01", lambda: b"\x8e" + struct.pack("<Q", 2**40),
    ]  # fmt: skip
    size = chance.choice((5, 30, 300, 3000))
    repeated = chance.choice(parts)() * chance.choice((0, 0, 0, 100_000))
    return b"\x80\x02" + repeated + b"".join(chance.choice(parts)() for _ in range(size)) + b"."


def _zipped(records: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in records:
            archive.writestr(name, content)
    return file.getvalue()


def pickles(folder: Path, chance: random.Random) -> Callable[[], object]:
    """Calls at any place of a state, random operations, and damage, in both formats."""
    path = folder / "pytorch_model.bin"
    kind = chance.choice(("call", "call", "operations", "damage"))
    older = chance.random() < 0.5
    if kind == "call":
        state: Any = _state()
        place = chance.choice(("value", "key", "inside", "whole", "beside"))
        bomb = _payload(folder, chance)
        if place == "whole":
            state = bomb
        elif place == "key":
            state = {(1, bomb): 1}
        elif place == "inside":
            state["bert.0.weight"] = [{"a": (bomb,)}]
        else:
            state["bert.0.weight" if place == "value" else "extra"] = bomb
        torch.save(
            state, path, _use_new_zipfile_serialization=not older, pickle_protocol=chance.choice((2, 2, 3, 4, 5))
        )
    elif kind == "operations":
        content = _opcodes(chance)
        others = [("archive/version", b"3\n"), ("archive/data/0", bytes(64))]
        magic = b"".join(pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
        path.write_bytes(magic + content if older else _zipped([("archive/data.pkl", content), *others]))
    else:
        path.write_bytes(mutate(_good(older), chance))
    return lambda: _read_all(huggingface.open_weights(folder).tensors)


def _read_all(readers: Any) -> None:
    for read in readers.values():
        read()


def archives(folder: Path, chance: random.Random) -> Callable[[], object]:
    """Zip files with a false end, several directories, odd names, records that overlap or unpack to much."""
    small = b"\x80\x02}q\x00."
    others = [("archive/version", b"3\n"), ("archive/byteorder", b"little"), ("archive/data/0", bytes(64))]
    bomb = bytes(chance.choice((1 << 12, 1 << 16, 1 << 20)))
    names = ("archive/data.pkl", "archive/DATA.PKL", "a/data.pkl", "data.pkl", "archive/../data.pkl", "archive/\n.pkl")
    records = [("archive/data.pkl", small), *others]
    for _ in range(chance.randrange(3)):
        records.insert(chance.randrange(len(records) + 1), (chance.choice(names), chance.choice((small, bomb, b""))))
    compression = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    first = bytearray(_zipped(records, compression) if chance.random() < 0.6 else _good(older=False))
    for _ in range(chance.randrange(4)):  # the directory and the end
        at = chance.randrange(max(0, len(first) - 400), len(first))
        first[at] = chance.randrange(256)
    if chance.random() < 0.3:  # a field of the end
        value = chance.choice((0, 1, 0xFFFF, 0xFFFFFFFF, chance.randrange(2**32), len(first)))
        struct.pack_into("<I", first, len(first) - chance.choice((10, 6)), value & 0xFFFFFFFF)
    data = bytes(first)
    if chance.random() < 0.4:
        second = _zipped([("archive/data.pkl", chance.choice((small, bomb))), *others], compression)
        data = chance.choice((data + second, data[:-22] + second, second + data, data + second[-22:]))
    if chance.random() < 0.1:
        data = b"PK\3\4" + bytes(chance.randrange(100)) + data
    (folder / "pytorch_model.bin").write_bytes(data)
    return lambda: _read_all(huggingface.open_weights(folder).tensors)


def safetensors(folder: Path, chance: random.Random) -> Callable[[], object]:
    """Headers with false types, shapes, offsets and names, and damage."""
    data = bytes(4 * 24)
    header: Any = {
        f"bert.{i}.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [24 * i, 24 * i + 24]} for i in range(4)
    }
    header["__metadata__"] = {"format": "pt"}
    if chance.random() < 0.6:
        header = change(header, chance)
    if chance.random() < 0.2 and isinstance(header, dict):
        each: Any = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        header |= {f"{'x' * chance.choice((1, 200))}{i}": each for i in range(chance.choice((100,) * 30 + (25_000,)))}
    if chance.random() < 0.3 and isinstance(header, dict) and header:
        entry = header[chance.choice(list(header))]
        if isinstance(entry, dict):
            entry["dtype"] = chance.choice(("F64", "I8", "BOOL", "BF16", "F8_E4M3", "F4", "C64", "U64", "x", ""))
    try:
        text = json.dumps(header, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    except RecursionError:
        text = b"{" * 5000
    if chance.random() < 0.3:
        text = mutate(text, chance)
    size = len(text) if chance.random() < 0.9 else chance.choice((0, 1, 2**31, 2**63, 2**64 - 1, 50 << 20))
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", size) + text + data)
    return lambda: _read_all(huggingface.open_weights(folder).tensors)


@cache
def _bundle(folder: str) -> tuple[bytes, bytes]:
    prefix = Path(folder) / "good"
    write_bundle(prefix, {name: torch.arange(6.0).reshape(2, 3) + i for i, name in enumerate(("a/b", "a/c", "d"))})
    return Path(f"{prefix}.index").read_bytes(), Path(f"{prefix}.data-00000-of-00001").read_bytes()


def bundles(folder: Path, chance: random.Random) -> Callable[[], object]:
    """TensorFlow's files, damaged, half of them with checksums that are right for the damage."""
    index, data = _bundle(str(folder.parent))
    if chance.random() < 0.5:
        entry = b"\x08\x01\x12\x08\x12\x02\x08\x02\x12\x02\x08\x03\x28\x18\x35" + struct.pack(
            "<I", masked(crc32c(data[:24]))
        )
        records = [(b"", b"\x08\x01\x1a\x02\x08\x01"), (b"a/b", entry), (b"d", entry)]
        at = chance.randrange(3)
        records[at] = (records[at][0], mutate(records[at][1], chance))
        if chance.random() < 0.2:
            records.insert(1, (bytes([chance.randrange(256)]) * chance.choice((1, 300, 5000)), entry))
        index = write_table(records)
    else:
        index = mutate(index, chance)
    if chance.random() < 0.3:
        data = mutate(data, chance)
    (folder / "m.index").write_bytes(index)
    (folder / "m.data-00000-of-00001").write_bytes(data)

    def read() -> None:
        bundle = TensorBundle(folder / "m")
        for name in bundle.names():
            bundle.read(name)

    return read


@cache
def _fairseq() -> bytes:
    import argparse  # quick

    layer = {f"decoder.sentence_encoder.layers.0.fc1.{name}": torch.zeros(4, 2) for name in ("weight", "bias")}
    rows = {
        f"decoder.sentence_encoder.{name}.weight": torch.zeros(9, 2) for name in ("embed_tokens", "embed_positions")
    }
    file = io.BytesIO()
    torch.save({"args": argparse.Namespace(encoder_attention_heads=1), "model": {**layer, **rows}}, file)
    return file.getvalue()


def fairseq(folder: Path, chance: random.Random) -> Callable[[], object]:
    """fairseq's model.pt, damaged, or with odd settings."""
    if chance.random() < 0.5:
        (folder / "model.pt").write_bytes(mutate(_fairseq(), chance))
    else:
        names = ("encoder_attention_heads", "encoder_layers", "activation_fn", "dropout", "max_positions", "x")
        settings: Any = {name: _plain(odd_value(chance)) for name in names}
        torch.save({"cfg": {"model": settings}, "model": _state()}, folder / "model.pt")
    return lambda: open_fairseq_checkpoint(folder)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else None
