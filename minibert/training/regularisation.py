"""Regularisation: averaged weights (EMA), adversarial embeddings (FGM), and the divergence of R-Drop."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from minibert.training.data import IGNORE_INDEX, LabelledBatch


class Ema:
    """An exponential moving average of a model's parameters, in their own precision.

    After step t the average a becomes ``d a + (1 - d) p`` with ``d = min(decay, (1 + t) / (10 + t))``, as in
    TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``, so that the initial weights do not dominate a short
    run.

    Attributes:
        weights: the average, by parameter name.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._parameters = [parameter.detach() for parameter in model.parameters()]
        self._decay = decay
        self.weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    def update(self, step: int) -> None:
        """Includes the parameters after optimizer step ``step``, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.weights.values()), self._parameters, 1 - decay)


@contextlib.contextmanager
def swapped_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the block, the model computes with (and saves) ``weights``: by parameter name, on its device."""
    own = {name: parameter.data for name, parameter in model.named_parameters()}
    try:
        for name, parameter in model.named_parameters():
            parameter.data = weights[name]
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.data = own[name]


@contextlib.contextmanager
def adversarial_embeddings(weight: Tensor, distance: float) -> Iterator[None]:
    """Within the block, ``weight`` is moved by ``distance`` along its gradient: the fast gradient method (FGM).

    Adds ``distance * g / |g|`` over the whole table (Miyato et al. 2017, equation 5), and restores the exact values
    afterwards.
    """
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            if weight.grad is not None:
                weight.add_(weight.grad * (distance / weight.grad.norm().clamp_min(torch.finfo(weight.dtype).tiny)))
        yield
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def class_divergence(first: Tensor, second: Tensor, batch: LabelledBatch) -> Tensor:
    """The R-Drop term of classification heads, summed over the targets, in fp32: :func:`divergence_of_rows` between the
    predictions of two passes.

    Args:
        first, second: logits ``(N, K)`` of two passes over the batch, or scores ``(B,)`` of its examples' choices.
        batch: rows whose target is ``IGNORE_INDEX`` among its targets ``(N,)`` do not count.
    """
    by_row = divergence_of_rows(batch.by_example(first), batch.by_example(second))
    return by_row.where(batch.targets != IGNORE_INDEX, 0.0).sum()  # selecting rows would wait for a GPU


def divergence_of_rows(first: Tensor, second: Tensor) -> Tensor:
    """``(KL(p || q) + KL(q || p)) / 2`` of the distributions of logits ``(..., K)`` (Wu et al. 2021, equation 2):
    ``(...)``."""
    p, q = first.log_softmax(-1), second.log_softmax(-1)
    return ((p.exp() - q.exp()) * (p - q)).sum(-1) / 2
