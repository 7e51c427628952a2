"""Questions from every format, answers that stand where they are said to, and the sentences for files that are not
right."""

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED
from fuzzing import read_or_refuse
from hypothesis import given
from hypothesis import strategies as st

from minibert.errors import InputError
from tasks.span_qa.data import Answer, Question, ReadQuestions, count_oddities, read_span_qa

DATA = SHARED / "data" / "span_qa"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data/span_qa is not here")

CONTEXT = "Ann Lee left New York; Lee went home."
LEE = {"text": "Lee", "answer_start": 4}
LEE_AGAIN = {"text": "Lee", "answer_start": 23}
WHO: dict[str, Any] = {"id": "q1", "question": "Who left?", "answers": [LEE, LEE_AGAIN]}
WHY: dict[str, Any] = {"id": "q2", "question": "Why?", "answers": [], "is_impossible": True}
LISTS = {"text": ["Lee", "Lee"], "answer_start": [4, 23]}


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def document(*questions: Any, context: Any = CONTEXT) -> dict[str, Any]:
    return {"version": "1", "data": [{"title": "t", "paragraphs": [{"qas": list(questions), "context": context}]}]}


def read_answers(folder: Path, context: str, *answers: tuple[str, Any]) -> tuple[Question, ReadQuestions]:
    listed = [{"text": text, "answer_start": start} for text, start in answers]
    read = read_span_qa(write(folder, "a.json", json.dumps(document({**WHO, "answers": listed}, context=context))))
    return read.questions[0], read


# -- formats ----------------------------------------------------------------------------------------------------------

SQUAD = json.dumps(document({**WHO, "is_impossible": False}, {**WHY, "plausible_answers": [LEE]}))
LINES = "\n".join(json.dumps({**question, "context": CONTEXT}) for question in (WHO, WHY))

FORMATS = {
    "squad.json": SQUAD,
    "no_extension": SQUAD,
    "line.jsonl": SQUAD,
    "laid_out.json": json.dumps(document(WHO, WHY), indent=1),
    "broken_after_brace.json": "\n\n{\n" + SQUAD[1:],
    "bom_crlf.json": "\ufeff" + json.dumps(document(WHO, WHY), indent=1).replace("\n", "\r\n"),
    "strings.json": SQUAD.replace("23", '"23"').replace(": 4", ': "4"'),
    "lists.json": json.dumps(document({**WHO, "answers": LISTS}, {**WHY, "answers": {"text": [], "answer_start": []}})),
    "lines.jsonl": LINES,
    "lines.json": LINES + "\n\n",
    "lines": "\n" + LINES,
    "lists.ndjson": "\n".join(
        json.dumps({**question, "context": CONTEXT, "answers": answers})
        for question, answers in ((WHO, LISTS), (WHY, {"text": [], "answer_start": []}))
    ),
    "nothing_said.jsonl": LINES.replace(', "is_impossible": true', ""),
    "blank_answer.json": SQUAD.replace('"answers": []', '"answers": [{"text": "", "answer_start": -1}]'),
    "white_answer.json": SQUAD.replace('"answers": []', '"answers": [{"text": " ", "answer_start": 7}]'),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("zipped", [False, True])
def test_every_format_gives_the_same_questions(tmp_path: Path, name: str, zipped: bool) -> None:
    content = FORMATS[name].encode()
    read = read_span_qa(write(tmp_path, name + ".gz" * zipped, gzip.compress(content) if zipped else content))
    assert [question[:6] for question in read.questions] == [
        ("q1", "Who left?", CONTEXT, [Answer(4, "Lee"), Answer(23, "Lee")], ["Lee", "Lee"], False),
        ("q2", "Why?", CONTEXT, [], [], True),
    ]
    assert not any(count_oddities(read.questions).values())


def test_ids_are_strings_and_lines_of_json_have_their_number_for_one(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"context": "c", "question": "q", "answers": []}] * 3
    rows[1] = {**rows[1], "id": 77}
    read = read_span_qa(write(tmp_path, "a.jsonl", "\n\n".join(map(json.dumps, rows))))
    assert [question.id for question in read.questions] == ["1", "77", "5"]
    assert [question.line for question in read.questions] == [1, 3, 5]


