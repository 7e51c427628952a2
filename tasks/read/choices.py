"""Several questions with choices in one object: RACE's articles, and C3's texts."""

from collections.abc import Iterator, Mapping
from typing import Any


def questions(value: Any) -> Iterator[Mapping[str, Any]] | None:
    """The fields of each question in a value of a JSON file; None if it is something else."""
    if _is_c3(value):
        return _of_c3(value)
    if isinstance(value, dict) and all(isinstance(value.get(name), list) for name in ("questions", "options")):
        return _of_race(value)
    return None


def _is_c3(value: Any) -> bool:
    """Whether a value is a list of sentences and a list of questions about them."""
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(isinstance(part, list) for part in value[:2])
        and all(isinstance(sentence, str) for sentence in value[0])
        and all(isinstance(question, dict) for question in value[1])
    )


def _of_c3(value: list[Any]) -> Iterator[Mapping[str, Any]]:
    for number, question in enumerate(value[1]):
        yield {"context": "\n".join(value[0]), "id": "-".join([*map(str, value[2:3]), str(number)]), **question}


def _of_race(value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    answers = value.get("answers")
    lists = {"choices": value["options"], "label": answers if isinstance(answers, list) else []}
    for number, question in enumerate(value["questions"]):
        fields = {"context": value.get("article"), "question": question, "id": f"{value.get('id', '')}-{number}"}
        yield {**fields, **{name: given[number] for name, given in lists.items() if number < len(given)}}
