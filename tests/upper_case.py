"""A model that answers at once, for tests of what is around it."""

import io
import os
from typing import Any

from minibert.errors import InputError
from tasks.predict.answerer import Answerer


class Task:
    """Takes texts, and refuses those that are not one."""

    def parse_input(self, fields: dict[str, Any], place: str) -> str:
        if not isinstance(fields.get("text"), str):
            raise InputError(f"{place}: needs a text.")
        return fields["text"]


class Upper:
    """Stands for a predictor; its answer is the text in capitals."""

    task, notes = Task(), dict[str, int]()

    def answer(self, items: list[str]) -> list[dict[str, Any]]:
        return [{"label": item.upper()} for item in items]


def upper() -> Answerer:
    predictor: Any = Upper()
    return Answerer(predictor)


def piped(content: bytes) -> io.TextIOWrapper:
    """A standard input that is a pipe with some content, and ends."""
    ours, theirs = os.pipe()
    os.write(theirs, content)
    os.close(theirs)
    return io.TextIOWrapper(os.fdopen(ours, "rb"))
