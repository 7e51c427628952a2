"""Files after public bug reports and tools' exports, which do not come with the repository: each read rightly, or
refused with the right sentence."""

from typing import Any

import pytest
from conftest import SHARED

from minibert.errors import InputError
from tasks.classification.data import TextOptions, read_texts
from tasks.ner.data import read_ner
from tasks.read.records import ReadOptions
from tasks.span_qa.data import read_span_qa

CASES = SHARED / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not here")

NAMES = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
# The number of sentences, and the entities of the first one.
THREE = (12, [("Ann Lee", "PER"), ("Rome", "LOC")])
EIGHT = (8, THREE[1])
ENTITIES: dict[str, tuple[int, list[tuple[str, str]]]] = {
    **dict.fromkeys(["n03_doccano_data.jsonl", "n05_labelstudio_min.json", "n06_labelstudio.csv", "n09_brat"], THREE),
    **dict.fromkeys(["n32_spacy2.json", "n49_pretty.json"], THREE),
    **dict.fromkeys(["n10_suffix.txt", "n11_underscore.txt", "n14_bilou.txt", "n26_hf_int_tags.jsonl"], EIGHT),
    **dict.fromkeys(["n26b_hf_array.json", "n31_gliner.json", "n35_trailing_space.jsonl"], EIGHT),
    "n12_bare_bio.txt": (8, [("Ann Lee", "ENTITY"), ("Rome", "ENTITY")]),
    "n15_lower.txt": (8, [("Ann Lee", "per"), ("Rome", "loc")]),
    "n22_multiconer.conll": (8, [("Ann Lee", "PER")]),
    "n34_duplicate_span.jsonl": (8, [("Ann", "PER")]),
    "n36c_emoji_shift2.jsonl": (12, [("Ann Lee", "PER"), ("Bob Ray", "PER")]),
    "n36d_emoji_shift2_text.jsonl": (12, [("Ann Lee", "PER"), ("Bob Ray", "PER")]),
    "n39_cluener.jsonl": (8, [("张三", "name"), ("中国银行", "company")]),
    "n40_paddle_msra.tsv": (8, [("王小明", "PER")]),
    "n61_trailing_tab.txt": (8, [("Ann", "PER")]),
}


@pytest.mark.parametrize("name", ENTITIES)
def test_entities(name: str) -> None:
    options = ReadOptions(label_names=NAMES if name.startswith("n26_") else ())
    items = read_ner(str(CASES / name), "auto", options).items
    text, places = items[0].laid_out()
    found = [(text[places[s][0] : places[e - 1][1]], type_) for s, e, type_ in items[0].entities]
    assert (len(items), found) == ENTITIES[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("n24_blank_token.txt", "line 4: the word is blank"),
        ("n25_space_after.txt", r"line 1: unknown tag '\+'.*--tag-column 2"),
        ("n26_hf_int_tags.jsonl", "line 1: the tags are numbers; .*--label-names"),
        ("n38b_missing_label.jsonl", "line 4: .*--skip-invalid leaves out"),
        ("n43_empty_text.jsonl", "line 5: the text has no words.*--skip-invalid leaves out"),
        ("n67_inline_xml.txt", "line 1: tags inside the text"),
    ],
)
def test_entities_that_are_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_ner(str(CASES / name))


def test_entities_with_options() -> None:
    assert len(read_ner(str(CASES / "n25_space_after.txt"), tag_column="2").items[0].entities) == 2
    for name in ("n38b_missing_label.jsonl", "n43_empty_text.jsonl"):
        split = read_ner(str(CASES / name), "auto", ReadOptions(skip_invalid=True))
        assert (len(split.items), split.notes["left_out"]) == (7, {"invalid rows": 1})


