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
    parts = []
    for text in texts:
        if spans := _unknown_characters(tokenizer, text):
            place, shift = _place(text, fields)
            place = place if len(texts) > 1 else {}
            parts += [{**place, "start": shift + a, "end": shift + b, "text": text[a:b]} for a, b in spans]
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


def _place(text: str, fields: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """The field that has a text, and where the text begins in it: some tasks strip white space."""
    for name, value in fields.items():
        for index, part in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(part, str) and part.strip() == text.strip() and text in part:
                return {"field": name, **({"index": index} if isinstance(value, list) else {})}, part.index(text)
    return {}, 0
