"""Questions about texts and the spans that answer them, from the files people have.

:mod:`tasks.read` reads the file, whatever its container: SQuAD's layout, which SQuAD 1.1 and 2.0, CMRC 2018 and DRCD
share; CMRC's own; an array of paragraphs or of questions; JSON lines; a table. Here each question gets its context and
its answers, which may be ``{"text", "answer_start"}``, Hugging Face's object of two lists, or texts alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from minibert.errors import InputError
from tasks.read.notes import Notes
from tasks.read.records import DEFAULT, ReadOptions, open_source
from tasks.read.tables import find
from tasks.span_qa.answers import Answer, given_answers, locate, stripped
from tasks.span_qa.fields import CONTEXT_NAMES, Fields

QUESTION_NAMES = ("question", "query_text", "query", "问题")
_ID_NAMES = ("id", "query_id", "question_id", "qid")


class Question(NamedTuple):
    """A question about a text.

    Attributes:
        id: as in the file; where it has none, the question's line, or its path in a document.
        question: may be blank, as two of CMRC 2018's are.
        context: not blank; questions of one paragraph share it.
        answers: those found in the context, in file order, stripped; used for training.
        golds: the texts of all answers as in the file, found or not; predictions are scored against them. Empty if the
            question is impossible or the file has no answers.
        impossible: the file says that the context has no answer.
        line: where the question starts in its file.
        place: its path in a document, such as ``data[3].paragraphs[0].qas[2]``; empty in JSON lines.
        num_repaired: answers found elsewhere than the file says.
    """

    id: str
    question: str
    context: str
    answers: list[Answer]
    golds: list[str]
    impossible: bool
    line: int
    place: str
    num_repaired: int = 0


@dataclass(frozen=True, kw_only=True)
class ReadQuestions:
    """One file of questions.

    Attributes:
        path: the file, as given.
        sha256: of the file.
        questions: at least one, in file order, with unique ids.
        notes: on how the file was understood.
    """

    path: str
    sha256: str
    questions: list[Question]
    notes: Notes


def is_header(names: Sequence[str]) -> bool:
    """Whether the columns of a table are those of questions and their contexts."""
    return bool(find(names, CONTEXT_NAMES) and find(names, QUESTION_NAMES))


def read_span_qa(path: str, options: ReadOptions = DEFAULT) -> ReadQuestions:
    """Reads a file of questions.

    An answer that is not where the file says, in characters, UTF-16 units or bytes, is taken from the nearest place
    that has it, and left out of ``answers`` if there is none.

    Args:
        path: in any layout that :mod:`tasks.read` knows.
        options: how to read it.

    Raises:
        InputError: something cannot be used; names file, line and the path in the document.
    """
    source = open_source(path, options, is_header=is_header)
    notes = source.notes
    if source.records is None and source.text is not None and any(line.strip() for line in source.text.lines):
        shown_line = source.text.lines[0][:60]
        raise source.text.error(
            1,
            f"neither JSON nor a table with the columns context and question ({shown_line!r}); name the columns of a "
            "table without a header with --columns.",
        )
    by_id: dict[str, Question] = {}
    for record in source.records or ():
        if source.table and not any(record.fields.values()):
            if record.fields:
                notes.leave_out("blank rows", record.line)
            continue
        with notes.row(record.line):
            question = _question(Fields(record), notes)
            if first := by_id.get(question.id):
                raise Fields(record).error(
                    "id",
                    f"{question.id!r} occurs twice (first in line {first.line}{first.place and ', '}{first.place}); "
                    "predictions are identified by it, so give each question its own.",
                )
            by_id[question.id] = question
    if not by_id:
        raise InputError(f"{path}: has no questions{' that can be used' if notes.left_out else ''}.")
    questions = list(by_id.values())
    _check_spelling(path, questions)
    return ReadQuestions(path=path, sha256=source.sha256, questions=questions, notes=notes)


def _check_spelling(path: str, questions: Sequence[Question]) -> None:
    """Refuses a file in which no answer stands in its context as it is spelled, but one does in another case."""
    if any(question.answers for question in questions):
        return
    for question in questions:
        for gold in question.golds:
            found = re.search(re.escape(gold.strip()), question.context, re.IGNORECASE)
            if found:
                total = sum(len(each.golds) for each in questions)
                raise InputError(
                    f"{path}, line {question.line}: none of the file's {total:,} answers stands in its context as "
                    f"spelled; this one is {gold.strip()[:40]!r}, and the context has {found[0][:40]!r}. Correct the "
                    "answers or the contexts."
                )


def count_oddities(questions: Sequence[Question]) -> dict[str, int]:
    """Irregularities by name; 0 where there are none."""
    num_golds = sum(len(question.golds) for question in questions)
    return {
        "answers_repaired": sum(question.num_repaired for question in questions),
        "answers_not_found_in_their_context": num_golds - sum(len(question.answers) for question in questions),
        "questions_with_no_answer_found": sum(bool(q.golds and not q.answers) for q in questions),
        "blank_questions": sum(not question.question.strip() for question in questions),
    }


# -- questions --------------------------------------------------------------------------------------------------------


def _question(record: Fields, notes: Notes) -> Question:
    if re.search(r"paragraphs\[\d+\]$", record.place):
        raise record.error("qas", "is missing; a paragraph needs its questions.")
    id_ = _id(record, notes)
    context = record.filled_text(CONTEXT_NAMES, notes)
    given = given_answers(record, context, notes)
    bare = [stripped(answer) for answer in given]
    located = [locate(context, answer) for answer in bare]
    pairs = [(answer, found) for answer, found in zip(bare, located, strict=True) if found]
    without_start = sum(answer.start is None for answer, _ in pairs)
    notes.repair("answers without a start found in their context", record.line, without_start)
    rewritten = sum(answer.text != found.text for answer, found in pairs)
    notes.repair("answers taken as their context writes them", record.line, rewritten)
    return Question(
        id=id_,
        question=record.text(QUESTION_NAMES, notes),
        context=context,
        answers=[answer for answer in located if answer],
        golds=[answer.text for answer in given],
        impossible=not given,
        line=record.line,
        place=record.place,
        num_repaired=sum(answer.start is not None and found.start != answer.start for answer, found in pairs),
    )


def _id(record: Fields, notes: Notes) -> str:
    name = find(list(record.fields), _ID_NAMES)
    value = None if name is None else record.fields[name]
    if value is None or value == "":
        notes.repair("ids made up", record.line)
        return record.place or str(record.line)
    if type(value) is int or (isinstance(value, float) and value.is_integer()):  # 1.0 is pandas' form of 1
        return str(int(value))
    return record.filled_text(_ID_NAMES, notes)