texts = st.text(st.sampled_from('{}[]":\\,a\u2028北\U0001f600\n'), min_size=1, max_size=8)


@pytest.mark.slow
@given(st.lists(texts, min_size=1, max_size=4), st.sampled_from([None, 0, 3]), st.booleans())
def test_questions_know_their_line_and_place(
    tmp_path_factory: pytest.TempPathFactory, asked: list[str], indent: int | None, escaped: bool
) -> None:
    rows = [
        {"question": text, "answers": [], "extra": {text: [{}, text]}, "id": f"id-{n}"} for n, text in enumerate(asked)
    ]
    # json writes an object's brace on the line of its bracket or above its first field.
    content = json.dumps(document(*rows, context="{\n}"), indent=indent, ensure_ascii=escaped)
    read = read_span_qa(write(tmp_path_factory.getbasetemp(), "place.json", content))
    lines = content.split("\n")
    for number, (question, text) in enumerate(zip(read.questions, asked, strict=True)):
        assert question.place == f"data[0].paragraphs[0].qas[{number}]"
        assert question.question == text
        if indent is None:
            assert question.line == 1
        else:
            opened = [n for n, line in enumerate(lines, 1) if f'"id-{number}"' in line]
            first_field = max(n for n, line in enumerate(lines, 1) if '"question":' in line and n < opened[0])
            assert question.line == first_field - 1


# -- where answers stand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "found"),
    [
        (4, 4),
        (5, 4),
        (3, 4),
        (0, 4),
        (-1, 4),
        (13, 4),
        (14, 23),
        (22, 23),
        (23, 23),
        (10**9, 23),
        ("12", 4),
        ("-1", 4),
        (22.0, 23),
        ("23.0", 23),
    ],
)
def test_a_wrong_start_is_repaired_by_the_nearest_place(tmp_path: Path, start: float | str, found: int) -> None:
    question, read = read_answers(tmp_path, CONTEXT, ("Lee", start))
    assert question.answers == [Answer(found, "Lee")]
    assert question.num_repaired == count_oddities(read.questions)["answers_repaired"] == (float(start) != found)


def test_places_may_overlap(tmp_path: Path) -> None:
    question, _ = read_answers(tmp_path, "哈哈哈笑", ("哈哈", 2))
    assert question.answers == [Answer(1, "哈哈")]


def test_negative_starts_do_not_count_from_the_end(tmp_path: Path) -> None:
    question, _ = read_answers(tmp_path, "no yes no", ("no", -2))
    assert question.answers == [Answer(0, "no")]
    assert question.num_repaired == 1


def test_positions_count_characters(tmp_path: Path) -> None:
    question, _ = read_answers(tmp_path, "\U0001f600 北京，北京", ("北京", 5))
    assert question.answers == [Answer(5, "北京")]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-8"])
def test_starts_in_other_units_are_found_before_nearer_places(tmp_path: Path, encoding: str) -> None:
    context = "😀😀😀😀我住在北京，北京，北京，北京"
    before = context[: context.index("北京")]
    start = len(before.encode(encoding)) // (2 if encoding == "utf-16-le" else 1)
    question, read = read_answers(tmp_path, context, ("北京", start))
    assert question.answers == [Answer(len(before), "北京")]
    assert count_oddities(read.questions)["answers_repaired"] == 1


def test_white_space_around_an_answer_is_no_part_of_it(tmp_path: Path) -> None:
    """Whether the context has it, as in CMRC 2018, or not; the gold text stays as it is."""
    question, read = read_answers(tmp_path, CONTEXT, (" Lee ", 3), ("home.\n", 32), ("\u3000New York", 0))
    assert question.answers == [Answer(4, "Lee"), Answer(32, "home."), Answer(13, "New York")]
    assert question.golds == [" Lee ", "home.\n", "\u3000New York"]
    assert count_oddities(read.questions)["answers_repaired"] == 1


