"""How far a prediction is, on a terminal alone."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from upper_case import piped, upper

from tasks.predict import chunks
from tasks.predict import command as predict


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(predict, "load", lambda *_, **__: upper())
    monkeypatch.setattr(chunks, "_CHUNK", 100)
    (tmp_path / "in.txt").write_text("a line of some length\n" * 5000, encoding="utf-8")
    return str(tmp_path / "in.txt")


def test_a_terminal_shows_inputs_speed_share_and_time_left(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    predict.main(["run", source, "--out", str(tmp_path / "out.jsonl")])
    assert " inputs, " in terminal.getvalue()
    steps = terminal.getvalue().split("\r")
    middle = next(step for step in steps if step.startswith("2,500 inputs"))
    assert " a second, " in middle
    assert 45 <= int(middle.partition("%")[0].rpartition(" ")[2]) <= 60
    assert middle.rstrip().endswith(" left")


def test_a_pipe_has_no_end_to_show(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdin", piped(b"a\n" * 500))
    predict.main(["run", "--out", str(tmp_path / "out.jsonl")])
    shown, _, said = terminal.getvalue().rpartition("\r")
    assert " a second" in shown
    assert "%" not in shown
    assert said.startswith("500 inputs in ")


@pytest.mark.parametrize("where", ["no terminal", "among answers"])
def test_nothing_is_shown_elsewhere(where: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: Any = io.StringIO() if where == "no terminal" else Terminal()
    monkeypatch.setattr(sys, "stderr", errors)
    if where == "no terminal":
        predict.main(["run", source, "--out", str(tmp_path / "out.jsonl")])
    else:
        monkeypatch.setattr(sys, "stdout", Terminal())
        predict.main(["run", source])
    assert errors.getvalue().startswith("5,000 inputs in ")
    assert "\r" not in errors.getvalue()
