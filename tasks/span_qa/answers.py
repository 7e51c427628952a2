"""The answers of a question as files have them, and where the context has them."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tasks.read.cells import parsed_list
from tasks.read.notes import Notes
from tasks.read.records import shown
from tasks.read.same_text import end_of
from tasks.read.tables import find
from tasks.span_qa.fields import Fields

_ANSWER_NAMES = ("answers", "answer", "answer_text", "答案")
_START_NAMES = ("answer_start", "answer_starts")
_WHOLE = re.compile(r"(-?[0-9]{1,18})(?:\.0+)?")  # also 12.0, as pandas writes 12 where another row has no number
_FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


class Answer(NamedTuple):
    """A span of the context: ``text``, from the character ``start``."""

    start: int
    text: str


class Given(NamedTuple):
    """An answer as the file has it; its start may be missing."""

    start: int | None
    text: str


def given_answers(record: Fields, context: str, notes: Notes) -> list[Given]:
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


def _flag(record: Fields) -> bool | None:
    value = record.fields.get("is_impossible")
    if value is None or isinstance(value, bool):
        return value
    if value in (0, 1):
        return value == 1
    if isinstance(value, str) and value.strip().lower() in ("", *_FLAGS):
        return _FLAGS.get(value.strip().lower())
    raise record.error("is_impossible", f"is {shown(value)}, not true or false.")


def _listed(record: Fields, name: str, context: str) -> list[Any]:
    """The answers of a field, one by one, with the starts that stand beside it."""
    value, starts = record.fields[name], _start(record.fields)
    if isinstance(starts, str):
        cell = parsed_list(starts)
        starts = cell if isinstance(cell, list) else starts
    if isinstance(value, str):
        parsed = parsed_list(value)
        if not (isinstance(parsed, dict) or (isinstance(parsed, list) and all(map(_is_answer, parsed)))):
            text = value.strip()
            if text[:1] + text[-1:] in ("[]", "{}") and text not in context:
                raise record.error(name, f"is {text[:60]!r}, which cannot be read as a list of answers; correct it.")
            return _paired(record, name, [value], starts) if text else []
        value = parsed
    if isinstance(value, dict):
        texts, own = value.get("text"), _start(value)
        if isinstance(texts, str) or (texts is None and own is None and value):
            return _paired(record, name, [value], starts)
        fits = own is None or (isinstance(own, list) and isinstance(texts, list) and len(own) == len(texts))
        if not (isinstance(texts, list) and fits):
            raise record.error(name, "is an object, but not of two lists, text and answer_start, of equal length.")
        value, starts = [{"text": text} for text in texts], starts if own is None else own
    if value is None:
        return [None]
    if not isinstance(value, list):
        raise record.error(name, f"is {shown(value)}, not a list.")
    return _paired(record, name, value, starts)


def _is_answer(value: Any) -> bool:
    return isinstance(value, (str, dict))


def _start(fields: Mapping[str, Any]) -> Any:
    """The start that an answer gives, or the starts that stand beside several; None if there is none."""
    name = find([name for name, value in fields.items() if value not in (None, "")], _START_NAMES)
    if name:
        return fields[name]
    start = fields.get("start")  # which may be anything, such as a time
    several = start if isinstance(start, list) and start else [start]
    return start if all(_whole(each) is not None for each in several) else None


def _whole(value: Any) -> int | None:
    """A start as a number; None if it is no whole number."""
    if type(value) is int:
        return value
    if not isinstance(value, (float, str)):
        return None
    whole = _WHOLE.fullmatch(str(value).strip())
    return int(whole[1]) if whole else None


def _paired(record: Fields, name: str, answers: list[Any], starts: Any) -> list[Any]:
    """The answers with the starts that a record has beside them, unless they have their own."""
    has_own = any(isinstance(answer, dict) and _start(answer) is not None for answer in answers)
    if starts is None or has_own or all(answer in (None, "") for answer in answers):
        return answers
    starts = starts if isinstance(starts, list) else [starts]
    if len(starts) != len(answers):
        counts = f"{len(answers)} and {len(starts)}"
        raise record.error(name, f"and the starts beside it differ in number ({counts}); give each answer its own.")
    return [
        {**(answer if isinstance(answer, dict) else {"text": answer}), "answer_start": start}
        for answer, start in zip(answers, starts, strict=True)
    ]


def _answer(record: Fields, name: str, index: int, value: Any) -> Given | None:
    """One answer; None if it is null."""
    if value is None:
        return None
    if isinstance(value, str):
        return Given(None, value)
    if not isinstance(value, dict):
        raise record.error(f"{name}[{index}]", f"is {shown(value)}, not an object.")
    answer = record.inner(name, index, value)
    text, start = value.get("text"), _start(value)
    if "text" not in value:
        answer.name(("text",))
    if text is None:
        return None
    if not isinstance(text, str):
        raise answer.error("text", f"is {shown(text)}, not a string.")
    whole = _whole(start)
    if whole is None and start is not None:
        raise answer.error("answer_start", f"is {shown(start)}, not a whole number.")
    return Given(whole, text)


def stripped(answer: Given) -> Given:
    """The answer, stripped."""
    text = answer.text.strip()
    leading = len(answer.text) - len(answer.text.lstrip())
    return Given(None if answer.start is None else answer.start + leading, text)


def locate(context: str, answer: Given) -> Answer | None:
    """The answer where the context has it: where the file says, in characters, UTF-16 units or bytes, there perhaps in
    another Unicode form or with other white space; or as near as possible; the first place if the file does not say."""
    start = answer.start or 0
    if answer.start is not None and start >= 0:
        for place in _starts(context, start):
            if context.startswith(answer.text, place):
                return Answer(place, answer.text)
        for place in _starts(context, start):
            if (end := end_of(context, place, answer.text)) is not None:
                return Answer(place, context[place:end])
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
