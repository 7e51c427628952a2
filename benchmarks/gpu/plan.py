"""The sizes of what is run, by device, and the models and batches made of them."""

import argparse
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.workload import Workload, read_workload

# Sequences as long as uncut sentences: 50 tokens on average, up to 512.
UNCUT = "lognormal:36,0.8"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is done: each is a size of :mod:`benchmarks.workload`, or a number.

    Attributes:
        small, base, large: BERT's sizes in checks, in training and in inference.
        albert: the size whose memory is measured.
        checked: sequences of a batch whose numbers are checked.
        batches: in a measured pass over batches of 32.
        long: the most tokens of a sequence.
        tokens: in a large batch, of which a pass has ``large_batches``.
        repeats: timed passes.
        passes: with dropout, whose mean is taken.
        steps: of a run that is repeated.
        rows, widths: of hidden states in the fused kernels.
        filling: sequences of ``long`` tokens in a batch that fills the memory.
    """

    small: str
    base: str
    large: str
    albert: str
    checked: int
    batches: int
    long: int
    tokens: int
    large_batches: int
    repeats: int
    passes: int
    steps: int
    filling: int
    rows: int
    widths: tuple[int, ...]


SIZES = {
    "cuda": Sizes(
        small="tiny", base="base", large="large", albert="xxlarge", checked=32, batches=16, long=512, tokens=16_384,
        large_batches=6, repeats=5, passes=400, steps=20, filling=64,
        rows=8192, widths=(128, 312, 768, 1024, 4096),
    ),
    "cpu": Sizes(
        small="trial", base="trial", large="trial", albert="trial", checked=4, batches=2, long=24, tokens=256,
        large_batches=2, repeats=2, passes=100, steps=20, filling=4,
        rows=16, widths=(160,),
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where and on what a stage runs.

    Attributes:
        device: CUDA, or the CPU, on which every line can be tried.
        lengths: of sentences: a value of ``--lengths`` of :func:`benchmarks.workload.read_lengths`.
    """

    device: torch.device
    lengths: str = UNCUT

    @property
    def sizes(self) -> Sizes:
        return SIZES[self.device.type]

    def workload(self, size: str, **changes: Any) -> Workload:
        """Sentences for a BERT of a size, in bf16 and batches of 32 unless other options are given."""
        options = {
            "device": str(self.device), "arch": "bert", "size": size, "precision": "bf16", "lengths": self.lengths,
            "sequences": 32, "batch": 32, "batch_tokens": None, "seed": 0, **changes,
        }  # fmt: skip
        return read_workload(argparse.Namespace(**options))