GOOD = ("good", "bad")
SIX = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
# Options, and the number of texts with the first two labels; or the message.
TEXTS: list[tuple[str, dict[str, Any], tuple[int, Any, Any] | str]] = [
    *((name, {}, (24, *GOOD)) for name in ("c03_sep_line.csv", "c06_array.json", "c07_pandas_columns.json")),
    *((name, {}, (24, *GOOD)) for name in ("c14_doccano_cls.jsonl", "c16_ls_cls.json", "c19_fasttext.txt")),
    ("c08b_jsonliststr.csv", {}, "line 2: .*--kind multi"),
    ("c08b_jsonliststr.csv", {"kind": "multi"}, (24, ("food", "service"), ("food",))),
    ("c09_multihot_columns.csv", {}, "--kind multi --label-column toxic severe_toxic obscene threat insult"),
    ("c09_multihot_columns.csv", {"kind": "multi", "label_columns": SIX},
     (24, ("insult", "severe_toxic", "threat"), ("insult", "toxic"))),
    ("c10c_multihot_str.csv", {"kind": "multi"}, "line 2: .* vector of 0 and 1.*--label-names"),
    ("c10c_multihot_str.csv", {"kind": "multi", "read": ReadOptions(label_names=["x", "y", "z"])},
     (24, ("x", "y"), ("y",))),
    ("c13b_nan_label.csv", {}, (24, *GOOD)),
    ("c13b_nan_label.csv", {"read": ReadOptions(skip_invalid=True)}, (23, *GOOD)),
    ("c27_two_headers.csv", {}, "line 16: repeats the header"),
    ("c27_two_headers.csv", {"read": ReadOptions(skip_invalid=True)}, (24, *GOOD)),
    ("c34_label_newline.csv", {}, "line 2: .*line break inside; --kind multi"),
    ("c34_label_newline.csv", {"kind": "multi"}, (24, ("MM", "PR"), ("MM",))),
    ("c39_folder", {}, (24, "bad", "bad")),
    ("c42c_big5.csv", {}, "(?s)line 2: .*--encoding gb18030 .*--encoding big5 +請問路邊停車費如何繳納"),
    ("c42c_big5.csv", {"read": ReadOptions(encoding="big5")}, (20, "bad", "good")),
    ("c42d_sjis.csv", {}, "(?s)line 2: .*--encoding gb18030 .*--encoding shift_jis +これはとても良い映画です"),
    ("c42d_sjis.csv", {"read": ReadOptions(encoding="shift_jis")}, (20, "bad", "good")),
    ("c48_multiline.tsv", {}, (16, *GOOD)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "right"), TEXTS)
def test_texts(name: str, options: dict[str, Any], right: tuple[int, Any, Any] | str) -> None:
    if isinstance(right, str):
        with pytest.raises(InputError, match=right):
            read_texts(str(CASES / name), TextOptions(**options))
        return
    found = read_texts(str(CASES / name), TextOptions(**options))
    assert (len(found.items), *(item.label for item in found.items[:2])) == right
    assert bool(found.notes.warnings) == (name == "c13b_nan_label.csv" and len(found.items) == 24)


@pytest.mark.parametrize(
    ("name", "count", "impossible"),
    [("s02_no_id.json", 16, 8), ("s03_haystack_notgiven.json", 16, 8), ("s04_simpletransformers.json", 16, 8),
     ("s05_flat_answers_str.jsonl", 8, 0), ("s06.csv", 8, 0), ("s07_no_start.json", 16, 8),
     ("s11_cmrc_orig.json", 8, 0)],
)  # fmt: skip
def test_questions(name: str, count: int, impossible: int) -> None:
    questions = read_span_qa(str(CASES / name)).questions
    assert (len(questions), sum(question.impossible for question in questions)) == (count, impossible)
    for question in questions:
        assert bool(question.answers) != question.impossible
        assert all(question.context[a.start : a.start + len(a.text)] == a.text for a in question.answers)


def test_questions_that_are_refused() -> None:
    with pytest.raises(InputError, match="stands in its context as spelled; this one is 'ann lee'"):
        read_span_qa(str(CASES / "s17_case_mismatch.json"))
    with pytest.raises(InputError, match="answers is missing"):
        read_span_qa(str(CASES / "s15_no_answers.json"))
    found = read_span_qa(str(CASES / "s15_no_answers.json"), ReadOptions(skip_invalid=True))
    assert [question.impossible for question in found.questions] == [True] * 8


def test_every_case_is_tested() -> None:
    tested = {*ENTITIES, *(name for name, _, _ in TEXTS)}
    left = {path.name for path in CASES.iterdir() if path.name[0] in "nc"} - tested
    assert left == {"n24_blank_token.txt", "n25_space_after.txt", "n38b_missing_label.jsonl", "n43_empty_text.jsonl",
                    "n67_inline_xml.txt"}  # fmt: skip
