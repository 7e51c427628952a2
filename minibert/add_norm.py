"""What follows every block of a layer: dropout, the residual sum, and the norm."""

import functools
import importlib.util
import logging
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minibert.dropout import Dropout
from minibert.shown import shown

logger = logging.getLogger(__name__)

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
        if self.training:
            branch = self.dropout(branch)
        x = F.layer_norm(residual + branch, self.normalized_shape, self.weight, self.bias, self.eps)
        return HiddenStates(x, x)


def can_fuse(residual: Tensor) -> bool:
    """Whether one kernel can do it all: on CUDA, where PyTorch brings Triton along on Linux."""
    return residual.device.type == "cuda" and residual.dtype in _FUSED_TYPES and _has_kernels(residual.device)


@functools.cache
@torch.no_grad()
def _has_kernels(device: torch.device) -> bool:
    """Whether Triton is there and can compile, for which it needs a C compiler and a folder to write to."""
    if importlib.util.find_spec("triton") is None or torch.cuda.get_device_capability(device) < (7, 0):
        return False
    try:
        # Triton is optional: it may be absent where there is no GPU.
        from minibert.kernels import dropout_add_norm

        x = torch.ones(1, 8, device=device)
        dropout_add_norm(x, x, x[0], x[0], p=0.0, eps=1e-5)
    except Exception as error:  # whatever Triton raises, PyTorch's operators do the same
        logger.warning("Triton's kernels cannot be used (%s); going on with PyTorch's operators.", shown(error))
        return False
    return True
