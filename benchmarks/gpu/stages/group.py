"""One process of a group, by nccl (gloo on a CPU): its gradients are those without a group."""

import os
import socket

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from benchmarks.gpu.heads import Head, head
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report
from benchmarks.ours import optimizer_step
from minibert import EncoderConfig
from minibert.training import Examples, TrainingSettings
from minibert.training.distributed import process_group

_TOLERANCE = 1e-3  # of the gradient's norm


def run(report: Report, plan: Plan) -> None:
    which, config = head("words", plan)
    expected = _gradient(which, config, plan.device, report, wrap=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(
        TORCHELASTIC_RUN_ID="alone", RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )  # fmt: skip
    with process_group(torch.device(plan.device.type)) as device:
        report.figure("back-end", torch.distributed.get_backend())
        computed = _gradient(which, config, device, report, wrap=True)
    error = float((computed - expected).norm() / expected.norm())
    report.check("the gradient is that of a process alone", error <= _TOLERANCE, f"error {error:.1e}")


def _gradient(which: Head, config: EncoderConfig, device: torch.device, report: Report, *, wrap: bool) -> Tensor:
    """Of the second step, in two micro-batches: the first exchanges none, and gradients lie in the buckets."""
    model = which.model(config).to(device).eval()
    module = model
    if wrap:
        devices = [device] if device.type == "cuda" else None
        module = DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)
    count = len(which.examples)
    step, _ = optimizer_step(
        model, device=device, data=Examples(which.examples, which.collate), size=count, module=module,
        loss=lambda module, batch: which.losses(model, module, batch).sum(), precision="bf16",
        settings=TrainingSettings(micro_batch_size=count // 2, warmup_ratio=0.0),
    )  # fmt: skip
    step(range(count))
    step.gradients(range(count))
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if wrap:
        buckets = sum(gradient.untyped_storage().nbytes() > gradient.nbytes for gradient in gradients)
        report.check("gradients lie in buckets", buckets > 0, f"{buckets} of {len(gradients)}")
    return torch.cat([gradient.flatten() for gradient in gradients])
