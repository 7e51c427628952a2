"""The padded layout inside attention: sequences of a pack, laid out in rectangles and back.

A pack holds its sequences end to end, but a batched matrix product needs rectangles. So the sequences are sorted by
length and cut into groups, and each group becomes a grid that is padded to its longest sequence. For sequences a, b
and c of 2, 5 and 4 tokens::

    pack         a a b b b b b c c c c

                        |  GridLayout.to_grids: one index_select
                        v
    grids        b b b b b      a a
                 c c c c *

                        |  attention in each grid; * is masked
                        v
    end to end   B B B B B C C C C * A A

                        |  GridLayout.from_grids: one index_select, which leaves * behind
                        v
    pack         A A B B B B B C C C C

At a padded place (*) stands a copy of the first token of the same sequence. What moves is a row: one head of one token,
D values wide. The moves work on ``(T, 3, H)`` rows on the way in, query, key and value together, and on ``(T, H)`` rows
on the way out.

Shapes: T tokens, H heads, D head width; a grid has b sequences of s tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minibert.batch import PackedBatch, all_to_device

IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]

GRID_COST = 80_000
"""The fixed cost of a grid on a CPU, in attention scores that take as long to compute (measured)."""

# CUDA's memory-efficient kernel takes a mask for all heads and queries as it lies if its width is a multiple of this;
# else PyTorch writes it out for each of them, as ``(b, H, s, s)``, in every layer (preprocess_mask in attention.cpp).
_MASK_ALIGNMENT = 16


class Grid(NamedTuple):
    """Query, key and value ``(b, H, s, D)`` of one group, and the mask ``(b, 1, 1, s)``, false at padding; None where
    there is no padding."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None


def one_grid(qkv: Tensor) -> Grid:
    """The query, key and value ``(s, 3, H, D)`` of a single sequence as a grid, where they lie."""
    query, key, value = qkv.permute(1, 2, 0, 3).unsqueeze(1).unbind(0)
    return Grid(query, key, value, None)


@dataclass(frozen=True, kw_only=True, eq=False)
class RowMap:
    """How N rows become M rows. Each of the N has at most one place among the M that is its own.

    Attributes:
        source: ``(M,)``, the row that each of the M copies. A padded place copies a row that is not its own.
        target: ``(N,)``, each row's own place; arbitrary for the unused.
        unused: ``(U,)``, the rows without a place of their own.
    """

    source: Tensor
    target: Tensor
    unused: Tensor


class _MoveRows(torch.autograd.Function):
    """``(N, D)`` -> ``(M, D)``.

    The backward pass moves each gradient back from the row's own place. PyTorch's backward of index_select would add up
    row by row, which is slower, and take in the gradient of padding.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, row_map: RowMap) -> Tensor:
        ctx.row_map = row_map
        return values.index_select(0, row_map.source)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.row_map.target).index_fill_(0, ctx.row_map.unused, 0), None


def move_rows(values: Tensor, row_map: RowMap) -> Tensor:
    """``(N, D)`` -> ``(M, D)``, differentiable."""
    return cast(Tensor, _MoveRows.apply(values, row_map))


@dataclass(frozen=True, kw_only=True, eq=False)
class GridLayout:
    """Where the rows of a pack lie in its grids. Made by :func:`grid_layout`.

    Attributes:
        pack_to_grids: from the ``(T, 3, H)`` rows of a pack to the ``(3, b, H, s)`` rows of each grid, end to end.
        grids_to_pack: from the ``(b, H, s)`` rows of each grid, end to end, to the ``(T, H)`` rows of the pack.
        masks: ``(b, 1, 1, s)`` for each grid, false at padding.
    """

    pack_to_grids: RowMap
    grids_to_pack: RowMap
    masks: tuple[Tensor, ...]

    def to_grids(self, qkv: Tensor) -> list[Grid]:
        """Query, key and value ``(T, 3, H, D)`` as grids."""
        num_heads, width = qkv.shape[2:]
        rows = move_rows(qkv.reshape(-1, width), self.pack_to_grids)
        grids = []
        for part, mask in zip(
            rows.split([3 * num_heads * mask.numel() for mask in self.masks]), self.masks, strict=True
        ):
            query, key, value = part.view(3, len(mask), num_heads, -1, width).unbind(0)
            grids.append(Grid(query, key, value, mask))
        return grids

    def from_grids(self, outputs: Sequence[Tensor]) -> Tensor:
        """The grids' outputs ``(b, H, s, D)`` as a pack ``(T, H, D)``."""
        num_heads, _, width = outputs[0].shape[1:]
        rows = torch.cat([output.flatten(0, 2) for output in outputs])
        return move_rows(rows, self.grids_to_pack).view(-1, num_heads, width)


