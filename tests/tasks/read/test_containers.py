"""The same records in every container, for training and for prediction."""

import gzip
import io
import json
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from minibert.errors import InputError
from tasks.classification.data import TextOptions, read_texts
from tasks.ner.data import read_ner
from tasks.read import arrow
from tasks.read.records import ReadOptions
from tasks.read.stream import records
from tasks.span_qa.data import read_span_qa

ROWS = [{"text": "one; two", "label": "b"}, {"text": 'a "word"\nand more', "label": "a"}, {"text": "三", "label": "b"}]
ITEMS = [(row["text"], row["label"]) for row in ROWS]
NAMED = {"0": ROWS[0], "1": ROWS[1], "2": ROWS[2]}
COLUMNS = {name: {str(n): row[name] for n, row in enumerate(ROWS)} for name in ("text", "label")}
LISTS = {name: [row[name] for row in ROWS] for name in ("text", "label")}
QUOTED = 'one; two\tb\n"a ""word""\nand more"\ta\n三\tb\n'

JSON = {
    "lines.jsonl": "\n".join(map(json.dumps, ROWS)),
    "lines.txt": "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
    "array.json": json.dumps(ROWS),
    "array.jsonl": json.dumps(ROWS),
    "array.txt": json.dumps(ROWS, indent=1),
    "pretty.json": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "pretty.jsonl": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "commas.json": ",\n".join(json.dumps(row) for row in ROWS),
    "data.json": json.dumps({"version": 1, "data": ROWS}),
    "viewer.json": json.dumps({"rows": [{"row_idx": n, "row": row} for n, row in enumerate(ROWS)]}),
    "columns.json": json.dumps(COLUMNS),
    "index.json": json.dumps(NAMED),
    "split.json": json.dumps({"columns": ["text", "label"], "index": [0, 1, 2], "data": [list(i) for i in ITEMS]}),
    "lists.json": json.dumps(LISTS),
}
TABLES = {
    "a.tsv": "text\tlabel\n" + QUOTED,
    "sep.csv": 'sep=|\ntext|label\none; two|b\n"a ""word""\nand more"|a\n三|b\n',
    "trailing.csv": 'text,label,,\none; two,b,,\n"a ""word""\nand more",a,,\n三,b,,\n',
    "toutiao.txt": 'text_!_label\none; two_!_b\na "word"\nand more_!_a\n三_!_b\n'.replace('"\nand', '" and'),
}


def items(path: Path, **options: Any) -> list[tuple[str, Any]]:
    return [(item.text, item.label) for item in read_texts(str(path), TextOptions(read=ReadOptions(**options))).items]


@pytest.mark.parametrize("name", [*JSON, *TABLES])
def test_every_container_has_the_same_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text({**JSON, **TABLES}[name], encoding="utf-8")
    expected = [(text.replace("\n", " "), label) for text, label in ITEMS] if name == "toutiao.txt" else ITEMS
    assert items(path) == expected
    read = [record.fields for record in records(str(path), "csv" if name == "sep.csv" else "auto")]
    assert [(fields["text"], fields["label"]) for fields in read] == expected


