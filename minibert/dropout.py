"""Dropout whose random numbers cost little on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_INT_OF_SIZE = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # in bytes


def drop(x: Tensor, p: float) -> Tensor:
    """Sets each value to 0 with probability ``p`` and divides the others by ``1 - p`` (Srivastava et al. 2014).

    On a CPU, PyTorch draws a random number for each value in turn, which takes half as long as the forward pass of a
    small model. Here a draw of 64 bits serves as many values as fit into it, so in half precision ``p`` is rounded to
    15 bits.
    """
    if x.device.type != "cpu" or p == 0:
        return F.dropout(x, p)
    size = x.element_size()
    bits = 8 * size - 1
    draws = torch.empty(-(-x.numel() * size // 8), dtype=torch.int64).random_()
    kept = draws.view(_INT_OF_SIZE[size])[: x.numel()]
    # A draw below p makes the difference negative; its sign bit, spread over all bits, masks the scale to 0.
    scale = torch.tensor(1 / (1 - p), dtype=x.dtype).view(_INT_OF_SIZE[size])
    kept.bitwise_and_(2**bits - 1).sub_(min(round(p * 2**bits), 2**bits - 1))
    kept.bitwise_right_shift_(bits).bitwise_not_().bitwise_and_(scale)
    return x * kept.view(x.dtype).view(x.shape)


class Dropout(nn.Dropout):
    """:func:`drop` in training, nothing in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return drop(x, self.p) if self.training else x
