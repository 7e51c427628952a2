"""Where answers go: devices, pipes and links are never replaced, streams may be closed, and no answer is lost."""

import json
import os
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from full_disk import largest_file
from upper_case import upper

import tasks.predict.chunks
from minibert.errors import InputError
from minibert.files import write_atomically
from tasks.predict import command as predict
from tasks.predict.chunks import chunks
from tasks.predict.output import JsonLines
from tasks.predict.writing import write_answers
from tasks.read.stream import Record, records
from tasks.run.console import run_main


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "load", lambda *_, **__: upper())


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "in.txt"
    path.write_text("one\ntwo\n", encoding="utf-8")
    return str(path)


def labels(path: Path) -> list[str]:
    return [json.loads(line)["label"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_pipe_is_written_to_and_stays(source: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.extend(labels(pipe)))
    reader.start()
    predict.main(["run", source, "--out", str(pipe)])
    reader.join(timeout=10)
    assert read == ["ONE", "TWO"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_to_and_stays(source: str, tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        device.write_bytes(b"")
    except OSError as error:
        pytest.skip(f"devices cannot be made here ({error})")
    predict.main(["run", source, "--out", str(device)])
    assert stat.S_ISCHR(device.stat().st_mode)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.parquet", "a.XLSX"])
def test_a_form_that_is_not_written_is_refused_at_once(name: str, source: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="answers are not written in that form"):
        predict.main(["run", source, "--out", str(tmp_path / name)])
    assert not (tmp_path / name).exists()


def test_a_link_stays_and_the_file_that_it_names_is_replaced(source: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for name, content in (("old.jsonl", "old"), ("new.jsonl", None)):  # also where the link leads to nothing yet
        link, target = tmp_path / f"link-{name}", tmp_path / "elsewhere" / name
        link.symlink_to(target)
        if content:
            target.write_text(content, encoding="utf-8")
        predict.main(["run", source, "--out", str(link)])
        assert link.is_symlink()
        assert labels(target) == ["ONE", "TWO"]
        write_atomically(link, lambda temporary: temporary.write_text("new"))
        assert link.is_symlink()
        assert target.read_text() == "new"
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["new.jsonl", "old.jsonl"]


def test_nothing_but_a_regular_file_is_ever_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(InputError, match="not a regular file"):
            write_atomically(path, lambda temporary: temporary.write_text("text"))
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o600)
    write_atomically(path, lambda temporary: temporary.write_text("new"))
    assert (path.read_text(encoding="utf-8"), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)
    (tmp_path / "in.txt").write_text("one\n", encoding="utf-8")
    predict.main(["run", str(tmp_path / "in.txt"), "--out", str(path)])
    assert (labels(path), stat.S_IMODE(path.stat().st_mode)) == (["ONE"], 0o600)


def test_a_temporary_name_that_someone_has_linked_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs", encoding="utf-8")
    (tmp_path / f".out.{os.getpid()}.tmp").symlink_to(victim)
    write_atomically(tmp_path / "out", lambda temporary: temporary.write_text("ours"))
    assert victim.read_text(encoding="utf-8") == "theirs"
    assert not (tmp_path / "out").is_symlink()


@pytest.mark.parametrize(
    "bad", ['{"text": 7}', '{"text": "c"', '{"text": "c", "id": NaN}', '{"text": "c", "n": 1e999}']
)
def test_a_bad_line_costs_no_answer_before_it(
    bad: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.predict.chunks, "_CHUNK", 2)
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join([*(f'{{"text": "{letter}"}}' for letter in "abcde"), bad]), encoding="utf-8")
    with pytest.raises(InputError, match=r"in\.jsonl, line 6: "):
        predict.main(["run", str(source)])
    assert [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()] == list("ABCDE")
    out.write_text("old", encoding="utf-8")
    with pytest.raises(InputError, match=r"line 6: .*\. The answers before it are in .*out\.jsonl\.partial\."):
        predict.main(["run", str(source), "--out", str(out)])
    assert labels(tmp_path / "out.jsonl.partial") == list("ABCDE")
    assert out.read_text(encoding="utf-8") == "old"


def test_a_disk_that_is_really_full_leaves_the_old_answers(tmp_path: Path) -> None:
    """A limit on the size of files refuses the write as a full disk does."""
    source, out = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("a line of some length\n" * 2000, encoding="utf-8")
    out.write_text("old", encoding="utf-8")
    with largest_file(4096), pytest.raises(InputError, match=r"out\.jsonl: cannot be written .*File too large"):
        predict.main(["run", str(source), "--out", str(out)])
    assert {path.name: path.stat().st_size for path in tmp_path.glob("*out*")} == {"out.jsonl": 3}


def with_closed(streams: Sequence[int], folder: Path, *arguments: str) -> tuple[int, str, str]:
    """The command in a fork that has some of its standard streams closed: its status, output and errors."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            for number, name in enumerate(("stdin", "stdout", "stderr")):
                file = os.open(folder / name, os.O_RDWR | os.O_CREAT)
                os.dup2(file, number)
                os.close(file)
                setattr(sys, name, open(number, "r" if number == 0 else "w"))  # noqa: SIM115
            for number in streams:
                setattr(sys, ("stdin", "stdout", "stderr")[number], None)  # which closes it
            run_main(lambda: predict.main(["run", *arguments]))
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        finally:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, *((folder / name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("streams", "arguments", "expected"),
    [
        ([0], [], (2, "", "error: FILE: standard input is closed; name a file.\n")),
        ([1], ["in.txt"], (2, "", "error: --out: needed, since standard output is closed.\n")),
        ([2], ["in.txt"], (0, '{"text": "one", "label": "ONE"}\n{"text": "two", "label": "TWO"}\n', "")),
        ([0, 1, 2], ["in.txt", "--out", "out.jsonl"], (0, "", "")),
    ],
)
def test_closed_streams(
    streams: list[int], arguments: list[str], expected: tuple[int, str, str], source: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "std").mkdir()
    monkeypatch.chdir(tmp_path)
    assert with_closed(streams, tmp_path / "std", *arguments) == expected
    if "--out" in arguments:
        assert labels(tmp_path / "out.jsonl") == ["ONE", "TWO"]


def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a line of a long file\n" * 200_000, encoding="utf-8")
    lines, blocks = 0, []

    def write(line: str) -> None:
        nonlocal lines
        lines += 1
        if lines % 1000 == 0:
            blocks.append(sys.getallocatedblocks())

    file: Any = SimpleNamespace(write=write, flush=lambda: None)
    write_answers(upper(), enumerate(chunks(records(str(path)))), JsonLines(file))
    assert lines == 200_000
    assert max(blocks) - blocks[0] < 50_000  # each line that is kept takes two or more


def test_a_stream_that_breaks_yields_what_came_before() -> None:
    def broken() -> Iterator[Record]:
        yield Record({"text": "a"}, "line 1")
        raise InputError("line 2: damaged.")

    found = chunks(broken())
    assert [record.fields for record in next(found)] == [{"text": "a"}]
    with pytest.raises(InputError, match="line 2"):
        next(found)
