"""Texts that are made up of those of the training data, for a teacher to answer.

A teacher says little of texts that it was trained on. Texts that it has not seen, of the same words and in nearly the
same order, show a model more of what it knows (augmentation for distillation; with words of a pre-trained model: Jiao
et al. 2020, TinyBERT, algorithm 1). They need to make no sense: nobody but the teacher labels them.
"""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from minibert.errors import InputError
from minibert.tokenizer.tokenizer import split_words
from tasks.run.masked_words import WordFiller
from tasks.task import Task

AnyTask = Task[Any, Any, Any]

_REPLACED = 0.25
"""The share of words that are replaced in texts of the second and third kind."""

_KINDS = ("halves", "filled", "halves", "replaced", "halves", "filled")
"""Of one text's, in turn."""


class _Word(NamedTuple):
    """A word of a text, and what stands between it and the word before."""

    gap: str
    word: str


def made_up(task: AnyTask, items: Sequence[Any], count: int, filler: WordFiller | None) -> list[Any]:
    """``count`` items for each of some items, in turn of three kinds:

    - three of six: the first words of its text and the last ones of any other's, about half of each,
    - two of six: its text with a quarter of the words replaced by those that ``filler`` expects there,
    - one of six, and these two where there is no ``filler``: with a quarter of the words replaced by any others.

    The same items give the same ones.

    Raises:
        InputError: the items are of several texts, or no text has words.
    """
    of_words = hasattr(items[0], "words")
    given = [text for item in items if _words(text := _text(task, item, count))]
    if not given:
        raise InputError(f"--made-up {count}: there are no words in the training data; leave it out.")
    texts = list(map(_words, given))
    every = [word for text in texts for word in text]
    rng = random.Random(0)
    found: list[Any] = []
    for number in range(count):
        kind = _KINDS[number % len(_KINDS)]
        if kind == "filled" and filler is not None:
            replace = filler.replace_words if of_words else filler.replace
            found += replace(given, _REPLACED, rng)
            continue
        for text in texts:
            if kind == "halves":
                other = rng.choice(texts)
                words = [*text[: max(1, _near_half(text, rng))], *other[_near_half(other, rng) :]]
            else:
                words = [
                    word._replace(word=rng.choice(every).word) if rng.random() < _REPLACED else word for word in text
                ]
            found.append([word for _, word in words] if of_words else "".join(gap + word for gap, word in words))
    field = "tokens" if of_words else "text"
    return [task.parse_input({field: text}, "a text that is made up") for text in found]


def _text(task: AnyTask, item: Any, count: int) -> Any:
    """The running text of an item, or its words."""
    if hasattr(item, "words"):
        return item.words
    texts = task.texts(item)
    if len(texts) != 1:
        raise InputError(f"--made-up {count}: is for single texts, and {task.name} has several here; leave it out.")
    return texts[0]


def _words(text: str | Sequence[str]) -> list[_Word]:
    if not isinstance(text, str):
        return [_Word("", word) for word in text]
    found, end = [], 0
    for start, next_end in split_words(text):
        found.append(_Word(text[end:start], text[start:next_end]))
        end = next_end
    return found


def _near_half(text: Sequence[_Word], rng: random.Random) -> int:
    return round(len(text) * rng.uniform(0.3, 0.7))