def test_answers_that_are_nowhere_are_left_out_and_kept_for_scoring(tmp_path: Path) -> None:
    question, read = read_answers(tmp_path, CONTEXT, ("lee", 4), ("Lee", 4))
    assert (question.answers, question.golds) == ([Answer(4, "Lee")], ["lee", "Lee"])
    assert count_oddities(read.questions)["answers_not_found_in_their_context"] == 1
    assert count_oddities(read.questions)["questions_with_no_answer_found"] == 0
    question, read = read_answers(tmp_path, CONTEXT, ("FAKE_1", -1), ("FAKE_2", -1))
    assert (question.answers, question.golds, question.impossible) == ([], ["FAKE_1", "FAKE_2"], False)
    assert count_oddities(read.questions)["answers_not_found_in_their_context"] == 2
    assert count_oddities(read.questions)["questions_with_no_answer_found"] == 1


def filled(size: int) -> st.SearchStrategy[str]:
    return st.text("ab ", min_size=1, max_size=size).filter(str.strip)


@pytest.mark.slow
@given(filled(12), filled(3), st.integers(-3, 15))
def test_answers_by_brute_force(tmp_path_factory: pytest.TempPathFactory, context: str, text: str, start: int) -> None:
    question, read = read_answers(tmp_path_factory.getbasetemp(), context, (text, start))
    bare = text.strip()
    said = start + text.index(bare)
    places = [place for place in range(len(context)) if context[place : place + len(bare)] == bare]
    if not places:
        assert question.answers == []
        assert count_oddities(read.questions)["answers_not_found_in_their_context"] == 1
        return
    ((found, answer),) = question.answers
    assert answer == bare
    assert found in places
    assert abs(found - said) == min(abs(place - said) for place in places)
    assert count_oddities(read.questions)["answers_repaired"] == (said not in places)


# -- what is refused --------------------------------------------------------------------------------------------------

Q = {"id": "a", "question": "q", "context": "c", "answers": []}
PLACE = r"data\[0\]\.paragraphs\[0\]\.qas\[0\]"


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in Q.items() if key != name}


