"""What makes a PyTorch for CPUs believe in a CUDA device: a device guard and hooks that do nothing, in C++.

PyTorch asks for its CUDA hooks once, when it is imported, so :func:`load_guard` must come before that.
"""

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_SOURCE = """
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace {

constexpr auto kCUDA = c10::DeviceType::CUDA;

struct FakeGuard final : c10::impl::NoOpDeviceGuardImpl<kCUDA> {
  c10::Device getDevice() const override { return {kCUDA, 0}; }
  c10::Device exchangeDevice(c10::Device) const override { return getDevice(); }
  c10::Stream getStream(c10::Device device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  c10::Stream getDefaultStream(c10::Device device) const override { return getStream(device); }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override { return stream; }
};

struct FakeHooks final : at::CUDAHooksInterface {
  explicit FakeHooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  int getNumGPUs() const override { return 1; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex current_device() const override { return 0; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
};

}  // namespace

C10_REGISTER_GUARD_IMPL(CUDA, FakeGuard);
namespace at {
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, FakeHooks);
}
"""


class Unavailable(Exception):
    """CUDA cannot be traced here; the message says why."""


def load_guard() -> None:
    """Loads the guard and the hooks, compiled at the first time (seconds) and kept in the folder for temporary files.

    Raises:
        Unavailable: there is no g++, or this PyTorch is another one than the source above is for.
    """
    assert "torch" not in sys.modules, "PyTorch has asked for its CUDA hooks already"
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    torch = Path(spec.origin).parent
    libraries = [torch / "lib" / name for name in ("libc10.so", "libtorch_cpu.so")]
    if not all(map(Path.exists, libraries)) or (torch / "lib" / "libtorch_cuda.so").exists():
        raise Unavailable("this PyTorch is no build for CPUs alone, on Linux")
    for library in libraries:
        ctypes.CDLL(str(library))
    key = hashlib.sha256(f"{torch} {importlib.metadata.version('torch')} {_SOURCE}".encode()).hexdigest()[:16]
    compiled = _own_folder() / f"{key}.so"
    if not compiled.exists():
        _compile(torch, compiled)
    try:
        ctypes.CDLL(str(compiled))
    except OSError as error:
        raise Unavailable(f"what g++ has compiled does not fit this PyTorch: {error}") from error


def _own_folder() -> Path:
    """A folder that nobody else can write to, for a library that is loaded."""
    folder = Path(tempfile.gettempdir()) / f"minibert-fake-cuda-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise Unavailable(f"{folder} belongs to another user")
    return folder


def _compile(torch: Path, target: Path) -> None:
    if shutil.which("g++") is None:
        raise Unavailable("there is no g++")
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    command = [
        "g++", "-std=c++20", "-shared", "-fPIC", "-O0", f"-I{torch}/include", f"-L{torch}/lib", "-xc++", "-",
        "-ltorch_cpu", "-lc10", "-o", str(unfinished),
    ]  # fmt: skip
    done = subprocess.run(command, input=_SOURCE, text=True, capture_output=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error:" in line]
        raise Unavailable(f"g++ cannot compile against this PyTorch: {errors[:1] or done.stderr[-300:]}")
    unfinished.replace(target)
