"""Inputs for prediction as they come, and what a person is told where one cannot be read."""

import gzip
import io
import json
import sys
from pathlib import Path

import pytest

from minibert.errors import InputError
from tasks.classification.data import TextOptions, read_texts
from tasks.read.stream import records


def fields(path: Path, format: str = "auto") -> list[dict[str, object]]:
    return [record.fields for record in records(str(path), format)]


def test_every_line_of_plain_text_is_an_input(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff第一行\r\n\n a\u2028b \nlast".encode())
    assert fields(path) == [{"text": "第一行"}, {"text": ""}, {"text": " a\u2028b "}, {"text": "last"}]
    assert [record.place for record in records(str(path))][2] == f"{path}, line 3"


def test_json_lines_by_ending_and_by_content_and_csv_with_line_breaks(tmp_path: Path) -> None:
    rows = [{"text": "a", "id": 7}, {"text": "臺北"}]
    lines = "\n\n".join(json.dumps(row) for row in rows)
    for name in ("a.jsonl", "a.txt", "no_ending"):
        (tmp_path / name).write_text(lines, encoding="utf-8")
        assert fields(tmp_path / name) == rows
    (tmp_path / "a.csv").write_text('id,text\n1,"two\nlines"\n\n2,"say ""hi"""\n', encoding="utf-8")
    assert fields(tmp_path / "a.csv") == [{"id": "1", "text": "two\nlines"}, {"id": "2", "text": 'say "hi"'}]
    (tmp_path / "a.tsv").write_text("text\tid\na b\t1\n", encoding="utf-8")
    assert fields(tmp_path / "a.tsv") == [{"text": "a b", "id": "1"}]
    assert fields(tmp_path / "a.csv", "text")[0] == {"text": "id,text"}


def test_tables_and_json_are_read_as_in_training(tmp_path: Path) -> None:
    for name, content, label in (
        ("a.csv", "text;label\nhi, there;pos\n", "pos"),
        ("a.tsv", 'text\tlabel\n"hi, there\tpos\n', "pos"),
        ("b.tsv", 'text\tlabel\n"hi, there"\tpos\n', "pos"),
        ("a.txt", '{ "text": "hi, there", "label": "pos"}\n', "pos"),
        ("b.csv", f"text,label\n{'long ' * 40_000},pos\n", "pos"),
    ):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        (item,) = read_texts(str(path), TextOptions()).items
        assert fields(path) == [{"text": item.text, "label": label}]
        assert item.label == label


def test_gzip_and_standard_input_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"eins\nzwei\n"
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(content))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    (tmp_path / "a.txt").write_bytes(gzip.compress(content))
    assert fields(tmp_path / "a.txt.gz") == [{"text": "eins"}, {"text": "zwei"}] == [r.fields for r in records("-")]
    assert fields(tmp_path / "a.txt") == fields(tmp_path / "a.txt.gz")


def test_a_table_that_is_read_as_text_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for content, warned in (
        ("id,text\n1,a\n", True),
        ("Text\tLabel\na\tb\n", True),
        ("Yes, text me.\nNo, sir\n", False),
    ):
        caplog.clear()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        assert [record.fields["text"] for record in records("-")] == content.splitlines()
        assert ["--format csv or tsv" in message for message in caplog.messages] == [True] * warned
    caplog.clear()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"id,text\n1,a\n")))
    assert [record.fields for record in records("-", "csv")] == [{"id": "1", "text": "a"}]
    assert caplog.messages == []


def test_tagged_words_that_are_read_as_texts_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for line, warned in (
        ("王 B-PER", True),
        ("The\tO", True),
        ("-DOCSTART- -X- O O", True),
        ("Vitamin C", False),
        ("B-PER", False),
    ):
        caplog.clear()
        (tmp_path / "a.txt").write_text(f"{line}\n", encoding="utf-8")
        assert fields(tmp_path / "a.txt") == [{"text": line}]
        assert ["looks like tagged words" in message for message in caplog.messages] == [True] * warned


def test_an_empty_file_has_no_inputs(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    assert fields(tmp_path / "a.txt") == []


BAD = {
    "a.txt": ("好\n".encode() + "坏\n".encode("gbk"), "line 2: byte 0 of the line (0xbb) is not UTF-8"),
    "gbk.txt": ("好的\n".encode("gbk"), "--encoding gb18030    好的\n"),
    "wide.txt": ("好\n".encode("utf-16"), "--encoding utf-16     好\n"),
    "old.txt": (b"eins\rzwei\r", "line 1: a carriage return inside the line; end lines with LF or CRLF"),
    "sheet.csv": (b"PK\x03\x04\x14\xff", "It is a spreadsheet or an archive; export it as CSV"),
    "a.jsonl": (
        b'{"text": "a"}\n{"text": \n',
        "line 2: not JSON (column 10: Expecting value); write one object a line",
    ),
    "b.jsonl": (b'{"text": "a"}\n["a"]\n', "line 2: not a JSON object"),
    "c.jsonl": (b'{"text": "\\ud800"}\n', "line 1: an escape"),
    "a.csv": (b"id,text\n1,a\n2,b,c\n", "line 3: 3 cells, but the header names 2 columns"),
    "b.csv": (b'id,text\n1,"a\n', "line 2: not a row of this table"),
    "c.csv": (b'id,text\n1,a"b"\n2,"c"d\n', "line 3: not a row of this table"),
    "a.txt.gz": (gzip.compress(b"abc" * 1000)[:-12], "damaged gzip file"),
    "b.txt.gz": (b"not gzip", "damaged gzip file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_named_by_file_and_line(tmp_path: Path, name: str) -> None:
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        fields(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))
    assert message in str(error.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        fields(tmp_path / "none.txt")
    with pytest.raises(InputError, match="a folder without"):
        fields(tmp_path)


def test_inputs_come_before_the_file_is_read_to_its_end(tmp_path: Path) -> None:
    """What makes a file of any size fit in memory: a broken line far behind does not matter yet."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\n" * 100_000 + b"\xff\n")
    stream = records(str(path))
    assert next(stream).fields == {"text": "good"}
