"""Dropout whose random numbers cost little on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


def drop(x: Tensor, p: float) -> Tensor:
    """Sets each value to 0 with probability ``p`` and divides the others by ``1 - p`` (Srivastava et al. 2014).

    On a CPU, PyTorch draws a number for each value, one after the other, which in a small model takes as long as half
    of its forward pass. Here a draw of 64 bits serves as many values as fit into it, so that ``p`` is rounded to 15
    bits in half precision.
    """
    if x.device.type != "cpu" or p == 0:
        return F.dropout(x, p)
    size = x.element_size()
    bits = 8 * size - 1
    draws = torch.empty(-(-x.numel() * size // 8), dtype=torch.int64).random_()
    kept = draws.view(_INTEGERS[size])[: x.numel()]
    # Below p the difference is negative: its sign, spread over all bits, makes the factor 0, and else the scale.
    scale = torch.tensor(1 / (1 - p), dtype=x.dtype).view(_INTEGERS[size])
    kept.bitwise_and_(2**bits - 1).sub_(min(round(p * 2**bits), 2**bits - 1))
    kept.bitwise_right_shift_(bits).bitwise_not_().bitwise_and_(scale)
    return x * kept.view(x.dtype).view(x.shape)


class Dropout(nn.Dropout):
    """:func:`drop` in training, nothing in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return drop(x, self.p) if self.training else x
