"""Questions in layouts other than SQuAD's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from minibert.errors import InputError
from tasks.read.records import ReadOptions
from tasks.read.stream import records
from tasks.span_qa.data import Question, ReadQuestions, count_oddities, read_span_qa

CONTEXT = "Mia saw Lima in May."
WHO = {"id": "w", "question": "Who?", "answers": [{"text": "Mia", "answer_start": 0}]}
WHY = {"id": "y", "question": "Why?", "answers": [], "is_impossible": True}


def paragraph(*questions: Any, **more: Any) -> dict[str, Any]:
    return {"context": CONTEXT, "qas": list(questions), **more}


def squad(*questions: Any) -> dict[str, Any]:
    return {"version": "v2.0", "data": [{"title": "t", "id": "of the article", "paragraphs": [paragraph(*questions)]}]}


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


NULL = {"text": None, "answer_start": None, "answer_category": "NOT_GIVEN"}
HUGGING_FACE = {"context": CONTEXT, "question": "Who?", "id": "w", "answers": {"text": ["Mia"], "answer_start": [0]}}
LAYOUTS: dict[str, tuple[Any, str | None]] = {
    "squad.json": (squad(WHO, WHY), None),
    "no_id.json": (squad(without(WHO, "id"), {**WHY, "id": None}), "ids made up"),
    "null.json": (squad(WHO, {**WHY, "answers": [NULL], "is_impossible": False}), "null answers read as none"),
    "numbers.json": (squad({**WHO, "id": 1.0, "is_impossible": 0}, {**WHY, "id": 2, "is_impossible": 1.0}), None),
    "null_list.json": (squad(WHO, {**WHY, "answers": None}), "null answers read as none"),
    "array.json": ([paragraph(WHO, WHY)], None),
    "no_start.json": (squad({**WHO, "answers": [{"text": "Mia"}]}, WHY), "answers without a start found"),
    "no_answers.json": (squad(WHO, without(WHY, "answers")), "impossible questions without answers"),
    "lines.jsonl": ("\n".join(json.dumps({**row, "context": CONTEXT}) for row in (WHO, WHY)), None),
    "flat.jsonl": (
        "\n".join(
            json.dumps({"context": CONTEXT, "question": q, "answer": a}) for q, a in (("Who?", "Mia"), ("Why?", ""))
        ),
        "ids made up",
    ),
    "cmrc.json": (
        [{"context_id": "C", "context_text": CONTEXT, "title": "t", "qas": [
            {"query_text": "Who?", "query_id": "C_1", "answers": ["Mia", "Mia"]},
            {"query_text": "Why?", "query_id": "C_2", "answers": []},
        ]}],
        "answers without a start found",
    ),
    "table.csv": (f"context,question,answer_text,answer_start\n{CONTEXT},Who?,Mia,0\n{CONTEXT},Why?,,\n", "ids made"),
    "pandas.csv": (  # a number is missing, so all have a point
        f"id,context,question,answer_text,answer_start\nw,{CONTEXT},Who?,Mia,0.0\ny,{CONTEXT},Why?,,\n", None
    ),
    "pandas.json": (
        [{"context": CONTEXT, "question": "Who?", "id": "w", "answer": "Mia", "answer_start": 0.0},
         {"context": CONTEXT, "question": "Why?", "id": "y", "answer": "", "answer_start": None}],
        None,
    ),
    "numpy.tsv": (  # Hugging Face's rows by way of pandas
        "id\tcontext\tquestion\tanswers\n"
        f"w\t{CONTEXT}\tWho?\t{{'text': array(['Mia'], dtype=object), 'answer_start': array([0], dtype=int32)}}\n"
        f"y\t{CONTEXT}\tWhy?\t{{'text': array([], dtype=object), 'answer_start': array([], dtype=int32)}}\n",
        None,
    ),
    "flags.tsv": (
        "id\tcontext\tquestion\tanswers\tis_impossible\n"
        f"w\t{CONTEXT}\tWho?\t{json.dumps(WHO['answers'])}\tFalse\ny\t{CONTEXT}\tWhy?\t[]\tTrue\n",
        None,
    ),
    "hugging_face.json": (
        [HUGGING_FACE, {**HUGGING_FACE, "question": "Why?", "id": "y", "answers": {"text": [], "answer_start": []}}],
        None,
    ),
}  # fmt: skip


def read(folder: Path, name: str, content: Any, **options: Any) -> ReadQuestions:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_span_qa(str(path), ReadOptions(**options))


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_questions(tmp_path: Path, name: str) -> None:
    content, repaired = LAYOUTS[name]
    found = read(tmp_path, name, content)
    who, why = found.questions
    assert (who.question, who.context, set(who.golds), who.impossible) == ("Who?", CONTEXT, {"Mia"}, False)
    assert {(answer.start, answer.text) for answer in who.answers} == {(0, "Mia")}
    assert (why.question, why.context, why.answers, why.impossible) == ("Why?", CONTEXT, [], True)
    assert who.id != why.id
    assert not any(count_oddities(found.questions).values())
    assert [any(said.startswith(repaired or "?") for said in found.notes.repaired)] == [repaired is not None]
    # Prediction sees the same questions about the same contexts.
    fields = [record.fields for record in records(str(tmp_path / name))]
    names = ("context_text", "query_text") if name == "cmrc.json" else ("context", "question")
    assert [(row[names[0]], row[names[1]]) for row in fields] == [(CONTEXT, "Who?"), (CONTEXT, "Why?")]


def test_questions_without_answers_are_refused_or_left_out(tmp_path: Path) -> None:
    content = squad({**without(WHO, "answers"), "is_impossible": False}, {**WHY, "id": "z"}, WHO)
    with pytest.raises(InputError, match=r"qas\[0\]\.answers is missing; give the answers"):
        read(tmp_path, "a.json", content)
    found = read(tmp_path, "a.json", content, skip_invalid=True)
    assert [question.id for question in found.questions] == ["z", "w"]
    assert found.notes.left_out == {"invalid rows": 1}
    assert found.notes.rows == 3


BERN = "Bern is old. Mia lives in Bern."
ROW = {"id": "b", "context": BERN, "question": "Where?"}
STARTS: dict[str, Any] = {
    "lists.jsonl": {**ROW, "answers": ["Bern"], "answer_start": [26]},
    "objects.jsonl": {**ROW, "answers": [{"text": "Bern"}], "answer_start": 26},
    "texts.jsonl": {**ROW, "answers": {"text": ["Bern"]}, "answer_starts": [26]},
    "start.jsonl": {**ROW, "answers": [{"text": "Bern", "start": 26, "end": 30}]},
    "start_lists.jsonl": {**ROW, "answers": {"text": ["Bern"], "start": [26]}},
    "own.jsonl": {**ROW, "answers": [{"text": "Bern", "answer_start": 26}], "answer_start": 0},
    "cells.csv": f"id,context,question,answers,answer_start\nb,{BERN},Where?,['Bern'],[26]\n",
    "text_and_list.csv": f"id,context,question,answer,answer_start\nb,{BERN},Where?,Bern,[26]\n",
    "start.csv": f"id,context,question,answer,start\nb,{BERN},Where?,Bern,26\n",
}


@pytest.mark.parametrize("name", STARTS)
def test_a_start_counts_wherever_the_file_has_it(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, name, STARTS[name])
    assert [(answer.start, answer.text) for answer in found.questions[0].answers] == [(26, "Bern")]
    assert not found.notes.repaired


def test_a_start_that_is_no_number_or_that_of_a_paragraph_is_none(tmp_path: Path) -> None:
    time = {**ROW, "answer": "Bern", "start": "00:26"}
    inherited = {"context": BERN, "start": 26, "qas": [{"id": "b", "question": "Where?", "answers": ["Bern"]}]}
    for content in (time, [inherited]):
        found = read(tmp_path, "a.json", content)
        assert found.questions[0].answers[0].start == 0
        assert found.notes.repaired["answers without a start found in their context"] == 1


@pytest.mark.parametrize(
    ("context", "start", "answer", "found"),
    [
        ("Ann  Lee left", 0, "Ann Lee", "Ann  Lee"),
        ("Who?\nAnn\n Lee left", 5, "Ann Lee", "Ann\n Lee"),
        ("Zoe\u0308 left", 0, "Zo\u00eb", "Zoe\u0308"),
        ("Zo\u00eb left", 0, "Zoe\u0308", "Zo\u00eb"),
        ("\u1112\u1161\u11ab left", 0, "\ud55c", "\u1112\u1161\u11ab"),
        ("ＮＡＴＯ met, NATO", 0, "NATO", "ＮＡＴＯ"),
    ],
)
def test_an_answer_in_another_form_is_taken_from_its_start(
    tmp_path: Path, context: str, start: int, answer: str, found: str
) -> None:
    row = {"id": "a", "context": context, "question": "Who?", "answers": [{"text": answer, "answer_start": start}]}
    read_file = read(tmp_path, "a.jsonl", row)
    (question,) = read_file.questions
    assert [*question.answers] == [(start, found)]
    assert question.golds == [answer]
    assert read_file.notes.repaired == {"answers taken as their context writes them": 1}
    assert not any(count_oddities([question]).values())


@pytest.mark.parametrize(("context", "answer"), [("\u1112\u1161\u11ab left", "\ud558"), ("Zoe\u0308 left", "Zoë l")])
def test_letters_are_not_cut_for_an_answer(tmp_path: Path, context: str, answer: str) -> None:
    row = {"id": "a", "context": context, "question": "Who?", "answers": [{"text": answer, "answer_start": 0}]}
    assert [a.text for a in read(tmp_path, "a.jsonl", row).questions[0].answers] == (["Zoe\u0308 l"] * ("l" in answer))


def test_starts_for_some_of_the_answers_are_refused(tmp_path: Path) -> None:
    row = {**ROW, "answers": ["Bern", "old"], "answer_start": [26]}
    with pytest.raises(InputError, match=r"answers and the starts beside it differ in number \(2 and 1\); give each"):
        read(tmp_path, "a.jsonl", row)


def test_a_file_whose_answers_are_spelled_otherwise_is_refused(tmp_path: Path) -> None:
    lower = {**WHO, "answers": [{"text": "mia", "answer_start": 0}]}
    message = (
        "none of the file's 1 answers stands in its context as spelled; this one is 'mia', and the context has 'Mia'"
    )
    with pytest.raises(InputError, match=message):
        read(tmp_path, "a.json", squad(lower))
    assert count_oddities(read(tmp_path, "a.json", squad(lower, {**WHO, "id": "x"})).questions)[
        "answers_not_found_in_their_context"
    ]


def test_a_file_that_is_no_table_of_questions_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither JSON nor a table with the columns context and question"):
        read(tmp_path, "a.csv", "a,b\n1,2\n")


@pytest.mark.parametrize("cell", ["{'text': Mia}", "['Mia', 3]", "[Mia]"])
def test_a_cell_that_is_no_list_of_answers_is_refused_unless_its_context_has_it(tmp_path: Path, cell: str) -> None:
    table = f"context\tquestion\tanswers\n{CONTEXT}\tWho?\tMia\n{CONTEXT} {{}}\tWho?\t{cell}\n"
    with pytest.raises(InputError, match=r"line 3: answers is .*, which cannot be read as a list of answers; correct"):
        read(tmp_path, "a.tsv", table)
    assert read(tmp_path, "a.tsv", table.replace("{}", cell)).questions[1].golds == [cell]


def test_one_element_lists_and_missing_ids_in_an_array(tmp_path: Path) -> None:
    rows = [{"context": [CONTEXT], "question": "Who?", "answers": ["Mia"]}] * 2
    found = read(tmp_path, "a.json", rows)
    assert [question.id for question in found.questions] == ["[0]", "[1]"]
    assert found.notes.repaired["lists of one text read as that text"] == 2
    first: Question = found.questions[0]
    assert first.context == CONTEXT
