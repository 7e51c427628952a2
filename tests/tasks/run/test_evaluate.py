"""Batches for evaluation and prediction."""

from hypothesis import given
from hypothesis import strategies as st

from tasks.run.evaluate import batches_by_length


@given(lengths=st.lists(st.integers(1, 9000), max_size=40), most=st.integers(1, 20_000))
def test_batches_hold_every_sequence_once_and_no_more_tokens_than_they_may(lengths: list[int], most: int) -> None:
    batches = batches_by_length(lengths, most)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or sum(lengths[i] for i in batch) <= most for batch in batches)
    in_order = [lengths[index] for batch in batches for index in batch]
    assert in_order == sorted(lengths, reverse=True)
