"""Questions with choices: every layout gives the same questions, and what cannot be used is refused by line."""

import json
from pathlib import Path
from typing import Any

import pytest

from minibert.errors import InputError
from tasks.multiple_choice.data import Question, parse_question, read_choices
from tasks.multiple_choice.settings import MultipleChoiceSettings
from tasks.multiple_choice.task import MultipleChoiceTask
from tasks.read.records import ReadOptions
from tasks.read.stream import records

SWAG = """,video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,ending2,ending3,label
0,v_1,1,Ann fills a kettle. She,Ann fills a kettle.,She,gold,swims.,"makes tea, slowly.",digs.,sings.,1
1,v_2,2,Bob sits. He,Bob sits.,He,gen,stands.,flies.,sinks.,melts.,0
"""
RACE = {
    "id": "high7.txt",
    "article": "Ann went to Rome.\nBob stayed.",
    "questions": ["Ann went to _ .", "Who stayed?"],
    "options": [["York", "Rome", "Bonn", "Oslo"], ["Bob", "Ann", "Eve", "Max"]],
    "answers": ["B", "A"],
}
C3: Any = [
    [
        ["男：你去哪儿？", "女：去北京。"],
        [{"question": "她去哪里？", "choice": ["上海", "北京"], "answer": "北京"}],
        "1-2",
    ],
    [["他三十岁。"], [{"question": "他多大？", "choice": ["二十", "三十", "四十"], "answer": "三十"}], "1-3"],
]


def written(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), "utf-8")
    return str(path)


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_swag(tmp_path: Path) -> None:
    first, second = read_choices(written(tmp_path, "train.csv", SWAG)).items
    choices = ("swims.", "makes tea, slowly.", "digs.", "sings.")
    assert first == Question("Ann fills a kettle.", "She", choices, 1, 2, "", "line 2")
    assert first.with_choice(choices[1]) == "She makes tea, slowly."
    assert (second.label, second.line) == (0, 3)


@pytest.mark.parametrize("indent", [None, 2])
def test_race(indent: int | None, tmp_path: Path) -> None:
    one, two = read_choices(written(tmp_path, "high7.txt", json.dumps(RACE, indent=indent))).items
    assert (one.context, one.choices, one.label) == (RACE["article"], ("York", "Rome", "Bonn", "Oslo"), 1)
    assert (one.id, two.id) == ("high7.txt-0", "high7.txt-1")
    assert one.with_choice("Rome") == "Ann went to Rome ."
    assert two.with_choice("Bob") == "Who stayed? Bob"


def test_a_folder_of_race(tmp_path: Path) -> None:
    written(tmp_path, "race/high/7.txt", RACE)
    written(tmp_path, "race/middle/1.txt", {**RACE, "answers": ["B", "E"]})
    with pytest.raises(InputError, match=r"middle/1\.txt, line 1: label 'E' is none of the choices.*A to D"):
        read_choices(str(tmp_path / "race"))
    before = read_choices(str(tmp_path / "race" / "high"))
    assert before.items[0].where == "7.txt, line 1, high7.txt-0"
    written(tmp_path, "race/middle/1.txt", {**RACE, "id": "middle1.txt"})
    written(tmp_path, "race/.ipynb_checkpoints/7-checkpoint.txt", RACE)  # Jupyter's copy
    both = read_choices(str(tmp_path / "race"))
    assert [item.id for item in both.items] == ["high7.txt-0", "high7.txt-1", "middle1.txt-0", "middle1.txt-1"]
    assert both.sha256 != before.sha256


@pytest.mark.parametrize("indent", [None, 1])
def test_c3(indent: int | None, tmp_path: Path) -> None:
    text = json.dumps(C3, ensure_ascii=False, indent=indent)
    first, second = read_choices(written(tmp_path, "c3.json", text)).items
    assert first[:4] == ("男：你去哪儿？\n女：去北京。", "她去哪里？", ("上海", "北京"), 1)
    assert (first.id, second.choices[second.label or 0]) == ("1-2-0", "三十")
    assert text.split("\n")[second.line - 1].strip().startswith("[")  # where the second text begins


