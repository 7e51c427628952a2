"""What is asked of CUDA alone, each with what stands for it on a CPU, so that all else can be tried there."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.profiler import ProfilerActivity


@contextlib.contextmanager
def no_synchronisation(device: torch.device) -> Iterator[None]:
    """Within the block, PyTorch raises where the host would wait for the device. A CPU has nothing to wait for."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def synchronize(device: torch.device) -> None:
    """Waits for all that was launched."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Limit:
    """A memory in which a batch of ``sequences`` fits, and one of twice as many does not.

    On CUDA the allocator is limited to ``num_bytes``; on a CPU :meth:`take` raises what an allocator would.
    """

    def __init__(self, device: torch.device, *, num_bytes: int, sequences: int) -> None:
        self._device, self._num_bytes, self._sequences = device, num_bytes, sequences

    def __enter__(self) -> "Limit":
        self._set(self._num_bytes)
        return self

    def __exit__(self, *_: object) -> None:
        self._set(None)

    def take(self, sequences: int) -> None:
        """Asks for the memory of a batch."""
        if self._device.type != "cuda" and sequences > self._sequences:
            raise MemoryError

    def _set(self, num_bytes: int | None) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            total = torch.cuda.get_device_properties(self._device).total_memory
            torch.cuda.set_per_process_memory_fraction(1.0 if num_bytes is None else num_bytes / total)


def reserved_by(work: Any, device: torch.device) -> int:
    """The peak memory in bytes that the allocator holds during ``work``; 0 on a CPU."""
    if device.type != "cuda":
        work()
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return torch.cuda.max_memory_reserved(device)


def activities(device: torch.device) -> list[ProfilerActivity]:
    """What a profiler records."""
    return [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])


class Moment:
    """A point in the work of the device: that of its stream on CUDA, that of the clock on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._event = torch.cuda.Event(enable_timing=True) if device.type == "cuda" else None
        if self._event is not None:
            self._event.record()
        self._time = time.perf_counter()

    def milliseconds_to(self, later: "Moment") -> float:
        """Call this after :func:`synchronize`."""
        if self._event is None or later._event is None:
            return 1000 * (later._time - self._time)
        return float(self._event.elapsed_time(later._event))
