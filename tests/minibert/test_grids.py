"""The padded layout inside attention."""

from collections.abc import Iterable
from itertools import chain, combinations, pairwise

import numpy as np
import pytest
import torch
from conftest import ragged_ids

from minibert import pack
from minibert.grids import GRID_COST, cheapest_cuts, grid_layout


@pytest.mark.parametrize("num_heads", [1, 12])
@pytest.mark.parametrize(
    "lengths", [(7,), (300, 300, 300), (40, 200, 60, 40, 90, 12, 130), (5, 70, 1, 33, 8, 69, 2, 130)]
)
def test_grids_cost_the_least_of_all_that_could_be_cut(lengths: tuple[int, ...], num_heads: int) -> None:
    """By trying every way to cut the sequences, longest first."""
    order = sorted(lengths, reverse=True)

    def cost(cuts: Iterable[int]) -> int:
        grids = [order[start:end] for start, end in pairwise([0, *cuts, len(order)])]
        return sum(num_heads * len(grid) * grid[0] ** 2 + GRID_COST for grid in grids)

    places = range(1, len(order))
    every = chain.from_iterable(combinations(places, count) for count in range(len(order)))
    assert cost(cheapest_cuts(np.array(lengths), num_heads)) == min(map(cost, every))


@pytest.mark.parametrize("by_length", [True, False])
def test_rows_move_into_grids_and_back(by_length: bool) -> None:
    """Each sequence lies in one row of one grid; what comes back is the pack, and so is its gradient."""
    lengths = (2, 300, 280)
    batch = pack(ragged_ids(lengths, 50))
    qkv = torch.randn(batch.num_tokens, 3, 2, 4, requires_grad=True)
    layout = grid_layout(batch, 2, by_length=by_length)
    grids = layout.to_grids(qkv)
    sequences = {
        int(mask.sum()): (query[:, mask.flatten()], key[:, mask.flatten()], value[:, mask.flatten()])
        for grid in grids
        for query, key, value, mask in zip(*grid, strict=True)
    }
    for length, sequence in zip(lengths, batch.unpack(qkv), strict=True):
        for part, expected in zip(sequences[length], sequence.unbind(1), strict=True):
            assert torch.equal(part, expected.transpose(0, 1))
    back = layout.from_grids([grid.key for grid in grids])
    assert torch.equal(back, qkv[:, 1])
    cotangent = torch.randn_like(back)
    (gradient,) = torch.autograd.grad(back, qkv, cotangent)
    assert torch.equal(gradient[:, 1], cotangent)
    assert not gradient[:, [0, 2]].any()
    assert len(grids) == (2 if by_length else 1)


@pytest.mark.parametrize("lengths", [(1,), (16, 3), (17, 1, 40)])
def test_cuda_gets_a_mask_that_its_kernel_takes_as_it_lies(lengths: tuple[int, ...]) -> None:
    """What PyTorch asks for (attention.cpp): a width and strides that are multiples of 16, and a last stride of 1."""
    (mask,) = grid_layout(pack(ragged_ids(lengths, 50)), 2, by_length=False).masks
    assert mask.sum((1, 2, 3)).tolist() == list(lengths)
    expanded = mask.expand(-1, 2, mask.shape[-1], -1)
    assert mask.shape[-1] % 16 == 0
    assert expanded.stride(-1) == 1
    assert all(stride % 16 == 0 for stride in expanded.stride()[:3])