BAD: dict[str, tuple[Any, str]] = {
    # JSON
    "json.json": ('{"data":\n [}', r"line 2: not JSON \(column 3: Expecting value"),
    "cut.json": ('{"data": [\n', r"line [12]: not JSON \(column"),
    "extra.json": ('{"data": [\n]}\n}\n', r"line 3: not JSON \(column 1: Expecting value"),
    "json.jsonl": (json.dumps(Q) + '\n{"id": 1,\n', r"line 2: not JSON \(column 10"),
    "first.jsonl": ('{"id": 1,\n' + json.dumps(Q), r"line 1: not JSON \(column 10"),
    "array.json": (json.dumps([[Q]]), r"line 1, \[0\]: not a JSON object"),
    "array.jsonl": ("\n[\n]", "has no questions"),
    "scalar.json": ("3", "line 1: not a JSON object"),
    "scalar.jsonl": (json.dumps(Q) + "\n3\n", "line 2: not a JSON object"),
    "digits.json": ('{"data": ' + "9" * 5000 + "}", "line 1: JSON that cannot be parsed"),
    "deep.json": ('{"data": ' + "[" * 200_000, "line 1: JSON that cannot be parsed"),
    # the layout
    "empty.json": ("", "has no questions"),
    "blank.jsonl": ("\n\n", "has no questions"),
    "none.json": ({"data": []}, "has no questions"),
    "nodata.json": ('{\n"version": 1\n}', "line 1: context is missing; the object has 'version'"),
    "data.json": ({"data": {}}, "line 1: context is missing; the object has no field"),
    "article.json": ({"data": [3]}, r"line 1, data\[0\]: not a JSON object"),
    "paragraphs.json": ({"data": [{}]}, r"line 1: data\[0\]\.context is missing; the object has no field"),
    "qas.json": ({"data": [{"paragraphs": [{"context": "c"}]}]}, r"paragraphs\[0\]\.qas is missing"),
    # fields
    "boolid.jsonl": ({**Q, "id": True}, "line 1: id is true, not a string"),
    "blankid.jsonl": ({**Q, "id": " "}, "line 1: id is blank"),
    "nocontext.jsonl": (without("context"), "line 1: context is missing; the object has 'id', 'question', 'answers'"),
    "context.json": (document(Q, context=3), r"data\[0\]\.paragraphs\[0\]\.context is 3, not a string"),
    "blankcontext.json": (document(Q, context="\u3000\n"), r"data\[0\]\.paragraphs\[0\]\.context is blank"),
    "noquestion.jsonl": (without("question"), "line 1: question is missing"),
    "question.json": (document({**Q, "question": 3}), f"line 1: {PLACE}.question is 3, not a string"),
    "long.json": (document({**Q, "question": 1e-300}), "question is 1e-300, not a string"),
    "half.jsonl": ({**Q, "question": "a\ud800"}, "line 1: an escape"),
    "halfcontext.json": (document(Q, context="\udfff"), "line 1: an escape"),
    "halffield.jsonl": ({**without("question"), "\ud800": 1}, "line 1: an escape"),
    # answers
    "noanswers.jsonl": (without("answers"), "line 1: answers is missing"),
    "answers.json": (document({**Q, "answers": 3}), f"{PLACE}.answers is 3, not a list"),
    "answer.json": (document({**Q, "answers": [3]}), rf"{PLACE}.answers\[0\] is 3, not an object"),
    "notext.json": (document({**Q, "answers": [LEE, {"answer_start": 1}]}), rf"{PLACE}.answers\[1\].text is missing"),
    "text.json": (document({**Q, "answers": [{"text": 3, "answer_start": 1}]}), r"answers\[0\].text is 3, not a"),
    "halftext.jsonl": ({**Q, "answers": [{"text": "\udc00", "answer_start": 1}]}, "line 1: an escape"),
    "floatstart.jsonl": ({**Q, "answers": [{"text": "c", "answer_start": 0.5}]}, "answer_start is 0.5, not a whole"),
    "halfstart.jsonl": ({**Q, "answers": [{"text": "c", "answer_start": "0.5"}]}, "answer_start is '0.5', not a whole"),
    "nanstart.jsonl": ({**Q, "answers": [{"text": "c", "answer_start": float("nan")}]}, "answer_start is nan, not a"),
    "boolstart.jsonl": ({**Q, "answers": [{"text": "c", "answer_start": True}]}, "answer_start is true, not a whole"),
    "textstart.jsonl": ({**Q, "answers": [{"text": "c", "answer_start": "²"}]}, "answer_start is .*, not a whole"),
    "uneven.jsonl": ({**Q, "answers": {"text": ["c"], "answer_start": []}}, "answers is an object, but not of two"),
    "onelist.json": (document({**Q, "answers": {"answer_start": [1]}}), f"{PLACE}.answers is an object, but not of"),
    "flag.json": (document({**Q, "is_impossible": "no"}), f"{PLACE}.is_impossible is 'no', not true or false"),
    "both.json": (document({**WHO, "is_impossible": True}), f"{PLACE}.is_impossible is true, but there are answers"),
    "neither.json": (document({**Q, "is_impossible": False}), f"{PLACE}.answers has no text, but is_impossible"),
    "null.jsonl": ({**Q, "answers": [{"text": None}], "is_impossible": False}, "answers has no text, but is_imp"),
    "nulls.jsonl": ({**Q, "answers": None, "is_impossible": False}, "answers has no text, but is_impossible is false"),
    # ids
    "twice.json": (
        document({**Q, "id": 1}, Q, {**Q, "id": "1"}),
        rf"line 1: data\[0\]\.paragraphs\[0\]\.qas\[2\]\.id '1' occurs twice \(first in line 1, {PLACE}\)",
    ),
    "twice.jsonl": (f"{json.dumps(Q)}\n\n{json.dumps(Q)}", r"line 3: id 'a' occurs twice \(first in line 1\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_by_file_line_and_place(tmp_path: Path, name: str) -> None:
    content, message = BAD[name]
    path = write(tmp_path, name, content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        read_span_qa(path)
    assert str(caught.value).startswith(path)
    str(caught.value).encode()


def test_errors_name_the_line_of_the_object_that_is_wrong(tmp_path: Path) -> None:
    rows = [{**WHO, "id": n} for n in range(3)]
    rows[2] = {**rows[2], "answers": [LEE, {"text": 3, "answer_start": 0}]}
    content = json.dumps(document(*rows), indent=2)
    line = content[: content.index('"text": 3')].count("\n")  # of the brace, one line above
    with pytest.raises(InputError, match=rf"line {line}: .*qas\[2\]\.answers\[1\]\.text is 3"):
        read_span_qa(write(tmp_path, "a.json", content))


NAMES = ("data", "paragraphs", "qas", "context", "question", "answers", "id", "text", "answer_start")
WHOLE = (json.dumps(Q), json.dumps(document(WHO, WHY)), json.dumps(document(Q), indent=1))
PIECES = st.sampled_from([*'{}[],:"\\\n\t 3-', "\\ud800", "null", "true", "\ufeff", *map(json.dumps, NAMES), *WHOLE])


@pytest.mark.slow
def test_anything_is_read_or_refused(tmp_path: Path) -> None:
    def check(name: str, good: str, pieces: list[str]) -> None:
        """A whole file, or nothing, with noise behind it."""
        assert read_span_qa(write(tmp_path, name, f"{good}\n{''.join(pieces)}")).questions

    drawn = [st.sampled_from(["a.json", "a.jsonl", "a"]), st.sampled_from(["", *WHOLE]), st.lists(PIECES, max_size=20)]
    read_or_refuse(check, *drawn, examples=400, at_least=15)


VALUES = st.recursive(
    st.sampled_from([None, True, 3, 0.5, "", "c", "Lee", "-1"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["text", "answer_start"]), inner, max_size=2)
    ),
    max_leaves=4,
)
FIELDS = ("id", "question", "context", "answers", "is_impossible")


@pytest.mark.slow
def test_a_field_of_any_value_is_read_or_refused(tmp_path: Path) -> None:
    def check(name: str, value: Any, in_document: bool) -> None:
        row = {"id": "a", "question": "q", "context": "c Lee", "answers": [LEE], name: value}
        content = document(row, context=row["context"]) if in_document else row
        for question in read_span_qa(write(tmp_path, "field.json", json.dumps(content))).questions:
            assert question.impossible == (not question.golds)
            for start, text in question.answers:
                assert text
                assert question.context[start : start + len(text)] == text

    read_or_refuse(check, st.sampled_from(FIELDS), VALUES, st.booleans(), examples=400, at_least=25)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = write(tmp_path_factory.getbasetemp(), "bytes", content)
    with contextlib.suppress(InputError):
        assert read_span_qa(path).questions


# -- real files -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize(
    ("name", "num_questions", "num_impossible", "num_answers", "repaired", "blank"),
    [
        ("DRCD_dev", 3524, 0, 7048, 0, 0),
        ("cmrc2018_trial", 1002, 0, 1002, 5, 2),
        ("squad2_dev_half", 6078, 3168, 10052, 0, 0),
    ],
)
def test_real_files(
    name: str, num_questions: int, num_impossible: int, num_answers: int, repaired: int, blank: int
) -> None:
    read = read_span_qa(str(DATA / f"{name}.json.gz"))
    assert len(read.questions) == num_questions
    assert sum(question.impossible for question in read.questions) == num_impossible
    assert sum(len(question.answers) for question in read.questions) == num_answers
    assert count_oddities(read.questions) == {
        "answers_repaired": repaired,
        "answers_not_found_in_their_context": 0,
        "questions_with_no_answer_found": 0,
        "blank_questions": blank,
    }
    for question in read.questions:
        for start, text in question.answers:
            assert question.context[start : start + len(text)] == text


@needs_data
def test_repairs_of_a_real_file_move_the_answers_by_one() -> None:
    read = read_span_qa(str(DATA / "cmrc2018_trial.json.gz"))
    repaired = [question for question in read.questions if question.num_repaired]
    assert [question.id for question in repaired] == [f"TRIAL_210_QUERY_{n}" for n in range(5)]
    assert [question.answers[0].start for question in repaired] == [13, 37, 226, 306, 352]
