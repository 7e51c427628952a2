"""Texts and pairs of texts as the model sees them."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from minibert import Tokenizer
from minibert.errors import InputError
from tasks.classification.data import LabelledText
from tasks.data import Encoded

Floats = npt.NDArray[np.float32]

_BLOCK = 5000
"""Texts that are tokenised at a time, so that few of the tokenizer's own records are in memory."""


class TextExample(NamedTuple):
    """A text as the model sees it: ids with special tokens, token types, the target, and the text's line in its file.

    ``target`` is the index of a label, 0 or 1 for each label, or a number.
    """

    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.int8]
    target: int | np.float32 | Floats
    line: int


def encode_texts(
    items: Sequence[LabelledText],
    tokenizer: Tokenizer,
    *,
    most: int,
    prompted: Callable[[LabelledText], Sequence[str]],
    target: Callable[[LabelledText], int | np.float32 | Floats],
) -> Encoded[TextExample]:
    """Turns texts into examples.

    Args:
        items: the texts.
        tokenizer: of the model.
        most: the most tokens in an example; longer texts are cut.
        prompted: the texts that the model sees for an item, each as an example of its own.
        target: of an item.

    Returns:
        The examples. The notes count unknown tokens, texts that were cut to fit, and the tokens cut off.

    Raises:
        InputError: ``most`` leaves no room for a pair.
    """
    rooms = {pair: most - tokenizer.num_special_tokens(pair=pair) for pair in (False, True)}
    examples: list[TextExample] = []
    counts: list[int] = []
    notes: Counter[str] = Counter()
    for start in range(0, len(items), _BLOCK):
        block = items[start : start + _BLOCK]
        texts = [prompted(item) for item in block]
        pairs = [item.pair for item in block if item.pair is not None]
        if pairs and rooms[True] < 2:
            raise InputError(f"--max-length {most}: too short for a pair of texts; raise it by {2 - rooms[True]}.")
        firsts, seconds = (iter(tokenizer.encode_batch(some)) for some in ([*chain.from_iterable(texts)], pairs))
        for item, of_item in zip(block, texts, strict=True):
            counts.append(len(of_item))
            second = None if item.pair is None else next(seconds)
            for _ in of_item:
                first = next(firsts)
                kept, kept_second = cut_to_fit(first, second, rooms[second is not None])
                lost = len(first) + len(second or ()) - len(kept) - len(kept_second or ())
                notes["cut_texts"] += lost > 0
                notes["cut_tokens"] += lost
                ids, types = tokenizer.with_special_tokens(kept, kept_second)
                notes["unknown_tokens"] += ids.count(tokenizer.unk_token_id)
                of_tokens = np.zeros(len(ids), np.int8) if second is None else np.array(types, np.int8)
                examples.append(TextExample(np.array(ids, np.int32), of_tokens, target(item), item.line))
    return Encoded(examples=examples, counts=counts, notes=notes)


def cut_to_fit(first: list[int], second: list[int] | None, room: int) -> tuple[list[int], list[int] | None]:
    """Truncates one or two segments to ``room`` tokens in all, the longer one first (Google BERT's
    ``_truncate_seq_pair``)."""
    if second is None:
        return first[:room], None
    excess = max(0, len(first) + len(second) - room)
    from_longer = min(excess, abs(len(first) - len(second)))
    rest = excess - from_longer
    from_first = (from_longer if len(first) > len(second) else 0) + rest // 2
    from_second = (from_longer if len(second) >= len(first) else 0) + rest - rest // 2
    return first[: len(first) - from_first], second[: len(second) - from_second]
