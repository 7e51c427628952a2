"""The device and the number format of a run, and deterministic algorithms."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.utils.deterministic

from minibert.errors import InputError
from minibert.training.settings import PRECISIONS

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; ``auto`` is CUDA if available, else the CPU.

    A CUDA device with a number becomes the current one: pinned memory, and questions about bf16, belong to that one.

    Raises:
        InputError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device {name}: not a device; use auto, cpu, cuda or cuda:N.") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: minibert runs on cpu and cuda.")
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise InputError(f"--device {name}: no such CUDA device here; use --device cpu.")
    if device.type == "cuda":
        _fix_workspace_of_cublas()  # a deterministic run may come after others
        if device.index is not None:
            torch.cuda.set_device(device)
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Resolves ``auto``: bf16 if the device computes in it, else fp16 on CUDA and fp32 on the CPU.

    Raises:
        InputError: the device does not support the precision.
    """
    if name not in PRECISIONS:
        raise InputError(f"--precision {name}: use one of {', '.join(PRECISIONS)}.")
    cuda = device.type == "cuda"
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else _cpu_computes_bf16()
    if name == "auto":
        return "bf16" if has_bf16 else "fp16" if cuda else "fp32"
    if name == "bf16" and cuda and not has_bf16:
        raise InputError(f"--precision bf16: {torch.cuda.get_device_name(device)} has no bf16; use fp16 or auto.")
    if name == "fp16" and not cuda:
        raise InputError("--precision fp16 needs a CUDA device; on a CPU use bf16 or fp32.")
    return name


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context for a forward pass in ``precision`` (fp32, bf16 or fp16); weights stay fp32.

    Without a cache, weights are cast at each use, but for those of :class:`~minibert.linear.WeightCopies`. With one
    copy cast by autocast, the gradients of ALBERT's shared layers would add up in half precision.
    """
    half = precision != "fp32"
    return torch.autocast(device.type, dtype=DTYPES[precision if half else "bf16"], enabled=half, cache_enabled=False)


@contextlib.contextmanager
def determinism(on: bool) -> Iterator[None]:
    """Within the block, torch uses only deterministic algorithms, or raises; if not ``on``, it uses the fastest."""
    if on:
        _fix_workspace_of_cublas()
    options: Any = torch.utils.deterministic
    before, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fills = options.fill_uninitialized_memory
    torch.use_deterministic_algorithms(on)
    options.fill_uninitialized_memory = False  # a debugging aid that costs time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
        options.fill_uninitialized_memory = fills


def _fix_workspace_of_cublas() -> None:
    """Lets cuBLAS be deterministic. It reads this at its first product."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def cost_of_determinism(work: Callable[[], object], device: torch.device, *, repeats: int = 3) -> float:
    """How many times as long ``work`` takes under :func:`determinism`, by the fastest runs.

    Calls it ``2 (repeats + 1)`` times.
    """
    seconds = {True: float("inf"), False: float("inf")}
    for attempt in range(repeats + 1):
        for on in (False, True):
            with determinism(on):
                started = time.perf_counter()
                work()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
            if attempt:  # the first attempt is a warm-up
                seconds[on] = min(seconds[on], time.perf_counter() - started)
    return seconds[True] / seconds[False]


def _cpu_computes_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware; emulation is slower than fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
