"""The contenders of a comparison, and the check that all compute the same before any of them is timed."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.clock import Work
from benchmarks.workload import Ids

# Largest difference from the fp32 reference, in units of its root mean square.
_FP32_TOLERANCE = 1e-5
_HALF_FACTOR = 3.0  # relative to the baseline's own error, in half precision


class Unavailable(Exception):
    """A contender cannot run here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A contender in inference.

    Attributes:
        name: in tables.
        compute: a batch's sequences -> logits, ``(T, num_labels)``, or padded ``(B, S, num_labels)``.
        sorts: whether its batches are made from all sequences sorted by length.
        exact: whether it computes the same up to rounding; quantised ones do not.
    """

    name: str
    compute: Callable[[Sequence[Ids]], Tensor]
    sorts: bool = False
    exact: bool = True

    def one_pass(self, batches: Sequence[Sequence[Ids]]) -> Work:
        """The work of computing all batches once."""

        def run() -> None:
            for batch in batches:
                self.compute(batch)

        return run


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A contender in training.

    Attributes:
        name: in tables.
        train: one pass over the workload's batches, with an optimizer step for each.
        gradients: of the mean loss of the first batch without dropout, under Hugging Face's names.
    """

    name: str
    train: Callable[[], None]
    gradients: Callable[[], Mapping[str, Tensor]]


def real_logits(logits: Tensor, sequences: Sequence[Ids]) -> Tensor:
    """The logits of real tokens, ``(T, num_labels)``, in fp32 on the CPU."""
    if logits.ndim == 3:
        logits = torch.cat([row[: len(sequence)] for row, sequence in zip(logits, sequences, strict=True)])
    return logits.float().cpu()


def logit_errors(reference: Predictor, predictors: Sequence[Predictor], sequences: Sequence[Ids]) -> dict[str, float]:
    """The largest difference of each one's logits from the reference's, relative to its root mean square."""
    expected = real_logits(reference.compute(sequences), sequences)
    scale = expected.square().mean().sqrt()
    return {
        predictor.name: float((real_logits(predictor.compute(sequences), sequences) - expected).abs().max() / scale)
        for predictor in predictors
    }


def gradient_errors(reference: Trainer, trainers: Sequence[Trainer]) -> dict[str, float]:
    """The norm of the difference of each one's gradient from the reference's, relative to its norm."""
    expected = {name: gradient.float().cpu() for name, gradient in reference.gradients().items()}
    norm = torch.stack([gradient.square().sum() for gradient in expected.values()]).sum().sqrt()
    errors = {}
    for trainer in trainers:
        found = trainer.gradients()
        if found.keys() != expected.keys():
            sys.exit(f"{trainer.name} trains different parameters: {sorted(found.keys() ^ expected.keys())}.")
        squares = [(found[name].float().cpu() - expected[name]).square().sum() for name in expected]
        errors[trainer.name] = float(torch.stack(squares).sum().sqrt() / norm)
    return errors


def require_agreement(errors: Mapping[str, float], *, yardstick: str, precision: str, inexact: Sequence[str]) -> None:
    """Exits with status 1 if an error is too large.

    In fp32 all must agree with the reference. In half precision an error may be at most three times that of
    ``yardstick``, the usual implementation (the rule of flash-attention's tests).
    """
    limit = _FP32_TOLERANCE if precision == "fp32" else _HALF_FACTOR * errors[yardstick]
    for name, error in errors.items():
        if name not in inexact and not error <= limit:
            sys.exit(
                f"{name} does not compute the same: its error is {error:.2g}, the limit is {limit:.2g}. "
                "Nothing was timed."
            )
