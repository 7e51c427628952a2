"""The unit of the offsets of spans, as the whole file shows it."""

import json
from pathlib import Path
from typing import Any

import pytest
from exports import entities, write

from minibert.errors import InputError
from tasks.ner.data import read_ner
from tasks.read.records import ReadOptions

WIDE = "🎉🎉 Mia Poe saw Lima again."


def units(text: str, start: int, end: int, codec: str) -> list[int]:
    size = {"utf16": "utf-16-le", "bytes": "utf-8"}.get(codec)
    if size is None:
        return [start, end]
    per = 2 if codec == "utf16" else 1
    return [len(text[:start].encode(size)) // per, len(text[:end].encode(size)) // per]


@pytest.mark.parametrize("unit", ["characters", "utf16", "bytes"])
@pytest.mark.parametrize("own_text", [False, True])
def test_the_unit_of_offsets_is_recognised(tmp_path: Path, unit: str, own_text: bool) -> None:
    rows = []
    for text in (WIDE, "Señor " + WIDE, "a 😀 b Mia Poe"):
        start = text.index("Mia")
        first, last = units(text, start, start + 7, unit)
        rows.append({"text": text, "label": [{"start": first, "end": last, "label": "PER"}]})
        if own_text:
            rows[-1]["label"][0]["text"] = "Mia Poe"  # type: ignore[index]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    split = read_ner(path)
    assert entities(split) == [[("Mia Poe", "PER")]] * 3
    assert not any("beyond U+FFFF" in line for line in split.understood)
    counted = [name for name in split.notes.get("repaired", {}) if "converted from" in name]
    assert len(counted) == (unit != "characters")
    assert entities(read_ner(path, offsets=unit)) == [[("Mia Poe", "PER")]] * 3


HANZI = "张三在北京大学学习，李四在上海交通大学工作。"


def in_units(unit: str, text: str, *parts: str) -> dict[str, Any]:
    places = [(text.index(part), text.index(part) + len(part)) for part in parts]
    return {"text": text, "label": [[*units(text, start, end, unit), "X"] for start, end in places]}


@pytest.mark.parametrize(("ahead", "unit"), [("", "characters"), ("", "bytes"), ("🎉" * 9, "utf16"), ("🎉", "bytes")])
def test_the_unit_is_recognised_in_chinese_where_spans_lie_outside(tmp_path: Path, ahead: str, unit: str) -> None:
    parts = ["张三", "北京大学", "李四", "工作"]
    split = read_ner(write(tmp_path, "a.jsonl", in_units(unit, ahead + HANZI, *parts)))
    assert entities(split) == [[(part, "X") for part in parts]]
    assert not any("--offsets" in line for line in split.understood)


def test_two_spans_do_not_show_the_unit_where_one_lies_outside(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the span 3:9 is outside the text of 5 characters; give --offsets"):
        read_ner(write(tmp_path, "a.jsonl", in_units("bytes", "王在北京。", "王", "在北")))


def test_where_another_unit_fits_better_it_is_warned_of(tmp_path: Path) -> None:
    rows = [in_units("bytes", HANZI, "张三", "北京大学", "李四", "工作"), in_units("characters", "在北京", "北京")]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=r"line 1: the span 30:36 is outside .*; give --offsets bytes or utf16"):
        read_ner(path)
    split = read_ner(path, options=ReadOptions(skip_invalid=True))
    assert any("Give --offsets characters or bytes" in line for line in split.understood)
    inside = write(tmp_path, "b.jsonl", in_units("bytes", HANZI, "张三", "在", "北京"))
    assert any("Give --offsets characters or bytes" in line for line in read_ner(inside).understood)
    assert entities(read_ner(path, options=ReadOptions(skip_invalid=True), offsets="bytes"))[0][1] == ("北京大学", "X")


def test_where_the_file_does_not_show_the_unit_it_is_warned_of(tmp_path: Path) -> None:
    """Every Chinese character is a word, so every place fits."""
    rows = [{"text": "🎉今天在北京开会讨论", "label": [[4, 6, "LOC"]]}, {"text": "今天", "label": []}]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    split = read_ner(path)
    (warning,) = [line for line in split.understood if "beyond U+FFFF" in line]
    assert f"{path}, line 1: " in warning
    assert "--offsets" in warning
    assert entities(split)[0] == [("北京", "LOC")]
    assert entities(read_ner(path, offsets="utf16"))[0] == [("在北", "LOC")]


def test_the_last_character_in_end_idx_belongs_to_the_span(tmp_path: Path) -> None:
    row = {"text": "患者有胃炎。", "entities": [{"start_idx": 3, "end_idx": 4, "type": "dis"}]}
    split = read_ner(write(tmp_path, "a.jsonl", row))
    assert entities(split) == [[("胃炎", "dis")]]
    assert split.notes["repaired"] == {"places in end_idx read as the last character's": 1}


def test_a_spans_own_text_moves_it(tmp_path: Path) -> None:
    row = {"text": "Lima, and Lima again", "label": [{"start": 9, "end": 13, "label": "LOC", "text": "Lima"}]}
    split = read_ner(write(tmp_path, "a.jsonl", row))
    assert split.items[0].entities[0].start == 3
    assert split.notes["repaired"] == {"spans moved to where their own text stands": 1}


@pytest.mark.parametrize(
    ("text", "start", "end", "own"),
    [
        ("Turkey beat France; a turkey fled", 0, 6, "turkey"),
        ("Mia Poe saw Lima", 0, 7, "mia poe"),
        ("Zoe\u0308 saw Lima", 0, 4, "Zo\u00eb"),
        ("Zo\u00eb saw Lima", 0, 3, "Zoe\u0308"),
        ("in Zürich", 3, 9, "zurich"),
        ("ＮＡＴＯ met", 0, 4, "NATO"),
        ("the U.S. left", 4, 8, "u. s."),
        ("in Lima", 3, 7, "li ##ma"),
    ],
)
def test_own_texts_that_differ_in_form_alone_leave_spans_where_they_are(
    tmp_path: Path, text: str, start: int, end: int, own: str
) -> None:
    """As the pipelines of uncased models write them."""
    span = {"entity_group": "X", "word": own, "start": start, "end": end}
    split = read_ner(write(tmp_path, "a.jsonl", {"text": text, "entities": [span]}))
    (entity,) = split.items[0].entities
    places = split.items[0].places
    assert (places[entity.start][0], places[entity.end - 1][1]) == (start, end)
    assert "repaired" not in split.notes


def test_an_own_text_is_looked_for_as_it_is_written_first(tmp_path: Path) -> None:
    """At 10:14 are LIMA in characters and Lima in UTF-16 units."""
    row = {"text": "😀" * 5 + "Lima LIMA", "label": [{"start": 10, "end": 14, "label": "LOC", "text": "Lima"}]}
    split = read_ner(write(tmp_path, "a.jsonl", row))
    assert split.notes["repaired"] == {"spans converted from UTF-16 units to characters": 1}
