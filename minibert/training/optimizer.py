"""AdamW with its parameter groups, and the learning rate's course."""

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR


def build_optimizer(
    model: nn.Module, *, lr: float, head_lr: float | None, weight_decay: float, device: torch.device
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019, bias-corrected) over up to four groups.

    Biases and norms do not decay, as in Google BERT's ``optimization.py``. Parameters outside ``model.encoder``
    learn at ``head_lr``, where given.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate = lr if name.startswith("encoder.") or head_lr is None else head_lr
        decay = 0.0 if name.endswith("bias") or "norm" in name else weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()],
        betas=(0.9, 0.999),
        eps=1e-8,
        fused=device.type in ("cpu", "cuda"),
    )


def linear_schedule(optimizer: torch.optim.Optimizer, *, num_steps: int, warmup_ratio: float) -> LambdaLR:
    """Each group's rate rises in a straight line over the first ``warmup_ratio`` of the steps, then falls to 0."""
    warmup = round(num_steps * warmup_ratio)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return (num_steps - step) / max(1, num_steps - warmup)

    return LambdaLR(optimizer, factor)
