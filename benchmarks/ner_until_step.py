"""``python -m tasks.ner``, which reports its first optimizer step and exits; see :mod:`benchmarks.first_step`."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from minibert.training.step import OptimizerStep
from tasks import registry

_step = OptimizerStep.__call__


def _one_step(step: OptimizerStep, indices: Sequence[int]) -> NoReturn:
    loss, _ = _step(step, indices).loss_and_norm.tolist()
    print(f"step 1: loss {loss:.4f}", flush=True)
    sys.exit()


if __name__ == "__main__":
    OptimizerStep.__call__ = _one_step  # type: ignore[assignment, method-assign]
    registry.run("ner")
