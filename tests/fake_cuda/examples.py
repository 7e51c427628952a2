"""What is traced: a task with its examples for each head, and the smallest models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from conftest import tiny_config
from torch import nn

from benchmarks.gpu.heads import HEADS, Head
from minibert import EncoderConfig

LENGTHS = (3, 5, 4, 6)
_SMALLEST = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


def workload(head: str, lengths: Sequence[int] = LENGTHS) -> Head:
    """Of a head by its name in :data:`HEADS`, over sequences of these lengths, with values, on the host."""
    random = np.random.default_rng(0)
    return HEADS[head]([random.integers(5, 90, length, dtype=np.int32) for length in lengths])


def without_values(head: Head, config: EncoderConfig) -> nn.Module:
    """Its model, on the meta device."""
    with torch.device("meta"):
        return head.model(config)


def smallest(family: str, **changes: Any) -> EncoderConfig:
    """Two layers; ALBERT's is one that is applied twice."""
    groups = {"num_hidden_groups": 1, "inner_group_num": 1} if family == "albert" else {}
    return tiny_config(family, **{**_SMALLEST, **groups, **changes})
