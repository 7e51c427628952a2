"""Questions about texts and the spans that answer them, from the files people have.

:mod:`tasks.read` reads the file, whatever its container: SQuAD's layout, which SQuAD 1.1 and 2.0, CMRC 2018 and DRCD
share; CMRC's own; an array of paragraphs or of questions; JSON lines; a table. Here each question gets its context and
its answers, which may be ``{"text", "answer_start"}``, Hugging Face's object of two lists, or texts alone.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from minibert.errors import InputError
from tasks.read.cells import parsed_list
from tasks.read.json_values import Object
from tasks.read.notes import Notes
from tasks.read.records import DEFAULT, ReadOptions, Record, open_source, shown
from tasks.read.tables import find

CONTEXT_NAMES = ("context", "context_text", "passage", "paragraph", "上下文", "文章")
QUESTION_NAMES = ("question", "query_text", "query", "问题")
_ID_NAMES = ("id", "query_id", "question_id", "qid")
_ANSWER_NAMES = ("answers", "answer", "answer_text", "答案")
_WHOLE = re.compile(r"(-?[0-9]{1,18})(?:\.0+)?")  # also 12.0, as pandas writes 12 where another row has no number
_FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


class Answer(NamedTuple):
    """A span of the context: ``text``, from the character ``start``."""

    start: int
    text: str


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
            question = _question(_Fields(record), notes)
            if first := by_id.get(question.id):
                raise _Fields(record).error(
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


# -- fields -----------------------------------------------------------------------------------------------------------


class _Fields:
    """The fields of a record or of an object inside it, with the path of each for messages."""

    def __init__(
        self, record: Record, fields: Mapping[str, Any] | None = None, path: str | None = None, line: int | None = None
    ) -> None:
        self.fields = record.fields if fields is None else fields
        self.line = record.line if line is None else line
        self.place = record.path if path is None else path
        self.record = record
        self._file = record.place.rpartition(", ")[0]

    def place_of(self, name: str) -> str:
        """The path of a field; the context is one of the paragraph around a question."""
        place = re.sub(r"\.?qas\[\d+\]$", "", self.place) if name in CONTEXT_NAMES else self.place
        return f"{place}.{name}" if place else name

    def error(self, name: str, problem: str) -> InputError:
        """The error for a problem in one field."""
        word = "row" if self.record.place.rpartition(", ")[2].startswith("row") else "line"
        return InputError(f"{self._file}, {word} {self.line}: {self.place_of(name)} {problem}")

    def name(self, names: Sequence[str]) -> str:
        """The first of several names that the record has; InputError if it has none."""
        found = find(list(self.fields), names)
        if found is None:
            some = ", ".join(repr(other[:40]) for other in list(self.fields)[:8])
            raise self.error(names[0], f"is missing; the object has {some or 'no field'}.")
        return found

    def text(self, names: Sequence[str], notes: Notes) -> str:
        """A string, perhaps alone in a list."""
        name = self.name(names)
        value = self.fields[name]
        if isinstance(value, list) and len(value) == 1:
            notes.repair("lists of one text read as that text", self.line)
            value = value[0]
        if not isinstance(value, str):
            raise self.error(name, f"is {shown(value)}, not a string.")
        return value

    def filled_text(self, names: Sequence[str], notes: Notes) -> str:
        """A string that is not blank."""
        text = self.text(names, notes)
        if not text.strip():
            raise self.error(self.name(names), "is blank.")
        return text

    def inner(self, name: str, index: int, value: Mapping[str, Any]) -> "_Fields":
        """One object of the list in a field."""
        line = value.line if isinstance(value, Object) else self.line
        return _Fields(self.record, value, self.place_of(f"{name}[{index}]"), line)


# -- questions --------------------------------------------------------------------------------------------------------


def _question(record: _Fields, notes: Notes) -> Question:
    if re.search(r"paragraphs\[\d+\]$", record.place):
        raise record.error("qas", "is missing; a paragraph needs its questions.")
    id_ = _id(record, notes)
    context = record.filled_text(CONTEXT_NAMES, notes)
    given = _answers(record, context, notes)
    trimmed = [_trimmed(answer) for answer in given]
    located = [_locate(context, answer) for answer in trimmed]
    without_start = sum(
        answer.start is None and found is not None for answer, found in zip(given, located, strict=True)
    )
    notes.repair("answers without a start found in their context", record.line, without_start)
    return Question(
        id=id_,
        question=record.text(QUESTION_NAMES, notes),
        context=context,
        answers=[answer for answer in located if answer],
        golds=[answer.text for answer in given],
        impossible=not given,
        line=record.line,
        place=record.place,
        num_repaired=sum(
            bool(found and answer.start is not None and found != answer)
            for found, answer in zip(located, trimmed, strict=True)
        ),
    )


def _id(record: _Fields, notes: Notes) -> str:
    name = find(list(record.fields), _ID_NAMES)
    value = None if name is None else record.fields[name]
    if value is None or value == "":
        notes.repair("ids made up", record.line)
        return record.place or str(record.line)
    if type(value) is int or (isinstance(value, float) and value.is_integer()):  # 1.0 is pandas' form of 1
        return str(int(value))
    return record.filled_text(_ID_NAMES, notes)


# -- answers ----------------------------------------------------------------------------------------------------------


class _Given(NamedTuple):
    """An answer as the file has it; its start may be missing."""

    start: int | None
    text: str


def _answers(record: _Fields, context: str, notes: Notes) -> list[_Given]:
    """The answers as in the file; none if it says that the question is impossible.

    A blank answer does not count: some data sets mark impossible questions with one. Neither does one that is null.
    """
    flag = _flag(record)
    name = find(list(record.fields), _ANSWER_NAMES)
    if name is None:
        if flag:
            notes.repair("impossible questions without answers", record.line)
            return []
        raise record.error("answers", "is missing; give the answers, or set is_impossible to true.")
    values = _listed(record, name, context)
    given = [_answer(record, name, index, value) for index, value in enumerate(values)]
    notes.repair("null answers read as none", record.line, sum(answer is None for answer in given))
    answers = [answer for answer in given if answer is not None and answer.text.strip()]
    impossible = not answers if flag is None else flag
    if impossible and answers:
        raise record.error("is_impossible", "is true, but there are answers; remove them, or set it to false.")
    not_given = any(isinstance(value, dict) and value.get("answer_category") == "NOT_GIVEN" for value in values)
    if not impossible and not answers and not not_given:  # which haystack writes for impossible questions
        raise record.error(name, "has no text, but is_impossible is false; add an answer, or set it to true.")
    return answers


def _flag(record: _Fields) -> bool | None:
    value = record.fields.get("is_impossible")
    if value is None or isinstance(value, bool):
        return value
    if value in (0, 1):
        return value == 1
    if isinstance(value, str) and value.strip().lower() in ("", *_FLAGS):
        return _FLAGS.get(value.strip().lower())
    raise record.error("is_impossible", f"is {shown(value)}, not true or false.")


def _listed(record: _Fields, name: str, context: str) -> list[Any]:
    """The answers of a field, one by one."""
    value = record.fields[name]
    if isinstance(value, str):
        parsed = parsed_list(value)
        if not (isinstance(parsed, dict) or (isinstance(parsed, list) and all(map(_is_answer, parsed)))):
            text, start = value.strip(), record.fields.get("answer_start")
            if text[:1] + text[-1:] in ("[]", "{}") and text not in context:
                raise record.error(name, f"is {text[:60]!r}, which cannot be read as a list of answers; correct it.")
            return [{"text": value, "answer_start": None if start == "" else start}] if text else []
        value = parsed
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        if isinstance(texts, str) or (texts is None and starts is None and value):
            return [value]
        if starts is None and isinstance(texts, list):
            starts = [None] * len(texts)
        if not (isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts)):
            raise record.error(name, "is an object, but not of two lists, text and answer_start, of equal length.")
        return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if value is None:
        return [None]
    if not isinstance(value, list):
        raise record.error(name, f"is {shown(value)}, not a list.")
    return value


def _is_answer(value: Any) -> bool:
    return isinstance(value, (str, dict))


def _answer(record: _Fields, name: str, index: int, value: Any) -> _Given | None:
    """One answer; None if it is null."""
    if value is None:
        return None
    if isinstance(value, str):
        return _Given(None, value)
    if not isinstance(value, dict):
        raise record.error(f"{name}[{index}]", f"is {shown(value)}, not an object.")
    answer = record.inner(name, index, value)
    text, start = value.get("text"), value.get("answer_start")
    if "text" not in value:
        answer.name(("text",))
    if text is None:
        return None
    if not isinstance(text, str):
        raise answer.error("text", f"is {shown(text)}, not a string.")
    if start is None or type(start) is int:
        return _Given(start, text)
    if isinstance(start, (float, str)) and (whole := _WHOLE.fullmatch(str(start).strip())):
        return _Given(int(whole[1]), text)
    raise answer.error("answer_start", f"is {shown(start)}, not a whole number.")


def _trimmed(answer: _Given) -> _Given:
    """The answer, stripped."""
    text = answer.text.strip()
    leading = len(answer.text) - len(answer.text.lstrip())
    return _Given(None if answer.start is None else answer.start + leading, text)


def _locate(context: str, answer: _Given) -> Answer | None:
    """The answer where the context has it: where the file says, in characters, UTF-16 units or bytes, or as near as
    possible; the first place if the file does not say."""
    start = answer.start or 0
    if answer.start is not None and start >= 0:
        for place in _starts(context, start):
            if context.startswith(answer.text, place):
                return Answer(place, answer.text)
    nearest = min(_places(context, answer.text), key=lambda place: abs(place - start), default=None)
    return None if nearest is None else Answer(nearest, answer.text)


def _starts(context: str, start: int) -> Iterator[int]:
    """The characters at a start that counts characters, UTF-16 units or bytes."""
    yield start
    for encoding, size in (("utf-16-le", 2), ("utf-8", 1)):
        with contextlib.suppress(UnicodeError):  # it is between two characters
            yield len(context.encode(encoding)[: size * start].decode(encoding))


def _places(context: str, text: str) -> Iterator[int]:
    place = context.find(text)
    while place >= 0:
        yield place
        place = context.find(text, place + 1)
