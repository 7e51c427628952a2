"""Labelled texts from every format, and the sentences a person gets where a file is not right."""

import csv
import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED
from fuzzing import read_or_refuse
from hypothesis import given
from hypothesis import strategies as st

from minibert.errors import InputError
from tasks.classification.cleanups import Cleanup, clean, parse_cleanups
from tasks.classification.data import LabelledText, ReadTexts, TextOptions, count_oddities, read_texts, text_fields
from tasks.classification.labels import KINDS

DATA = SHARED / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def read(
    path: str,
    kind: str = "single",
    *,
    layout: str = "auto",
    cleanups: Sequence[Cleanup] = (),
    label_column: str | None = None,
    **columns: str | None,
) -> ReadTexts:
    labels = () if label_column is None else (label_column,)
    return read_texts(path, TextOptions(kind=kind, layout=layout, label_columns=labels, **columns), cleanups=cleanups)


def texts_and_labels(path: str, kind: str = "single", **options: Any) -> list[tuple[Any, ...]]:
    return [(item.text, item.label) for item in read(path, kind=kind, **options).items]


# -- formats ----------------------------------------------------------------------------------------------------------

ROWS = [('He said "no", twice', "no"), ("我在北京；明天走", "yes")]
FORMATS = {
    "rows.jsonl": '{"text": "He said \\"no\\", twice", "label": "no"}\n\n{"text": "我在北京；明天走", "label": "yes"}',
    "rows.json": '{"label": "no", "text": "He said \\"no\\", twice"}\n{"text": "我在北京；明天走", "label": "yes"}\n',
    "rows": '{"text": "He said \\"no\\", twice", "label": "no"}\n{"text": "我在北京；明天走", "label": "yes"}\n',
    "comma.csv": '\ufefftext,label\r\n"He said ""no"", twice",no\r\n\r\n我在北京；明天走, yes\r\n',
    "semicolon.csv": 'Label;Text\nno;"He said ""no"", twice"\nyes;我在北京；明天走\n',
    "tab.tsv": 'text\tlabel\nHe said "no", twice\tno\n我在北京；明天走\tyes\n',
    "tab.txt": 'text\tlabel\n"He said ""no"", twice"\tno\n我在北京；明天走\tyes\n',
    "more.csv": 'id,label,text,score\n1,no,"He said ""no"", twice",0.2\n2,yes,我在北京；明天走,0.4\n',
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("zipped", [False, True])
def test_every_format_gives_the_same_texts(tmp_path: Path, name: str, zipped: bool) -> None:
    content = FORMATS[name].encode()
    path = write(tmp_path, name + ".gz" * zipped, gzip.compress(content) if zipped else content)
    assert texts_and_labels(path) == ROWS


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.text(st.sampled_from('a北 ,;"\n\t\u00a0'), min_size=1), st.sampled_from("xy")), min_size=1)
)
def test_what_csv_writes_is_read_back_with_its_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    """Line breaks, quotation marks and delimiters inside cells; a row's line is where it starts."""
    rows = [(text + "z", label) for text, label in rows]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([("text", "label"), *rows])
    path = write(tmp_path_factory.getbasetemp(), "random.csv", written.getvalue())
    items = read(path, kind="single").items
    assert [(item.text, item.label) for item in items] == rows
    assert [item.line for item in items] == [2 + n + sum(t.count("\n") for t, _ in rows[:n]) for n in range(len(rows))]


def test_label_first_lines_are_cut_once(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "稅務局 如何報稅 分期？ \n\n衛生局\xa0 疫苗\xa0？\nx\t \tone\u200b two\n")
    expected = [("如何報稅 分期？", "稅務局"), ("疫苗\xa0？", "衛生局"), ("one\u200b two", "x")]
    assert texts_and_labels(path, layout="label-first") == expected
    assert [item.line for item in read(path, kind="single", layout="label-first").items] == [1, 3, 4]


