"""Questions about texts and the spans that answer them, from the files people have.

Formats, recognised by content: SQuAD's layout, which SQuAD 1.1 and 2.0, CMRC 2018 and DRCD share (one JSON document of
``data``, ``paragraphs`` and ``qas``); and JSON lines with ``context``, ``question`` and ``answers``, an object per
question. In both, ``answers`` is a list of ``{"text", "answer_start"}``, or Hugging Face's object of two lists.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

from minibert.errors import InputError
from tasks.read.text_file import TextFile, read_text


class Answer(NamedTuple):
    """A span of the context: ``text``, from the character ``start``."""

    start: int
    text: str


class Question(NamedTuple):
    """A question about a text.

    Attributes:
        id: as in the file; the line number in JSON lines without one.
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
    """

    path: str
    sha256: str
    questions: list[Question]


def read_span_qa(path: str) -> ReadQuestions:
    """Reads a file of questions.

    An answer that is not where the file says is taken from the nearest place that has it, and left out of ``answers``
    if there is none.

    Args:
        path: ``.gz`` or plain.

    Raises:
        InputError: something cannot be used; names file, line and the path in the document.
    """
    file = read_text(path)
    by_id: dict[str, Question] = {}
    for paragraph, record in _records(file):
        question = _question(paragraph, record)
        if first := by_id.get(question.id):
            raise record.error(
                "id",
                f"{question.id!r} occurs twice (first in line {first.line}{first.place and ', '}{first.place}); "
                "predictions are identified by it, so give each question its own.",
            )
        by_id[question.id] = question
    if not by_id:
        raise InputError(f"{path}: has no questions.")
    return ReadQuestions(path=path, sha256=file.sha256, questions=list(by_id.values()))


def count_oddities(questions: Sequence[Question]) -> dict[str, int]:
    """Irregularities by name; 0 where there are none."""
    num_golds = sum(len(question.golds) for question in questions)
    return {
        "answers_repaired": sum(question.num_repaired for question in questions),
        "answers_not_found_in_their_context": num_golds - sum(len(question.answers) for question in questions),
        "questions_with_no_answer_found": sum(bool(q.golds and not q.answers) for q in questions),
        "blank_questions": sum(not question.question.strip() for question in questions),
    }


# -- JSON, and the places of its objects -------------------------------------------------------------------------------


class _Object(dict[str, Any]):
    """A JSON object and the line where it starts."""

    def __init__(self, fields: dict[str, Any], line: int) -> None:
        super().__init__(fields)
        self.line = line


# Whole strings, so that braces inside them do not count.
_STRING_OR_BRACE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}]')


def _lines_of_objects(text: str) -> Iterator[int]:
    """The line where each object starts, in the order in which the objects end, as in json's ``object_hook``."""
    unclosed: list[int] = []
    line, counted = 1, 0
    for token in _STRING_OR_BRACE.finditer(text):
        if token[0] == "{":
            line += text.count("\n", counted, token.start())
            counted = token.start()
            unclosed.append(line)
        elif token[0] == "}":
            yield unclosed.pop()


def _parse(file: TextFile, text: str, first_line: int) -> Any:
    lines = _lines_of_objects(text) if "\n" in text else repeat(first_line)
    try:
        return json.loads(text, object_hook=lambda fields: _Object(fields, next(lines)))
    except json.JSONDecodeError as error:
        raise file.error(first_line + error.lineno - 1, f"not JSON (column {error.colno}: {error.msg}).") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets nested a thousand deep
        raise file.error(first_line, f"JSON that cannot be parsed ({error}).") from None


class _Record(NamedTuple):
    """A JSON object and its path in the file, such as ``data[3].paragraphs[0]``; no path in JSON lines."""

    file: TextFile
    fields: _Object
    place: str = ""

    def place_of(self, name: str) -> str:
        """The path of a field."""
        return f"{self.place}.{name}" if self.place else name

    def error(self, name: str, problem: str) -> InputError:
        """The error for a problem in one field."""
        return self.file.error(self.fields.line, f"{self.place_of(name)} {problem}")

    def get(self, name: str) -> Any:
        """A required field."""
        if name not in self.fields:
            some = ", ".join(repr(other) for other in list(self.fields)[:8])
            raise self.error(name, f"is missing; the object has {some or 'no field'}.")
        return self.fields[name]

    def text(self, name: str) -> str:
        """A string without lone halves of surrogate pairs."""
        value = self.get(name)
        if not isinstance(value, str):
            raise self.error(name, f"is {_shown(value)}, not a string.")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self.error(
                name, r"has an escape \uD800 to \uDFFF that stands alone, which is not a character."
            ) from None
        return value

    def filled_text(self, name: str) -> str:
        """A string that is not blank."""
        text = self.text(name)
        if not text.strip():
            raise self.error(name, "is blank.")
        return text

    def records(self, name: str) -> list["_Record"]:
        """A list of objects."""
        values = self.get(name)
        if not isinstance(values, list):
            raise self.error(name, f"is {_shown(values)}, not a list.")
        for index, value in enumerate(values):
            if not isinstance(value, _Object):
                raise self.error(f"{name}[{index}]", f"is {_shown(value)}, not an object.")
        return [_Record(self.file, value, self.place_of(f"{name}[{index}]")) for index, value in enumerate(values)]


