"""Archives that two readers could read differently, and pickles made to take time: refused at once."""

import io
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minibert.errors import InputError
from minibert.formats import torch_file
from minibert.formats.torch_file import read_torch_file

STATE = {"bert.weight": torch.arange(6.0).reshape(2, 3), "bert.bias": torch.ones(3)}
PICKLE = b"\x80\x02}q\x00."  # an empty dictionary


def good() -> bytes:
    file = io.BytesIO()
    torch.save(STATE, file)
    return file.getvalue()


def zipped(records: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in records:
            archive.writestr(name, content)
    return file.getvalue()


OTHERS = [("archive/version", b"3\n"), ("archive/byteorder", b"little"), ("archive/data/0", bytes(64))]


def end_of(archive: bytes) -> tuple[int, int]:
    """The size and the offset of an archive's directory."""
    size, offset = struct.unpack_from("<2I", archive, len(archive) - 10)
    return size, offset


def two_directories() -> bytes:
    """Python's zipfile allows bytes before an archive, and finds the second directory; torch's reader takes the offset
    in the end as it stands, and finds the first, whose pickle takes a thousand times its size."""
    bomb = zipped([("archive/data.pkl", bytes(1 << 26)), *OTHERS], zipfile.ZIP_DEFLATED)
    missing = end_of(bomb)[1] - end_of(zipped([("archive/data.pkl", PICKLE), *OTHERS]))[1]
    harmless = zipped([("archive/data.pkl", PICKLE), *OTHERS[:-1], ("archive/data/0", bytes(64 + missing))])
    assert end_of(harmless) == end_of(bomb)
    return bomb[:-22] + harmless


def many_records() -> bytes:
    directory = bytes(100)
    return b"PK\3\4" + directory + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 30_000, 30_000, len(directory), 4, 0)


def of_pickle(pickle: bytes) -> bytes:
    return zipped([("archive/data.pkl", pickle), *OTHERS])


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "two directories": two_directories,
    "bytes before it": lambda: b"PK\3\4" + bytes(60) + good(),
    "bytes after it": lambda: good() + b"\0",
    "a comment": lambda: good()[:-2] + b"\1\0x",
    "two ends": lambda: good() + good(),
    "one end for two": lambda: good()[:-22] + good(),
    "two of a name": lambda: zipped([("archive/data.pkl", PICKLE), ("archive/data.pkl", b"x"), *OTHERS]),
    "names that differ in case": lambda: zipped([("archive/data.pkl", PICKLE), ("archive/DATA.PKL", b"x"), *OTHERS]),
    "two folders": lambda: zipped([("archive/data.pkl", PICKLE), ("other/data.pkl", b"x"), *OTHERS]),
    "a backslash": lambda: zipped([("archive/data.pkl", PICKLE), ("archive\\data.pkl", b"x"), *OTHERS]),
    "30,000 records": many_records,
    "nested lists": lambda: of_pickle(b"\x80\x02" + b"]" * 2_000_000 + b"a" * 1_999_999 + b"."),
    "nested lists in a short pickle": lambda: of_pickle(b"\x80\x02" + b"]" * 60_000 + b"a" * 59_999 + b"."),
    "two million numbers": lambda: of_pickle(b"\x80\x02" + b"N0" * 1_000_000 + b"N."),
    "a huge pickle": lambda: of_pickle(bytes(40 << 20)),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_refused_by_its_layout(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before torch sees it, so that nothing it would do can matter."""
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(ARCHIVES[name]())
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch has read it"))
    started = time.process_time()
    with pytest.raises(InputError, match="not a file of plain tensors"):
        read_torch_file(path)
    assert time.process_time() - started < 5  # below a second on an idle machine; unbounded, over a minute


def test_the_pickle_that_torch_finds_is_the_scanned_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the check of the layout taken down, the two readers are compared."""
    bomb = tmp_path / "bomb.bin"
    bomb.write_bytes(two_directories())
    monkeypatch.setattr(torch_file, "check_layout", lambda _: None)
    with pytest.raises(InputError, match="two readers read it differently"):
        read_torch_file(bomb)


def test_what_torch_saves_is_read_and_compared_with_what_torch_finds(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "model.bin")
    found = read_torch_file(tmp_path / "model.bin")
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)
    with zipfile.ZipFile(tmp_path / "model.bin") as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        assert torch_file._as_torch_reads(tmp_path / "model.bin", name) == archive.read(name)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.bin"
    torch.save(STATE, path)
    scan = torch_file._calls_of_archive

    def scan_and_replace(*arguments: object) -> set[str]:
        calls = scan(*arguments)  # type: ignore[arg-type]
        torch.save({"other": torch.zeros(2)}, tmp_path / "new.bin")
        (tmp_path / "new.bin").replace(path)
        return calls

    monkeypatch.setattr(torch_file, "_calls_of_archive", scan_and_replace)
    with pytest.raises(InputError, match="changed while it was read"):
        read_torch_file(path)
