"""Packing against the obvious loop."""

import pytest
import torch
from conftest import padded
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from minibert.batch import PackedBatch, from_padded, joined, pack, unjoined

ids = st.integers(min_value=0, max_value=2**31)
sequences = st.lists(st.lists(ids, min_size=1, max_size=9), min_size=1, max_size=7)


def assert_packs(batch: PackedBatch, rows: list[list[int]], types: list[list[int]]) -> None:
    """Checks every field of a batch against a loop over its rows."""
    positions: list[int] = []
    starts = [0]
    for row in rows:
        positions += range(len(row))
        starts.append(starts[-1] + len(row))
    assert batch.input_ids.tolist() == [token for row in rows for token in row]
    assert batch.position_ids.tolist() == positions
    assert batch.token_type_ids.tolist() == [kind for row in types for kind in row]
    assert batch.cu_seqlens.tolist() == starts
    assert batch.lengths == tuple(len(row) for row in rows)
    assert (batch.num_sequences, batch.num_tokens) == (len(rows), starts[-1])
    assert batch.max_seqlen == max(len(row) for row in rows)
    assert {tensor.dtype for tensor in (batch.input_ids, batch.position_ids, batch.token_type_ids)} == {torch.int64}
    assert batch.cu_seqlens.dtype == torch.int32


@pytest.mark.slow
@given(sequences, st.data())
def test_pack_lays_sequences_end_to_end(rows: list[list[int]], data: st.DataObject) -> None:
    types = [data.draw(st.lists(st.integers(0, 1), min_size=len(row), max_size=len(row))) for row in rows]
    assert_packs(pack(rows, types), rows, types)
    assert_packs(pack(rows), rows, [[0] * len(row) for row in rows])


@given(sequences, st.data())
def test_from_padded_takes_the_real_tokens_of_either_side(rows: list[list[int]], data: st.DataObject) -> None:
    longest = max(len(row) for row in rows)
    lefts = [data.draw(st.integers(0, longest - len(row))) for row in rows]

    def place(values: list[list[int]], fill: int) -> Tensor:
        return padded(
            [[fill] * left + value + [fill] * (longest - left - len(value))
             for left, value in zip(lefts, values, strict=True)], fill,
        )  # fmt: skip

    types = [[token % 2 for token in row] for row in rows]
    mask = place([[1] * len(row) for row in rows], 0)
    assert_packs(from_padded(place(rows, 7), mask, place(types, 1)), rows, types)
    assert_packs(from_padded(place(rows, 7), mask.bool()), rows, [[0] * len(row) for row in rows])


@given(sequences)
def test_unpack_gives_each_sequence_its_rows(rows: list[list[int]]) -> None:
    batch = pack(rows)
    assert [part.tolist() for part in batch.unpack(batch.input_ids)] == rows
    wide = torch.stack([batch.input_ids, -batch.input_ids], dim=1)
    assert [part.tolist() for part in batch.unpack(wide)] == [[[t, -t] for t in row] for row in rows]


@pytest.mark.parametrize(
    ("rows", "types", "message"),
    [
        ([], None, "at least one sequence"),
        ([[1], [], [2]], None, "sequence 1 is empty"),
        ([[1, 2], [3]], [[0, 0]], "token_type_ids"),
        ([[1, 2], [3]], [[0], [0, 0]], "token_type_ids"),
    ],
)
def test_pack_refuses_invalid_input(rows: list[list[int]], types: list[list[int]] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack(rows, types)


def test_from_padded_refuses_a_row_without_a_real_token() -> None:
    with pytest.raises(ValueError, match="sequence 1 is empty"):
        from_padded(torch.ones(2, 3, dtype=torch.long), torch.tensor([[1, 0, 0], [0, 0, 0]]))


def test_from_padded_refuses_a_mask_of_other_rows() -> None:
    with pytest.raises(ValueError, match=r"."):
        from_padded(torch.ones(2, 3, dtype=torch.long), torch.ones(3, 3))


def test_tensors_of_all_types_travel_as_one_and_arrive_unchanged() -> None:
    """Also those whose bytes would not be aligned, and empty ones."""
    tensors = {
        "bytes": torch.tensor([1, 2, 3], dtype=torch.uint8),
        "ids": torch.tensor([2**40, -1]),
        "none": torch.zeros(0, dtype=torch.int64),
        "bounds": torch.tensor([0, 3, 7], dtype=torch.int32),
        "table": torch.randn(3, 2)[:, :1],
        "scalar": torch.tensor(0.1, dtype=torch.float64),
    }
    together = joined(tensors)
    arrived = unjoined(together, tensors)
    assert list(arrived) == list(tensors)
    for name, tensor in tensors.items():
        assert arrived[name].dtype == tensor.dtype
        assert torch.equal(arrived[name], tensor)
        assert arrived[name].untyped_storage().data_ptr() == together.untyped_storage().data_ptr()


def test_a_batch_that_stays_on_the_cpu_is_not_copied() -> None:
    batch = pack([[1, 2], [3]])
    moved = batch.to("cpu")
    assert all(tensor is moved.tensors()[name] for name, tensor in batch.tensors().items())
