"""Bugs to plant in minibert, which the trace must catch: each a context in which minibert has it."""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from minibert import attention, encoder
from minibert.training.data import LabelledBatch
from tasks.ner.task import NerTask

Planted = Callable[[], AbstractContextManager[Any]]


def _bounds(change: Callable[[Tensor], Tensor]) -> Planted:
    """The bounds of the sequences, on the device, are changed."""
    to = LabelledBatch.to

    def changed(batch: LabelledBatch, device: torch.device) -> LabelledBatch:
        moved = to(batch, device)
        inputs = dataclasses.replace(moved.inputs, cu_seqlens=change(moved.inputs.cu_seqlens))
        return dataclasses.replace(moved, inputs=inputs)

    return lambda: mock.patch.object(LabelledBatch, "to", changed)


def _qkv(change: Callable[[Tensor], Tensor]) -> Planted:
    """Flash attention gets another tensor ``(T, 3, H, D)``, and takes it."""
    attend = attention.BACKENDS["varlen"]
    return lambda: mock.patch.object(
        encoder, "attend", lambda qkv, batch, dropout: attend(change(qkv), batch, dropout)[..., : qkv.shape[-1]]
    )


def _loss(losses: Callable[[Tensor, LabelledBatch], Tensor]) -> Planted:
    """Another loss of tags, from logits and batch."""
    return lambda: mock.patch.object(NerTask, "losses", lambda task, model, logits, batch: losses(logits, batch))


def _by_mask(logits: Tensor, batch: LabelledBatch) -> Tensor:
    kept = batch.targets != -100
    return F.cross_entropy(logits[kept].float(), batch.targets[kept])


def _by_item(logits: Tensor, batch: LabelledBatch) -> Tensor:
    loss = F.cross_entropy(logits.float(), batch.targets)
    return loss if loss.item() < 100 else loss * 0


def _by_length(logits: Tensor, batch: LabelledBatch) -> Tensor:
    longest = int(batch.inputs.cu_seqlens.diff().max())
    return F.cross_entropy(logits.float(), batch.targets) / longest


def _weighted_on_host(logits: Tensor, batch: LabelledBatch) -> Tensor:
    return F.cross_entropy(logits.float(), batch.targets, torch.ones(logits.shape[-1]))


PLANTED: dict[str, Planted] = {
    "bounds on the host": _bounds(lambda bounds: torch.empty(bounds.shape, dtype=bounds.dtype)),
    "bounds of 64 bits": _bounds(Tensor.long),
    "strided bounds": _bounds(lambda bounds: torch.stack([bounds, bounds], 1)[:, 0]),
    "single precision": _qkv(Tensor.float),
    "strided last dimension": _qkv(lambda qkv: qkv.transpose(2, 3).contiguous().transpose(2, 3)),
    "heads of 12": _qkv(lambda qkv: F.pad(qkv, (0, 4))),
    "heads of 264": _qkv(lambda qkv: F.pad(qkv, (0, 256))),
    "batch on the host": lambda: mock.patch.object(LabelledBatch, "to", lambda batch, device: batch),
    "rows by a mask": _loss(_by_mask),
    "item": _loss(_by_item),
    "length from the device": _loss(_by_length),
    "weights on the host": _loss(_weighted_on_host),
}
