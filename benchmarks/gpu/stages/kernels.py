"""The fused kernels: what they compute against fp64, what dropout drops, and their time against PyTorch's operators."""

import importlib.util
import os
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.clock import in_turns
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report, Skipped

_EPS = 1e-12
_DROPOUT = 0.1
_LIMITS = {torch.float32: 1e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}  # relative to the largest value


def run(report: Report, plan: Plan) -> None:
    if importlib.util.find_spec("triton") is None:
        raise Skipped("Triton is not installed")
    if plan.device.type == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
    # Triton is optional.
    from minibert.kernels import dropout_add_norm

    for width in plan.sizes.widths:
        for dtype, limit in _LIMITS.items():
            branch, residual, weight, bias = given = _inputs(plan, width, dtype)
            exact = [x.detach().double().requires_grad_() for x in given]
            outputs = dropout_add_norm(branch, residual, weight, bias, 0.0, _EPS)
            expected = F.layer_norm(exact[0] + exact[1], (width,), exact[2], exact[3], _EPS)
            upstream = [torch.randn_like(output) for output in dict.fromkeys(outputs)]
            torch.autograd.backward(list(dict.fromkeys(outputs)), upstream)
            expected.backward(torch.stack([each.double() for each in upstream]).sum(0))
            found = [outputs[0].detach(), *(x.grad for x in given)]
            for name, ours, theirs in zip(
                ("output", "branch", "residual", "weight", "bias"),
                found, [expected.detach(), *(x.grad for x in exact)], strict=True,
            ):  # fmt: skip
                assert ours is not None
                assert theirs is not None
                error = float((ours.double() - theirs).abs().max() / theirs.abs().max())
                within = limit if ours.dtype == dtype else _LIMITS[torch.float32]
                what = "output" if name == "output" else f"gradient of {name}"
                report.check(f"{width}, {dtype}: {what}", error <= within, f"error {error:.1e}")
        _check_dropout(report, plan, width, dropout_add_norm)
        _time(report, plan, width, dropout_add_norm)


def _inputs(plan: Plan, width: int, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(width)
    shape = (plan.sizes.rows, width)
    parts = [torch.randn(shape).to(dtype), torch.randn(shape), torch.randn(width), torch.randn(width)]
    return [part.to(plan.device).requires_grad_() for part in parts]


def _check_dropout(report: Report, plan: Plan, width: int, fused: Callable[..., tuple[Tensor, Tensor]]) -> None:
    branch = torch.ones(plan.sizes.rows, width, device=plan.device, requires_grad=True)
    residual = torch.zeros_like(branch, requires_grad=True)
    weight, bias = torch.ones(width, device=plan.device), torch.zeros(width, device=plan.device)
    output = fused(branch, residual, weight, bias, _DROPOUT, _EPS)[0]
    output.backward(torch.randn_like(output))
    assert branch.grad is not None
    assert residual.grad is not None
    kept = output > output.mean(1, keepdim=True)
    deviation = (_DROPOUT * (1 - _DROPOUT) / kept.numel()) ** 0.5
    off = (float(kept.double().mean()) - (1 - _DROPOUT)) / deviation
    report.check(f"{width}: the part that is kept", abs(off) < 5, f"{off:.1f} standard errors off")
    same = float(((branch.grad != 0) == kept).double().mean())
    report.check(f"{width}: backward drops the same", same > 0.999, f"{same:.5f} of the values")


def _time(report: Report, plan: Plan, width: int, fused: Callable[..., tuple[Tensor, Tensor]]) -> None:
    branch, residual, weight, bias = _inputs(plan, width, torch.bfloat16)

    def composed() -> tuple[Tensor, Tensor]:
        full = F.layer_norm(residual + F.dropout(branch, _DROPOUT), (width,), weight, bias, _EPS)
        return full, full.to(branch.dtype)

    def step(work: Callable[[], tuple[Tensor, Tensor]]) -> None:
        full, rounded = work()
        torch.autograd.backward((full, rounded), (full.detach(), rounded.detach()))

    works = {
        "fused": lambda: step(lambda: fused(branch, residual, weight, bias, _DROPOUT, _EPS)),
        "composed": lambda: step(composed),
    }
    for name, seconds in in_turns(works, rounds=plan.sizes.repeats, device=plan.device).items():
        report.figure(f"{width}: milliseconds, {name}", 1000 * statistics.median(seconds))