def archive(content: bytes, *names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("__MACOSX/._a", b"")
        for name in names:
            zipped.writestr(name, content)
    return file.getvalue()


def test_archives(tmp_path: Path) -> None:
    content = JSON["array.json"].encode()
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(content))
    (tmp_path / "a.zip").write_bytes(archive(content, "inner/a.json"))
    (tmp_path / "b.zip").write_bytes(archive(TABLES["a.tsv"].encode(), "b.tsv"))
    for name in ("a.json.gz", "a.zip", "b.zip"):
        assert items(tmp_path / name) == ITEMS
        assert len(list(records(str(tmp_path / name)))) == 3
    (tmp_path / "c.zip").write_bytes(archive(content, "a.json", "b.json"))
    (tmp_path / "d.zip").write_bytes(archive(content, "[Content_Types].xml", "sheet.xml"))
    (tmp_path / "e.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:-30])
    for name, message in (("c", "an archive of 2 files"), ("d", "It is a spreadsheet"), ("e", "cannot be unpacked")):
        with pytest.raises(InputError, match=message):
            items(tmp_path / f"{name}.zip")


def test_parquet_and_arrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pa = pytest.importorskip("pyarrow", reason="the extra arrow is not installed")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table(LISTS)
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pa.OSFile(str(tmp_path / "stream"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    for name in ("a.parquet", "a.arrow", "stream"):
        assert items(tmp_path / name) == ITEMS
        assert [record.fields["text"] for record in records(str(tmp_path / name))] == LISTS["text"]
    # Hugging Face's datasets keep numbers, and their names beside them.
    names = {"info": {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}}
    table = pa.table({"text": ["a", "b", "c"], "label": [1, 0, -1]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(names)})
    pq.write_table(table, tmp_path / "b.parquet")
    assert items(tmp_path / "b.parquet", skip_invalid=True) == [("a", "yes"), ("b", "no")]
    (tmp_path / "c.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:200])
    with pytest.raises(InputError, match="not parquet that can be read"):
        items(tmp_path / "c.parquet")
    monkeypatch.setattr(arrow, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'needs pyarrow: pip install "minibert\[arrow\]"'):
        items(tmp_path / "a.parquet")


def test_parquet_whose_text_is_bytes(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="the extra arrow is not installed")
    pq = pytest.importorskip("pyarrow.parquet")
    rows = {"text": ["好".encode(), b"b"], "label": [b"good", b"bad"], "image": [b"\xff\xd8", b"\xff\xd9"]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    assert items(tmp_path / "a.parquet") == [("好", "good"), ("b", "bad")]
    pq.write_table(pa.table({**rows, "text": ["好".encode("gb18030"), b"b"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="row 1: text is null, not text"):
        items(tmp_path / "b.parquet")


def test_a_folder_for_each_class_and_a_folder_of_brat(tmp_path: Path) -> None:
    for name, text in (("good/1.txt", "fine"), ("good/2.txt", "two\nlines"), ("bad/1.txt", "dull")):
        (tmp_path / "classes" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "classes" / name).write_text(text + "\n", encoding="utf-8")
    assert items(tmp_path / "classes") == [("dull", "bad"), ("fine", "good"), ("two\nlines", "good")]
    assert [record.fields["text"] for record in records(str(tmp_path / "classes"))] == ["dull", "fine", "two\nlines"]
    (tmp_path / "classes" / "urls.txt").write_text("http://example.org\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"urls\.txt: stands beside folders of texts \(bad, good\); move it away"):
        items(tmp_path / "classes")
    brat = tmp_path / "brat"
    brat.mkdir()
    (brat / "a.txt").write_text("Ann met Bob.\nBob left.\n", encoding="utf-8")
    (brat / "a.ann").write_text(
        "T1\tPER 0 3\tAnn\nT2\tPER 8 11\tBob\nT3\tPER 0 3;8 11\tAnn Bob\nR1\tknows Arg1:T1 Arg2:T2\n#1\tNote T1\tx\n"
    )
    (brat / "b.txt").write_text("Nobody.\n", encoding="utf-8")
    (brat / "b.ann").touch()
    split = read_ner(str(brat))
    assert [[(e.start, e.end, e.type) for e in s.entities] for s in split.items] == [[(0, 1, "PER"), (2, 3, "PER")], []]
    assert split.notes["repaired"] == {
        "discontinuous spans left aside": 1,
        "annotations of brat that are no spans passed over": 2,
    }
    assert [record.fields["text"] for record in records(str(brat))] == ["Ann met Bob.\nBob left.", "Nobody."]
    before = split.sha256
    (brat / "b.ann").write_text("T1\tPER 0 6\tNobody\n")
    assert read_ner(str(brat)).sha256 != before
    (brat / "b.ann").write_text("T1\tPER zero\n")
    with pytest.raises(InputError, match=r"b\.ann, line 1: 'T1' is not of the form"):
        read_ner(str(brat))


def brat(folder: Path, *names: str) -> Path:
    """A folder of brat's: texts with one entity."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".txt").write_text("Ann left.\n", encoding="utf-8")
        file.with_suffix(".ann").write_text("T1\tPER 0 3\tAnn\n", encoding="utf-8")
    return folder


def test_a_text_of_brat_without_annotations_is_refused_for_entities(tmp_path: Path) -> None:
    folder = brat(tmp_path, "a", "b")
    (folder / "b.ann").unlink()
    with pytest.raises(InputError, match=r"b\.txt: b\.ann is missing beside it; add it, empty if the text has no ent"):
        read_ner(str(folder))
    split = read_ner(str(folder), options=ReadOptions(skip_invalid=True))
    assert (len(split.items), split.notes["left_out"]) == (1, {"invalid rows": 1})
    assert len(list(records(str(folder)))) == 2  # prediction needs none
    (folder / "a.ann").unlink()
    with pytest.raises(InputError, match=r"a\.txt: a\.ann is missing"):
        read_ner(str(folder))
    (folder / "a.ann").touch()
    (folder / "c.ann").touch()
    with pytest.raises(InputError, match=r"c\.ann: stands without its text; put c\.txt beside it"):
        read_ner(str(folder))


@pytest.mark.parametrize("names", [("a/1", "b/1"), ("1", "a/1", "a/deep/1")])
def test_folders_of_brat_are_one_collection_and_no_classes(tmp_path: Path, names: Sequence[str]) -> None:
    folder = brat(tmp_path, *names)
    split = read_ner(str(folder))
    assert [item.words for item in split.items] == [["Ann", "left", "."]] * len(names)
    assert sum(len(item.entities) for item in split.items) == len(names)
    assert split.understood[0].startswith("read as a folder of brat's .txt and .ann files")
    assert len(list(records(str(folder)))) == len(names)
    with pytest.raises(InputError, match=r"perhaps with brat's \.ann files, .* put the texts of each class, without"):
        items(folder)


def test_hidden_files_and_folders_are_no_texts_and_no_classes(tmp_path: Path) -> None:
    """Jupyter and Macs leave copies and files of their own."""
    names = ("good/1.txt", "bad/1.txt", ".ipynb_checkpoints/1-checkpoint.txt", "good/._1.txt")
    for name in names:
        (tmp_path / ".data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".data" / name).write_bytes(b"\xff" if "._" in name else b"fine")
    assert items(tmp_path / ".data") == [("fine", "bad"), ("fine", "good")]


def test_tables_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("fine film,7,good\ndull,8,bad\n", encoding="utf-8")
    with pytest.raises(InputError, match="name its columns: --columns label,text"):
        items(path)
    assert items(path, columns=["text", "id", "label"]) == [("fine film", "good"), ("dull", "bad")]
    read = records(str(path), "auto", ReadOptions(columns=["text", "id", "label"]))
    assert [record.fields["id"] for record in read] == ["7", "8"]
    with pytest.raises(InputError, match="line 1: 3 cells, but --columns names 2 columns"):
        items(path, columns=["text", "label"])
    path = tmp_path / "b.tsv"
    path.write_text("Ann left\tB-PER O\n", encoding="utf-8")
    assert read_ner(str(path), "auto", ReadOptions(columns=["text", "tags"])).items[0].words == ["Ann", "left"]
    path = tmp_path / "c.csv"
    path.write_text("Ann left.,Who?,Ann\n", encoding="utf-8")
    (question,) = read_span_qa(str(path), ReadOptions(columns=["context", "question", "answer"])).questions
    assert question.answers[0].text == "Ann"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ('good\t"line one\n\nline ""two"""\nbad\tx y', [("good", 'line one\n\nline "two"'), ("bad", "x y")]),
        ('good\t"line one\nline two"', [("good", "line one\nline two")]),
        # Stray quotation marks, one of them before a cell of several lines, and one in the last line.
        ('good\t"one\nbad\ttwo"', [("good", '"one'), ("bad", 'two"')]),
        ('good\t"one\n\nbad\t"two"', [("good", '"one'), ("bad", "two")]),
        ('good\t"one\nbad\t"two\nmore"\nbad\t"', [("good", '"one'), ("bad", "two\nmore"), ("bad", '"')]),
    ],
)
def test_line_breaks_in_the_last_cell_of_a_tsv(tmp_path: Path, cells: str, expected: list[tuple[str, str]]) -> None:
    path = tmp_path / "a.tsv"
    for end in ("\n", "\r\n"):
        path.write_bytes(f"label\ttext\n{cells}\n".replace("\n", end).encode())
        wanted = [(text.replace("\n", end), label) for label, text in expected]
        assert items(path) == wanted
        assert [(record.fields["text"], record.fields["label"]) for record in records(str(path))] == wanted


def test_a_quotation_mark_within_a_line_does_not_end_a_cell_of_several(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('label\ttext\ngood\t"one\nmore" said\nbad\ttwo\n', encoding="utf-8")
    with pytest.raises(InputError, match="line 3: 1 cells, but the header names 2 columns"):
        items(path)
    assert items(path, skip_invalid=True) == [('"one', "good"), ("two", "bad")]


@pytest.mark.parametrize("header", ["Text,Label", "label, text"])
def test_a_header_that_columns_repeat_is_no_row(tmp_path: Path, header: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\nfine film,good\ndull,bad\n", encoding="utf-8")
    message = "a.csv, line 1: has the names of --columns; if it is the file's header, leave out --columns"
    with pytest.raises(InputError, match=message):
        items(path, columns=["text", "label"])
    assert items(path, columns=["text", "label"], skip_invalid=True) == [("fine film", "good"), ("dull", "bad")]
    refused, *rest = records(str(path), "auto", ReadOptions(columns=["text", "label"]), keep_refused=True)
    assert message in str(refused.refused)
    assert [record.fields["text"] for record in rest] == ["fine film", "dull"]
    path.write_text("context,question,answer\nAnn left.,Who?,Ann\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1: has the names of --columns"):
        read_span_qa(str(path), ReadOptions(columns=["context", "question", "answer"]))


def test_a_header_of_one_column_is_no_row_but_a_word_below_may_be_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\nwords\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1: has the names of --columns"):
        list(records(str(path), "auto", ReadOptions(columns=["text"])))
    path.write_text("words\ntext\n", encoding="utf-8")
    read = records(str(path), "auto", ReadOptions(columns=["text"]))
    assert [record.fields["text"] for record in read] == ["words", "text"]


def test_a_first_label_that_no_other_row_has_may_be_a_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Kategorie,Beschreibung\n" + "good,fine\nbad,dull\n" * 20, encoding="utf-8")
    with pytest.raises(InputError, match="name it with --text-column; to a file without a header, add one"):
        items(path)
    named = TextOptions(text_column="Beschreibung", label_columns=["Kategorie"])
    assert {item.label for item in read_texts(str(path), named).items} == {"good", "bad"}

    def warnings(columns: list[str]) -> list[str]:
        return read_texts(str(path), TextOptions(read=ReadOptions(columns=columns))).notes.warnings

    (warning,) = warnings(["label", "text"])
    assert "line 1 has a label that no other row has (Kategorie); if the line is a header, leave out" in warning
    path.write_text("good,fine\nbad,dull\n" * 20, encoding="utf-8")
    assert not warnings(["label", "text"])
    path.write_text("other,odd\nbad,dull\n", encoding="utf-8")
    assert not warnings(["label", "text"])
    with pytest.raises(InputError, match=r"name it with --label-column\.$"):
        warnings(["kind", "text"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "Yes, I, do\tgood\nNo\tbad\n"),
        ("a.csv", '"Yes, I, do",good\nNo,bad\n'),
        ("b.csv", "Yes, I, do;good\nNo;bad\n"),
    ],
)
def test_columns_say_how_many_cells_there_are(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert items(tmp_path / name, columns=["text", "label"]) == [("Yes, I, do", "good"), ("No", "bad")]
    given = records(str(tmp_path / name), "auto", ReadOptions(columns=["text", "label"]))
    assert [record.fields["text"] for record in given] == ["Yes, I, do", "No"]


def test_what_separates_cells_is_said_where_there_are_too_few(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("good;Well, yes\nbad;No\n", encoding="utf-8")
    with pytest.raises(InputError, match="Cells are read with commas between them; a first line such as sep=; says"):
        items(path, columns=["label", "text"])
    path.write_text("sep=;\ngood;Well, yes\nbad;No\n", encoding="utf-8")
    assert items(path, columns=["label", "text"]) == [("Well, yes", "good"), ("No", "bad")]


@pytest.mark.parametrize("name", ["array.json", "pretty.json", "data.json", "lines.jsonl", "columns.json"])
def test_standard_input_is_read_like_a_file(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(JSON[name].encode())))
    assert [record.fields["text"] for record in records("-")] == LISTS["text"]


def test_lines_answer_before_the_input_ends() -> None:
    """A stream of objects is answered object by object, even where the first one could be a whole table."""
    for first in ({"text": "a"}, {"words": ["a"], "id": [1]}, {"data": [1]}):
        file = Endless(json.dumps(first).encode() + b"\n" + json.dumps({"text": "b"}).encode() + b"\n", 3)
        stream = records_of(file)
        assert next(stream).fields == first
        assert next(stream).fields == {"text": "b"}


class Endless(io.RawIOBase):
    """Lines, and then more lines; an error if more than a few are read."""

    def __init__(self, start: bytes, most: int) -> None:
        self.lines = iter(start.splitlines(keepends=True))
        self.left = most

    def readline(self, size: int | None = -1) -> bytes:
        self.left -= 1
        assert self.left > 0, "reads ahead"
        return next(self.lines, b'{"text": "more"}\n')


def records_of(file: Any) -> Any:
    class Stdin:
        def detach(self) -> Any:
            return file

    patch: Callable[..., None] = pytest.MonkeyPatch().setattr
    patch(sys, "stdin", Stdin())
    return records("-")
