"""``python -m tasks.TASK``, which reports its first step and another one, and exits there.

    python -m benchmarks.until_step TASK STEPS [OPTIONS OF THE TASK]

What it prints is read by :func:`benchmarks.steps.measured`.
"""

import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.steps import report
from minibert.training.step import OptimizerStep, StepResult
from tasks import registry

_step = OptimizerStep.__call__
_ends: list[float] = []
_tokens: list[int] = []


def _until(steps: int) -> Any:
    def reported_step(step: OptimizerStep, indices: Sequence[int]) -> StepResult:
        result = _step(step, indices)
        loss, _ = result.loss_and_norm.tolist()  # waits for the device
        _ends.append(time.perf_counter())
        _tokens.append(result.num_tokens)
        if len(_ends) in (1, steps):
            rate = sum(_tokens[1:]) / (_ends[-1] - _ends[0]) if len(_ends) > 1 else 0
            report(len(_ends), loss=loss, tokens_per_second=rate)
        if len(_ends) == steps:
            sys.exit()
        return result

    return reported_step


if __name__ == "__main__":
    task, num_steps = sys.argv[1:3]
    del sys.argv[1:3]
    OptimizerStep.__call__ = _until(int(num_steps))  # type: ignore[method-assign]
    registry.run(task)