def _shown(value: Any) -> str:
    """A value of the wrong type, for a message."""
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:40] + " ..."


# -- the formats ------------------------------------------------------------------------------------------------------


def _records(file: TextFile) -> Iterator[tuple[_Record, _Record]]:
    """For each question, the object with its context and the object with the rest."""
    first_line = next((line.strip() for line in file.lines if line.strip()), "")
    if not first_line:
        return
    if first_line.startswith("["):
        layout = '{"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}'
        raise file.error(1, f"a JSON array; expected SQuAD's layout, {layout}, or one object per line (JSON lines).")
    if _is_document(first_line, file.suffix):
        document = _Record(file, _object(file, "\n".join(file.lines), 1))
        for article in document.records("data"):
            for paragraph in article.records("paragraphs"):
                for question in paragraph.records("qas"):
                    yield paragraph, question
    else:
        for number, line in enumerate(file.lines, 1):
            if line.strip():
                record = _Record(file, _object(file, line, number))
                yield record, record


def _is_document(first_line: str, suffix: str) -> bool:
    """Whether a file is one object in SQuAD's layout, not an object per line."""
    try:
        first = json.loads(first_line)
    except (ValueError, RecursionError):
        # A document laid out over many lines; or JSON lines, broken from the start.
        return suffix not in (".jsonl", ".ndjson")
    return not isinstance(first, dict) or "data" in first


def _object(file: TextFile, text: str, first_line: int) -> _Object:
    value = _parse(file, text, first_line)
    if not isinstance(value, _Object):
        raise file.error(first_line, "not a JSON object.")
    return value


def _question(paragraph: _Record, record: _Record) -> Question:
    id_ = record.fields.get("id")
    if id_ is None and not record.place:
        id_ = record.fields.line
    elif type(id_) is not int:
        id_ = record.filled_text("id")
    context = paragraph.filled_text("context")
    given = _answers(record)
    trimmed = [_trimmed(answer) for answer in given]
    located = [_locate(context, answer) for answer in trimmed]
    return Question(
        id=str(id_),
        question=record.text("question"),
        context=context,
        answers=[answer for answer in located if answer],
        golds=[answer.text for answer in given],
        impossible=not given,
        line=record.fields.line,
        place=record.place,
        num_repaired=sum(bool(found and found != answer) for found, answer in zip(located, trimmed, strict=True)),
    )


# -- answers ----------------------------------------------------------------------------------------------------------


def _answers(record: _Record) -> list[Answer]:
    """The answers as in the file; none if it says that the question is impossible.

    A blank answer does not count: some data sets mark impossible questions with one.
    """
    given = [Answer(_start(answer), answer.text("text")) for answer in _answer_records(record)]
    answers = [answer for answer in given if answer.text.strip()]
    impossible = record.fields.get("is_impossible", not answers)
    if not isinstance(impossible, bool):
        raise record.error("is_impossible", f"is {_shown(impossible)}, not true or false.")
    if impossible and answers:
        raise record.error("is_impossible", "is true, but there are answers; remove them, or set it to false.")
    if not impossible and not answers:
        raise record.error("answers", "is empty, but is_impossible is false; add an answer, or set it to true.")
    return answers


def _answer_records(record: _Record) -> list[_Record]:
    answers = record.get("answers")
    if not isinstance(answers, _Object):
        return record.records("answers")
    texts, starts = answers.get("text"), answers.get("answer_start")
    if not (isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts)):
        raise record.error("answers", "is an object, but not of two lists, text and answer_start, of equal length.")
    return [
        _Record(
            record.file,
            _Object({"text": text, "answer_start": start}, answers.line),
            record.place_of(f"answers[{index}]"),
        )
        for index, (text, start) in enumerate(zip(texts, starts, strict=True))
    ]


def _start(answer: _Record) -> int:
    """The character where an answer starts; some data sets write the number as a string."""
    start = answer.get("answer_start")
    if type(start) is int:
        return start
    if isinstance(start, str) and re.fullmatch(r"-?[0-9]{1,18}", start):
        return int(start)
    raise answer.error("answer_start", f"is {_shown(start)}, not a whole number.")


def _trimmed(answer: Answer) -> Answer:
    """The answer, stripped."""
    return Answer(answer.start + len(answer.text) - len(answer.text.lstrip()), answer.text.strip())


def _locate(context: str, answer: Answer) -> Answer | None:
    """The answer where the context has it: where the file says, or as near as possible."""
    if answer.start >= 0 and context.startswith(answer.text, answer.start):
        return answer
    nearest = min(_places(context, answer.text), key=lambda place: abs(place - answer.start), default=None)
    return None if nearest is None else Answer(nearest, answer.text)


def _places(context: str, text: str) -> Iterator[int]:
    place = context.find(text)
    while place >= 0:
        yield place
        place = context.find(text, place + 1)
