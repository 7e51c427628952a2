"""An optimizer step: what it adds up, and what it does when memory runs out or a loss is not finite."""

import dataclasses
import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from conftest import FAMILIES
from torch import Tensor, nn
from training_runs import CPU, Item, collate, loss, ragged_items, tiny_model, train, weights

from minibert.errors import InputError
from minibert.training import (
    Examples,
    LabelledBatch,
    Metric,
    Trainer,
    TrainingSettings,
    distributed,
)


def test_micro_batches_make_the_same_step() -> None:
    whole, parts = tiny_model().double(), tiny_model().double()
    train(whole, batch_size=8)
    train(parts, batch_size=8, micro_batch_size=3)
    torch.testing.assert_close(weights(parts), weights(whole), rtol=0, atol=1e-9)


def test_steps_equal_a_plain_pytorch_loop() -> None:
    """Two full-batch epochs against a loop written out with PyTorch's own unfused AdamW."""
    items = ragged_items(6)
    ours, plain = tiny_model().double(), tiny_model().double()
    train(ours, items, batch_size=6, warmup_ratio=0.0, weight_decay=0.1, max_grad_norm=0.5, head_lr=1e-2)
    groups = []
    for name, parameter in plain.named_parameters():
        rate = 1e-2 if name.startswith("classifier") else 1e-3
        decay = 0.0 if parameter.ndim == 1 else 0.1
        groups.append({"params": [parameter], "lr": rate, "weight_decay": decay})
    optimizer = torch.optim.AdamW(groups, fused=False, foreach=False)
    batch = collate(items)
    for factor in (1.0, 0.5):
        for group in optimizer.param_groups:
            group["lr"] = factor * (1e-2 if group["lr"] > 2e-3 else 1e-3)
        optimizer.zero_grad()
        F.cross_entropy(plain(batch.inputs), batch.targets).backward()
        norm = torch.sqrt(sum((p.grad**2).sum() for p in plain.parameters() if p.grad is not None))
        for parameter in plain.parameters():
            if parameter.grad is not None:
                parameter.grad *= min(1.0, 0.5 / (float(norm) + 1e-6))
        optimizer.step()
    torch.testing.assert_close(weights(ours), weights(plain), rtol=0, atol=1e-9)


def test_a_nan_loss_stops_the_run() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.classifier.bias[0] = math.nan
    with pytest.raises(InputError, match=r"the training loss at step 1, epoch 1, is nan.* Lower --lr"):
        train(model)


def with_lines(items: Sequence[Item]) -> LabelledBatch:
    """A batch whose examples have their first ids as line numbers."""
    return dataclasses.replace(collate(items), lines=tuple(ids[0] for ids, _ in items))


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_nan_or_infinite_value_names_the_lines_of_its_step(bad: str) -> None:
    """Those of the second step, in micro-batches; also if only the gradient is not finite."""
    items = [([i], [i % 2]) for i in range(5, 25)]
    seen: list[int] = []

    def failing(model: nn.Module, batch: LabelledBatch) -> Tensor:
        seen.extend(batch.lines)
        value = loss(model, batch)
        if len(seen) <= 10:
            return value
        if bad == "loss":
            return value * math.inf
        return value + (value - value.detach()) ** 0.5  # 0, with an infinite slope

    with pytest.raises(InputError) as caught:
        Trainer(
            model=tiny_model(), data=Examples(items, with_lines), loss=failing, evaluate=dict, metric=Metric("figure"),
            settings=TrainingSettings(batch_size=6, micro_batch_size=4, precision="fp32"), device=CPU,
        ).fit()  # fmt: skip
    lines = ", ".join(map(str, sorted(seen[6:12])))
    what = {"loss": "training loss", "gradient": "gradient's norm"}[bad]
    assert f"the {what} at step 2, epoch 1, is " in str(caught.value)
    assert f"It comes from the examples at lines {lines}." in str(caught.value)


OUT_OF_MEMORY = {
    "allocator": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    "kernel": torch.AcceleratorError("CUDA error: out of memory"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "CPU": RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: 8 bytes."),
    "Python": MemoryError(),
}


@pytest.mark.parametrize("which", OUT_OF_MEMORY)
def test_out_of_memory_halves_the_micro_batch_and_makes_the_same_steps(
    which: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A device on which 8 sequences fail, 4 the second time, with a gradient already there, and 2 go on to the end."""
    sizes: list[int] = []

    def small_device(model: nn.Module, batch: LabelledBatch) -> Tensor:
        sizes.append(batch.inputs.num_sequences)
        value = loss(model, batch)
        if sizes[-1] == 8 or (sizes.count(4) == 2 and sizes[-1] == 4):
            raise OUT_OF_MEMORY[which]
        return value

    ours, whole = tiny_model().double(), tiny_model().double()
    train(ours, loss=small_device, batch_size=8)
    train(whole, batch_size=8)
    assert sizes[:4] == [8, 4, 4, 2]
    assert set(sizes[3:]) == {2}
    torch.testing.assert_close(weights(ours), weights(whole), rtol=0, atol=1e-9)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "out of memory with micro-batches of 8 sequences", "out of memory with micro-batches of 4 sequences",
    ]  # fmt: skip


def test_out_of_memory_with_a_single_sequence_is_an_error() -> None:
    def no_device(model: nn.Module, batch: LabelledBatch) -> Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(InputError, match="out of memory with micro-batches of 1: give a smaller --max-length or model"):
        train(tiny_model(), loss=no_device)


def test_out_of_memory_in_one_of_several_processes_names_a_size_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """They cannot agree on smaller micro-batches any more; each has a half of the step's eight sequences."""

    def no_device(model: nn.Module, batch: LabelledBatch) -> Tensor:
        assert batch.inputs.num_sequences == 4
        raise torch.OutOfMemoryError

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "data_parallel", lambda model, device: model)
    monkeypatch.setattr(distributed, "all_gather", lambda values: list(values))
    monkeypatch.setattr(distributed, "all_reduce_sum", lambda values: list(values))
    with pytest.raises(InputError, match="out of memory with micro-batches of 4: set micro_batch_size = 2 in a"):
        train(tiny_model(), loss=no_device, batch_size=8)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), torch.AcceleratorError("CUDA error: device assert")])
def test_other_errors_of_a_device_are_not_taken_for_a_lack_of_memory(error: RuntimeError) -> None:
    def failing(model: nn.Module, batch: LabelledBatch) -> Tensor:
        raise error

    with pytest.raises(type(error), match=str(error)):
        train(tiny_model(), loss=failing)


def test_a_step_without_any_target_changes_no_gradient() -> None:
    items: list[Item] = [([7, 8], [-100, -100]), ([9], [-100])]
    model = tiny_model()
    before = weights(model).clone()
    train(model, items, weight_decay=0.0)
    assert torch.equal(weights(model), before)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_activation_checkpointing_saves_memory_and_changes_no_bit(family: str) -> None:
    """With dropout; what autograd keeps is counted for one pass."""
    ends, kept = [], []
    for on in (True, False):
        model = tiny_model(0.2, family, num_hidden_layers=6)
        train(model, activation_checkpointing=on)
        assert model.encoder.activation_checkpointing is False
        ends.append(weights(model))
        model.train().encoder.activation_checkpointing = on
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.nbytes), lambda _: None):
            model(collate(ragged_items()).inputs)
        kept.append(sum(sizes))
    assert torch.equal(ends[0], ends[1])
    assert kept[0] < kept[1] / 2
