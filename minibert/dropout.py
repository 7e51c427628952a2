"""Dropout whose random numbers cost little on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def drop(x: Tensor, p: float) -> Tensor:
    """Sets each value to 0 with probability ``p`` and divides the others by ``1 - p`` (Srivastava et al. 2014).

    On a CPU, PyTorch draws a random number for each value in turn, which takes half as long as the forward pass of a
    small model. Here a draw of 64 bits serves four values, so ``p`` is rounded to 16 bits.
    """
    if x.device.type != "cpu" or p == 0:
        return F.dropout(x, p)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    end = min(max(round((1 - p) * 2**16) - 2**15, 1 - 2**15), 2**15 - 1)
    kept = draws[: x.numel()].clamp_(end - 1, end).sub_(end)  # all bits of a draw below `end`, none of the others
    scale = torch.tensor(1 / (1 - p), dtype=x.dtype)
    if x.element_size() == 2:
        mask = kept.bitwise_and_(scale.view(torch.int16)).view(x.dtype)
    else:
        mask = kept.to(x.dtype).mul_(-scale)
    return x * mask.view(x.shape)


class Dropout(nn.Dropout):
    """:func:`drop` in training, nothing in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return drop(x, self.p) if self.training else x
