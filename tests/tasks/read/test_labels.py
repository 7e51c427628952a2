"""Labels of texts as files and tools write them: parsed or refused, never learnt as syntax."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from minibert.errors import InputError
from tasks.classification.data import ReadTexts, TextOptions, check_columns, read_texts
from tasks.read.records import ReadOptions


def write(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def lines(*rows: Any) -> str:
    return "\n".join(map(json.dumps, rows))


def read(
    path: str, kind: str = "single", columns: Sequence[str] = (), label: Sequence[str] = (), **o: Any
) -> ReadTexts:
    return read_texts(path, TextOptions(kind=kind, label_columns=label, read=ReadOptions(columns=columns, **o)))


def labels(found: ReadTexts) -> list[Any]:
    return [item.label for item in found.items]


CHOICE = {"type": "choices", "value": {"choices": ["good"]}}
SINGLE: dict[str, Any] = {
    "doccano.jsonl": lines({"text": "a", "label": ["good"]}, {"text": "b", "label": ["bad"]}),
    "label_studio.json": [
        {"data": {"text": "a"}, "annotations": [{"result": [CHOICE]}]},
        {"data": {"text": "b"}, "annotations": [{"result": [{"type": "choices", "value": {"choices": ["bad"]}}]}]},
    ],
    "label_studio_min.json": [{"text": "a", "sentiment": "good", "annotator": 1}, {"text": "b", "sentiment": "bad"}],
    "label_studio.csv": 'text,choice,annotator\na,"{""choices"": [""good""]}",1\nb,bad,1\n',
    "prodigy.jsonl": lines(
        {"text": "a", "label": "good", "answer": "accept", "_task_hash": 1},
        {"text": "c", "label": "good", "answer": "reject", "_task_hash": 2},
        {"text": "b", "options": [{"id": "bad", "text": "Bad"}], "accept": ["bad"], "answer": "accept", "label": "x"},
    ),
    "spacy.json": [["a", {"cats": {"good": 1.0, "bad": 0.0}}], ["b", {"cats": {"good": 0.0, "bad": 1.0}}]],
    "fasttext.txt": "__label__good a\n\n__label__bad\tb\n",
    "quoted.tsv": "text\tlabel\na\t'good'\nb\tbad\n",
    "chinese.csv": "文本,标签\na,good\nb,bad\n",
    "intents.csv": "id,utterance,intent\n1,a,good\n2,b,bad\n",
    "bodies.tsv": "body\tcategory\na\tgood\nb\tbad\n",
}


@pytest.mark.parametrize("name", SINGLE)
def test_every_export_gives_the_same_labels(tmp_path: Path, name: str) -> None:
    found = read(write(tmp_path, name, SINGLE[name]))
    assert [(item.text, item.label) for item in found.items] == [("a", "good"), ("b", "bad")]
    assert len(found.items) + sum(found.notes.left_out.values()) == found.notes.rows


SEVERAL: dict[str, Any] = {
    "json.csv": 'text,labels\na,"[""food"", ""price""]"\nb,[]\n',
    "python.csv": "text,labels\na,\"['price', 'food']\"\nb,[]\n",
    "tuples.csv": "text,labels\na,\"('price', 'food')\"\nb,()\n",
    "breaks.csv": 'text,labels\na,"price\nfood"\nb,\n',
    "doccano.jsonl": lines({"text": "a", "label": ["food", "price"]}, {"text": "b", "label": []}),
    "fasttext.txt": "__label__price __label__food a\nplain\n".replace("plain", "__label__ b"),
    "cats.json": [["a", {"cats": {"food": 1, "price": 1}}], ["b", {"cats": {"food": 0, "price": 0}}]],
    "label_studio.csv": 'text,choice,annotator\na,"{""choices"": [""food"", ""price""]}",1\nb,,1\n',
}


@pytest.mark.parametrize("name", [name for name in SEVERAL if name != "fasttext.txt"])
def test_several_labels_are_read_by_kind_multi_and_refused_without_it(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, SEVERAL[name])
    assert labels(read(path, "multi")) == [("food", "price"), ()]
    with pytest.raises(InputError, match=r"line [12](, \[0\])?: .*--kind multi reads several"):
        read(path)


@pytest.mark.parametrize("cells", ["体育；财经", "体育，财经", "体育、财经", "体育｜财经"])
def test_chinese_punctuation_separates_labels(tmp_path: Path, cells: str) -> None:
    found = read(write(tmp_path, "a.csv", f"text,label\na,{cells}\nb,体育\n"), "multi")
    assert labels(found) == [("体育", "财经"), ("体育",)]
    assert found.notes.facts["labels separated by"] == repr(cells[2])
    both = read(write(tmp_path, "b.csv", "text,label\na,体育；财经\nb,娱乐;体育\n"), "multi")
    assert labels(both) == [("体育", "财经"), ("体育", "娱乐")]
    within = read(write(tmp_path, "c.csv", "text,label\na,吃、喝;玩\n"), "multi")
    assert labels(within) == [("吃、喝", "玩")]


def test_cells_of_one_label_each_are_told_where_several_are_asked_for(tmp_path: Path) -> None:
    """doccano writes # between labels in CSV, which may as well be part of a label, such as C#."""
    found = read(write(tmp_path, "a.csv", "text,label\na,good#new\nb,good\n"), "multi")
    assert [line for line in found.notes.warnings if line.startswith("label: no cell has several labels")]
    lists = read(write(tmp_path, "a.jsonl", lines({"text": "a", "label": ["good"]})), "multi")
    assert not lists.notes.warnings


