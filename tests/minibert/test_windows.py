"""Windows over long texts: they fit, overlap, and keep each word once."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibert.windows import Window, split_into_windows


@st.composite
def window_cases(draw: st.DrawFn) -> tuple[list[int], int, int]:
    """Tokens of each word, room, overlap."""
    room = draw(st.integers(1, 20))
    sizes = draw(st.lists(st.integers(1, draw(st.sampled_from([1, 3, 8, 30]))), min_size=1, max_size=40))
    return sizes, room, draw(st.integers(0, room - 1))


def cut(sizes: list[int], room: int, overlap: int) -> list[Window]:
    first = [sum(sizes[:word]) for word in range(len(sizes))]
    return split_into_windows(first, sum(sizes), max_tokens=room, overlap=overlap)


@given(window_cases())
def test_windows_fit_overlap_and_keep_each_word_once(case: tuple[list[int], int, int]) -> None:
    sizes, room, overlap = case
    result = cut(*case)
    for window in result:
        assert sum(sizes[window.start : window.end]) <= room or window.end == window.start + 1
        assert window.end == len(sizes) or sum(sizes[window.start : window.end + 1]) > room, "another word would fit"
        assert window.start <= window.keep_start <= window.keep_end <= window.end
    for left, right in pairwise(result):
        assert left.start < right.start <= left.end
        assert sum(sizes[right.start : left.end]) <= overlap
    kept = [word for window in result for word in range(window.keep_start, window.keep_end)]
    assert kept == list(range(len(sizes)))


@given(window_cases())
def test_each_word_is_kept_where_it_has_the_most_context(case: tuple[list[int], int, int]) -> None:
    """The rule of Google BERT's run_squad.py, the lesser of the contexts on both sides, counted in words."""

    def context(window: Window, word: int) -> int:
        return min(word - window.start, window.end - 1 - word)

    result = cut(*case)
    for window in result:
        for word in range(window.keep_start, window.keep_end):
            most = max(context(other, word) for other in result if other.start <= word < other.end)
            assert context(window, word) == most


@given(window_cases())
def test_no_window_lies_within_the_one_before(case: tuple[list[int], int, int]) -> None:
    result = cut(*case)
    assert all(left.end < right.end for left, right in pairwise(result))


def test_a_text_that_fits_is_one_window_and_an_empty_one_none() -> None:
    assert cut([2, 3, 1], 6, 5) == [Window(0, 3, 0, 3)]
    assert split_into_windows([], 0, max_tokens=6, overlap=2) == []


@pytest.mark.parametrize(("room", "overlap"), [(5, 5), (5, 9), (5, -1), (0, 0)])
def test_an_overlap_that_never_advances_is_refused(room: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        cut([1, 1], room, overlap)
