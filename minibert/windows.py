"""Long texts cut into windows that overlap, at word borders."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Window:
    """A run of words that fits the model: words ``start:end``, of which ``keep_start:keep_end`` are its own.

    The kept runs of a text's windows cover every word once; each word is kept where it has the most context.
    """

    start: int
    end: int
    keep_start: int
    keep_end: int


def windows(first: Sequence[int], num_pieces: int, *, room: int, overlap: int) -> list[Window]:
    """Cuts a sentence of words into overlapping windows of at most ``room`` tokens, at word borders.

    Args:
        first: for each word, the index of its first token.
        num_pieces: the number of tokens in the sentence.
        room: the most tokens a window may have; a single longer word is a window of its own, to be cut by the caller.
        overlap: the most tokens that neighbouring windows share, below ``room``.

    Returns:
        The windows in order; a border between kept runs lies in the middle of what two windows share, so that each
        word is kept where it has the most context (the max-context rule of Google BERT's ``run_squad.py``).

    Raises:
        ValueError: ``overlap`` is not below ``room``.
    """
    if not 0 <= overlap < room:
        raise ValueError(f"overlap {overlap} must be 0 or more and below the room of {room} tokens.")
    if not first:
        return []
    if num_pieces <= room:
        return [Window(0, len(first), 0, len(first))]
    ends = [*first[1:], num_pieces]  # the token behind each word
    spans = []
    start = 0
    while start < len(first):
        end = start + 1
        while end < len(first) and ends[end] - first[start] <= room:
            end += 1
        spans.append((start, end))
        if end == len(first):
            break
        next_start = end
        # Back into the overlap, as long as the next window still holds a word that this one does not.
        while (
            next_start - 1 > start
            and first[end] - first[next_start - 1] <= overlap
            and ends[end] - first[next_start - 1] <= room
        ):
            next_start -= 1
        start = next_start
    borders = [0, *((right[0] + left[1]) // 2 for left, right in pairwise(spans)), len(first)]
    return [
        Window(start, end, keep_start, keep_end)
        for (start, end), keep_start, keep_end in zip(spans, borders[:-1], borders[1:], strict=True)
    ]
