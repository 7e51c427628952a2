"""Timing: several workloads in turn, and the machine's peak rate of matrix products."""

import time
from collections.abc import Callable, Mapping

import torch

Work = Callable[[], object]

_SHAPES = ((2048, 768, 3072), (2048, 3072, 768), (2048, 2048, 2048))  # rows, inner, columns; four times that on CUDA
_REPEATS = 5


def timed(work: Work, device: torch.device) -> float:
    """Seconds that ``work`` takes on the device."""
    if device.type != "cuda":
        started = time.perf_counter()
        work()
        return time.perf_counter() - started
    with torch.cuda.device(device):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        work()
        end.record()
        end.synchronize()
    return start.elapsed_time(end) / 1000


def in_turns(works: Mapping[str, Work], *, rounds: int, device: torch.device) -> dict[str, list[float]]:
    """The seconds of each work in each round, after one warm-up round.

    Each round runs all works, starting with another one each time, so that a temporary slowdown of the machine affects
    all of them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken = timed(works[name], device)
            if number:
                seconds[name].append(taken)
    return seconds


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """The peak rate of matrix products on the device, in operations per second: the best of several shapes and runs."""
    scale = 4 if device.type == "cuda" else 1
    best = 0.0
    for rows, inner, columns in _SHAPES:
        x = torch.randn(scale * rows, scale * inner, device=device, dtype=dtype)
        weight = torch.randn(scale * columns, scale * inner, device=device, dtype=dtype)
        bias = torch.randn(scale * columns, device=device, dtype=dtype)
        other = weight.t().contiguous()
        for work in (lambda: torch.nn.functional.linear(x, weight, bias), lambda: torch.mm(x, other)):  # noqa: B023
            fastest = min(timed(work, device) for _ in range(_REPEATS))
            best = max(best, 2.0 * scale**3 * rows * inner * columns / fastest)
    return best
