"""A file that is gone on with behind a kill: the same answers, and never on top of others."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import TEXTS, make_run
from upper_case import Upper, upper

from minibert.errors import InputError
from tasks import registry
from tasks.predict import chunks, resume
from tasks.predict import command as predict
from tasks.predict.answerer import Answerer
from tasks.run.predictor import Predictor


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_CHUNK", 8)


def in_a_process(command: Callable[[], object]) -> int:
    """The signal that killed a fork of this process while it ran a command; 0 for none."""
    pid = os.fork()
    if pid == 0:
        try:
            command()
        finally:
            os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return -status if status < 0 else 0


def killed_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, a process is killed when it answers for the so-manyth time."""
    calls = 0
    answer = Predictor.answer

    def answer_or_die(self: Predictor, items: Any) -> list[dict[str, Any]]:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer(self, items)

    monkeypatch.setattr(Predictor, "answer", answer_or_die)


def without_times(path: Path) -> list[Any]:
    """The answers in a file but for the time that they took; those of a table by their cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return [line.rpartition(",")[0] for line in text.split("\n")]
    return [{**json.loads(line), "milliseconds": 0} for line in text.split("\n")[:-1]]


@pytest.mark.parametrize("out", ["out.jsonl", "out.csv"])
@pytest.mark.parametrize("torn", [0, 30, -700])
def test_a_killed_run_ends_as_if_it_had_not_been(
    out: str, torn: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the last line is torn, or more is lost of what was written, as when the machine lost its power."""
    source = tmp_path / "in.jsonl"
    rows = [{"id": number, "text": text + ' says "so",\nBob' * (number % 3)} for number, text in enumerate(TEXTS)]
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    run = make_run(tmp_path / "run", "ner")
    options = [run, str(source), "--precision", "fp32", "--device", "cpu", "--out"]
    registry.run("predict", [*options, str(tmp_path / f"whole-{out}")])
    with monkeypatch.context() as patch:
        killed_at(5, patch)
        assert in_a_process(lambda: registry.run("predict", [*options, str(tmp_path / out)])) == signal.SIGKILL
    assert not (tmp_path / out).exists()
    partial = tmp_path / f"{out}.partial"
    if torn > 0:
        with open(partial, "a", encoding="utf-8") as file:
            file.write('{"id": 32, "text": "Ann went to Rome"'[:torn])
    elif torn:
        os.truncate(partial, partial.stat().st_size + torn)
    answered: list[int] = []
    answer = Predictor.answer
    monkeypatch.setattr(Predictor, "answer", lambda self, items: answered.append(len(items)) or answer(self, items))
    registry.run("predict", [*options, str(tmp_path / out), "--resume"])
    assert without_times(tmp_path / out) == without_times(tmp_path / f"whole-{out}")
    assert sum(answered) == (28 if torn >= 0 else 36)
    assert sorted(path.name for path in tmp_path.glob("*out*")) == sorted([out, f"whole-{out}"])


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The output of a run that has stopped at line 21 of its input, in the third chunk."""
    monkeypatch.setattr(predict, "load", lambda *_, **__: upper())
    lines = [json.dumps({"text": f"text {number}"}) for number in range(30)]
    lines[20] = '{"text": 7}'
    (tmp_path / "in.jsonl").write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "out.jsonl"
    with pytest.raises(InputError, match=r"line 21: .*The answers before it are in .*out\.jsonl\.partial"):
        predict.main(["run", str(tmp_path / "in.jsonl"), "--out", str(out)])
    assert (tmp_path / "out.jsonl.partial").read_text().count("\n") == 20
    return out


def test_a_bad_line_is_gone_on_behind(left: Path) -> None:
    predict.main(["run", str(left.with_name("in.jsonl")), "--out", str(left), "--resume", "--on-error", "skip"])
    rows = [json.loads(line) for line in left.read_text().splitlines()]
    assert [row.get("label") for row in rows] == [None if n == 20 else f"TEXT {n}" for n in range(30)]
    assert sorted(path.name for path in left.parent.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_without_resume_nothing_that_was_answered_is_lost(left: Path) -> None:
    partial = left.with_name("out.jsonl.partial")
    before = partial.read_bytes()
    with pytest.raises(InputError, match=r"partial: has the answers of an earlier run that did not end; add --resume"):
        predict.main(["run", str(left.with_name("in.jsonl")), "--out", str(left)])
    assert partial.read_bytes() == before


@pytest.mark.parametrize("changed", ["input", "start of input", "run", "--top-k, --unknown", "--format"])
def test_other_answers_are_not_written_behind_them(changed: str, left: Path) -> None:
    source, run, options = left.with_name("in.jsonl"), "run", []
    if changed == "input":
        os.utime(source, ns=(1, 1))
    elif changed == "start of input":
        state = source.stat()
        source.write_text(source.read_text().replace("text 1", "TEXT 1"))
        os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))
        changed = "input"
    elif changed == "run":
        run = "other"
    elif changed == "--format":
        options = ["--format", "text"]
    else:
        options = ["--top-k", "2", "--unknown"]
    before = left.with_name("out.jsonl.partial").read_bytes()
    with pytest.raises(InputError, match=f"--resume: .*partial was made with another {changed}; give the same again"):
        predict.main([run, str(source), "--out", str(left), "--resume", *options])
    assert left.with_name("out.jsonl.partial").read_bytes() == before


def test_the_state_of_a_runs_folder_counts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("1")
    before = resume.origin("in.txt", str(tmp_path), {})
    (tmp_path / "report.html").write_text("drawn again")
    assert resume.origin("in.txt", str(tmp_path), {}) == before
    os.utime(tmp_path / "model.safetensors", ns=(1, 1))
    assert resume.origin("in.txt", str(tmp_path), {}) != before


def test_resume_without_anything_to_go_on_with_starts_at_the_start(left: Path) -> None:
    left.with_name("out.jsonl.partial").unlink()
    source = left.with_name("in.jsonl")
    source.write_text('{"text": "a"}')
    predict.main(["run", str(source), "--out", str(left), "--resume"])
    assert json.loads(left.read_text())["label"] == "A"
    assert sorted(path.name for path in left.parent.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_file_that_another_process_writes_is_refused(left: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="this system has no locks")
    before = left.with_name("out.jsonl.partial").read_bytes()
    with open(left.with_name("out.jsonl.partial"), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is writing it; wait for it to end"):
            predict.main(["run", str(left.with_name("in.jsonl")), "--out", str(left), "--resume"])
    assert left.with_name("out.jsonl.partial").read_bytes() == before


def test_a_partial_name_that_someone_has_linked_is_not_followed(tmp_path: Path, left: Path) -> None:
    (tmp_path / "victim").write_text("theirs")
    (tmp_path / "new.jsonl.partial").symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match=r"new\.jsonl\.partial: cannot be written"):
        predict.main(["run", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "new.jsonl")])
    assert (tmp_path / "victim").read_text() == "theirs"


@pytest.mark.parametrize(("chunk", "kept"), [(1, 0), (3, 16)])
def test_a_signal_leaves_whole_chunks_and_says_how_to_go_on(
    chunk: int, kept: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Upper):
        calls = 0

        def answer(self, items: list[str]) -> list[dict[str, Any]]:
            self.calls += 1
            if self.calls == chunk:
                raise KeyboardInterrupt
            return super().answer(items)

    stopped: Any = Stopped()
    monkeypatch.setattr(predict, "load", lambda *_, **__: Answerer(stopped))
    (tmp_path / "in.txt").write_text("a\n" * 50)
    with pytest.raises(KeyboardInterrupt):
        predict.main(["run", str(tmp_path / "in.txt"), "--out", str(tmp_path / "out.jsonl")])
    said = capsys.readouterr().err
    if kept:
        assert "out.jsonl.partial; --resume goes on behind them" in said
        assert (tmp_path / "out.jsonl.partial").read_text().count("\n") == kept
        predict.main(["run", str(tmp_path / "in.txt"), "--out", str(tmp_path / "out.jsonl"), "--resume"])
        assert (tmp_path / "out.jsonl").read_text().count("\n") == 50
    else:
        assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


def test_what_cannot_be_gone_on_with_is_refused(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="must be a regular file, which can be read again"):
        predict.main(["run", str(left.parent), "--out", str(left), "--resume"])
    with pytest.raises(InputError, match="is no regular file, and keeps nothing to go on with"):
        predict.main(["run", str(left.with_name("in.jsonl")), "--out", os.devnull, "--resume"])
    monkeypatch.setattr(predict.distributed, "world_size", lambda: 2)
    with pytest.raises(InputError, match="only one process can go on with a file; start it without torchrun"):
        predict.main(["run", str(left.with_name("in.jsonl")), "--out", str(left), "--resume"])
