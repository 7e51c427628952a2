"""Inputs for prediction as they come, and what a person is told where one cannot be read."""

import gzip
import io
import json
import sys
from pathlib import Path

import pytest

from minibert.errors import InputError
from tasks.classification.data import TextOptions, read_texts
from tasks.read.records import ReadOptions
from tasks.read.stream import Position, records


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
    (tmp_path / "a.tsv").write_text('text\tid\na b\t1\n"c\td ""e"""\t2\n', encoding="utf-8")
    assert fields(tmp_path / "a.tsv") == [{"text": "a b", "id": "1"}, {"text": 'c\td "e"', "id": "2"}]
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
    (tmp_path / "a.txt").write_text("\n\n", encoding="utf-8")
    assert fields(tmp_path / "a.txt") == [{"text": ""}, {"text": ""}]


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
    "a.txt.gz": (gzip.compress(b"abc" * 1000, mtime=0)[:-12], "damaged gzip file"),
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


REFUSED: dict[str, tuple[bytes, list[object]]] = {
    "a.txt": (b"a\n\xff\nb\n", ["a", "line 2: byte 0 of the line (0xff) is not UTF-8", "b"]),
    "a.jsonl": (
        b'{"text": "a\n{"text": "b"}\n{"text": "\xff"}\n["c"]\n{"text": "\\ud800"}\n{"n": NaN}\n{"text": "e"}\n',
        ["line 1: not JSON", "b", "line 3: byte", "line 4: not a JSON", "line 5: an escape", "line 6: has NaN", "e"],
    ),
    "first.jsonl": (b'{"text": "a"\n{"text": "b"}\n', ["line 1: not JSON", "b"]),
    "array.json": (b'[{"text": "a"},\n7,\n{"text": "b"}]\n', ["a", "not a JSON object", "b"]),
    "a.csv": (
        b'id,text\n1,a\n2,b,c\n3,\xff\nid,text\n4,"two\nlines\xff"\n5,b\n',
        ["a", "line 3: 3 cells", "line 4: byte 2", "line 5: repeats the header", "line 7: byte 5", "b"],
    ),
    "a.tsv": (b"text\tid\na\t1\nb\nc\t2\n", ["a", "line 3: 1 cells, but the header names 2", "c"]),
    "ft.txt": (b"__label__x a\n__label__x \xff\n__label__y b\n", ["a", "line 2: byte", "b"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_kept_in_its_place_and_costs_no_other(tmp_path: Path, name: str) -> None:
    content, expected = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(content)
    found = list(records(str(path), keep_refused=True))
    assert len(found) == len(expected)
    for record, wanted in zip(found, expected, strict=True):
        if record.refused is None:
            assert record.fields["text"] == wanted
        else:
            assert str(wanted) in str(record.refused)
            assert not record.fields
            assert record.line > 0
    with pytest.raises(InputError) as error:
        list(records(str(path)))
    assert str(error.value) == str(next(record.refused for record in found if record.refused is not None))


@pytest.mark.parametrize(
    ("name", "content", "before"),
    [
        ("a.txt.gz", gzip.compress(b"abc\n" * 1000, mtime=0)[:-12], 1),
        ("b.csv", b'id,text\n1,a\n2,"b\n3,c\n', 1),  # a cell that never ends
        ("a.json", b'[{"text": "a"},', 0),
    ],
)
def test_where_nothing_says_what_comes_next_the_file_ends(
    name: str, content: bytes, before: int, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    stream = records(str(tmp_path / name), keep_refused=True)
    assert [next(stream).refused for _ in range(before)] == [None] * before
    with pytest.raises(InputError):
        list(stream)


@pytest.mark.parametrize(
    "content",
    ['{"text": "a"},\n{"text": "b"}', '[\n{"text": "a"}\n,{"text": "b"}]', '{\n"text": "a"}\n{"text": "b"}',
     '{"text": "a"} {"text": "b"}', '{"data": [\n{"text": "a"}\n, {"text": "b"}]}', '{"text":\n"a"}\n{"text": "b"}'],
)  # fmt: skip
def test_a_first_line_that_is_no_object_may_be_the_start_of_one(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    assert fields(tmp_path / "a.json") == [{"text": "a"}, {"text": "b"}]


def test_the_position_in_a_file(tmp_path: Path) -> None:
    path, packed, array = tmp_path / "a.txt", tmp_path / "a.txt.gz", tmp_path / "a.json"
    lines = [f"{number} {number**7}\n".encode() for number in range(50_000)]
    path.write_bytes(b"".join(lines))
    packed.write_bytes(gzip.compress(path.read_bytes()))
    array.write_text(json.dumps([{"text": "a"}] * 1000), encoding="utf-8")
    for file in (path, packed):
        position = Position()
        stream = records(str(file), position=position)
        for _ in range(25_000):
            next(stream)
        assert position.share() == pytest.approx(0.5, abs=0.1)
        list(stream)
        assert position.share() is None
    position = Position()
    stream = records(str(array), position=position)
    next(stream)
    assert position.share() is None


def test_a_table_without_a_header_needs_no_second_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,a\n", encoding="utf-8")
    options = ReadOptions(columns=["id", "text"])
    assert [record.fields for record in records(str(tmp_path / "a.csv"), "auto", options)] == [{"id": "1", "text": "a"}]
    (tmp_path / "a.csv").write_text("sep=;\nid;text\n1;a\n", encoding="utf-8")
    assert fields(tmp_path / "a.csv") == [{"id": "1", "text": "a"}]
