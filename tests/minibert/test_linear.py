"""Weights cast once, against autocast, which casts at each use, and against fp64."""

import copy

import pytest
import torch
from conftest import FAMILIES, scramble
from torch import Tensor, nn
from training_runs import CPU, collate, loss, ragged_items, tiny_model

from minibert.linear import Linear, WeightCopies
from minibert.training import autocast


def gradients(model: nn.Module, *, cast_once: bool = False) -> dict[str, Tensor]:
    """Of a batch, in bf16 if the weights are fp32."""
    model.zero_grad()
    batch = collate(ragged_items(40))
    if cast_once:
        with WeightCopies(model, torch.bfloat16).used():
            with autocast(CPU, "bf16"):
                value = loss(model, batch)
            value.backward()
    else:
        with autocast(CPU, "bf16" if next(model.parameters()).dtype == torch.float32 else "fp32"):
            value = loss(model, batch)
        value.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_autocast(family: str) -> None:
    """To the bit on a CPU; the biases' have one rounding less, so they are at least as near to the exact ones."""
    model = tiny_model(family=family)
    scramble(model)
    ours, theirs = gradients(copy.deepcopy(model), cast_once=True), gradients(copy.deepcopy(model))
    exact = gradients(copy.deepcopy(model).double())
    of_linears = {f"{name}.bias" for name, part in model.named_modules() if isinstance(part, Linear)}
    assert ours.keys() == theirs.keys() == exact.keys()
    assert of_linears <= ours.keys()
    for name in ours.keys() - of_linears:
        assert torch.equal(ours[name], theirs[name]), name

    def error(given: dict[str, Tensor]) -> float:
        return sum(float(((given[name] - exact[name]).norm() / exact[name].norm()) ** 2) for name in of_linears)

    assert 0 < error(ours) <= error(theirs)


def test_the_weights_are_the_models_own_again_behind_the_block() -> None:
    model = tiny_model()
    linears = [part for part in model.modules() if isinstance(part, Linear)]
    assert len(linears) == 12  # four in each of three layers

    def lose() -> None:
        with WeightCopies(model, torch.float16).used():
            assert all(part.cast_weights is not None for part in linears)
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        lose()
    assert all(part.cast_weights is None for part in linears)