def test_label_first_lines_may_have_full_width_spaces(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "交通局　停車費 如何繳納\n稅務局　 報稅　分期？\nx y　z\n")
    expected = [("停車費 如何繳納", "交通局"), ("報稅　分期？", "稅務局"), ("z", "x y")]
    assert texts_and_labels(path, layout="label-first") == expected
    assert "a full-width space" in read(path, kind="single", layout="label-first").notes.facts["format"]
    path = write(tmp_path, "b.txt", "交通局　停車費 如何繳納\n稅務局　報稅\n衛生局 疫苗\n")
    with pytest.raises(InputError, match=r"line 3: no full-width space between .*'衛生局 疫苗'\), as most"):
        read(path, kind="single", layout="label-first")
    path = write(tmp_path, "c.txt", "交　通 停車費\n稅務局 報稅\n")  # not on most lines
    assert texts_and_labels(path, layout="label-first") == [("停車費", "交　通"), ("報稅", "稅務局")]


def test_label_first_leaves_tables_and_json_lines_as_they_are(tmp_path: Path) -> None:
    for name in ("comma.csv", "tab.tsv", "rows.jsonl"):
        assert texts_and_labels(write(tmp_path, name, FORMATS[name]), layout="label-first") == ROWS


# -- columns ----------------------------------------------------------------------------------------------------------

# The header, and which columns are the text, the second text and the label.
RECOGNISED = {
    "is_sarcastic,headline,article_link": ("headline", None, "is_sarcastic"),
    "index,genre,Sentence1,Sentence2,Score": ("Sentence1", "Sentence2", "Score"),
    "id,qid1,qid2,question1,question2,is_duplicate": ("question1", "question2", "is_duplicate"),
    "premise,hypothesis,label,label1,label2": ("premise", "hypothesis", "label"),
    "index,question,sentence,label": ("question", "sentence", "label"),
    "label,text_a": ("text_a", None, "label"),
    "label,review": ("review", None, "label"),
    "title,text,sentiment,is_new": ("text", None, "sentiment"),
    "question,answer": ("question", None, "answer"),
    "department,question": ("question", None, "department"),
    "Quality,#1 ID,#2 ID,#1 String,#2 String": ("#1 String", "#2 String", "Quality"),  # MRPC
    "id,scenario,intent,utt,annot_utt": ("utt", None, "intent"),  # MASSIVE
    "asin,reviewText,overall,summary": ("reviewText", None, "overall"),  # Amazon
    "sentence,utt,is_spam,quality": ("sentence", None, "is_spam"),
}


@pytest.mark.parametrize("header", RECOGNISED)
def test_columns_of_known_data_sets_are_recognised(tmp_path: Path, header: str) -> None:
    names = header.split(",")
    found = read(write(tmp_path, "a.csv", header + "\n" + ",".join(f"in {n}" for n in names)), kind="single")
    text, pair, label = RECOGNISED[header]
    assert found.items == [LabelledText(f"in {text}", pair and f"in {pair}", f"in {label}", 2)]
    assert found.columns == {"text": text, "label": label} | ({"pair": pair} if pair else {})


