"""Timing: several workloads in turn, and the machine's peak rates of matrix products and of reading memory."""

import time
from collections.abc import Callable, Mapping

import torch

Work = Callable[[], object]

_SHAPES = ((2048, 768, 3072), (2048, 3072, 768), (2048, 2048, 2048))  # rows, inner, columns; four times that on CUDA
_READ_SHAPE = (16384, 16384)  # 1 GiB in fp32: more than any cache
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
    """The peak rate of matrix products on the device, in operations per second: the best of several shapes and runs.

    Args:
        dtype: of the factors; int8 is added up in 32 bits, on a CPU.
    """
    scale = 4 if device.type == "cuda" else 1
    best = 0.0
    for rows, inner, columns in _SHAPES:
        for work in _products(scale * rows, scale * inner, scale * columns, device, dtype):
            fastest = min(timed(work, device) for _ in range(_REPEATS))
            best = max(best, 2.0 * scale**3 * rows * inner * columns / fastest)
    return best


def _products(rows: int, inner: int, columns: int, device: torch.device, dtype: torch.dtype) -> tuple[Work, Work]:
    """Matrix products of ``(rows, inner)`` with a transposed and with a plain factor."""
    if dtype == torch.int8:
        x, weight = (torch.randint(-127, 128, (size, inner), dtype=dtype) for size in (rows, columns))
        other = weight.t().contiguous()
        return lambda: torch._int_mm(x, weight.t()), lambda: torch._int_mm(x, other)
    x, weight = (torch.randn(size, inner, device=device, dtype=dtype) for size in (rows, columns))
    bias = torch.randn(columns, device=device, dtype=dtype)
    other = weight.t().contiguous()
    return lambda: torch.nn.functional.linear(x, weight, bias), lambda: torch.mm(x, other)


def read_rate(device: torch.device) -> float:
    """The peak rate of reading memory with all threads, in bytes per second: the best of several runs of the sum of a
    matrix, and of its product with a vector."""
    matrix, vector = torch.ones(_READ_SHAPE, device=device), torch.ones(_READ_SHAPE[1], device=device)
    works: tuple[Work, Work] = (matrix.sum, lambda: torch.mv(matrix, vector))
    fastest = min(timed(work, device) for work in works for _ in range(_REPEATS))
    return matrix.nbytes / fastest