@lru_cache(maxsize=1)  # every layer asks for the same batch; batches are compared by identity
def grid_layout(batch: PackedBatch, num_heads: int, *, by_length: bool) -> GridLayout:
    """One grid whose width suits CUDA, or with ``by_length`` as many grids of similar lengths as make attention fastest
    on a CPU.
    """
    lengths = np.array(batch.lengths)
    starts = np.cumsum(lengths) - lengths
    order = np.argsort(-lengths, kind="stable") if by_length else np.arange(len(lengths))
    cuts, alignment = (cheapest_cuts(lengths, num_heads), 1) if by_length else ([], _MASK_ALIGNMENT)
    heads, q_k_v = np.arange(num_heads)[:, None], np.arange(3)[:, None, None, None]
    masks, inputs, outputs = [], [], []
    for members in np.split(order, cuts):
        columns = np.arange(-(-lengths[members].max() // alignment) * alignment)
        mask = (columns < lengths[members, None])[:, None]  # (b, 1, s)
        # Padding copies its own sequence, so that infinities and NaN of others stay out.
        tokens = starts[members, None, None] + np.where(mask, columns, 0)  # (b, 1, s)
        masks.append(mask)
        inputs.append((3 * tokens + q_k_v) * num_heads + heads)  # (3, b, H, s)
        outputs.append(tokens * num_heads + heads)  # (b, H, s)

    in_rows, in_real = _end_to_end(inputs, masks)
    out_rows, out_real = _end_to_end(outputs, masks)
    arrays: dict[str, Any] = {
        "in_rows": in_rows,
        "in_places": _own_places(in_rows, in_real),
        "out_rows": out_rows,
        "out_places": _own_places(out_rows, out_real),
        "out_unused": np.flatnonzero(~out_real),
        **{str(number): mask[:, None] for number, mask in enumerate(masks)},
    }
    with torch.inference_mode(False):  # the cached tensors may serve a training step next
        sent = all_to_device({name: torch.from_numpy(array) for name, array in arrays.items()}, batch.device)
        return GridLayout(
            pack_to_grids=RowMap(source=sent["in_rows"], target=sent["in_places"], unused=sent["in_rows"][:0]),
            grids_to_pack=RowMap(source=sent["out_places"], target=sent["out_rows"], unused=sent["out_unused"]),
            masks=tuple(sent[str(number)] for number in range(len(masks))),
        )


def cheapest_cuts(lengths: IntArray, num_heads: int) -> list[int]:
    """Where to cut the sequences, longest first, into grids of the lowest total cost.

    A grid costs its ``b H s s`` scores and :data:`GRID_COST`. Only cuts between different lengths can be the cheapest,
    so this is a shortest path over the distinct lengths.
    """
    values, counts = np.unique(lengths, return_counts=True)
    scores = num_heads * values[::-1].astype(float) ** 2  # per sequence, in a grid whose longest has this length
    before = np.cumsum([0, *counts[::-1]])  # sequences longer than each distinct length
    cost, start = np.zeros(len(before)), np.zeros(len(before), int)  # of the cheapest grids up to each length
    for end in range(1, len(before)):
        costs = cost[:end] + (before[end] - before[:end]) * scores[:end] + GRID_COST
        start[end] = costs.argmin()
        cost[end] = costs[start[end]]
    cuts, end = [], start[-1]
    while end:
        cuts.append(int(before[end]))
        end = start[end]
    return cuts[::-1]


def _end_to_end(rows: Sequence[IntArray], masks: Sequence[BoolArray]) -> tuple[IntArray, BoolArray]:
    """The row numbers of all grids, flattened, and which of them are real."""
    real = [np.broadcast_to(mask, part.shape).ravel() for part, mask in zip(rows, masks, strict=True)]
    return np.concatenate([part.ravel() for part in rows]), np.concatenate(real)


def _own_places(rows: IntArray, real: BoolArray) -> IntArray:
    """The place at which each row is real: the inverse of ``rows`` without its padding."""
    places = np.empty(np.count_nonzero(real), np.int64)
    places[rows[real]] = np.flatnonzero(real)
    return places
