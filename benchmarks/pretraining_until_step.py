"""``python -m tasks.pretraining``, which reports some steps and exits; see :mod:`benchmarks.corpus_growth`."""

import sys
import time
from collections.abc import Sequence

import torch

from minibert.training.step import OptimizerStep, StepResult
from tasks import registry
from tasks.run.folder import peak_memory

STEPS = 20

_step = OptimizerStep.__call__
_ends: list[float] = []
_tokens: list[int] = []


def _reported_step(step: OptimizerStep, indices: Sequence[int]) -> StepResult:
    result = _step(step, indices)
    result.loss_and_norm.tolist()  # waits for the device
    _ends.append(time.perf_counter())
    _tokens.append(result.num_tokens)
    if len(_ends) == 1:
        print("step 1:", peak_memory(torch.device("cpu")), flush=True)
    if len(_ends) == STEPS:
        rate = sum(_tokens[1:]) / (_ends[-1] - _ends[0])
        print(f"step {STEPS}:", peak_memory(torch.device("cpu")), rate, flush=True)
        sys.exit()
    return result


if __name__ == "__main__":
    OptimizerStep.__call__ = _reported_step  # type: ignore[assignment, method-assign]
    registry.run("pretraining")
