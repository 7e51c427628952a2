"""What follows every block of a layer: dropout, the residual sum, and the norm."""

import importlib.util
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minibert.dropout import Dropout

_FUSED_TYPES = (torch.float32, torch.bfloat16, torch.float16)


class HiddenStates(NamedTuple):
    """Hidden states ``(T, C)``, twice.

    Attributes:
        full: for the residual sum.
        rounded: for matrix products; in half precision where these are, so that no product casts them again.
    """

    full: Tensor
    rounded: Tensor


class AddNorm(nn.LayerNorm):
    """``norm(residual + dropout(branch))``: "Add & Norm" of Vaswani et al. 2017, ``(T, C)`` -> ``(T, C)``.

    Args:
        width: C.
        eps: of the norm.
        dropout: the probability of dropping a value of the branch in training.
    """

    def __init__(self, width: int, *, eps: float, dropout: float) -> None:
        super().__init__(width, eps=eps)
        self.dropout = Dropout(dropout)

    def add(self, branch: Tensor, residual: Tensor) -> HiddenStates:
        if can_fuse(residual):
            # Triton is optional: it may be absent where there is no GPU.
            from minibert.kernels import dropout_add_norm

            dropout = self.dropout.p if self.training else 0.0
            return HiddenStates(*dropout_add_norm(branch, residual, self.weight, self.bias, dropout, self.eps))
        x = self(residual + self.dropout(branch))
        return HiddenStates(x, x)


def can_fuse(residual: Tensor) -> bool:
    """Whether one kernel can do it all: on CUDA, where PyTorch brings Triton along on Linux."""
    return (
        residual.device.type == "cuda"
        and residual.dtype in _FUSED_TYPES
        and importlib.util.find_spec("triton") is not None
        and torch.cuda.get_device_capability(residual.device) >= (7, 0)
    )
