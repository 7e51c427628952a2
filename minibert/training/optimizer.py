"""AdamW with its parameter groups, and the learning rate schedule."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters of the same learning rate and weight decay."""

    parameters: list[nn.Parameter]
    lr: float
    weight_decay: float


class AdamW:
    """AdamW (Loshchilov and Hutter 2019), bias-corrected, with betas of 0.9 and 0.999.

    It calls the same kernel as :class:`torch.optim.AdamW`, whose construction imports PyTorch's compiler: two seconds
    at each start of a run.

    Attributes:
        groups: see there.
        state: of each parameter that had a gradient: the number of its steps (``step``) and the moving averages of its
            gradient and of the square (``exp_avg``, ``exp_avg_sq``).
        found_inf: set by :class:`torch.amp.GradScaler` for a step: 1 on the device if it must change nothing.
    """

    _step_supports_amp_scaling = True  # GradScaler leaves it to the kernel whether a step is skipped
    found_inf: Tensor | None = None

    def __init__(self, groups: Iterable[ParameterGroup]) -> None:
        self.groups = list(groups)
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}

    @property
    def param_groups(self) -> list[dict[str, list[nn.Parameter]]]:
        """What GradScaler reads."""
        return [{"params": group.parameters} for group in self.groups]

    def zero_grad(self) -> None:
        """Sets all gradients to None."""
        for group in self.groups:
            for parameter in group.parameters:
                parameter.grad = None

    @torch.no_grad()
    def step(self, factor: float = 1.0, divisor: Tensor | None = None) -> None:
        """Updates the parameters that have a gradient, at their learning rates times ``factor``.

        Args:
            factor: see there.
            divisor: ``()`` fp32, by which the kernel divides the gradients first; None for 1.
        """
        for group in self.groups:
            parameters = [parameter for parameter in group.parameters if parameter.grad is not None]
            if not parameters:
                continue
            states = [self._state_of(parameter) for parameter in parameters]
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            steps = [state["step"] for state in states]
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                [*parameters],
                gradients,
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                steps,
                lr=group.lr * factor,
                beta1=0.9,
                beta2=0.999,
                weight_decay=group.weight_decay,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
                grad_scale=divisor,
                found_inf=self.found_inf,
            )
            if self.found_inf is not None:
                torch._foreach_sub_(steps, [self.found_inf] * len(steps))

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        if parameter not in self.state:
            self.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return self.state[parameter]


def build_optimizer(
    model: nn.Module, *, lr: float, head_lr: float | None, weight_decay: float, layer_decay: float = 1.0
) -> AdamW:
    """AdamW with a parameter group for each learning rate and decay.

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
    return AdamW(ParameterGroup(parameters, rate, decay) for (rate, decay), parameters in groups.items())


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


@dataclass(frozen=True, kw_only=True)
class LinearSchedule:
    """Linear warm-up over the first ``warmup_ratio`` of the steps, then linear decay to 0."""

    num_steps: int
    warmup_ratio: float

    def factor(self, step: int) -> float:
        """What to multiply learning rates by, behind ``step`` steps."""
        warmup = round(self.num_steps * self.warmup_ratio)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return (self.num_steps - step) / max(1, self.num_steps - warmup)


def clipping_divisor(norm: Tensor, max_norm: float) -> Tensor:
    """What to divide gradients of a norm by, so that it becomes at most ``max_norm``: ``()`` fp32, at least 1.

    The reciprocal of what :func:`torch.nn.utils.clip_grad_norm_` multiplies them by, in a pass of its own.
    """
    return ((norm + 1e-6) / max_norm).clamp(min=1.0).float()
