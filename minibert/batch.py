"""The one batch type: sequences laid end to end, never padded.

Shapes in this project: B sequences, T tokens in total, C hidden width, H heads, D head width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

IntSequence = Sequence[int] | npt.NDArray[np.integer]
_ALIGNMENT = 16  # bytes: no type of numbers has more


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedBatch:
    """B sequences end to end. Made by :func:`pack`.

    Attributes:
        input_ids: ``(T,)`` int64.
        position_ids: ``(T,)`` int64, counted from 0 in each sequence (the encoder adds RoBERTa's offset).
        token_type_ids: ``(T,)`` int64.
        cu_seqlens: ``(B + 1,)`` int32, the start of each sequence, then T.
        lengths: the B lengths, on the host, so that no shape has to be read from the device.
    """

    input_ids: Tensor
    position_ids: Tensor
    token_type_ids: Tensor
    cu_seqlens: Tensor
    lengths: tuple[int, ...]

    @property
    def num_sequences(self) -> int:
        return len(self.lengths)

    @property
    def num_tokens(self) -> int:
        return self.input_ids.shape[0]

    @property
    def max_seqlen(self) -> int:
        return max(self.lengths)

    @property
    def first_tokens(self) -> Tensor:
        """``(B,)``, each sequence's first token."""
        return self.cu_seqlens[:-1]

    @property
    def device(self) -> torch.device:
        return self.input_ids.device

    def to(self, device: torch.device | str) -> "PackedBatch":
        """The same batch on ``device``."""
        moved: dict[str, Any] = all_to_device(self.tensors(), device)
        return replace(self, **moved)

    def tensors(self) -> dict[str, Tensor]:
        """What a copy to another device has to move, by attribute."""
        names = ("input_ids", "position_ids", "token_type_ids", "cu_seqlens")
        return {name: getattr(self, name) for name in names}

    def sum(self, x: Tensor) -> Tensor:
        """The sum over the tokens of each sequence, in fp32 or better: ``(T, C)`` -> ``(B, C)``."""
        return sum_of_sequences(x, self.position_ids, self.cu_seqlens)

    def mean(self, x: Tensor) -> Tensor:
        """The mean over the tokens of each sequence, summed in fp32 or better: ``(T, C)`` -> ``(B, C)``."""
        return self.sum(x) / self.cu_seqlens.diff()[:, None]

    def unpack(self, values: Tensor) -> list[Tensor]:
        """Cuts ``values (T, ...)`` into B tensors ``(length, ...)``, as views."""
        return list(values.split(self.lengths))


def sum_of_sequences(x: Tensor, position_ids: Tensor, cu_seqlens: Tensor) -> Tensor:
    """The sum over the tokens of each sequence, in fp32 or better: ``(T, C)`` -> ``(B, C)``."""
    sequence = (position_ids == 0).cumsum(0) - 1  # (T,): the sequence of each token
    x = x if x.dtype == torch.float64 else x.float()
    return x.new_zeros(cu_seqlens.shape[0] - 1, x.shape[-1]).index_add(0, sequence, x)


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """``tensor`` on ``device``. Pins memory first: a copy from unpinned memory would wait for all queued GPU work."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def all_to_device(tensors: Mapping[str, Tensor], device: torch.device | str) -> dict[str, Tensor]:
    """``tensors`` on ``device``. From the CPU to CUDA they travel as one: a small copy takes as long as a large one."""
    if torch.device(device).type != "cuda" or any(tensor.device.type != "cpu" for tensor in tensors.values()):
        return {name: tensor.to(device) for name, tensor in tensors.items()}
    return unjoined(to_device(joined(tensors), device), tensors)


def joined(tensors: Mapping[str, Tensor]) -> Tensor:
    """The bytes of all ``tensors``, one after the other."""
    parts = [tensor.contiguous().flatten().view(torch.uint8) for tensor in tensors.values()]
    return torch.cat([F.pad(part, (0, -len(part) % _ALIGNMENT)) for part in parts])


def unjoined(joined: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose bytes :func:`joined` has put together, as views; ``like`` has their shapes and types."""
    parts = joined.split([-(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT for tensor in like.values()])
    return {
        name: part[: tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for (name, tensor), part in zip(like.items(), parts, strict=True)
    }


def pack(sequences: Sequence[IntSequence], token_type_ids: Sequence[IntSequence] | None = None) -> PackedBatch:
    """Lays B sequences of token ids end to end.

    Args:
        sequences: B lists or arrays of ids, special tokens included.
        token_type_ids: B lists of the same lengths; all zeros if None.

    Raises:
        ValueError: there is no sequence, one is empty, or the lengths differ.
    """
    lengths = tuple(len(sequence) for sequence in sequences)
    if not lengths:
        raise ValueError("pack needs at least one sequence.")
    if 0 in lengths:
        raise ValueError(f"sequence {lengths.index(0)} is empty; every sequence needs at least one token.")
    if token_type_ids is not None and tuple(len(types) for types in token_type_ids) != lengths:
        raise ValueError("token_type_ids must have the lengths of the sequences.")
    cu_seqlens = np.cumsum([0, *lengths])
    total = int(cu_seqlens[-1])
    positions = np.arange(total) - np.repeat(cu_seqlens[:-1], lengths)
    types = np.zeros(total, np.int64) if token_type_ids is None else _concatenate(token_type_ids)
    return PackedBatch(
        input_ids=torch.from_numpy(_concatenate(sequences)),
        position_ids=torch.from_numpy(positions),
        token_type_ids=torch.from_numpy(types),
        cu_seqlens=torch.from_numpy(cu_seqlens.astype(np.int32)),
        lengths=lengths,
    )


def from_padded(input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> PackedBatch:
    """Packs the real tokens of a padded batch, on the CPU.

    Args:
        input_ids: ``(B, S)``.
        attention_mask: ``(B, S)``, nonzero at real tokens; padding may be on either side.
        token_type_ids: ``(B, S)``; all zeros if None.

    Raises:
        ValueError: a row has no real token.
    """
    keep = attention_mask.bool().cpu()

    def rows(padded: Tensor) -> list[list[int]]:
        return [row[kept].tolist() for row, kept in zip(padded.cpu(), keep, strict=True)]

    return pack(rows(input_ids), None if token_type_ids is None else rows(token_type_ids))


def _concatenate(sequences: Sequence[IntSequence]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.asarray(sequence, dtype=np.int64) for sequence in sequences])
