"""The fused kernels, run on the CPU by Triton's interpreter (``conftest.py`` asks for it), and compiled for GPUs."""

import copy
import json
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from conftest import ENVIRONMENT, FAMILIES, scramble
from torch import Tensor, nn
from training_runs import CPU, collate, loss, ragged_items, tiny_model

from minibert import add_norm
from minibert.linear import WeightCopies
from minibert.training import autocast

triton = pytest.importorskip("triton", reason="Triton, which PyTorch for CUDA brings along, is not installed")

from minibert import kernels  # noqa: E402  (it needs Triton)

HALVES = (torch.bfloat16, torch.float16)
NAMES = ("branch", "residual", "weight", "bias")


def inputs(count: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    """branch, residual, weight and bias."""
    torch.manual_seed(count)
    given = [torch.randn(count, width).to(dtype), torch.randn(count, width), torch.randn(width), torch.randn(width)]
    return [x.requires_grad_() for x in given]


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize(("count", "width"), [(1, 24), (7, 48), (33, 128)])
def test_result_and_gradients_are_those_of_the_formula_in_fp64(count: int, width: int, dtype: torch.dtype) -> None:
    given = inputs(count, width, dtype)
    full, rounded = kernels.dropout_add_norm(*given, p=0.0, eps=1e-12)
    branch, residual, weight, bias = (x.detach().double().requires_grad_() for x in given)
    expected = F.layer_norm(residual + branch, (width,), weight, bias, eps=1e-12)
    assert full.dtype == torch.float32
    assert rounded.dtype == dtype
    assert torch.allclose(full.double(), expected, rtol=0, atol=1e-5)
    if dtype != torch.bfloat16:  # to which the interpreter cuts, where a GPU rounds
        assert torch.equal(rounded, full.to(dtype))
    assert torch.allclose(rounded.float(), full, rtol=torch.finfo(dtype).eps, atol=0)

    upstream = torch.randn(count, width), torch.randn(count, width).to(dtype)
    torch.autograd.backward((full, rounded), upstream)
    expected.backward(upstream[0].double() + upstream[1].double())
    for name, ours, exact in zip(NAMES, given, (branch, residual, weight, bias), strict=True):
        assert ours.grad is not None
        assert ours.grad.dtype == ours.dtype
        assert exact.grad is not None
        largest = float(exact.grad.abs().max())
        tolerance = largest * (1e-5 if ours.dtype == torch.float32 else torch.finfo(dtype).eps)
        assert torch.allclose(ours.grad.double(), exact.grad, rtol=0, atol=tolerance), name


@pytest.mark.parametrize("which", ["full", "rounded"])
def test_a_gradient_of_one_of_the_two_results_is_enough(which: str) -> None:
    """The last layer's result goes into no product, and a product's may be all that counts."""
    given = inputs(5, 16, torch.bfloat16)
    full, rounded = kernels.dropout_add_norm(*given, p=0.0, eps=1e-5)
    (full if which == "full" else rounded).sum().backward()
    branch, residual, weight, bias = (x.detach().double().requires_grad_() for x in given)
    F.layer_norm(residual + branch, (16,), weight, bias, eps=1e-5).sum().backward()
    assert given[1].grad is not None
    assert residual.grad is not None
    assert torch.allclose(given[1].grad.double(), residual.grad, atol=1e-5)


def test_without_gradients_nothing_is_kept() -> None:
    given = [x.detach() for x in inputs(5, 16, torch.bfloat16)]
    halves = [x.to(torch.float16) for x in given]
    full, rounded = kernels.dropout_add_norm(*halves, p=0.0, eps=1e-5)
    assert full is rounded
    expected = F.layer_norm(halves[1].float() + halves[0].float(), (16,), halves[2].float(), halves[3].float(), 1e-5)
    assert torch.allclose(full.float(), expected, rtol=2**-11, atol=1e-5)


def dropped(p: float) -> tuple[Tensor, Tensor]:
    """What remains of ones, and their gradients where that of each result is random: ``(64, 400)`` each."""
    branch = torch.ones(64, 400, requires_grad=True)
    residual = torch.zeros(64, 400, requires_grad=True)
    full, _ = kernels.dropout_add_norm(branch, residual, torch.ones(400), torch.zeros(400), p=p, eps=1e-12)
    full.backward(torch.randn(64, 400))
    assert branch.grad is not None
    assert residual.grad is not None
    return full > full.mean(1, keepdim=True), branch.grad / residual.grad


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_drops_by_chance_and_scales_the_rest(p: float) -> None:
    torch.manual_seed(0)
    kept, factors = dropped(p)
    assert torch.allclose(factors, kept / (1 - p), rtol=1e-4)  # the same values in the gradient
    deviation = (p * (1 - p) / kept.numel()) ** 0.5
    assert abs(float(kept.float().mean()) - (1 - p)) < 4 * deviation
    # Nor does one value, row or draw tell of another.
    centred = kept.double() - (1 - p)
    for shift, axis in ((1, 0), (1, 1), (2, 1), (8, 1), (32, 1)):
        product = (centred * centred.roll(shift, axis)).mean() / (p * (1 - p))
        assert abs(float(product)) < 4 / kept.numel() ** 0.5, (shift, axis)


@pytest.mark.slow
def test_dropout_follows_the_seed() -> None:
    torch.manual_seed(0)
    first, second = dropped(0.5)[0], dropped(0.5)[0]
    torch.manual_seed(0)
    assert torch.equal(dropped(0.5)[0], first)
    assert 0.4 < float((first == second).float().mean()) < 0.6


def gradients(model: nn.Module, *, double: bool = False) -> dict[str, Tensor]:
    """Of a batch, in fp16 unless ``double``."""
    model = copy.deepcopy(model).double() if double else copy.deepcopy(model)
    batch = collate(ragged_items(10))
    if double:
        loss(model, batch).backward()
    else:
        with WeightCopies(model, torch.float16).used():
            with autocast(CPU, "fp16"):
                value = loss(model, batch)
            value.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_models_gradients_are_as_near_to_the_exact_ones(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with PyTorch's own operators: errors of fp16 against fp64, over all parameters."""
    model = tiny_model(family=family)
    scramble(model)
    exact, theirs = gradients(model, double=True), gradients(model)
    monkeypatch.setattr(add_norm, "can_fuse", lambda residual: True)
    ours = gradients(model)
    assert ours.keys() == theirs.keys() == exact.keys()
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)

    def error(given: dict[str, Tensor]) -> float:
        return sum(float(((given[name] - exact[name]).norm() / exact[name].norm()) ** 2) for name in exact) ** 0.5

    assert 0 < error(ours) <= 1.05 * error(theirs)


COMPILE = """
import json
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from minibert import kernels

CONSTANTS = {"BLOCK": 1024, "DROPS": True, "ROUNDS": True, "KEEPS": True, "FULL": True, "ROUNDED": True}
TYPES = {"count": "i32", "width": "i32", "threshold": "i32", "eps": "fp32", "seed": "*i64"}
HALF = {"branch", "rounded", "of_branch", "of_rounded"}
found = {}
for capability in (70, 80, 90):
    half = "*bf16" if capability >= 80 else "*fp16"
    for kernel in (kernels._forward_kernel, kernels._backward_kernel):
        names = kernel.arg_names
        signature = {n: "constexpr" if n in CONSTANTS else TYPES.get(n, half if n in HALF else "*fp32") for n in names}
        multiple_of_16 = [i for i, n in enumerate(names) if signature[n][0] == "*" or n == "width"]
        aligned = {(i,): [["tt.divisibility", 16]] for i in multiple_of_16}
        constants = {n: CONSTANTS[n] for n in names if n in CONSTANTS}
        source = ASTSource(kernel, signature=signature, constexprs=constants, attrs=aligned)
        code = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 4})
        found[f"{kernel.__name__} {capability}"] = [len(code.asm["cubin"]), code.asm["ptx"].count("ld.global.v")]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_the_kernels_compile_for_gpus_from_volta_to_hopper() -> None:
    """To machine code, by the assembler that Triton brings along, with loads of several values."""
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert len(found) == 6
    assert all(size > 0 and vectors >= 3 for size, vectors in found.values()), found