QUESTION = {"context": "It rains.", "question": "What is wet?", "choices": ["the sun", "the road", "2", "a"]}


@pytest.mark.parametrize("label", [1, "1", "1.0", 1.0, "B", "b", "the road", " the road "])
def test_labels_are_numbers_letters_or_texts(label: Any, tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", lines({**QUESTION, "label": label}))
    assert read_choices(path).items[0].label == 1


@pytest.mark.parametrize(("label", "places"), [(2, (1, 2)), ("a", (0, 3)), ("A", None), ("2", (1, 2)), (3, None)])
def test_a_label_with_two_readings_is_refused(label: Any, places: tuple[int, int] | None, tmp_path: Path) -> None:
    """The third choice is the text 2, a number of it or of the second; the fourth is a, the letter of the first."""
    path = written(tmp_path, "a.jsonl", lines({**QUESTION, "label": label}))
    if places is None:
        assert read_choices(path).items[0].label == {"A": 0, 3: 3}[label]
        return
    one, other = places
    with pytest.raises(InputError, match=rf"line 1: label '{label}' may be choice {one} .* or choice {other} "):
        read_choices(path)


def test_named_choices(tmp_path: Path) -> None:
    """As Hugging Face has ARC and CommonsenseQA; names win over places."""
    row = {"question": "Ice is", "choices": {"text": ["hot", "cold"], "label": ["1", "2"]}, "answerKey": "1"}
    (item,) = read_choices(written(tmp_path, "arc.jsonl", lines(row))).items
    assert (item.label, item.choices, item.context) == (0, ("hot", "cold"), "")
    assert item.with_choice("cold") == "cold"  # the question is the first segment


@pytest.mark.parametrize(
    "row",
    [
        {"question": {"stem": "Ice is", "choices": [{"label": "A", "text": "hot"}, {"label": "B", "text": "cold"}]}},
        {"question_stem": "Ice is", "choices": {"text": ["hot", "cold"], "label": ["A", "B"]}},
        {"question": "Ice is", "options": {"A": "hot", "B": "cold"}, "answer": "cold", "answer_idx": "B"},
        {"question": "Ice is", "answerA": "hot", "answerB": "cold", "correct": "B"},
        {"question": "Ice is", "answer0": "hot", "answer1": "cold", "label": 1},
        {"question": "Ice is", "answers": ["hot", "cold"], "label": 1},
        {"question": "Ice is", "opa": "hot", "opb": "cold", "cop": 2},
        {"sentence": "Ice is", "option1": "hot", "option2": "cold", "answer": "2"},
        {"goal": "Ice is", "sol1": "hot", "sol2": "cold", "label": 1},
    ],
    ids=["ARC", "OpenBookQA", "MedQA", "SIQA", "CosmosQA", "ReClor", "MedMCQA", "WinoGrande", "PIQA"],
)
def test_layouts_of_published_sets(row: dict[str, Any], tmp_path: Path) -> None:
    """OpenBookQA's as Hugging Face writes it; ARC's as it is published, as are those of CommonsenseQA."""
    if not {"answer", "correct", "label", "cop"} & row.keys():
        row = {"id": "7", **row, "answerKey": "B"}
    split = read_choices(written(tmp_path, "a.jsonl", lines(row)))
    assert [item[:4] for item in split.items] == [("", "Ice is", ("hot", "cold"), 1)]
    asked = parse_question(row, "x")
    assert asked[:4] == ("", "Ice is", ("hot", "cold"), None)


def test_what_else_a_record_has_is_not_taken_for_its_choices_or_label(tmp_path: Path) -> None:
    """Names of published sets count only where others do not."""
    for more in (
        {"answers": ["x", "y"]},
        {"answers": "2"},
        {"answer0": "x", "answer1": "y"},
        {"sold": "x", "opa": "y"},
    ):
        row = {"question": "Ice is", "ending0": "hot", "ending1": "cold", "label": 1, **more}
        assert read_choices(written(tmp_path, "a.jsonl", lines(row))).items[0].choices == ("hot", "cold")
    # MedQA's answer is a text, which may look like a number; what is empty is no label.
    row = {"question": "Ice is", "options": {"A": "2", "B": "1"}, "answer": "1", "answer_idx": "B"}
    assert read_choices(written(tmp_path, "b.jsonl", lines(row, {**row, "answer": ""}))).items[1].label == 1


def test_letters_are_those_of_the_names(tmp_path: Path) -> None:
    row = {"question": "Ice is", "options": {"B": "hot", "A": "cold"}, "answer": "a"}
    assert read_choices(written(tmp_path, "a.jsonl", lines(row))).items[0].choices[1] == "cold"
    assert read_choices(written(tmp_path, "a.jsonl", lines(row))).items[0].label == 1


def test_numbers_count_from_1_where_the_file_shows_it(tmp_path: Path) -> None:
    rows = [{**QUESTION, "choices": ["x", "y", "z"], "label": label} for label in (1, 3, 2)]
    split = read_choices(written(tmp_path, "a.jsonl", lines(*rows)))
    assert [item.label for item in split.items] == [0, 2, 1]
    assert split.notes["choices_numbered_from"] == 1
    with pytest.raises(
        InputError, match=r"b\.jsonl, line 2: label '3' is none of the choices; write its number \(0 to 2"
    ):
        read_choices(written(tmp_path, "b.jsonl", lines(*({**rows[0], "label": label} for label in (0, 3, 1)))))
    with pytest.raises(InputError, match=r"write its number \(1 to 3\)"):  # the training file counted from 1
        read_choices(written(tmp_path, "c.jsonl", lines({**rows[0], "label": 0})), first_number=1)


NUMBERS = {"question": "How many?", "choices": ["1", "2", "3"]}


@pytest.mark.parametrize("other", [{**QUESTION, "label": "the sun"}, {**NUMBERS, "choices": [7, 12], "label": 12.0}])
def test_where_all_labels_are_texts_a_number_is_one(other: dict[str, Any], tmp_path: Path) -> None:
    """C3 has both: some of its choices are words, and some are numbers."""
    split = read_choices(written(tmp_path, "a.jsonl", lines(other, {**NUMBERS, "label": 2})))
    assert split.items[1].label == 1
    assert split.understood[0].endswith("labels are texts of choices")


@pytest.mark.parametrize(
    ("rows", "form", "marks"),
    [
        ([{**NUMBERS, "label": 2}], "letter", "BC"),
        ([{**QUESTION, "label": 0}, {**NUMBERS, "label": "1.0"}], "letter", "AB"),
        ([{**QUESTION, "choices": ["B", "A"], "label": "A"}], "number", "01"),
    ],
)
def test_where_texts_are_numbers_or_letters_another_form_is_advised_and_settles_it(
    rows: list[dict[str, Any]], form: str, marks: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"; write the {form} of the right one, {' or '.join(marks)}"):
        read_choices(written(tmp_path, "a.jsonl", lines(*rows)))
    settled = [lines(*rows[:-1], {**rows[-1], "label": mark}) for mark in marks]
    one, other = (read_choices(written(tmp_path, "a.jsonl", each)).items[-1].label for each in settled)
    assert one != other


@pytest.mark.parametrize(
    ("labels", "first", "warned"),
    [
        ((1, 2, 3), 0, True),
        ((1.0, "2", 3), 0, True),
        ((0, 1, 2), 0, False),
        ((4, 1, 2), 1, False),
        (("B", "C", "w"), None, False),
        ((1, 2, "B"), 0, True),
    ],
)
def test_a_run_says_from_where_numbers_count_and_whether_the_file_shows_it(
    labels: tuple[Any, ...], first: int | None, warned: bool, tmp_path: Path
) -> None:
    rows = [{**QUESTION, "choices": ["w", "x", "y", "z"], "label": label} for label in labels]
    said = read_choices(written(tmp_path, "a.jsonl", lines(*rows))).understood
    assert ("choices numbered from" in said[0]) is (first is not None)
    assert said[0].endswith(f"choices numbered from {first}") or first is None
    assert any("labels are numbers, but none is 0" in line for line in said) is warned


def test_files_of_one_run_count_from_the_same_number(tmp_path: Path) -> None:
    task = MultipleChoiceTask(MultipleChoiceSettings())
    rows = [{**QUESTION, "choices": ["w", "x", "y", "z"], "label": label} for label in ("A", 4, 2)]
    task.read(written(tmp_path, "letters.jsonl", lines(rows[0])))
    assert [item.label for item in task.read(written(tmp_path, "a.jsonl", lines(*rows[1:]))).items] == [3, 1]
    later = task.read(written(tmp_path, "b.jsonl", lines(rows[2])))
    assert later.items[0].label == 1
    assert len(later.understood) == 1


def test_tables_may_have_lists_letters_and_fewer_choices(tmp_path: Path) -> None:
    exam = "id,question,A,B,C,answer\n1,Ice is,hot,cold,dry,B\n2,Fire is,hot,cold,,A\n"
    first, second = read_choices(written(tmp_path, "exam.csv", exam)).items
    assert (first.choices, first.label, first.id) == (("hot", "cold", "dry"), 1, "1")
    assert (second.choices, second.label) == (("hot", "cold"), 0)


@pytest.mark.parametrize("cell", ["['hot', \"it's cold\"]", "['hot' \"it's cold\"]", '["hot", "it\'s cold"]'])
def test_cells_may_have_lists_as_python_numpy_and_json_write_them(cell: str, tmp_path: Path) -> None:
    path = written(tmp_path, "p.tsv", f"question\tchoices\tlabel\nIce is\t{cell}\t1\n")
    assert read_choices(path).items[0].choices == ("hot", "it's cold")


TEN = ",".join(f"choice{number}" for number in (1, 10, *range(2, 10)))


@pytest.mark.parametrize(
    ("content", "right"),
    [
        (f"question,{TEN},label\nWhy?,one,ten,two,three,four,five,six,seven,eight,nine,2\n", "three"),
        (f"question,{TEN},label\nWhy?,one,ten,two,three,four,five,six,seven,eight,nine,10\n", "ten"),
        ("question,D,C,B,A,answer\nWhy?,dd,cc,bb,aa,A\n", "aa"),
        (lines({"question": "Why?", "choice_b": "bb", "choice_a": "aa", "label": "A"}), "aa"),
    ],
)
def test_columns_count_by_their_number_or_letter(content: str, right: str, tmp_path: Path) -> None:
    path = written(tmp_path, "data.jsonl" if content.startswith("{") else "data.csv", content)
    (item,) = read_choices(path).items
    assert item.choices[item.label or 0] == right
    (asked,) = list(records(path))
    assert parse_question(asked.fields, "line 1").choices == item.choices


@pytest.mark.parametrize("names", ["A,C,D", "B,C,D", "choice0,choice1,choice3", "option2,option3", "choice1,Choice_1"])
def test_columns_that_leave_out_one_are_refused(names: str, tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", f"question,{names},label\nWhy?,{names},1\n")
    with pytest.raises(InputError, match=r"line 2: has the choices .*; give each its own number from 0 or 1"):
        read_choices(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines(QUESTION), "line 1: has no label; training and scoring need one for each question, in a field"),
        (lines({**QUESTION, "label": -1}), "line 1: has no label"),
        (lines({**QUESTION, "label": 0}) + "\n" + lines({**QUESTION, "label": 4}), "line 3: label '4' is none"),
        (lines({**QUESTION, "label": True}), "label is true, not text"),
        (lines({**QUESTION, "choices": ["one"], "label": 0}), "has 1 choices; a question needs two or more"),
        (lines({**QUESTION, "choices": ["one", " "], "label": 0}), "choice 1 is empty; fill it in, or remove it"),
        (lines({**QUESTION, "choices": "one, two", "label": 0}), 'choices is "one, two", not a list'),
        ("question\tchoices\tlabel\nWhy?\t{[1]: 2}\t0\n", 'line 2: choices is "{[1]: 2}", not a list'),
        (lines({**QUESTION, "choices": ["one", {"a": 1}], "label": 0}), 'choice 1 is {"a": 1}, not text'),
        (
            lines({**QUESTION, "choices": {"text": ["a", "b"], "label": ["A"]}, "label": "A"}),
            "choices is an object, but neither of two lists, text and label, of equal length, nor of a text for each",
        ),
        (lines({**QUESTION, "choices": {"A": "one", "B": None}, "label": "A"}), "choice 1 is missing, not text"),
        (lines({**QUESTION, "choices": {"label": "A", "text": "one"}, "label": "A"}), "but neither of two lists"),
        (
            lines({**QUESTION, "choices": [{"label": "A", "text": "x"}, {"label": "a", "text": "y"}], "label": "A"}),
            "two choices have the same name (A, a); give each its own",
        ),
        (lines({"choices": ["one", "two"], "label": 0}), "line 1: needs a context or a question"),
        (
            "prompt,A,B,C,answer\nWhy?,a,b,c,A\n",
            "line 2: needs a context or a question, in a field named context, article, passage, premise, sent1, ctx_a, "
            "question, query, sent2, ctx_b, question_stem, sentence or goal; it has 'prompt', 'A', 'B', 'C', 'answer'.",
        ),
        ("question,A,B,answer\n,a,b,A\n", "or goal; it has 'A', 'B', 'answer'."),
        (
            lines({"question": "Why?", "choices": None, "solutions": ["a", "b"], "label": 0}),
            "line 1: needs choices, in a field named choices, options, endings, choice, answers or choice1, choice2, "
            "...; it has 'question', 'solutions', 'label'.",
        ),
        ("question,A,B,answer\nWhy?,,,A\n", "line 2: has 0 choices; a question needs two or more"),
        (lines({**QUESTION, "context": "\ud800", "label": 0}).replace("\ud800", "\\ud800"), "stands alone"),
        (lines({**QUESTION, "label": 0})[:-5], "line 1: not JSON (column"),
        ('[{"question": "a",\n"choices": [1, 2], "label": 1}', "line 2: not JSON (column 31"),
        ('[{"a": 1}, 5]', "line 1"),
        ("text,label\na,b\n", "line 1: no column has choices; name them ending0, ending1"),
        ("", "has no questions"),
        ("question,ending0,ending1,label\nWhy?,a,b\n", "line 2: 3 cells, but the header names 4 columns"),
    ],
)
def test_what_cannot_be_used_is_refused_by_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError) as caught:
        read_choices(str(path))
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_rows_that_cannot_be_used_are_left_out_if_asked(tmp_path: Path) -> None:
    rows = [{**QUESTION, "label": 0}, {**QUESTION, "choices": ["one"], "label": 0}, {**QUESTION, "label": "none"}]
    path = written(tmp_path, "a.jsonl", lines(*rows))
    split = read_choices(path, ReadOptions(skip_invalid=True))
    assert [item.line for item in split.items] == [1]
    assert (split.notes["rows"], split.notes["left_out"]) == (3, {"invalid rows": 2})
    folder = tmp_path / "both"
    for name in "ab":
        written(folder, f"{name}.jsonl", lines(*rows))
    joined = read_choices(str(folder), ReadOptions(skip_invalid=True))
    assert (len(joined.items), joined.notes["rows"], joined.notes["left_out"]) == (2, 6, {"invalid rows": 4})


def test_inputs_need_no_label() -> None:
    asked = parse_question({"ctx": 1, "question": "Why?", "endings": ["a", "b"], "label": "unknown"}, "line 5")
    assert (asked.question, asked.choices, asked.label) == ("Why?", ("a", "b"), None)
    assert parse_question({**RACE, "questions": ["Who?"]}, "x").choices == ("York", "Rome", "Bonn", "Oslo")
    with pytest.raises(InputError, match="line 5: holds 2 questions; give each its own object"):
        parse_question(RACE, "line 5")
    with pytest.raises(InputError, match=r"line 5: needs choices, .* it has 'question'\."):
        parse_question({"question": "Why?"}, "line 5")


@pytest.mark.parametrize(
    ("question", "filled"),
    [("He _ home.", "He ran home."), ("他____了。", "他ran了。"), ("Set max_len?", "Set max_len? ran"), ("", "ran")],
)
def test_a_gap_is_filled(question: str, filled: str) -> None:
    assert Question("x", question, ("ran", "sat"), None, 1).with_choice("ran") == filled
