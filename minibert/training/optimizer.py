"""AdamW with its parameter groups, and the learning rate schedule."""

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR


def build_optimizer(
    model: nn.Module,
    *,
    lr: float,
    head_lr: float | None,
    weight_decay: float,
    device: torch.device,
    layer_decay: float = 1.0,
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019, bias-corrected) with a parameter group for each learning rate and decay.

    Biases and norms do not decay, as in Google BERT's ``optimization.py``. Parameters outside ``model.encoder`` learn
    at ``head_lr``, if given. Within it, the learning rate is multiplied by ``layer_decay`` once for the last layer,
    twice for the one below it, and so on down to the embeddings (Clark et al. 2020, appendix B).
    """
    depths = layer_depths(model)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        in_encoder = name.startswith("encoder.")
        rate = lr * layer_decay ** depths[name] if in_encoder or head_lr is None else head_lr
        decay = 0.0 if name.endswith("bias") or "norm" in name else weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()],
        betas=(0.9, 0.999),
        eps=1e-8,
        fused=device.type in ("cpu", "cuda"),
    )


def layer_depths(model: nn.Module) -> dict[str, int]:
    """How many layers each parameter is below the head: 0 for head and pooler, 1 for the last layer, and so on.

    A layer that is applied several times (ALBERT) counts as one.
    """
    names = [name for name, _ in model.named_parameters()]
    # encoder.groups.GROUP.LAYER.…, in the order of application
    layers = list(dict.fromkeys(_layer(name) for name in names if name.startswith("encoder.groups.")))
    depth = {layer: len(layers) - index for index, layer in enumerate(layers)}
    return {
        name: len(layers) + 1 if name.startswith("encoder.embeddings.") else depth.get(_layer(name), 0)
        for name in names
    }


def _layer(name: str) -> tuple[str, ...]:
    return tuple(name.split(".")[:4])


def linear_schedule(optimizer: torch.optim.Optimizer, *, num_steps: int, warmup_ratio: float) -> LambdaLR:
    """Linear warm-up over the first ``warmup_ratio`` of the steps, then linear decay to 0."""
    warmup = round(num_steps * warmup_ratio)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return (num_steps - step) / max(1, num_steps - warmup)

    return LambdaLR(optimizer, factor)
