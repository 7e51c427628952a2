"""One bad input among many: it costs no other, and the line in its place says what is wrong."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import make_run
from upper_case import Upper, piped, upper

from minibert.errors import InputError
from tasks import registry
from tasks.predict import chunks
from tasks.predict import command as predict
from tasks.predict.answerer import Answerer

LINES = ['{"text": "a", "id": 1}', '{"text": "b"', '{"id": 3, "txt": "c"}', '{"text": "d"}']


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "load", lambda *_, **__: upper())


def run(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[list[dict[str, Any]], str]:
    """The lines that are written, and what is said."""
    predict.main(["run", str(path), "--on-error", "skip", *options])
    done = capsys.readouterr()
    return [json.loads(line) for line in done.out.splitlines()], done.err


def test_a_bad_input_has_a_line_in_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(LINES), encoding="utf-8")
    rows, said = run(path, capsys)
    assert rows == [
        {"id": 1, "text": "a", "label": "A"},
        {
            "error": f"{path}, line 2: not JSON (column 13: Expecting ',' delimiter); write one object a line.",
            "line": 2,
        },
        {"id": 3, "txt": "c", "error": f"{path}, line 3: needs a text.", "line": 3},
        {"text": "d", "label": "D"},
    ]
    assert said.startswith("4 inputs in ")
    assert f"\n2 skipped; the first: {path}, line 2: not JSON" in said


def test_without_skip_nothing_comes_behind_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(LINES), encoding="utf-8")
    with pytest.raises(InputError, match="line 2: not JSON"):
        predict.main(["run", str(path)])
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_an_error_of_the_inputs_own_is_not_taken_for_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a", "error": "E5", "line": 7}\n{"error": "E6", "line": 8}', encoding="utf-8")
    rows, _ = run(path, capsys)
    assert rows[0] == {"input_error": "E5", "line": 7, "text": "a", "label": "A"}
    assert (rows[1]["input_error"], rows[1]["input_line"], rows[1]["line"]) == ("E6", 8, 2)


def test_a_file_of_bad_inputs_alone_fails_and_says_why_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text("\n".join(LINES[1:3]), encoding="utf-8")
    with pytest.raises(InputError, match=r"none of 2 inputs can be used; the first: .*line 1: not JSON"):
        predict.main(["run", str(path), "--on-error", "skip", "--out", str(out)])
    assert len(out.read_text(encoding="utf-8").splitlines()) == 2
    path.write_text("", encoding="utf-8")
    assert run(path, capsys)[0] == []


class Choosy(Upper):
    """Refuses the text "bad" only where it is computed, and with it all that it is computed with."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def answer(self, items: list[str]) -> list[dict[str, Any]]:
        self.sizes.append(len(items))
        if "bad" in items:
            raise InputError("has 600 tokens.")
        return super().answer(items)


@pytest.mark.parametrize("policy", ["skip", "stop"])
def test_an_input_that_the_model_does_not_take_is_found_among_the_others(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    choosy: Any = Choosy()
    monkeypatch.setattr(predict, "load", lambda *_, **__: Answerer(choosy))
    texts = ["bad" if number in (100, 555) else str(number) for number in range(1000)]
    (tmp_path / "in.txt").write_text("\n".join(texts), encoding="utf-8")
    if policy == "skip":
        rows, _ = run(tmp_path / "in.txt", capsys)
        assert [row.get("label", row.get("error")) for row in rows] == [
            "has 600 tokens." if text == "bad" else text for text in texts
        ]
        assert len(choosy.sizes) < 50
    else:
        with pytest.raises(InputError, match="has 600 tokens"):
            predict.main(["run", str(tmp_path / "in.txt")])
        lines = capsys.readouterr().out.splitlines()
        assert [json.loads(line)["label"] for line in lines] == texts[:100]


def test_a_stream_goes_on_behind_a_broken_first_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard input that ends; the answers are the same however it is cut."""
    monkeypatch.setattr(sys, "stdin", piped(b'{"text": "a\n{"text": "b"}\n\n{"text": "\xff"}\n'))
    predict.main(["run", "--on-error", "skip"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row.get("label", row.get("line")) for row in rows] == [1, "B", 4]


def test_a_real_model_skips_a_text_that_is_too_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(chunks, "_CHUNK", 2)
    texts = ["Ann [MASK]", "Ann " * 50 + "[MASK]", "no mask", "Bob [MASK]"]
    (tmp_path / "in.txt").write_text("\n".join(texts), encoding="utf-8")
    folder = make_run(tmp_path / "run", "fill_mask")
    registry.run("predict", [folder, str(tmp_path / "in.txt"), "--on-error", "skip", "--top-k", "1"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(row["masks"]) if "masks" in row else row["line"] for row in rows] == [1, 2, 3, 1]
    assert "line 2: has 53 tokens, and the model has positions for 40" in rows[1]["error"]
