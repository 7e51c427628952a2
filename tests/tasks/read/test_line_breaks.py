"""CRLF inside of texts, which offsets count."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.ner.data import read_ner
from tasks.read.records import ReadOptions
from tasks.read.stream import records
from tasks.span_qa.data import read_span_qa
from tests.tasks.read.test_spans import entities, quoted

CHINESE = "第一行\r\n张三在北京。"
LATIN = "First line\r\nMia Poe saw Lima."
FOUND = {CHINESE: [("张三", "PER"), ("北京", "LOC")], LATIN: [("Mia Poe", "PER"), ("Lima", "LOC")]}


def spans(text: str, counted: str, own: bool = False) -> list[dict[str, Any]]:
    """The spans of a text by their offsets in ``counted``, which has other line breaks."""
    found = []
    for part, type_ in FOUND[text]:
        start = counted.index(part)
        span = {"start": start, "end": start + len(part), "label": type_}
        found.append({**span, "text": part} if own else span)
    return found


def table(path: Path, text: str, labels: list[dict[str, Any]], *, end: str) -> str:
    between = "\t" if path.suffix == ".tsv" else ","
    rows = [f"text{between}label", f"{quoted(text)}{between}{quoted(json.dumps(labels))}", ""]
    path.write_bytes(end.join(rows).encode())
    return str(path)


def brat(folder: Path, text: str, labels: list[dict[str, Any]]) -> str:
    folder.mkdir()
    (folder / "a.txt").write_bytes(f"{text}\r\n".encode())
    lines = [f"T{n}\t{span['label']} {span['start']} {span['end']}\r\n" for n, span in enumerate(labels)]
    (folder / "a.ann").write_bytes("".join(lines).encode())
    return str(folder)


def is_warned(understood: list[str]) -> bool:
    return any("CRLF stands before spans" in line for line in understood)


@pytest.mark.parametrize("text", FOUND)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_offsets_in_a_cell_count_the_line_breaks_that_it_has(tmp_path: Path, text: str, name: str, end: str) -> None:
    split = read_ner(table(tmp_path / name, text, spans(text, text), end=end))
    assert entities(split) == [FOUND[text]]
    assert split.items[0].text == text
    assert is_warned(split.understood) == (text == CHINESE and end == "\r\n")
    text = text.replace("\r\n", "\n")
    split = read_ner(table(tmp_path / name, text, spans(text.replace("\n", "\r\n"), text), end=end))
    assert split.items[0].text == text
    assert not is_warned(split.understood)


def test_offsets_of_brat_count_both_characters(tmp_path: Path) -> None:
    for text, found in FOUND.items():
        split = read_ner(brat(tmp_path / found[1][0], text, spans(text, text)))
        assert entities(split) == [found]
        assert is_warned(split.understood) == (text == CHINESE)


@pytest.mark.parametrize(("text", "own"), [(LATIN, False), (LATIN, True), (CHINESE, True)])
def test_line_breaks_that_were_converted_with_their_file_are_recognised(tmp_path: Path, text: str, own: bool) -> None:
    labels = spans(text, text.replace("\r\n", "\n"), own)
    split = read_ner(table(tmp_path / "a.csv", text, labels, end="\r\n"))
    assert entities(split) == [FOUND[text]]
    assert split.notes["repaired"] == {"texts read with LF for CRLF, as their offsets count it": 1}
    assert not is_warned(split.understood)
    if not own:
        assert entities(read_ner(brat(tmp_path / "brat", text, labels))) == [FOUND[text]]


def test_an_answer_behind_a_line_break_starts_where_the_cell_has_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    context = "He met Ann.\r\nThen he met Ann."
    start = context.rindex("Ann")
    path.write_bytes(f'context,question,answer_text,answer_start\r\n"{context}",Whom?,Ann,{start}\r\n'.encode())
    split = read_span_qa(str(path))
    assert [(answer.start, answer.text) for answer in split.questions[0].answers] == [(start, "Ann")]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_prediction_reads_the_same_texts_as_training(tmp_path: Path, ending: str) -> None:
    for codec in ("utf-8", "utf-16"):
        path = table(tmp_path / f"{codec}.{ending}", LATIN, [], end="\r\n")
        Path(path).write_bytes(Path(path).read_bytes().decode().encode(codec))
        options = ReadOptions(encoding=codec)
        assert [record.fields for record in records(path, options=options)] == [{"text": LATIN, "label": "[]"}]
        assert [item.text for item in read_ner(path, "auto", options).items] == [LATIN]
