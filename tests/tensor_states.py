"""Tensors by name, taken from a module and compared bit by bit."""

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


def state_of(model: torch.nn.Module) -> Tensors:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(ours: Tensors, theirs: Tensors) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
