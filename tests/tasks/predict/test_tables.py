"""Answers as a table: what a spreadsheet and csv read, and what our own reader reads again."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import make_run
from upper_case import upper

from tasks import registry
from tasks.predict import chunks
from tasks.predict import command as predict
from tasks.predict.output import Part, join, make_sink
from tasks.read.stream import records

TEXTS = [
    "plain", 'says "so"', '"all quoted"', "a, b; c", "two\nlines", "=1+1", "+1", "-1", "@SUM(A1)", "  blanks ",
    "臺北 😀", "'", '"', "a\u2028b", "\u00a0", "tab\tinside", "NULL", "1e5",
]  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    """As Python's csv reads it."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


@pytest.fixture
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "load", lambda *_, **__: upper())


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_a_table_has_the_values_of_the_json_lines(ending: str, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": text, "id": number} for number, text in enumerate(TEXTS)])
    run = make_run(tmp_path / "run", "ner")
    for out in ("out.jsonl", f"out{ending}"):
        registry.run("predict", [run, source, "--unknown", "--precision", "fp32", "--out", str(tmp_path / out)])
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    rows = read(tmp_path / f"out{ending}")
    assert list(rows[0]) == ["id", "text", "entities", "milliseconds", "unknown"]
    for row, line in zip(rows, lines, strict=True):
        assert row["text"] == line["text"]
        assert json.loads(row["entities"]) == line["entities"]
        assert json.loads(row["id"]) == line["id"]
        assert json.loads(row["unknown"] or "[]") == line.get("unknown", [])
    again = [record.fields for record in records(str(tmp_path / f"out{ending}"))]
    assert again == rows


@pytest.mark.usefixtures("_no_model")
def test_cells_of_other_values(tmp_path: Path) -> None:
    rows = [{"text": "a", "none": None, "yes": True, "list": ["x", 1], "number": 1.5, "empty": ""}]
    predict.main(["run", write(tmp_path / "in.jsonl", rows), "--out", str(tmp_path / "out.csv")])
    expected = {"text": "a", "none": "", "yes": "true", "list": '["x", 1]', "number": "1.5", "empty": "", "label": "A"}
    assert read(tmp_path / "out.csv") == [
        {name: expected[name] for name in (*rows[0], "label") if name != "text"} | {"text": "a"}
    ]


@pytest.mark.usefixtures("_no_model")
def test_fields_that_come_up_later_are_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_CHUNK", 2)
    rows = [{"text": "a"}, {"text": "b", "id": 2}, {"text": "c", "new": 3}, {"text": "d", "id": 4, "new": 4}]
    predict.main(["run", write(tmp_path / "in.jsonl", rows), "--out", str(tmp_path / "out.csv")])
    found = read(tmp_path / "out.csv")
    assert [(row["id"], row["label"]) for row in found] == [("", "A"), ("2", "B"), ("", "C"), ("4", "D")]
    assert "new" not in found[0]
    assert "first inputs do not have them: new;" in capsys.readouterr().err


@pytest.mark.usefixtures("_no_model")
def test_bad_inputs_before_the_first_answer_do_not_decide_on_the_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_CHUNK", 2)
    path = tmp_path / "in.jsonl"
    path.write_text('{"a\n{"b\n{"c\n{"text": "d"}\n', encoding="utf-8")
    predict.main(["run", str(path), "--on-error", "skip", "--out", str(tmp_path / "out.csv")])
    rows = read(tmp_path / "out.csv")
    assert list(rows[0]) == ["text", "label", "error", "line"]
    assert [row["line"] for row in rows] == ["1", "2", "3", ""]
    assert rows[3]["label"] == "D"


def test_the_parts_of_several_processes_make_a_table(tmp_path: Path) -> None:
    rows = [{"text": f"two\nlines {number}", "label": number} for number in range(6)]
    for part, numbers in enumerate(((0, 2), (1,))):
        with open(tmp_path / f"part{part}", "w", encoding="utf-8") as file:
            sink = Part(file)
            for number in numbers:
                sink.write(number, rows[number * 2 : number * 2 + 2])
    with (
        open(tmp_path / "part0", encoding="utf-8") as one,
        open(tmp_path / "part1", encoding="utf-8") as other,
        open(tmp_path / "out.csv", "w", encoding="utf-8", newline="") as file,
    ):
        join([one, other], make_sink(file, tmp_path / "out.csv", skip=False, unknown=False))
    assert read(tmp_path / "out.csv") == [{**row, "label": str(row["label"])} for row in rows]
