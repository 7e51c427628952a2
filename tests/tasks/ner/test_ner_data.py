"""Labelled sentences from every format and scheme, and the sentences a person gets where a file is not right."""

import contextlib
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED
from fuzzing import read_or_refuse
from hypothesis import given
from hypothesis import strategies as st

from minibert.errors import InputError
from minibert.tokenizer.tokenizer import split_words
from tasks.ner.data import Sentence, bio_tags, entity_counts, read_ner
from tasks.ner.settings import NerSettings
from tasks.ner.tags import Entity, detect_scheme, entities_from_tags
from tasks.ner.task import NerTask

DATA = SHARED / "data" / "ner"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data/ner is not here")

WORDS = ["Ann", "Lee", "left", "New", "York", "."]
TAGS = ["B-PER", "I-PER", "O", "B-LOC", "I-LOC", "O"]
ENTITIES = [Entity(0, 2, "PER"), Entity(3, 5, "LOC")]
COLUMNS = "\n".join(f"{word} {tag}" for word, tag in zip(WORDS, TAGS, strict=True))


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


FORMATS = {
    "space.txt": COLUMNS,
    "tab.txt": COLUMNS.replace(" ", "\t"),
    "no_extension": COLUMNS + "\n\n\n",
    "crlf.txt": COLUMNS.replace("\n", "\r\n") + "\r\n",
    "bom.txt": "\ufeff" + COLUMNS,
    "conll.txt": "-DOCSTART- -X- O O\n\n" + COLUMNS.replace(" ", " NNP I-NP "),
    "sentence.csv": "id,text,tags\n7,Ann Lee left New York .,B-PER I-PER O B-LOC I-LOC O\n",
    "lists.csv": f'tokens,ner_tags\n"{WORDS}","{TAGS}"\n',
    "words.csv": "sentence_id,word,tag\n" + "\n".join(f"1,{w},{t}" for w, t in zip(WORDS, TAGS, strict=True)),
    "kaggle.csv": "Sentence #,Word,POS,Tag\nSentence: 1,Ann,NNP,B-PER\n"
    + "\n".join(f",{w},X,{t}" for w, t in list(zip(WORDS, TAGS, strict=True))[1:]),
    "words.tsv": "word\ttag\n" + COLUMNS.replace(" ", "\t"),
    "tokens.jsonl": json.dumps({"tokens": WORDS, "tags": TAGS}) + "\n\n",
    "spans.jsonl": json.dumps({"text": "Ann Lee left New York.", "entities": [[13, 21, "LOC"], [0, 7, "PER"]]}),
    "objects.json": json.dumps(
        {"text": "Ann Lee left New York.", "spans": [
            {"start": 0, "end": 7, "label": "PER"}, {"start": 13, "end": 21, "type": "LOC"},
        ]}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("zipped", [False, True])
def test_every_format_gives_the_same_sentence(tmp_path: Path, name: str, zipped: bool) -> None:
    content = FORMATS[name].encode()
    path = write(tmp_path, name + ".gz" * zipped, gzip.compress(content) if zipped else content)
    split = read_ner(path)
    assert [(sentence.words, sentence.entities) for sentence in split.items] == [(WORDS, ENTITIES)]


def test_a_row_of_characters(tmp_path: Path) -> None:
    path = write(tmp_path, "chars.csv", "text,tags\n我在北京,O O B-LOC I-LOC\n")
    assert read_ner(path).items == [Sentence(["我", "在", "北", "京"], [Entity(2, 4, "LOC")], 2)]


def test_sentences_end_at_blank_lines_and_new_identities(tmp_path: Path) -> None:
    columns = write(tmp_path, "a.txt", "a O\n\n  \nb B-X\nc O\n")
    table = write(tmp_path, "b.csv", "sent_id,token,label\n1,a,O\n2,b,B-X\n2,c,O\n")
    for path, lines in ((columns, [1, 4]), (table, [2, 3])):
        split = read_ner(path)
        assert [sentence.words for sentence in split.items] == [["a"], ["b", "c"]]
        assert [sentence.line for sentence in split.items] == lines


def test_a_space_that_is_a_word_stays_one(tmp_path: Path) -> None:
    """No-break and ideographic spaces are characters of Chinese corpora, not separators."""
    split = read_ner(write(tmp_path, "a.txt", "北 B-LOC\n\u3000 O\n\u00a0 O\n\u2028 O\n"))
    assert split.items[0].words == ["北", "\u3000", "\u00a0", "\u2028"]


@pytest.mark.parametrize(
    ("text", "spans", "words", "num_widened", "num_cut"),
    [
        ("pro-Parisian 😀李明", [[4, 9, "LOC"], [14, 16, "PER"]], [["Parisian"], ["李", "明"]], 1, 0),
        ("오늘 울산에서 왔다.", [[3, 5, "LOC"]], [["울산에서"]], 1, 0),
        ("UNaided in Rome", [[0, 2, "ORG"], [11, 15, "LOC"]], [["UNaided"], ["Rome"]], 1, 0),
        ("in NewYork now", [[3, 6, "A"], [6, 10, "B"]], [["New"], ["York"]], 0, 2),
        ("in NewYorker now", [[3, 6, "A"], [6, 10, "B"]], [["New"], ["York"]], 0, 2),
    ],
)
def test_spans_are_whole_words_of_running_text(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    text: str,
    spans: list[Any],
    words: list[list[str]],
    num_widened: int,
    num_cut: int,
) -> None:
    split = read_ner(write(tmp_path, "a.jsonl", json.dumps({"text": text, "entities": spans})))
    (sentence,) = split.items
    assert [sentence.words[e.start : e.end] for e in sentence.entities] == words
    assert (sentence.num_widened, sentence.num_cut) == (num_widened, num_cut)
    said = f"{num_widened + num_cut} of {len(spans)} spans "
    assert [said in message for message in caplog.messages] == [True]
    described = NerTask(NerSettings(train="a.jsonl")).describe(split)
    assert (described["widened_spans"], described["spans_in_cut_words"]) == (num_widened, num_cut)
    if num_widened:  # then the words are those that a prediction would read
        assert list(sentence.places) == split_words(text)


def test_a_file_whose_spans_are_no_words_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In Japanese, a run of kana is one word: Tanaka-san of Toyota, marked without the particles around it."""
    rows = [
        {"text": "王 left.", "entities": [[0, 1, "PER"]]},
        {"text": "トヨタのタナカさん", "entities": [[0, 3, "ORG"], [4, 7, "PER"]]},
        {"text": "It weighs 60kg.", "entities": [[10, 12, "NUM"]]},
    ]
    read_ner(write(tmp_path, "a.jsonl", "\n".join(json.dumps(row) for row in rows)))
    (message,) = caplog.messages
    assert (
        "3 of 4 spans (75.0%) begin or end inside a word (the first is 'トヨタ' in 'トヨタのタナカさん', line 2)"
        in message
    )
    assert "1 widened to whole words" in message
    assert "2 trained and scored in words that are cut" in message
    assert "Predictions come in whole words: single Chinese characters (Han)" in message
    assert "Give the file as a character or word a line, or as lists of tokens" in message


def test_a_tenth_of_the_spans_may_end_inside_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"text": "Paris", "entities": [[0, 5, "LOC"]]}] * 9 + [{"text": "Parisian", "entities": [[0, 5, "LOC"]]}]
    read_ner(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
    (message,) = caplog.messages
    assert "1 of 10 spans (10.0%) begin or end inside a word (the first is 'Paris' in 'Parisian', line 10)" in message
    assert "Predictions come" not in message


# -- schemes ----------------------------------------------------------------------------------------------------------


def tags_of(entities: Sequence[Entity], length: int, scheme: str) -> list[str]:
    """The definition of each scheme, written the other way round from the reader."""
    tags = ["O"] * length
    inside, last = ("M", "E") if scheme == "bmes" else ("I", "E")
    for position, (start, end, type_) in enumerate(entities):
        touches = position > 0 and entities[position - 1].end == start and entities[position - 1].type == type_
        for index in range(start, end):
            prefix = inside if index > start else "B"
            if scheme == "iob1" and not (index == start and touches):
                prefix = "I"
            if scheme in ("bioes", "bmes") and index == end - 1:
                prefix = "S" if end - start == 1 else last
            tags[index] = f"{prefix}-{type_}"
    return tags


@st.composite
def sentences_of_entities(draw: st.DrawFn) -> tuple[list[Entity], int]:
    entities: list[Entity] = []
    at = 0
    for _ in range(draw(st.integers(0, 5))):
        start = at + draw(st.integers(0, 2))
        at = start + draw(st.integers(1, 4))
        entities.append(Entity(start, at, draw(st.sampled_from(["LOC", "PER"]))))
    return entities, at + draw(st.integers(0, 2))


@given(sentences_of_entities(), st.sampled_from(["iob1", "bio", "bioes", "bmes"]))
def test_tags_of_every_scheme_are_read_back(case: tuple[list[Entity], int], scheme: str) -> None:
    entities, length = case
    assert entities_from_tags(tags_of(entities, length, scheme), scheme) == (entities, 0)


@given(sentences_of_entities())
def test_bio_tags_follow_the_definition(case: tuple[list[Entity], int]) -> None:
    entities, length = case
    assert bio_tags(Sentence(["x"] * length, entities, 1)) == tags_of(entities, length, "bio")


@pytest.mark.parametrize("scheme", ["iob1", "bio", "bioes", "bmes"])
def test_the_scheme_is_told_from_the_tags(scheme: str) -> None:
    entities = [Entity(0, 1, "LOC"), Entity(1, 3, "LOC"), Entity(4, 7, "PER")]
    assert detect_scheme([tags_of(entities, 8, scheme), ["O"]]) == scheme


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y"]), max_size=8))
def test_any_tags_give_entities_that_lie_side_by_side(tags: list[str]) -> None:
    entities, _ = entities_from_tags(tags, "bioes")
    borders = [border for entity in entities for border in (entity.start, entity.end)]
    assert borders == sorted(borders)
    assert all(entity.start < entity.end for entity in entities)
    covered = {index for entity in entities for index in range(entity.start, entity.end)}
    assert covered == {index for index, tag in enumerate(tags) if tag != "O"}


def test_tags_that_continue_nothing_are_repaired_and_counted(tmp_path: Path) -> None:
    split = read_ner(write(tmp_path, "a.txt", "a O\nb I-PER\nc I-PER\nd B-LOC\ne I-PER\n"))
    assert split.items[0].entities == [Entity(1, 3, "PER"), Entity(3, 4, "LOC"), Entity(4, 5, "PER")]
    assert split.items[0].num_repaired == 2
    assert entities_from_tags(["B-X", "I-X", "O", "E-X"], "bioes") == ([Entity(0, 2, "X"), Entity(3, 4, "X")], 2)


def test_lengths_that_tell_of_lost_borders_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_ner(write(tmp_path, "a.txt", "a O\n" * 500))
    read_ner(write(tmp_path, "b.csv", "id,word,tag\n" + "".join(f"{n},a,O\n" for n in range(20))))
    read_ner(write(tmp_path, "c.txt", "a O\n\nb O\nc O\n" * 20))
    assert [message.split(": ")[1] for message in caplog.messages] == [
        "all of its 500 words are one sentence; put a blank line after each sentence, or give a table a "
        "sentence_id column.",
        "each of its 20 sentences is a single word; blank lines, or a new sentence_id, end a sentence.",
    ]


def test_types_that_look_alike_are_warned_of(tmp_path: Path) -> None:
    tags = write(tmp_path, "a.txt", "Ann B-PER\n\nBob B-Per\n\nRome B-LOC\n\nEve B-PER\n")
    rows = [{"text": "Ann", "entities": [[0, 3, type_]]} for type_ in ("PER", "Per", "LOC", "PER")]
    spans = write(tmp_path, "b.jsonl", "\n".join(map(json.dumps, rows)))
    for path, line in ((tags, 3), (spans, 2)):
        said = f"types of entities that look alike are learnt as different ones: PER (line 1), Per (line {line}). If"
        assert [said in warning for warning in read_ner(path).understood[1:]] == [True]


# -- real files -------------------------------------------------------------------------------------------------------


@needs_data
def test_msra_has_the_published_number_of_entities() -> None:
    split = read_ner(str(DATA / "msra" / "dev.txt.gz"))
    assert (len(split.items), split.notes["scheme"]) == (4631, "bio")
    assert sum(sentence.num_repaired for sentence in split.items) == 11
    assert entity_counts(split.items) == {"LOC": 2877, "ORG": 1331, "PER": 1984}


@pytest.mark.slow
@needs_data
def test_conll2003_is_iob1_and_has_the_published_number_of_entities() -> None:
    """Counts of Tjong Kim Sang and De Meulder 2003, table 2; two tags of the training file are not IOB1's."""
    for name, counts in (("train", (7140, 3438, 6321, 6600)), ("testa", (1837, 922, 1341, 1842))):
        split = read_ner(str(DATA / "conll2003" / f"eng.{name}.gz"))
        assert split.notes["scheme"] == "iob1"
        assert sum(sentence.num_repaired for sentence in split.items) == 0
        assert entity_counts(split.items) == dict(zip(("LOC", "MISC", "ORG", "PER"), counts, strict=True))


# -- bad input --------------------------------------------------------------------------------------------------------

BAD = {
    "empty.txt": (b"", "has no sentences"),
    "blank.txt": (b"\n \n", "has no sentences"),
    "ragged.txt": (b"a b O\nc O\n", "line 2: 2 columns, but 3"),
    "alone.txt": (b"a O\nb\n", "line 2: only one column"),
    "tag.txt": (b"a O\n\nb X-PER\n", "line 3: unknown tag 'X-PER'"),
    "type.txt": (b"a B-\n", "line 1: '' cannot be the name of an entity type"),
    "hyphen.txt": (b"a O\nb B-X-\n", "line 2: 'X-' cannot be the name of an entity type"),
    "reserved.txt": (b"a\tB-micro avg\n", "line 1: 'micro avg' cannot be the name of an entity type"),
    "mac.txt": (b"a O\rb B-X\r", "line 1: a carriage return inside the line"),
    "swallow.csv": (b'word,tag\na,O\n",O\nRome,B-LOC\n",O\n', "line 3: a quotation mark opens a cell"),
    "digits.jsonl": (b'{"a": ' + b"1" * 5000 + b"}\n", "line 1: JSON that cannot be parsed"),
    "surrogate.jsonl": (b'{"text": "\\ud83d", "spans": []}\n', "line 1: an escape"),
    "typename.jsonl": (b'{"text": "ab", "spans": [[0, 2, ""]]}\n', "line 1: '' cannot be the name of an entity type"),
    "gbk.txt": (
        "a O\n北 B-LOC\n".encode("gb18030"),
        r"line 2: byte 4 \(0xb1\) is not UTF-8(?s:.*)--encoding gb18030 +北 B-LOC",
    ),
    "utf16.txt": ("北 B-LOC\n".encode("utf-16"), "line 1: byte 0 (?s:.*)--encoding utf-16 +北 B-LOC"),
    "bytes.txt": (b"a O\n\xff\xff O\n", "line 2: byte 4 (?s:.*)--encoding cp1252 +ÿÿ O(?s:.*)Save the file as UTF-8"),
    "cut.txt.gz": (gzip.compress(COLUMNS.encode(), mtime=0)[:-9], "damaged gzip"),
    "header.csv": (b"a,b\n1,2\n", "line 1: the header 'a,b' has no recognised columns"),
    "cells.csv": (b"word,tag\na,O\nb\n", "line 3: 1 cells, but the header names 2"),
    "quote.csv": (b'word,tag\na,O\n"b,O\n', "line 3: not a row of this table"),
    "counts.csv": ("text,tags\n我在,O O O\n".encode(), "line 2: 3 tags for 1 words or 2 characters"),
    "json.jsonl": (b'{"tokens": ["a"], "tags": ["O"]}\n{"tok\n', "line 2: not JSON"),
    "array.json": (b"[1]", r"line 1, \[0\]: not a JSON object"),
    "scalar.jsonl": (b"3\n", "line 1: not a JSON object"),
    "fields.jsonl": (b'{"a": 1}\n', "line 1: neither text"),
    "numbers.jsonl": (
        b'{"tokens": ["a"], "tags": [0]}\n',
        "line 1: the tags are numbers; give their names, from 0 on, with --label-names",
    ),
    "lengths.jsonl": (b'{"tokens": ["a"], "tags": []}\n', "line 1: 0 tags for 1 tokens"),
    "nospans.jsonl": (b'{"text": "a"}\n', "line 1: text without a list of spans"),
    "badspan.jsonl": (b'{"text": "abc", "spans": [[0, "3", "X"]]}\n', "is not \\[start, end, type\\]"),
    "outside.jsonl": (b'{"text": "abc", "spans": [[0, 4, "X"]]}\n', "is outside the text of 3"),
    "white.jsonl": (b'{"text": "ab  c", "spans": [[2, 4, "X"]]}\n', "the span 2:4 is white space"),
    "nested.jsonl": (b'{"text": "ab", "spans": [[0, 2, "X"], [1, 2, "Y"]]}\n', "overlaps the one before"),
    "notext.jsonl": (b'{"text": " ", "spans": []}\n', "the text has no words"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_by_file_and_line(tmp_path: Path, name: str) -> None:
    content, message = BAD[name]
    path = write(tmp_path, name, content)
    with pytest.raises(InputError, match=message) as caught:
        read_ner(path)
    assert str(caught.value).startswith(path)


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a file name"):
        read_ner("a\0b")  # as a settings file can hold it
    with pytest.raises(InputError, match="no such file"):
        read_ner(str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="a folder without"):
        read_ner(str(tmp_path))


def test_a_quotation_mark_between_tabs_is_a_word(tmp_path: Path) -> None:
    split = read_ner(write(tmp_path, "a.tsv", 'word\ttag\nAnn\tB-PER\n"\tO\nRome\tB-LOC\n""""\tO\n"a ""b"\tO\n'))
    assert split.items[0].words == ["Ann", '"', "Rome", '"', 'a "b']


@pytest.mark.parametrize("name", ["sentence_id", "Sentence #", "sentence_idx", "sent", "sentence_no"])
def test_an_id_in_each_row_or_the_first_one_begins_a_sentence(tmp_path: Path, name: str) -> None:
    for second in ("1", ""):
        rows = f"{name},word,tag\n1,Mia,B-PER\n{second},left,O\n2,Yes,O\n"
        split = read_ner(write(tmp_path, "a.csv", rows))
        assert [item.words for item in split.items] == [["Mia", "left"], ["Yes"]]
        assert f"sentences divided by {name}, " in split.understood[0]


@pytest.mark.parametrize("name", ["doc_id", "Document", "file_name"])
def test_sentences_may_be_numbered_anew_in_each_document(tmp_path: Path, name: str) -> None:
    for document, sentence in (("a", "1"), ("", "")):  # in each row, or in the first one alone
        rows = f"{name},sentence_id,word,tag\na,1,Ann,B-PER\n{document},{sentence},left,O\nb,1,Bob,B-PER\nb,2,No,O\n"
        split = read_ner(write(tmp_path, "a.csv", rows))
        assert [item.words for item in split.items] == [["Ann", "left"], ["Bob"], ["No"]]
        assert f"sentences divided by {name} and sentence_id, " in split.understood[0]


def test_a_table_whose_sentences_nothing_divides_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "number,word,tag\n" + "1,Ann,B-PER\n1,left,O\n1,.,O\n2,Bob,B-PER\n2,?,O\n"
    assert "sentences divided by nothing" in read_ner(write(tmp_path, "a.csv", rows)).understood[0]
    read_ner(write(tmp_path, "b.txt", "Ann B-PER\nleft O\n. O\nBob B-PER\n? O\n"))
    read_ner(write(tmp_path, "c.txt", "Ann B-PER\nleft O\n. O\n"))
    assert [message.split(": ")[1].split(";")[0] for message in caplog.messages] == [
        "all of its 5 words are one sentence, though 2 of them end one"
    ] * 2
    blank = "word,tag\nAnn,B-PER\n,\nBob,B-PER\n"
    assert "sentences divided by blank rows" in read_ner(write(tmp_path, "d.csv", blank)).understood[0]


def test_lists_in_cells_are_unescaped(tmp_path: Path) -> None:
    words = ["\\", "\u3000", "it's", '"', "北"]
    cells = ",".join('"' + str(value).replace('"', '""') + '"' for value in (words, ["O"] * 4 + ["B-LOC"]))
    assert read_ner(write(tmp_path, "a.csv", f"tokens,tags\n{cells}\n")).items[0].words == words


PIECES = st.sampled_from([*"\t\r\n ,;{}[]':\"\\", "O", "B-X", "I-X", "S-Y", "word", "tag", "text", "tokens", "tags",
                          '{"tokens": ["a"], "tags": ["B-X"]}', '{"text": "ab", "spans": [[0, 1, "X"]]}', "北",
                          "\u200b", "-DOCSTART-", "1", "null", "\ufeff", "\u2028"])  # fmt: skip
LINES = {
    "a.txt": ["Rome B-X\n", "is O\n", "\n"], "a.tsv": ["Rome\tB-X\n", "is\tO\n", "\n"],
    "a.csv": ["tokens,tags\n", "Rome is,B-X O\n"], "a.jsonl": ['{"tokens": ["a"], "tags": ["B-X"]}\n'],
    "a.json": ['[{"tokens": ["a"], "tags": ["B-X"]}]'],
}  # fmt: skip


@pytest.mark.slow
def test_anything_is_read_or_refused(tmp_path: Path) -> None:
    def check(name: str, good: int, pieces: list[str]) -> None:
        """Lines as they should be, with noise behind them."""
        split = read_ner(write(tmp_path, name, "".join([*LINES[name][:good], *pieces])))
        assert split.items
        for sentence in split.items:
            assert sentence.words
            assert len(bio_tags(sentence)) == len(sentence.words)

    names = st.sampled_from(sorted(LINES))
    read_or_refuse(check, names, st.integers(0, 3), st.lists(PIECES, max_size=25), examples=400, at_least=20)


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes, zipped: bool) -> None:
    path = write(tmp_path_factory.getbasetemp(), "bytes", b"\x1f\x8b" + content if zipped else content)
    with contextlib.suppress(InputError):
        assert read_ner(path).items
