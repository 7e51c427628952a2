"""Dropout inside attention: that its mean is no dropout, and that the backward pass drops what the forward pass did."""

import torch

from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report
from minibert import pack
from minibert.attention import attend, attention_backend, choose_backend

_DROPOUT = 0.1
_LIMITS = {torch.bfloat16: 0.03, torch.float16: 0.004, torch.float32: 2e-5}  # of rounding, in outputs of up to 3 or 4


def run(report: Report, plan: Plan) -> None:
    work = plan.workload(plan.sizes.small, sequences=plan.sizes.checked)
    batch = pack(work.sequences).to(plan.device)
    heads = work.config.num_attention_heads
    width = work.config.hidden_size // heads
    torch.manual_seed(0)
    for dtype, limit in _LIMITS.items():
        qkv = torch.randn(batch.num_tokens, 3, heads, width, device=plan.device).to(dtype).requires_grad_()
        name = f"{str(dtype).removeprefix('torch.')}, {choose_backend(plan.device, dtype, width)}"
        with attention_backend("plain"), torch.no_grad():
            expected = attend(qkv.double(), batch)
        with torch.no_grad():
            error = float((attend(qkv, batch).double() - expected).abs().max())
            report.check(f"{name}: without dropout", error <= limit, f"error {error:.2e}")
            outputs = torch.stack([attend(qkv, batch, _DROPOUT).double() for _ in range(plan.sizes.passes)])
        deviation = outputs.std(0) / plan.sizes.passes**0.5
        # A sentence of few words often has all or nothing dropped: its mean is not normal after so few passes.
        many = torch.tensor([n >= 8 for n in batch.lengths for _ in range(n)], device=plan.device)
        scores = ((outputs.mean(0) - expected) / deviation)[many]
        spread = float(scores.square().mean().sqrt())
        report.check(f"{name}: mean with dropout", 0.8 <= spread <= 1.3, f"{spread:.2f} standard errors from none")

        # For given dropped weights the output is linear in the values: <output, output> = <values, their gradient>.
        output = attend(qkv, batch, _DROPOUT)
        (gradient,) = torch.autograd.grad(output, qkv, output.detach())
        forward = float(output.detach().double().square().sum())
        backward = float((gradient[:, 2].double() * qkv.detach()[:, 2].double()).sum())
        detail = f"{backward / forward:.4f}"
        report.check(f"{name}: backward drops the same", abs(backward / forward - 1) <= 0.01, detail)
