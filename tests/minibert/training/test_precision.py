"""Devices, number formats and deterministic algorithms."""

import contextlib
import os

import pytest
import torch
import torch.nn.functional as F
from conftest import scramble
from torch import Tensor, nn
from training_runs import CPU, collate, loss, ragged_items, tiny_model, train, weights

from minibert.errors import InputError
from minibert.linear import WeightCopies
from minibert.training import (
    Examples,
    LabelledBatch,
    autocast,
    choose_device,
    choose_precision,
    predict,
)
from minibert.training.precision import determinism


def test_deterministic_algorithms_are_used_only_during_the_run_and_their_cost_is_recorded() -> None:
    used: list[bool] = []

    def watched(model: nn.Module, batch: LabelledBatch) -> Tensor:
        used.append(torch.are_deterministic_algorithms_enabled())
        return loss(model, batch)

    measured, plain = tiny_model(0.2), tiny_model(0.2)
    records = train(measured, loss=watched, epochs=1, deterministic=True)
    assert records[0]["deterministic_slowdown"] > 0
    assert used == [False, True] * 4 + [True] * 3  # measured with and without, then three steps
    assert not torch.are_deterministic_algorithms_enabled()
    train(plain, epochs=1)
    assert torch.equal(weights(measured), weights(plain))  # measuring leaves no trace, and a CPU knows one way only


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_determinism_is_on_or_off_within_the_block_and_as_before_after_it(outer: bool, inner: bool) -> None:
    with determinism(outer):
        with determinism(inner):
            assert torch.are_deterministic_algorithms_enabled() is inner
        assert torch.are_deterministic_algorithms_enabled() is outer
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_plain_run_leaves_the_algorithms_as_they_are() -> None:
    """Here: warned about where they are not deterministic, for all of a person's program."""
    used: list[tuple[bool, bool]] = []

    def watched(model: nn.Module, batch: LabelledBatch) -> Tensor:
        used.append(settings())
        return loss(model, batch)

    def settings() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()

    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        train(tiny_model(), loss=watched, epochs=1)
        assert set(used) == {(True, True)}
        with determinism(True):
            assert settings() == (True, False)
        assert settings() == (True, True)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """As PyTorch tells of them; returns the devices that were made the current one."""
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # restored after the test
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    return chosen


def test_a_numbered_gpu_becomes_the_current_one(two_gpus: list[torch.device]) -> None:
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert two_gpus == [torch.device("cuda:1")]
    assert choose_device("cuda") == choose_device("auto") == torch.device("cuda")
    assert len(two_gpus) == 1


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_cublas_is_ready_for_a_deterministic_run_before_its_first_product(
    two_gpus: list[torch.device], name: str
) -> None:
    choose_device(name)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_a_cpu_leaves_cublas_alone_and_so_does_a_choice_of_ones_own(
    two_gpus: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_device("cpu")
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    choose_device("cuda")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_albert_sums_the_gradients_of_its_shared_layer_in_fp32() -> None:
    """Twelve uses in bf16, against a model of twelve layers with the same weights, whose gradients are added in fp64.

    Cast at each use, or once by WeightCopies, the sum is wrong by 6e-9 of its norm; cast once, as autocast does by
    itself, by 3e-3.
    """
    sizes = {"num_hidden_layers": 12, "inner_group_num": 1}
    shared = tiny_model(family="albert", num_hidden_groups=1, **sizes)
    scramble(shared)
    layers = tiny_model(family="albert", num_hidden_groups=12, **sizes)
    layers.load_state_dict(shared.state_dict(), strict=False)
    for group in layers.encoder.groups:
        group.load_state_dict(shared.encoder.groups[0].state_dict())
    batch = collate(ragged_items(40))

    def gradients(model: nn.Module, context: torch.autocast) -> dict[str, Tensor]:
        model.zero_grad()
        with context:
            value = loss(model, batch)
        value.backward()
        return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}

    apart = gradients(layers, autocast(CPU, "bf16"))
    errors: dict[str, list[float]] = {"each": [], "ours": [], "once": []}
    for way in errors:
        context = torch.autocast("cpu", torch.bfloat16) if way == "once" else autocast(CPU, "bf16")
        with WeightCopies(shared, torch.bfloat16).used() if way == "ours" else contextlib.nullcontext():
            together = gradients(shared, context)
        for name in ("attention.qkv", "attention.output", "feed_forward.intermediate", "feed_forward.output"):
            parts = [apart[f"encoder.groups.{group}.0.{name}.weight"].double() for group in range(12)]
            exact = torch.stack(parts).sum(0)
            ours = together[f"encoder.groups.0.0.{name}.weight"]
            assert ours.dtype == torch.float32
            errors[way].append(float((ours - exact).norm() / exact.norm()))
    assert max(errors["each"] + errors["ours"]) < 1e-6, errors
    assert min(errors["once"]) > 1e-3, errors


def test_norms_and_softmax_are_computed_in_fp32() -> None:
    """Their results are the exact ones, rounded once: half a unit in the last of bf16's 8 bits."""
    x = torch.randn(50, 64, dtype=torch.bfloat16) * 3 + 20
    norm = nn.LayerNorm(64)
    with autocast(CPU, "bf16"), torch.no_grad():
        ours = norm(x)
        probabilities = (x / 4).softmax(-1)
    exact = F.layer_norm(x.double(), (64,))
    torch.testing.assert_close(ours.double(), exact, rtol=2**-8, atol=1e-6)
    torch.testing.assert_close(probabilities.double(), (x / 4).double().softmax(-1), rtol=2**-8, atol=1e-6)


def test_evaluation_runs_in_the_given_precision() -> None:
    model, data = tiny_model(), Examples(ragged_items(4), collate)
    types = {
        precision: next(predict(model, data.batches(range(4), 4), precision=precision, device=CPU))[1].dtype
        for precision in ("fp32", "bf16")
    }
    assert types == {"fp32": torch.float32, "bf16": torch.bfloat16}


def test_unavailable_devices_and_precisions_are_refused() -> None:
    with pytest.raises(InputError, match="fp16 needs a CUDA device"):
        choose_precision("fp16", CPU)
    with pytest.raises(InputError, match="not a device"):
        choose_device("gpu0")
    with pytest.raises(InputError, match="no such CUDA device"):
        choose_device("cuda:99")
    assert choose_precision("auto", CPU) in ("fp32", "bf16")