def test_named_columns_go_before_recognised_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label,Note,kind,text_pair\nt,l,n,k,p\n")
    cases: list[tuple[dict[str, str], tuple[str, str | None, str]]] = [
        ({}, ("t", "p", "l")),
        ({"text_column": "note"}, ("n", None, "l")),
        ({"text_column": "text", "pair_column": "NOTE"}, ("t", "n", "l")),
        ({"pair_column": "Note"}, ("t", "n", "l")),
        ({"label_column": "kind"}, ("t", "p", "k")),
        ({"text_column": "label", "label_column": "text"}, ("l", None, "t")),
    ]
    for options, expected in cases:
        (item,) = read(path, kind="single", **options).items
        assert (item.text, item.pair, item.label) == expected


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("content,title,label\na,b,c\n", {}, "line 1: the text may be content or title; name it with --text-column"),
        (
            "text,category,rating\na,b,c\n",
            {},
            "line 1: the label may be category or rating; name it with --label-column",
        ),
        ("text,is_a,is_b\na,b,c\n", {}, "line 1: the label may be is_a or is_b"),
        ("sentence1,sentence2,premise,hypothesis,label\na,b,c,d,e\n", {}, "--text-column, --pair-column"),
        ("blurb,label\na,b\n", {}, r"line 1: no column \(blurb, label\) is recognised as the text"),
        ("text,kind\na,b\n", {}, r"\(text, kind\) is recognised as the label; name it with --label-column"),
        (
            "good,what a day\nbad,it rained, again\n",
            {},
            "line 1: no column .* to a file without a header, add one such as label,text",
        ),
        ("text,label\na,b\n", {"text_column": "body"}, r"--text-column body is not among the columns \(text, label\)"),
        ("text,label\na,b\n", {"pair_column": "body"}, "--pair-column body is not among"),
        ("text,label\na,b\n", {"label_column": "body"}, "--label-column body is not among"),
        ("text,label\na,b\n", {"text_column": "label", "label_column": "label"}, "--label-column label: is also the"),
        ("text,label\na,b\n", {"text_column": "text", "pair_column": "text"}, "--pair-column text: is also the"),
        ("text,label,text\na,b,c\n", {}, "line 1: two columns are called text"),
        ("\ntext,label\na,b\n", {}, r"line 1: no column \(\)"),
    ],
)
def test_columns_that_cannot_be_told_are_an_error(
    tmp_path: Path, content: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(write(tmp_path, "a.csv", content), kind="single", **options)


def test_the_column_of_the_label_is_not_taken_for_the_text(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,title\nt,u\n")
    assert texts_and_labels(path, label_column="text") == [("u", "t")]


def test_the_fields_of_an_object_are_told_by_the_first_one(tmp_path: Path) -> None:
    rows = [{"blurb": "a", "label": 1}, {"blurb": "b"}]
    path = write(tmp_path, "a.jsonl", "\n" + "\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=r"line 2: no column \(blurb, label\)"):
        read(path, kind="single")
    with pytest.raises(InputError, match="line 3: has no field label"):
        read(path, kind="single", text_column="blurb")


def test_the_texts_of_a_record_for_prediction() -> None:
    def fields(record: dict[str, Any], text: str | None = None, pair: str | None = None) -> tuple[str, str | None]:
        return text_fields(record, "input 7", text_column=text, pair_column=pair)

    assert fields({"text": ""}) == ("", None)
    assert fields({"id": 3, "Body": "a", "text": "b"}, "body") == ("a", None)
    assert fields({"text": "b"}, "body") == ("b", None)
    assert fields({"premise": "a", "hypothesis": "b"}) == ("a", "b")
    assert fields({"text": "a", "pair": "b"}, "x", "y") == ("a", "b")
    assert fields({"text": "a", "pair": "b"}, "x") == ("a", None)
    for record, message in (({"text": "a"}, "has no y"), ({"text": 3, "y": "a"}, "text is 3"), ({}, "call it text")):
        with pytest.raises(InputError, match=f"^input 7: .*{message}"):
            fields(record, None, "y" if "a" in record.values() else None)


# -- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "label"), [(0, "0"), (17, "17"), (True, "true"), (False, "false"), (" a b ", "a b"), ("01", "01")]
)
def test_one_label_is_its_text(tmp_path: Path, value: Any, label: str) -> None:
    assert texts_and_labels(write(tmp_path, "a.jsonl", json.dumps({"text": "t", "label": value}))) == [("t", label)]


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["b|a", "c", ""], [("a", "b"), ("c",), ()]),
        (["b, a", "c,b"], [("a", "b"), ("b", "c")]),
        (["Food, drinks|Sports", "Food, drinks"], [("Food, drinks", "Sports"), ("Food, drinks",)]),
        (["x;y,z", "y,z"], [("x", "y,z"), ("y,z",)]),
        (["a|a|", "|"], [("a",), ()]),
        (["a", "b"], [("a",), ("b",)]),
    ],
)
def test_several_labels_in_a_cell(tmp_path: Path, cells: list[str], labels: list[tuple[str, ...]]) -> None:
    path = write(tmp_path, "a.tsv", "text\tlabels\n" + "".join(f"t\t{cell}\n" for cell in cells))
    assert [label for _, label in texts_and_labels(path, "multi")] == labels


def test_several_labels_in_a_list(tmp_path: Path) -> None:
    rows = [["b,c", "a"], [], [1, "a"], "a|b"]
    path = write(tmp_path, "a.jsonl", "\n".join(json.dumps({"text": "t", "labels": row}) for row in rows))
    assert [label for _, label in texts_and_labels(path, "multi")] == [("a", "b,c"), (), ("1", "a"), ("a", "b")]


