"""Long texts cut into overlapping windows at word boundaries."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Window:
    """A run of words that fits the model: words ``start:end``, of which it predicts ``keep_start:keep_end``.

    The kept runs of a text's windows cover every word exactly once.
    """

    start: int
    end: int
    keep_start: int
    keep_end: int


def split_into_windows(word_starts: Sequence[int], num_tokens: int, *, max_tokens: int, overlap: int) -> list[Window]:
    """Cuts a text into overlapping windows of at most ``max_tokens`` tokens, at word boundaries.

    Args:
        word_starts: the index of each word's first token.
        num_tokens: the number of tokens in the text.
        max_tokens: per window; a single longer word becomes a window of its own, which the caller truncates.
        overlap: the most tokens that neighbouring windows share, below ``max_tokens``.

    Returns:
        The windows in order. Two neighbours divide the words they share in the middle, so that each word is kept in the
        window that gives it the most context (the max-context rule of Google BERT's ``run_squad.py``).

    Raises:
        ValueError: ``overlap`` is negative or not below ``max_tokens``.
    """
    if not 0 <= overlap < max_tokens:
        raise ValueError(f"overlap {overlap} must be 0 or more and below max_tokens, {max_tokens}.")
    if not word_starts:
        return []
    if num_tokens <= max_tokens:
        return [Window(0, len(word_starts), 0, len(word_starts))]
    word_ends = [*word_starts[1:], num_tokens]
    spans = []
    start = 0
    while start < len(word_starts):
        end = start + 1
        while end < len(word_starts) and word_ends[end] - word_starts[start] <= max_tokens:
            end += 1
        spans.append((start, end))
        if end == len(word_starts):
            break
        next_start = end
        # Step back into the overlap, but only as far as the next window still reaches a new word.
        while (
            next_start - 1 > start
            and word_starts[end] - word_starts[next_start - 1] <= overlap
            and word_ends[end] - word_starts[next_start - 1] <= max_tokens
        ):
            next_start -= 1
        start = next_start
    middles = [(right[0] + left[1]) // 2 for left, right in pairwise(spans)]
    borders = [0, *middles, len(word_starts)]
    return [
        Window(start, end, keep_start, keep_end)
        for (start, end), keep_start, keep_end in zip(spans, borders[:-1], borders[1:], strict=True)
    ]
