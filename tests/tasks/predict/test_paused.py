"""A pipe is answered whenever its writer pauses; a file in full chunks, whatever the time it takes."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from tiny_runs import make_run

from minibert.errors import InputError
from tasks.predict import chunks
from tasks.predict.paused import chunks_as_they_come, may_pause
from tasks.read.records import ReadOptions, Record
from tasks.read.stream import records

SECONDS = 20  # after which a test that waits has failed


@pytest.mark.slow
def test_the_command_answers_line_by_line_until_it_is_stopped(tmp_path: Path) -> None:
    """As another program uses it: write, read, write. While it waits for more, a signal ends it as always."""
    run = make_run(tmp_path / "run", "ner")
    process = subprocess.Popen(
        [sys.executable, "-m", "tasks.predict", run, "--on-error", "skip"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    assert process.stderr
    for text in ("Ann saw Bob", "Rome"):
        process.stdin.write(json.dumps({"text": text}) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["text"] == text
    process.stdin.write("{broken}\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["line"] == 3
    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS) == 130
    assert process.stderr.read() == "stopped.\n"


CASES = {
    "text": ("auto", (), b"", [b"Ann\n", b"Bob\n"]),
    "json": ("auto", (), b"", [b'{"text": "Ann"}\n', b'{"text": "Bob"}\n']),
    "fasttext": ("auto", (), b"", [b"__label__x Ann\n", b"__label__x Bob\n"]),
    "table": ("csv", (), b"id,text\n", [b"1,Ann\n", b"2,Bob\n"]),
    "bare table": ("csv", ("id", "text"), b"", [b"1,Ann\n", b"2,Bob\n"]),
    "tabs": ("tsv", (), b"text\tid\n", [b"Ann\t1\n", b"Bob\t2\n"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_line_is_an_input_before_the_next_one_comes(case: str, tmp_path: Path) -> None:
    format, columns, header, lines = CASES[case]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert may_pause(str(pipe))
    found: queue.Queue[list[str]] = queue.Queue()

    def answer() -> None:
        for chunk in chunks_as_they_come(records(str(pipe), format, ReadOptions(columns=columns))):
            found.put([record.fields["text"] for record in chunk])

    threading.Thread(target=answer, daemon=True).start()
    with open(pipe, "wb", buffering=0) as file:
        file.write(header)
        for line, text in zip(lines, ("Ann", "Bob"), strict=True):
            file.write(line)
            assert found.get(timeout=SECONDS) == [text]


def stream(number: int) -> Iterator[Record]:
    return (Record({"text": str(i)}, "", i) for i in range(number))


def test_what_was_read_meanwhile_is_answered_together_up_to_a_full_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_CHUNK", 8)
    read: list[int] = []

    def noted() -> Iterator[Record]:
        for record in stream(100):
            read.append(record.line)
            yield record

    source = chunks_as_they_come(noted())
    found = next(source)
    deadline = time.monotonic() + SECONDS
    while len(read) < len(found) + 9 and time.monotonic() < deadline:  # the buffer is full, and one more waits
        time.sleep(0.001)
    time.sleep(0.02)
    assert len(read) == len(found) + 9
    second = next(source)
    assert len(second) == 8
    rest = [record.line for chunk in source for record in chunk]
    assert [*(record.line for record in [*found, *second]), *rest] == list(range(100))


def test_an_error_comes_behind_what_was_read_before_it() -> None:
    def broken() -> Iterator[Record]:
        yield from stream(3)
        raise InputError("line 4: damaged.")

    source = chunks_as_they_come(broken())
    found = 0
    while found < 3:
        found += len(next(source))
    with pytest.raises(InputError, match="line 4"):
        next(source)


def test_the_reader_ends_with_whoever_takes_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_CHUNK", 2)
    source = chunks_as_they_come(stream(10**9))
    next(source)
    (reader,) = [thread for thread in threading.enumerate() if thread.name == "reader of inputs" and thread.is_alive()]
    source.close()  # type: ignore[attr-defined]  # a generator
    reader.join(SECONDS)
    assert not reader.is_alive()


def test_a_file_never_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.txt").write_text("Ann\n")
    assert not may_pause(str(tmp_path / "in.txt"))
    assert not may_pause(str(tmp_path))
    assert not may_pause("missing.txt")
    for path, expected in ((tmp_path / "in.txt", False), (os.devnull, True)):
        with open(path) as file:
            monkeypatch.setattr(sys, "stdin", file)
            assert may_pause("-") is expected