def test_whole_numbers_that_pandas_writes_as_floats(tmp_path: Path) -> None:
    content = '{"text":{"0":"a","1":"b","2":"c"},"label":{"0":1.0,"1":null,"2":0.0}}'
    path = write(tmp_path, "a.json", content)
    found = read(path, skip_invalid=True)
    assert labels(found) == ["1", "0"]
    assert found.notes.repaired == {"whole numbers such as 1.0 read as 1": 2}
    assert labels(read(path, skip_invalid=True, label_names=["no", "yes"])) == ["yes", "no"]
    lists = write(tmp_path, "a.jsonl", lines({"text": "a", "label": [1.0, 2.0]}, {"text": "b", "label": [2.0]}))
    assert labels(read(lists, "multi")) == [("1", "2"), ("2",)]


def test_several_labels_of_fasttext(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "__label__price __label__food a b\n__label__food c\n")
    assert labels(read(path, "multi")) == [("food", "price"), ("food",)]


def test_vectors_of_0_and_1_need_names(tmp_path: Path) -> None:
    table = write(tmp_path, "a.csv", 'text,labels\na,"[1, 0, 1]"\nb,"[0, 0, 0]"\n')
    objects = write(tmp_path, "a.jsonl", lines({"text": "a", "labels": [1, 0, 1]}, {"text": "b", "labels": [0, 0, 0]}))
    for path in (table, objects):
        for kind in ("single", "multi"):
            with pytest.raises(InputError, match=r"\[1, 0, 1\], a vector of 0 and 1; .* 3 labels with --label-names"):
                read(path, kind)
        assert labels(read(path, "multi", label_names=["x", "y", "z"])) == [("x", "z"), ()]
        with pytest.raises(InputError, match="but --label-names has 2 names"):
            read(path, "multi", label_names=["x", "y"])
    one = write(tmp_path, "b.jsonl", lines({"text": "a", "label": [0, 1]}, {"text": "b", "label": [1, 0]}))
    assert labels(read(one, label_names=["no", "yes"])) == ["yes", "no"]
    numbers = write(tmp_path, "c.jsonl", lines({"text": "a", "label": [0, 1]}, {"text": "b", "label": [1]}))
    assert labels(read(numbers, "multi")) == [("0", "1"), ("1",)]  # of different lengths, so no vectors


def test_a_column_of_0_and_1_for_each_label(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "id,comment_text,rude,loud\n1,a,1,0\n0,b,0,0\n1,c,1,1\n")
    with pytest.raises(InputError, match=r"These have only 0 and 1: --kind multi --label-column rude loud$"):
        read(path)
    assert labels(read(path, "multi", label=["rude", "loud"])) == [("rude",), (), ("loud", "rude")]
    with pytest.raises(InputError, match="several need --kind multi"):
        read(path, label=["rude", "loud"])
    with pytest.raises(InputError, match=r"--label-column lout is not among .*; did you mean loud\?"):
        read(path, "multi", label=["rude", "lout"])
    odd = write(tmp_path, "b.csv", "text,rude,loud\na,1,0\nb,2,0\n")
    with pytest.raises(InputError, match="line 3: rude, loud is '2' in rude; expected 0 or 1"):
        read(odd, "multi", label=["rude", "loud"])


