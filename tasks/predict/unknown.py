"""What the tokenizer does not know of an input: parts of its texts that the model sees as one and the same token."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minibert import Tokenizer
from tasks.task import Task

UNKNOWN = "unknown"
"""The field of an answer."""


def unknown_parts(
    task: Task[Any, Any, Any], tokenizer: Tokenizer, item: Any, fields: Mapping[str, Any], answer: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The parts of an input's texts, as they were given, that become the unknown token.

    Args:
        task, tokenizer: of the model.
        item: the input as the task has it.
        fields: the input.
        answer: to it. A task for words lays a list of words out as ``text``, by which parts then count.

    Returns:
        Each part's characters ``start`` to ``end``, and its ``text``. Where the task reads several texts, also the
        ``field``, and the ``index`` in it if it is a list, such as the choices of a question.
    """
    if task.for_words:
        text = answer.get("text")
        if not isinstance(text, str):
            return []
        words = _unknown_words(tokenizer, task.texts(item), text)
        return [{"start": start, "end": end, "text": text[start:end]} for start, end in words]
    texts = task.texts_as_given(item)
    places = list(_texts_in(fields))
    parts = []
    for text in texts:
        place, shift = _take(places, text)
        place = place if len(texts) > 1 else {}
        for start, end in _unknown_characters(tokenizer, text):
            parts.append({**place, "start": shift + start, "end": shift + end, "text": text[start:end]})
    return parts


def _unknown_characters(tokenizer: Tokenizer, text: str) -> list[tuple[int, int]]:
    pieces = tokenizer.encode(text)
    return [span for index, span in zip(pieces.ids, pieces.offsets, strict=True) if index == tokenizer.unk_token_id]


def _unknown_words(tokenizer: Tokenizer, words: Sequence[str], text: str) -> Iterator[tuple[int, int]]:
    """The places in a text, where the words stand in order, of those that are unknown in whole or in part."""
    at = 0
    for word, pieces in zip(words, tokenizer.encode_words([[word] for word in words]), strict=True):
        at = text.index(word, at)
        if word and tokenizer.unk_token_id in pieces.ids:
            yield at, at + len(word)
        at += len(word)


def _texts_in(fields: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """The texts of an input, each with its field, and its index in a list or in the list of texts of an object."""
    for name, value in fields.items():
        if isinstance(value, dict):  # as the choices of ARC
            value = next((part for part in value.values() if isinstance(part, list)), None)
        if isinstance(value, list):
            for index, part in enumerate(value):
                if isinstance(part, str):
                    yield {"field": name, "index": index}, part
        elif isinstance(value, str):
            yield {"field": name}, value


def _take(places: list[tuple[dict[str, Any], str]], text: str) -> tuple[dict[str, Any], int]:
    """Takes the first of the places that has a text, and says where the text begins in it: some tasks strip white
    space."""
    for number, (place, part) in enumerate(places):
        if part.strip() == text.strip() and text in part:
            del places[number]
            return place, part.index(text)
    return {}, 0
