"""A recorder of CPU operators that stands in for CUDA graphs: it has their rules, and values."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from minibert import PackedBatch, attention
from minibert.attention import attention_backend

Result = TypeVar("Result")


class Tape(TorchDispatchMode):
    """Notes each operator with its arguments, which it calls again with the same tensors and numbers; its results go
    to where they were the first time. What depends on anything else (a length on the host) is wrong at a replay."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self.calls:
            found = func(*args, **kwargs)
            for own, new in zip(tensors_of(result), tensors_of(found), strict=True):
                if own.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    own.copy_(new)


def tensors_of(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


class TapeRecorder:
    """Attributes:
    tapes: all that were recorded.
    """

    def __init__(self) -> None:
        self.tapes: list[Tape] = []

    def record(self, work: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        tape = Tape()
        with tape:
            result = work()
        self.tapes.append(tape)
        return result, tape.replay


def _attend_by_bounds(qkv: Tensor, batch: PackedBatch, dropout: float) -> Tensor:
    """The formula over all pairs of tokens, reading nothing but tensors, as flash attention does."""
    tokens = torch.arange(len(qkv))
    sequence = torch.bucketize(tokens, batch.cu_seqlens[1:], right=True)
    query, key, value = qkv.permute(1, 2, 0, 3)
    scores = query @ key.transpose(1, 2) / math.sqrt(qkv.shape[-1])
    probabilities = scores.masked_fill(sequence[:, None] != sequence, -math.inf).softmax(-1)
    return (F.dropout(probabilities, dropout) @ value).transpose(0, 1)


@contextlib.contextmanager
def attention_by_bounds() -> Iterator[None]:
    """Within the block, attention reads no length from the host."""
    with mock.patch.dict(attention.BACKENDS, bounds=_attend_by_bounds), attention_backend("bounds"):
        yield
