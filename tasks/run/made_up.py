"""Texts that are made up of those of the training data, for a teacher to answer.

A teacher says little of texts that it was trained on. Texts that it has not seen, of the same words and in nearly the
same order, show a model more of what it knows (augmentation for distillation: Jiao et al. 2020, TinyBERT). They need to
make no sense: nobody but the teacher labels them.
"""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from minibert.errors import InputError
from minibert.tokenizer.tokenizer import split_words
from tasks.task import Task

AnyTask = Task[Any, Any, Any]

_REPLACED = 0.25
"""The share of words that are replaced in every fourth text."""


class _Word(NamedTuple):
    """A word of a text, and what stands between it and the word before."""

    gap: str
    word: str


def made_up(task: AnyTask, items: Sequence[Any], count: int) -> list[Any]:
    """``count`` items for each of some items: three times the first words of its text and the last ones of any other's,
    about half of each; every fourth time its text with a quarter of the words replaced by any others.

    The same items give the same ones.

    Raises:
        InputError: the items are of several texts, or no text has words.
    """
    texts = [words for item in items if (words := _words(task, item, count))]
    if not texts:
        raise InputError(f"--made-up {count}: there are no words in the training data; leave it out.")
    every = [word for text in texts for word in text]
    rng = random.Random(0)
    found = []
    for number in range(count):
        for text in texts:
            if number % 4 < 3:
                other = rng.choice(texts)
                words = [*text[: max(1, _near_half(text, rng))], *other[_near_half(other, rng) :]]
            else:
                words = [
                    word._replace(word=rng.choice(every).word) if rng.random() < _REPLACED else word for word in text
                ]
            found.append(_item(task, words, of_words=hasattr(items[0], "words")))
    return found


def _near_half(text: Sequence[_Word], rng: random.Random) -> int:
    return round(len(text) * rng.uniform(0.3, 0.7))


def _words(task: AnyTask, item: Any, count: int) -> list[_Word]:
    if hasattr(item, "words"):
        return [_Word("", word) for word in item.words]
    texts = task.texts(item)
    if len(texts) != 1:
        raise InputError(f"--made-up {count}: is for single texts, and {task.name} has several here; leave it out.")
    (text,), found, end = texts, [], 0
    for start, next_end in split_words(text):
        found.append(_Word(text[end:start], text[start:next_end]))
        end = next_end
    return found


def _item(task: AnyTask, words: Sequence[_Word], *, of_words: bool) -> Any:
    given = [word for _, word in words] if of_words else "".join(gap + word for gap, word in words)
    return task.parse_input({"tokens" if of_words else "text": given}, "a text that is made up")
