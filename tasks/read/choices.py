"""Questions with choices as objects nest them: RACE's articles, C3's texts, ARC's stems; and choices with names."""

from collections.abc import Iterator, Mapping
from typing import Any


def questions(value: Any) -> Iterator[Mapping[str, Any]] | None:
    """The fields of each question in a value of a JSON file; None if it is something else."""
    if _is_c3(value):
        return _of_c3(value)
    if not isinstance(value, dict):
        return None
    if all(isinstance(value.get(name), list) for name in ("questions", "options")):
        return _of_race(value)
    question = value.get("question")
    if isinstance(question, dict) and "stem" in question:  # ARC, OpenBookQA and CommonsenseQA as published
        return iter([{**value, **question, "question": question["stem"]}])
    return None


def named(choices: Any) -> tuple[list[Any], list[Any]] | None:
    """The names of choices and their texts, where they have names; None where they are something else.

    ``{"label": ["A", ...], "text": [...]}`` as Hugging Face writes ARC, ``[{"label": "A", "text": ...}, ...]`` as it
    is published, and ``{"A": ..., ...}``.
    """
    if isinstance(choices, list) and all(
        isinstance(each, dict) and each.keys() >= {"label", "text"} for each in choices
    ):
        return [each["label"] for each in choices], [each["text"] for each in choices]
    if not isinstance(choices, dict):
        return None
    if {"label", "text"} & choices.keys():
        names, texts = choices.get("label"), choices.get("text")
        if isinstance(names, list) and isinstance(texts, list) and len(names) == len(texts):
            return names, texts
        return None
    if not any(isinstance(each, (list, dict)) for each in choices.values()):
        return list(choices), list(choices.values())
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