def test_numbers(tmp_path: Path) -> None:
    table = write(tmp_path, "a.csv", "text,score\na,1\nb,-2.5\nc, 1e3\n")
    lines = write(tmp_path, "a.jsonl", '{"text": "a", "score": 1}\n{"text": "b", "score": -2.5}\n')
    assert texts_and_labels(table, "regression") == [("a", 1.0), ("b", -2.5), ("c", 1000.0)]
    assert texts_and_labels(lines, "regression") == [("a", 1.0), ("b", -2.5)]


def test_texts_that_contradict_each_other_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\na,x\na,y\na,x\nb,x\nb,x\nc,y\n")
    found = read(path, kind="single")
    assert count_oddities(found.items) == {"texts_with_several_labels": 1, "cleaned_texts": 0}
    assert count_oddities(found.items[:1] + found.items[3:])["texts_with_several_labels"] == 0


# -- clean-ups --------------------------------------------------------------------------------------------------------


def test_cleanups_are_applied_in_order() -> None:
    cleanups = parse_cleanups([r"https?://\S+ -> URL", r"(\w)\1+ -> \1", "# -> ", "! ->", "L -> < -> >"])
    assert clean("see http://x.y/z #soooo good!!", cleanups) == "se UR< -> > so god"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", "write it as 'PATTERN -> REPLACEMENT'"),
        ("a->b", "write it as"),
        (" -> b", "write it as"),
        ("(a -> b", "is not a regular expression"),
        (r"a -> \1", r"is not a replacement \(invalid group"),
        (r"a -> \g<x>", "is not a replacement"),
        (r"a -> \q", r"is not a replacement \(bad escape"),
    ],
)
def test_bad_cleanups_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_cleanups(["x -> y", text])
    assert str(caught.value).startswith(f"--clean {text!r}: ")


