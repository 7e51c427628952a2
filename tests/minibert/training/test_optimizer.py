"""AdamW, its parameter groups, and the schedule."""

import copy
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from conftest import ENVIRONMENT, ROOT
from torch import Tensor, nn
from training_runs import tiny_model, train, weights

from minibert.training.optimizer import (
    AdamW,
    LinearSchedule,
    ParameterGroup,
    build_optimizer,
    clipping_divisor,
)

DECAY = 0.3
SCHEDULE = LinearSchedule(num_steps=10, warmup_ratio=0.4)


def test_biases_and_norms_do_not_decay_and_the_head_has_its_rate() -> None:
    model = tiny_model()
    optimizer = build_optimizer(model, lr=1.0, head_lr=2.0, weight_decay=DECAY)
    found = {id(p): (group.lr, group.weight_decay) for group in optimizer.groups for p in group.parameters}
    assert len(found) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        expected = (2.0 if name.startswith("classifier") else 1.0, 0.0 if parameter.ndim == 1 else DECAY)
        assert found[id(parameter)] == expected, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_those_of_pytorch(dtype: torch.dtype) -> None:
    """With its schedule, to the bit; a parameter without a gradient stays as it is, and its averages too."""
    ours, theirs = tiny_model().to(dtype), tiny_model().to(dtype)
    optimizer = build_optimizer(ours, lr=0.02, head_lr=0.05, weight_decay=DECAY)
    names = {id(p): name for name, p in ours.named_parameters()}
    own = dict(theirs.named_parameters())
    oracle = torch.optim.AdamW(
        [
            {
                "params": [own[names[id(p)]] for p in group.parameters],
                "lr": group.lr,
                "weight_decay": group.weight_decay,
            }
            for group in optimizer.groups
        ],
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(oracle, SCHEDULE.factor)
    for step in range(6):
        for (name, parameter), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            gone = step % 2 and name.endswith("bias")
            parameter.grad = None if gone else torch.randn(parameter.shape, dtype=dtype)
            other.grad = None if parameter.grad is None else parameter.grad.clone()
        optimizer.step(SCHEDULE.factor(step))
        oracle.step()
        schedule.step()
        assert torch.equal(weights(ours), weights(theirs))
    for name, parameter in ours.named_parameters():
        state = oracle.state[own[name]]
        assert state.keys() == optimizer.state[parameter].keys()
        assert all(torch.equal(value, state[key]) for key, value in optimizer.state[parameter].items())
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in ours.parameters())


@pytest.mark.parametrize("max_norm", [0.5, 1e9, math.inf])
def test_gradients_are_clipped_on_the_way(max_norm: float) -> None:
    """As by PyTorch's clipping before its step; where nothing is clipped, to the bit."""
    ours, theirs = nn.Parameter(torch.ones(50)), nn.Parameter(torch.ones(50))
    optimizer, oracle = AdamW([ParameterGroup([ours], 0.1, 0.0)]), torch.optim.AdamW([theirs], 0.1, weight_decay=0.0)
    for _ in range(3):
        ours.grad = torch.randn(50)
        theirs.grad = ours.grad.clone()
        norm = nn.utils.get_total_norm([ours.grad])
        optimizer.step(divisor=clipping_divisor(norm, max_norm))
        assert nn.utils.clip_grad_norm_([theirs], max_norm) == norm
        oracle.step()
    averages = optimizer.state[ours]["exp_avg"], oracle.state[theirs]["exp_avg"]
    assert torch.allclose(*averages, rtol=1e-6)
    assert torch.equal(*averages) == (max_norm > 1)


def test_the_scaler_has_steps_skipped_that_overflow() -> None:
    """As those of PyTorch's own: neither weights nor averages nor counts change, and the scale is halved."""
    parameters = [nn.Parameter(torch.ones(5)) for _ in range(2)]
    optimizers: list[Any] = [
        AdamW([ParameterGroup([parameters[0]], 0.1, 0.0)]),
        torch.optim.AdamW([parameters[1]], lr=0.1, weight_decay=0.0, fused=True),
    ]
    scalers = [torch.amp.GradScaler("cpu", init_scale=8.0) for _ in optimizers]
    gradients = [torch.tensor([1.0, 2.0, -1.0, 0.0, 3.0]), torch.full((5,), torch.inf), torch.ones(5)]
    for gradient in gradients:
        for parameter, optimizer, scaler in zip(parameters, optimizers, scalers, strict=True):
            scaler.scale(torch.zeros(()))
            parameter.grad = 8.0 * gradient
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
        assert torch.equal(*(parameter.detach() for parameter in parameters))
    states: list[dict[str, Tensor]] = [optimizer.state[p] for p, optimizer in zip(parameters, optimizers, strict=True)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])
    assert states[0]["step"] == 2
    assert [scaler.get_scale() for scaler in scalers] == [4.0, 4.0]


def test_the_learning_rate_rises_and_falls_linearly() -> None:
    rates = [SCHEDULE.factor(step) for step in range(11)]
    assert rates == pytest.approx([1 / 5, 2 / 5, 3 / 5, 4 / 5, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0])


def test_the_schedule_ends_with_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    factors: list[float] = []
    step = AdamW.step

    def noted(self: AdamW, factor: float, divisor: Tensor) -> None:
        factors.append(factor)
        step(self, factor, divisor)

    monkeypatch.setattr(AdamW, "step", noted)
    model = tiny_model()
    train(copy.deepcopy(model), batch_size=None, batch_tokens=20, lr=1.0, warmup_ratio=0.0)
    assert factors == pytest.approx([1 - done / len(factors) for done in range(len(factors))])


RUN = """
import sys
from training_runs import tiny_model, train
train(tiny_model(), epochs=1)
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""


def test_training_does_not_import_the_compiler() -> None:
    """Which takes two seconds."""
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}:{ROOT / 'tests'}"}
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, env=environment)
    assert done.stdout == "[]\n", done.stderr
