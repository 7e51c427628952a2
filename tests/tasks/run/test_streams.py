"""What reaches a terminal, and what happens where there is none any more."""

import ast
import fcntl
import logging
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

from minibert.errors import InputError
from tasks.run.console import run_main
from tasks.run.streams import say

# JSON for programs, the help, and the module that all else goes through.
PRINTING = {"tasks/__main__.py", "tasks/run/streams.py", "tasks/run/console.py", "tools/convert_weights.py"}
PRINTING |= {"tools/inspect_weights.py", "tools/onnx_example.py"}


def fails(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize("error", [InputError("\x1b[2J is no label."), OSError("No such file: a\x1b[2J\u202eb")])
def test_errors_are_escaped(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_main(fails(error))
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert "\\u001b[2J" in shown or r"\x1b[2J" in shown  # as Python quotes a file's name
    assert shown.removesuffix("\n").isprintable()


def test_warnings_and_tables_are_escaped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own

    def main() -> None:
        logging.getLogger("tasks.read").warning("%s: looks like a table", "\x1b[31mfile\r\n")
        say(f"label\x07 {'x' * 40_000}\n  second line\u202e")
        print("raw \x1b[31m")

    run_main(main)
    found = capsys.readouterr()
    assert found.err == "\\u001b[31mfile\\r\\n: looks like a table\n"
    first, second, third = found.out.splitlines()
    assert first.startswith("label\\u0007 xxx")
    assert len(first) < 5000
    assert (second, third) == ("  second line\\u202e", "raw \\u001b[31m")


@pytest.mark.parametrize("path", sorted([*(ROOT / "tasks").rglob("*.py"), *(ROOT / "tools").glob("*.py")]), ids=str)
def test_what_people_read_goes_through_one_function(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    if name in PRINTING or "make_" in name:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    lines = [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
    assert not lines, f"{name}, line {lines[:1]}: print with say, which escapes and cuts"


def test_a_terminal_that_closes_stops_the_command_in_order() -> None:
    """Its SIGHUP is met like SIGTERM, though nothing can be printed any more."""
    master, slave = os.openpty()
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.close(master)
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for number in range(3):
                os.dup2(slave, number)
            sys.stdout, sys.stderr = (open(number, "w") for number in (1, 2))  # noqa: SIM115
            signal.signal(signal.SIGHUP, signal.SIG_DFL)

            def main() -> None:
                print("started", flush=True)
                while True:
                    print("working", flush=True)
                    time.sleep(0.01)

            run_main(main)
        except SystemExit as stop:
            status = int(stop.code or 0)
        finally:
            os._exit(status)
    os.close(slave)
    assert b"started" in os.read(master, 100)
    os.close(master)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129


def test_a_process_that_ignores_the_signal_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        run_main(lambda: (signal.raise_signal(signal.SIGHUP), say("went on"))[0])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert capsys.readouterr().out == "went on\n"


@pytest.mark.parametrize("gone", ["full disk", "reader"])
def test_a_command_goes_on_where_nothing_can_be_printed_any_more(gone: str, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    target = os.open("/dev/full", os.O_WRONLY) if gone == "full disk" else write
    code = (
        "import sys; from tasks.run.console import run_main; from tasks.run.interrupts import explain_interruption\n"
        "from tasks.run.streams import say\n"
        "def main():\n"
        "    with explain_interruption('', levels=1):\n"
        "        say('epoch 1'), say('epoch 2'), open(sys.argv[1], 'w').close()\n"
        "run_main(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "done")], cwd=ROOT, stdout=target, stderr=subprocess.PIPE, text=True
    )
    os.close(target)
    assert (done.returncode, (tmp_path / "done").exists()) == (0, True)
    (line,) = done.stderr.splitlines()
    assert line.startswith("what this command prints can no longer be written (")
    assert {"full disk": "No space left", "reader": "Broken pipe"}[gone] in line