def test_both_texts_of_a_pair_are_cleaned(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text1,text2,label\n#a,b#,#l\nc,d,e\n")
    found = read(path, kind="single", cleanups=parse_cleanups(["# ->"]))
    assert found.items == [LabelledText("a", "b", "#l", 2, given=("#a", "b#")), LabelledText("c", "d", "e", 3)]
    assert count_oddities(found.items)["cleaned_texts"] == 1


def test_nothing_left_of_a_labelled_text_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\na,b\n123 4,c\n")
    cleanups = parse_cleanups([r"\d ->"])
    with pytest.raises(InputError, match=r"line 3: --clean leaves nothing"):
        read(path, kind="single", cleanups=cleanups)


# -- bad input --------------------------------------------------------------------------------------------------------

BAD = {
    "empty.csv": ("single", b"", "has no text"),
    "blank.jsonl": ("single", b"\n \n", "has no text"),
    "header.csv": ("single", b"text,label\n,\n", "has no text"),
    "notext.csv": ("single", b"text,label\na,b\n ,c\n", "line 3: text is empty"),
    "nopair.csv": ("single", b"text1,text2,label\na,,b\n", "line 2: text2 is empty"),
    "nolabel.csv": ("single", b"text,label\na,b\nc, \n", "line 3: label is empty; expected one label"),
    "average.csv": ("single", b"text,label\na,macro avg\n", "line 2: label is 'macro avg', a name that reports have"),
    "width.csv": ("single", b"text,label\na,b\nc,d,e\n", "line 3: 3 cells, but the header names 2"),
    "quote.csv": ("single", b'text,label\na,b\n"c,d\ne,f\n', "line 3: not a row of this table"),
    "null.jsonl": ("single", b'{"text": "a", "label": null}', "line 1: label is null; expected one label"),
    "float.jsonl": ("single", b'{"text": "a", "label": 1.5}', "line 1: label is 1.5; expected one label"),
    "list.jsonl": ("single", b'{"text": "a", "label": ["b", "c"]}', "line 1: label is .'b', 'c'.; .*--kind multi"),
    "nolist.jsonl": ("single", b'{"text": "a", "label": []}', "line 1: label is ..; expected one label"),
    "number.jsonl": ("single", b'{"text": 3, "label": "a"}', "line 1: text is 3, not text"),
    "array.json": ("single", b"[3]", "line 1, .0.: not a JSON object"),
    "half.jsonl": ("single", b'{"text": "\\ud83d", "label": "a"}', "line 1: an escape"),
    "gbk.csv": ("single", "text,label\n北京,a\n".encode("gb18030"), "line 2: byte .*(?s:.*)--encoding gb18030 +北京,a"),
    "null2.jsonl": ("multi", b'{"text": "a", "label": null}', "line 1: label is null; expected a list"),
    "number2.jsonl": ("multi", b'{"text": "a", "label": 3}', "line 1: label is 3; expected a list"),
    "inside.jsonl": ("multi", b'{"text": "a", "label": ["b", null]}', "line 1: label is null"),
    "blank2.jsonl": ("multi", b'{"text": "a", "label": ["b", " "]}', "line 1: label is empty"),
    "word.csv": ("regression", b"text,label\na,1\nb,high\n", "line 3: label is 'high'; expected a finite number"),
    "nan.csv": ("regression", b"text,label\na,nan\n", "line 2: label is 'nan'; expected a finite"),
    "inf.jsonl": ("regression", b'{"text": "a", "label": 1e999}', "line 1: label is inf; expected a finite"),
    "bool.jsonl": ("regression", b'{"text": "a", "label": true}', "line 1: label is true; expected a finite"),
    "null3.jsonl": ("regression", b'{"text": "a", "label": null}', "line 1: label is null; expected a finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_by_file_and_line(tmp_path: Path, name: str) -> None:
    kind, content, message = BAD[name]
    path = write(tmp_path, name, content)
    with pytest.raises(InputError, match=message) as caught:
        read(path, kind=kind)
    assert re.match(re.escape(path) + r"(, line \d+)?(, \[0\])?: ", str(caught.value))


def test_a_line_of_one_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2: only one word"):
        read(write(tmp_path, "a.txt", "a b\nc\xa0d \n"), kind="single", layout="label-first")


PIECES = st.sampled_from([*"\t\r\n ,;|{}[]':\"\\", "text", "label", "text_pair", "is_x", "0.5", "北",
                          "\u200b", "\ufeff", '{"text": "a", "label": "b"}', '{"text": "a", "label": [1]}', "null",
                          "\u2028"])  # fmt: skip
LINES = {
    "a.txt": ["0\ta text\n", "1\tothers\n"], "a.tsv": ["text\tlabel\n", "a text\t0\n", "others\t1\n"],
    "a.csv": ["text,label\n", "a text,0\n", "others,1\n"], "a.jsonl": ['{"text": "a", "label": 1}\n'],
}  # fmt: skip


@pytest.mark.slow
def test_anything_is_read_or_refused(tmp_path: Path) -> None:
    def check(name: str, good: int, pieces: list[str], kind: str, layout: str) -> None:
        """Lines as they should be, with noise behind them."""
        content = "".join([*LINES[name][:good], *pieces])
        items = read(write(tmp_path, name, content), kind=kind, layout=layout).items
        assert items
        assert all(item.text.strip() and item.label is not None for item in items)

    drawn = [st.sampled_from(sorted(LINES)), st.integers(0, 3), st.lists(PIECES, max_size=25)]
    drawn += [st.sampled_from(KINDS), st.sampled_from(["auto", "label-first"])]
    read_or_refuse(check, *drawn, examples=400, at_least=20)


# -- real files -------------------------------------------------------------------------------------------------------


@needs_data
def test_the_sarcasm_set_is_read_as_it_is() -> None:
    found = read(str(DATA / "sarcasm" / "sarcasm.jsonl.gz"), kind="single")
    assert Counter(item.label for item in found.items) == {"0": 14985, "1": 11724}
    assert found.columns == {"text": "headline", "label": "is_sarcastic"}


@needs_data
def test_taipei_qa_is_read_as_it_is() -> None:
    found = read(str(DATA / "taipei_qa" / "Taipei_QA_new.txt"), kind="single", layout="label-first")
    assert len(found.items) == 7986
    assert len({item.label for item in found.items}) == 149
    assert len({item.text for item in found.items}) == 7986 - 55
    assert count_oddities(found.items) == {"texts_with_several_labels": 14, "cleaned_texts": 0}
