"""Linear maps for inference on a CPU equal the plain ones, up to the roundings of what they are made of."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import largest_difference
from torch import nn

from minibert.cpu_linear import (
    FUSED,
    FbgemmLinear,
    MklLinear,
    OneDnnLinear,
    can_quantize,
    can_use_mkl,
    can_use_onednn,
    rounded_up,
)

needs_int8 = pytest.mark.skipif(not can_quantize(), reason="this PyTorch or this CPU has no linear maps in 8 bits")


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "relu"])
def test_onednns_equals_the_linear_and_its_activation(name: str) -> None:
    if not can_use_onednn(torch.float32):
        pytest.skip("this PyTorch has no fused linear maps of oneDNN")
    plain = {"gelu": F.gelu, "gelu_new": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu}[name]
    linear = nn.Linear(70, 33)
    for count in (0, 1, 20, 300):
        x = torch.randn(count, 70)
        with torch.no_grad():
            torch.testing.assert_close(OneDnnLinear(linear.weight, linear.bias)(x), linear(x), rtol=0, atol=1e-5)
            fused = OneDnnLinear(linear.weight, linear.bias, *FUSED[name])(x)
            torch.testing.assert_close(fused, plain(linear(x)), rtol=0, atol=1e-5)


@pytest.mark.skipif(not can_use_mkl(), reason="this PyTorch has no packed linear maps of MKL")
@pytest.mark.parametrize(("width", "outputs"), [(70, 33), (384, 1536), (1536, 384)])
@torch.no_grad()
def test_mkls_equals_the_linear_for_any_number_of_rows(width: int, outputs: int) -> None:
    linear = nn.Linear(width, outputs)
    packed = MklLinear(linear.weight, linear.bias)
    for count in (*range(70), 127, 500, 1030):
        x = torch.randn(count, width)
        torch.testing.assert_close(packed(x), linear(x), rtol=0, atol=1e-5)


def test_round_numbers_are_few_and_near() -> None:
    rounded = [rounded_up(count) for count in range(1, 5000)]
    assert all(0 <= number / count - 1 < 1 / 16 for count, number in enumerate(rounded, 1))
    assert all(number / count - 1 < 1 / 32 for count, number in enumerate(rounded, 1) if count >= 1024)
    assert [rounded_up(number) for number in rounded] == rounded
    assert len(set(rounded)) < 200


# -- 8 bits ----------------------------------------------------------------------------------------------------------


@needs_int8
@pytest.mark.parametrize("lowest", [-3.0, 0.5])
@pytest.mark.parametrize("seven_bits", [False, True])
@torch.no_grad()
def test_an_int8_linear_errs_no_more_than_its_roundings(seven_bits: bool, lowest: float) -> None:
    """What is rounded is off by half a step at most, weights and inputs."""
    if not seven_bits and not torch.cpu._is_vnni_supported():
        pytest.skip("this CPU has no VNNI")
    linear = nn.Linear(48, 24)
    linear.weight[3] = 0
    packed = FbgemmLinear(linear.weight, linear.bias)
    packed.seven_bits = seven_bits
    x = torch.rand(7, 48) * 4 + lowest
    assert_errs_no_more_than_its_roundings(linear, packed, x, steps=126 if seven_bits else 254)


def assert_errs_no_more_than_its_roundings(
    linear: nn.Linear, packed: FbgemmLinear, x: torch.Tensor, steps: int
) -> None:
    step_of_weights = linear.weight.abs().amax(1) / 127  # (C',)
    step_of_inputs = (max(float(x.max()), 0) - min(float(x.min()), 0)) / steps
    off_weights = x.abs().sum(1)[:, None] * step_of_weights / 2
    off_inputs = (linear.weight.abs() + step_of_weights[:, None] / 2).sum(1) * step_of_inputs / 2
    ours, exact = packed(x), linear(x)
    assert ((ours - exact).abs() <= off_weights + off_inputs + 1e-4).all()
    assert largest_difference(ours, exact) > 0


_WITHOUT_VNNI = """
import torch
torch.cpu._is_vnni_supported = lambda: False
from torch import nn
from minibert.cpu_linear import FbgemmLinear
from test_cpu_linear import assert_errs_no_more_than_its_roundings
with torch.no_grad():
    linear = nn.Linear(48, 24)
    linear.weight.abs_()  # large sums of two products
    packed = FbgemmLinear(linear.weight, linear.bias)
    assert_errs_no_more_than_its_roundings(linear, packed, 3 + torch.rand(7, 48), steps=126)
"""


@needs_int8
@pytest.mark.slow
def test_sums_do_not_overflow_without_vnni() -> None:
    """FBGEMM adds two products in 16 bits there, which 8 bits by 8 bits overflow."""
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests.parent), str(tests), str(tests / "minibert"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", _WITHOUT_VNNI], env=environment, check=True)
