"""A batch as the two graphs take it, by the names of their inputs.

Shapes: B sequences of at most S tokens, T tokens in all, N tokens that are asked for.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minibert.batch import PackedBatch

Inputs = dict[str, Tensor]
Integers = npt.NDArray[np.integer]


def padded_inputs(batch: PackedBatch, *, fill: int, types: bool) -> Inputs:
    """The inputs of a padded graph: sequences padded on the right, each ``(B, S)`` int64."""
    mask = torch.arange(batch.max_seqlen) < torch.tensor(batch.lengths)[:, None]

    def rows(values: Tensor, padding: int) -> Tensor:
        return torch.full(mask.shape, padding).masked_scatter(mask, values)

    found = {"input_ids": rows(batch.input_ids, fill), "attention_mask": mask.long()}
    return {**found, "token_type_ids": rows(batch.token_type_ids, 0)} if types else found


def packed_inputs(batch: PackedBatch, positions: Tensor | None) -> Inputs:
    """All inputs that a packed graph may have, int64.

    Args:
        batch: the sequences.
        positions: ``(N,)``, the tokens of the pack whose output is wanted; all if None.
    """
    long, short = two_grids(batch.lengths)
    return {
        "input_ids": batch.input_ids,
        "position_ids": batch.position_ids,
        "token_type_ids": batch.token_type_ids,
        "cu_seqlens": batch.cu_seqlens.long(),
        "long_grid": torch.from_numpy(long),
        "short_grid": torch.from_numpy(short),
        "positions": torch.arange(batch.num_tokens) if positions is None else positions,
    }


def two_grids(lengths: Sequence[int]) -> tuple[Integers, Integers]:
    """The tokens of two grids ``(b, s)`` int64, -1 at padding: the longest sequences and the others, cut where the
    scores of attention are the fewest. Where one grid is best, the other is a single place of padding.

    More grids make the graph larger and hardly faster.
    """
    sizes = np.array(lengths)
    starts = np.cumsum(sizes) - sizes
    order = np.argsort(-sizes, kind="stable")
    count = np.arange(1, len(sizes) + 1)
    next_width = np.append(sizes[order[1:]], 0)
    cut = 1 + int((count * sizes.max() ** 2 + (len(sizes) - count) * next_width**2).argmin())

    def grid(members: Integers) -> Integers:
        if not len(members):
            return np.full((1, 1), -1)
        columns = np.arange(sizes[members].max())
        return np.where(columns < sizes[members, None], starts[members, None] + columns, -1)

    return grid(order[:cut]), grid(order[cut:])
