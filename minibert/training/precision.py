"""Which device and which number format a run uses."""

import torch

from minibert.errors import InputError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU.

    Raises:
        InputError: the device asked for is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device {name}: not a device; use auto, cpu, cuda or cuda:N.") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: minibert runs on cpu and cuda.")
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise InputError(f"--device {name}: no such CUDA device here; use --device cpu.")
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Settles ``auto``: bf16 where the device computes in it, else fp16 on CUDA and fp32 on the CPU.

    Raises:
        InputError: the precision asked for cannot be had on this device.
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
    """The context in which a forward pass in ``precision`` (fp32, bf16 or fp16) runs; weights stay fp32."""
    dtype = _DTYPES.get(precision)
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def _cpu_computes_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware; emulation would be slower than fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
