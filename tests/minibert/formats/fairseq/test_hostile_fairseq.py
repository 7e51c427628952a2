"""Files that would run code, take memory or are damaged: refused before anything in them is called."""

import argparse
import io
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_files import ARGS, CFG, LAYER, Content, as_bytes, content_of, load, saved

from benchmarks.attack.damage import mutate
from minibert import SequenceClassifier
from minibert.errors import InputError
from minibert.formats import torch_file
from minibert.formats.fairseq.checkpoint import open_fairseq_checkpoint


class Runs:
    """Something whose unpickling would make a file."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


PLACES = ("model", "args", "inside", "beside", "whole")


def bomb_file(function: Callable[..., object], place: str, older: bool, folder: Path) -> tuple[Path, Path]:
    """A checkpoint that makes a marker where a reader calls what is in it; and the marker."""
    marker = folder / "marker"
    arguments = {
        os.mkdir: (str(marker),),
        eval: (f"__import__('os').mkdir({str(marker)!r})",),
        open: (str(marker), "w"),
    }
    bomb = Runs(function, *arguments[function])
    content: Any = content_of(ARGS)
    if place == "inside":
        content["args"].seed = bomb
    elif place == "whole":
        content = bomb
    else:
        content["extra_state" if place == "beside" else place] = bomb
    return saved(content, folder / "bomb", _use_new_zipfile_serialization=not older), marker


@pytest.mark.parametrize("older", [False, True], ids=["archive", "older"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("function", [os.mkdir, eval, open])
def test_nothing_in_a_file_is_executed(
    function: Callable[..., object], place: str, older: bool, tmp_path: Path
) -> None:
    folder, marker = bomb_file(function, place, older, tmp_path)
    with pytest.raises(InputError, match="Files that run code when read are refused"):
        open_fairseq_checkpoint(folder)
    assert not marker.exists()


@pytest.mark.parametrize("older", [False, True], ids=["archive", "older"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("wall", ["scan", "weights_only"])
def test_each_wall_stands_without_the_other(
    wall: str, place: str, older: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the other wall down, the file must be refused by this one, before anything is called."""
    folder, marker = bomb_file(os.mkdir, place, older, tmp_path)
    load = torch.load
    if wall == "weights_only":
        monkeypatch.setattr(torch_file, "_calls_of_archive", lambda *_: set())
        monkeypatch.setattr(torch_file, "_calls_of_older_file", lambda *_: set())
        refusal = "Weights only load failed"
    else:
        monkeypatch.setattr(torch, "load", lambda *a, **options: load(*a, **{**options, "weights_only": False}))
        refusal = "it contains '(posix|nt).mkdir'"
    with pytest.raises(InputError, match=refusal):
        open_fairseq_checkpoint(folder)
    assert not marker.exists()


def test_the_bombs_of_these_tests_go_off(tmp_path: Path) -> None:
    """Where nothing stops them, so that the tests above can fail."""
    folder, marker = bomb_file(os.mkdir, "beside", False, tmp_path)
    torch.load(folder / "model.pt", weights_only=False)
    assert marker.is_dir()


def test_the_allowed_class_is_allowed_in_this_reader_alone() -> None:
    open_fairseq_checkpoint(ARGS)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
    with pytest.raises(Exception, match="Namespace"):
        torch.load(ARGS / "model.pt", weights_only=True)


def archive(pickle: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as file:
        file.writestr("archive/data.pkl", pickle)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")
        file.writestr("archive/data/0", bytes(64))
    return packed.getvalue()


def huge_storage() -> bytes:
    """An older file whose storage says that it has 2 ** 33 numbers."""
    older = as_bytes({"model": {"x": torch.zeros(77)}}, _use_new_zipfile_serialization=False)
    assert older.count(b"K\x4d") == 2  # 77 as one byte: the storage's size and the tensor's shape
    return older.replace(b"K\x4d", b"\x8a\x05\x00\x00\x00\x00\x02")


def stretched() -> Content:
    """A checkpoint that fits together, with one row of the embedding standing for four million."""
    content = content_of(ARGS)
    for name in ("sentence_encoder.embed_tokens", "lm_head"):
        content["model"][f"decoder.{name}.weight"] = torch.zeros(1, 32).expand(2**22, 32)
    return content


BOMBS: dict[str, Callable[[], bytes]] = {
    "a gigabyte, compressed": lambda: archive(bytes(2**30), zipfile.ZIP_DEFLATED),
    "bytearray": lambda: archive(b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x02\x85R."),
    "tensor class": lambda: archive(b"\x80\x02ctorch\nFloatTensor\n\x8a\x05\x00\x00\x00\x00\x02\x85R."),
    "a stretched tensor": lambda: as_bytes(stretched()),
    "tuples in tuples": lambda: archive(b"\x80\x02})" + b"\x85" * 2_000_000 + b"K\x01s."),
    "a huge storage": huge_storage,
    "a long string": lambda: archive(b"\x80\x02X\xff\xff\xff\xffabc."),
}

OPEN_ALL = """
import resource, sys
from pathlib import Path
from minibert import PretrainingModel
from minibert.errors import InputError
from minibert.formats.fairseq.checkpoint import open_fairseq_checkpoint
from minibert.loading import build_model

def load(path):
    checkpoint = open_fairseq_checkpoint(path)
    table = checkpoint.table(PretrainingModel.head)
    build_model(PretrainingModel, table, checkpoint.tensors, path)

load(Path(sys.argv[1]))
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    try:
        load(Path(path))
        print(path, "was loaded")
    except InputError:
        pass
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start
    if grown > 100_000:
        print(path, "took", grown, "KiB")
"""


@pytest.mark.slow
def test_files_made_to_take_memory_are_refused_within_100_mib(tmp_path: Path) -> None:
    paths = []
    for name, make in BOMBS.items():
        paths.append(str(tmp_path / name.replace(" ", "_")))
        Path(paths[-1]).write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-c", OPEN_ALL, str(ARGS), *paths], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_damage_to_a_weight_is_noticed(tmp_path: Path) -> None:
    data = bytearray((ARGS / "model.pt").read_bytes())
    tensor = content_of(ARGS)["model"][f"{LAYER}fc1.weight"]
    data[data.index(tensor.numpy().tobytes()) + 77] ^= 1
    (tmp_path / "model.pt").write_bytes(data)
    with pytest.raises(InputError, match="CRC"):
        open_fairseq_checkpoint(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["args", "cfg", "older"])
def test_damaged_files_are_read_as_something_whole_or_refused(source: str, tmp_path: Path) -> None:
    """100 seeds each; whatever is not refused must be a checkpoint that builds or is refused by name."""
    if source == "older":
        data = as_bytes(content_of(ARGS), _use_new_zipfile_serialization=False)
    else:
        data = ({"args": ARGS, "cfg": CFG}[source] / "model.pt").read_bytes()
    refused = 0
    for seed in range(100):
        (tmp_path / "model.pt").write_bytes(mutate(data, random.Random(f"{source} {seed}")))
        try:
            load(SequenceClassifier, tmp_path)
        except InputError as error:
            assert len(str(error)) < 2000  # noqa: PT017
            refused += 1
    assert refused >= 30 if source == "older" else refused >= 75