def test_numbers_become_names(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", lines({"text": "a", "label": 1}, {"text": "b", "label": 0}))
    assert labels(read(path)) == ["1", "0"]
    assert labels(read(path, label_names=["no", "yes"])) == ["yes", "no"]
    with pytest.raises(InputError, match="label is '1', which is none of the 1 --label-names"):
        read(path, label_names=["no"])


REFUSED = {
    "header.csv": ("text,label\na,x\nText,Label\nb,y\n", "line 3: repeats the header"),
    "brackets.csv": ("text,label\na,[x y]\nb,y\n", "line 2: label is '.x y.', which looks like a list"),
    "set.csv": ("text,label\na,{'x'}\nb,y\n", "line 2: label is .*, which looks like a list"),
    "empty_set.csv": ("text,label\na,set()\nb,y\n", "line 2: label is 'set..', which looks like a list"),
    "frozenset.csv": ("text,label\na,frozenset({'x'})\nb,y\n", "line 2: label is .*, which looks like a list"),
    "text.csv": ("text,label\na,('x')\nb,y\n", "line 2: label is .*, which looks like a list"),
    "object.jsonl": ('{"text": "a", "label": {"x": "y"}}\n{"text": "b", "label": "y"}', r"line 1: label is an object"),
    "nested.jsonl": ('{"text": "a", "label": ["[x]"]}\n{"text": "b", "label": "y"}', "a list inside a list"),
    "task.json": ('[{"data": {"text": "a"}, "annotations": [], "predictions": []}, {"text": "b", "label": "y"}]',
                  "a task without an annotation"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_looks_like_syntax_is_refused_by_line_or_left_out(tmp_path: Path, name: str) -> None:
    content, message = REFUSED[name]
    path = write(tmp_path, name, content)
    with pytest.raises(InputError, match=message):
        read(path)
    found = read(path, skip_invalid=True)
    assert found.notes.left_out == {"invalid rows": 1}
    assert found.items[-1].label == "y"
    assert len(found.items) + 1 == found.notes.rows


def test_tuples_are_lists_and_other_brackets_part_of_a_name(tmp_path: Path) -> None:
    """As the answers of scikit-learn's MultiLabelBinarizer are, which pandas writes with repr."""
    content = "text,label\na,\"('news',)\"\nb,\"('sports', 'news')\"\nc,()\nd,(spam)\ne,set (of two)\n"
    found = read(write(tmp_path, "a.csv", content), "multi")
    assert labels(found) == [("news",), ("news", "sports"), (), ("(spam)",), ("set (of two)",)]
    found = read(write(tmp_path, "a.csv", "text,label\na,\"('news',)\"\nb,(1)\nc,Positive (strong)\n"))
    assert labels(found) == ["news", "(1)", "Positive (strong)"]
    assert found.notes.repaired == {
        "lists that are written as text read as lists": 1,
        "lists of one label read as that label": 1,
    }
    vectors = write(tmp_path, "b.csv", 'text,label\na,"(0, 1)"\nb,"(1, 0)"\n')
    assert labels(read(vectors, "multi", label_names=["x", "y"])) == [("y",), ("x",)]


def test_labels_that_look_like_missing_values_are_warned_of(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\na,x\nb,nan\nc,None\nd,nan\n")
    found = read(path)
    assert labels(found) == ["x", "nan", "None", "nan"]
    (warning,) = found.notes.warnings
    assert "3 labels look like missing values: nan (line 3), None (line 4)" in warning
    found = read(path, skip_invalid=True)
    assert labels(found) == ["x"]
    assert sum(found.notes.left_out.values()) == 3
    # "none" is only one label of several here, but -1 beside 0, 1 and 2 is Hugging Face's mark.
    numbers = write(tmp_path, "b.jsonl", lines(*({"text": str(n), "label": n} for n in (-1, 0, 1, 2))))
    assert "-1 is learnt as a label" in read(numbers).notes.warnings[0]
    scores = write(tmp_path, "c.jsonl", lines(*({"text": str(n), "label": n} for n in (-1, 0, 1))))
    assert not read(scores).notes.warnings


def test_numbers_with_decimals_that_are_learnt_as_labels_are_warned_of(tmp_path: Path) -> None:
    """As the scores of STS-B would be; sections of a document have other labels, too."""
    path = write(tmp_path, "a.csv", "text,score\na,2\nb,2.5\nc,-0.75\nd,2.5\n")
    (warning,) = read(path).notes.warnings
    assert "2 of them with decimals, such as 2.5 (line 3); each is learnt as a label of its own." in warning
    assert not read(path, kind="regression").notes.warnings
    for others in ("1.0\nb,2.0", "2.1\nb,other", "1.5\nb," + "9" * 400):
        assert not read(write(tmp_path, "b.csv", f"text,label\na,{others}\n")).notes.warnings
    with pytest.raises(InputError, match=r"label is 2\.5; .*a whole number\. python -m .* regression learns"):
        read(write(tmp_path, "c.jsonl", lines({"text": "a", "label": 2.5})))


@pytest.mark.parametrize(
    "values",
    [["caf\u00e9", "cafe\u0301"], ["good", "good\u200b"], ["\ufeffgood", "good"], ["1", "\uff11"], ["1", "1.0"],
     ["Good", "good"], ["a  b", "a b"]],
)  # fmt: skip
def test_labels_that_look_alike_are_named(values: list[str], tmp_path: Path) -> None:
    found = read(write(tmp_path, "a.jsonl", lines(*({"text": "a", "label": value} for value in [*values, "other"]))))
    assert labels(found) == [*values, "other"]
    (warning,) = found.notes.warnings
    assert warning.startswith("labels that look alike are learnt as different ones: ")
    assert "(line 1), " in warning
    assert "(line 2)" in warning
    assert "(line 3)" not in warning
    (one, other) = warning.partition(": ")[2].partition(". If")[0].split(", ")
    assert one.removesuffix(" (line 1)") != other.removesuffix(" (line 2)")
    assert not any(character in warning for character in "\u0301\u200b\ufeff\uff11")


def test_a_column_of_0_and_1_may_have_any_name(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,"good, or ok",Bad\na,1,0\nb,1,1\nc,0,0\n')
    found = read_texts(path, TextOptions(kind="multi", label_columns=["good, or ok", "bad"]))
    assert labels(found) == [("good, or ok",), ("Bad", "good, or ok"), ()]


def test_one_column_of_0_and_1_says_nothing_of_several_labels(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,toxic\na,1\nb,0\n")
    with pytest.raises(InputError, match="toxic has only 0 and 1, which say nothing of several labels; give --label-c"):
        read_texts(path, TextOptions(kind="multi", label_columns=["toxic"]))


def test_numbers_too_large_for_fp32_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\na,1e15\nb,1e25\n")
    with pytest.raises(InputError, match="line 3: label is '1e25', too large to be learnt; scale the numbers"):
        read(path, "regression")


def test_blank_rows_of_a_table_are_counted(tmp_path: Path) -> None:
    found = read(write(tmp_path, "a.csv", "text,label\na,x\n,\n\nb,y\n"))
    assert (len(found.items), found.notes.rows, found.notes.left_out) == (2, 3, {"blank rows": 1})


def test_a_tab_on_every_line_separates_whatever_blanks_there_are(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "New York\tbig city\nold York \tsmall one\n")
    found = read_texts(path, TextOptions(layout="label-first"))
    assert [(item.label, item.text) for item in found.items] == [("New York", "big city"), ("old York", "small one")]
    path = write(tmp_path, "b.txt", "York\tbig city\nParis is\nRome\tis a city\n")
    found = read_texts(path, TextOptions(layout="label-first"))
    assert [item.label for item in found.items] == ["York", "Paris", "Rome"]
    path = write(tmp_path, "c.txt", "York big\tcity\nParis is\nRome is a\n")
    found = read_texts(path, TextOptions(layout="label-first"))
    assert [item.label for item in found.items] == ["York", "Paris", "Rome"]


def test_a_line_without_the_tab_that_the_others_have_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "New York\tbig city\nNew York  small one\nold York\tis old\n")
    with pytest.raises(InputError, match=r"line 2: no tab between label and text \('New York  small one'\), as most"):
        read_texts(path, TextOptions(layout="label-first"))
    found = read_texts(path, TextOptions(layout="label-first", read=ReadOptions(skip_invalid=True)))
    assert [item.label for item in found.items] == ["New York", "old York"]


# -- the study's sources, in their own layouts ------------------------------------------------------------------------


def test_thucnews(tmp_path: Path) -> None:
    path = write(tmp_path, "train.txt", "今日股市上涨\t2\n球队夺冠\t7\n2023 年 展望\t2\n")
    assert [(i.text, i.label) for i in read(path).items][::2] == [("今日股市上涨", "2"), ("2023 年 展望", "2")]
    assert labels(read(path, label_names=list("abcdefgh"))) == ["c", "h", "c"]
    check_columns(path, TextOptions())


def test_toutiao(tmp_path: Path) -> None:
    path = write(
        tmp_path, "cat.txt", "65_!_101_!_news_culture_!_老城的 故事_!_老城,故事\n66_!_102_!_news_tech_!_新芯片_!_\n"
    )
    found = read(path)
    assert [(i.text, i.label) for i in found.items] == [("老城的 故事", "news_culture"), ("新芯片", "news_tech")]
    other = write(tmp_path, "pairs.txt", "yes_!_It rains._!_It is wet.\nno_!_It rains._!_It is dry.\n")
    named = read(other, columns=["label", "sentence1", "sentence2"])
    assert [(i.text, i.pair, i.label) for i in named.items][1] == ("It rains.", "It is dry.", "no")


def test_multinli(tmp_path: Path) -> None:
    def row(gold: str, n: int) -> dict[str, Any]:
        return {"annotator_labels": [gold], "genre": "x", "gold_label": gold, "pairID": f"{n}e", "promptID": str(n),
                "sentence1": f"It rains {n}.", "sentence1_parse": "(X)", "sentence2": f"It is wet {n}."}  # fmt: skip

    golds = ("entailment", "neutral", "-", "contradiction")
    path = write(tmp_path, "mnli.jsonl", lines(*(row(gold, n) for n, gold in enumerate(golds))))
    found = read(path)
    assert labels(found) == ["entailment", "neutral", "contradiction"]
    assert (found.items[0].text, found.items[0].pair) == ("It rains 0.", "It is wet 0.")
    assert found.notes.left_out == {'rows with the gold_label "-"': 1}


def test_arrays_in_cells_are_lists(tmp_path: Path) -> None:
    """As pandas writes NumPy's arrays; Python would join their strings."""
    content = r"""text,label
a,['x' 'y']
b,"['it\'s'
 'z']"
c,['y']
"""
    path = write(tmp_path, "a.csv", content)
    assert labels(read(path, "multi")) == [("x", "y"), ("it's", "z"), ("y",)]
    with pytest.raises(InputError, match=r"line 2: label is .*--kind multi reads several"):
        read(path)
    path = write(tmp_path, "b.csv", "text,label\na,[0 1 1]\nb,[1 0 0]\n")
    assert labels(read(path, "multi", label_names=["x", "y", "z"])) == [("y", "z"), ("x",)]


@pytest.mark.parametrize(
    ("given", "names", "expected"),
    [
        ([0, 1, 4], ["1", "2", "3", "4", "5"], ["1", "2", "5"]),  # stars, by their numbers from 0
        (["1", "5", "3"], ["1", "2", "3", "4", "5"], ["1", "5", "3"]),  # the names themselves
        ([1, 0], ["0", "1"], ["1", "0"]),
        (["one", 0], ["zero", "one"], ["one", "zero"]),
    ],
)
def test_a_whole_file_tells_numbers_from_names(
    given: list[Any], names: list[str], expected: Any, tmp_path: Path
) -> None:
    path = write(tmp_path, "a.jsonl", lines(*({"text": str(n), "label": label} for n, label in enumerate(given))))
    assert labels(read(path, label_names=names)) == expected


def test_names_that_might_be_numbers_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\na,1\nb,2\n")
    with pytest.raises(InputError, match="line 2: label is '1', a name and also a number of --label-names"):
        read(path, label_names=["1", "2", "3"])


def test_the_separator_of_several_labels_is_told(tmp_path: Path) -> None:
    found = read(write(tmp_path, "a.csv", 'text,label\na,"x, y"\nb,nan\nc,"x,nan"\n'), "multi")
    assert labels(found) == [("x", "y"), ("nan",), ("nan", "x")]
    assert "labels separated by ','" in found.notes.in_words()[0]
    assert "2 labels look like missing values: nan (line 3)" in found.notes.warnings[0]


def test_pairs_without_agreement_are_left_out(tmp_path: Path) -> None:
    """OCNLI and CMNLI; a label "-" of single texts is warned of."""
    pairs = [{"sentence1": "a", "sentence2": "b", "label": label} for label in ("neutral", "-", "entailment")]
    found = read(write(tmp_path, "a.jsonl", lines(*pairs)))
    assert labels(found) == ["neutral", "entailment"]
    assert found.notes.left_out == {'pairs with the label "-"': 1}
    assert "looks like" in read(write(tmp_path, "b.csv", "text,label\na,x\nb,-\n")).notes.warnings[0].replace(
        "look ", "looks "
    )


def test_cells_of_tabs_keep_quotation_marks_of_their_own(tmp_path: Path) -> None:
    cells = {'"A" and "B"': '"A" and "B"', '"Yes," she said. "No."': '"Yes," she said. "No."', '"a ""b"" c"': 'a "b" c'}
    path = write(tmp_path, "a.tsv", "text\tlabel\n" + "".join(f"{cell}\tx\n" for cell in cells))
    assert [item.text for item in read(path).items] == list(cells.values())
