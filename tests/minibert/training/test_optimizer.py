"""AdamW's parameter groups and the schedule."""

from typing import Any

import pytest
import torch
from torch import nn
from training_runs import CPU, tiny_model, train

from minibert.training.optimizer import build_optimizer, linear_schedule


def test_biases_and_norms_do_not_decay_and_the_head_has_its_rate() -> None:
    model = tiny_model()
    optimizer = build_optimizer(model, lr=1.0, head_lr=2.0, weight_decay=0.3, device=CPU)
    found = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert len(found) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        expected = (2.0 if name.startswith("classifier") else 1.0, 0.0 if parameter.ndim == 1 else 0.3)
        assert found[id(parameter)] == expected, name


def test_the_learning_rate_rises_and_falls_linearly() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = linear_schedule(optimizer, num_steps=10, warmup_ratio=0.4)
    rates = []
    for _ in range(10):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1 / 5, 2 / 5, 3 / 5, 4 / 5, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert schedule.get_last_lr()[0] == pytest.approx(0)


def test_the_schedule_ends_with_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def noted(self: torch.optim.AdamW, *arguments: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    train(tiny_model(), batch_size=None, batch_tokens=20, lr=1.0, warmup_ratio=0.0)
    assert rates == pytest.approx([1 - done / len(rates) for done in range(len(rates))])
