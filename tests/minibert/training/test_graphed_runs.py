"""Runs whose encoder is replayed from graphs, on a tape of CPU operators in place of CUDA."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tape import TapeRecorder, attention_by_bounds
from torch import Tensor, nn
from training_runs import Run, assert_same_end, interrupted, loss, tiny_model, train, weights

from minibert.errors import InputError
from minibert.training import LabelledBatch, step


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[TapeRecorder]:
    """Of a run that takes the CPU for a device with graphs."""
    recorder = TapeRecorder()
    monkeypatch.setattr(step, "CudaRecorder", lambda device: recorder)
    monkeypatch.setattr(step, "require_graphs", lambda *_: None)
    with attention_by_bounds():
        yield recorder


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": None, "batch_tokens": 60},
        {"micro_batch_size": 3},
        {"fgm": 0.5},
        {"ema": 0.9},
        {"micro_batch_size": 3, "fgm": 0.5, "max_grad_norm": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("family", ["bert", "albert"])
def test_the_run_is_that_without_graphs(family: str, settings: dict[str, Any], recorder: TapeRecorder) -> None:
    """Up to rounding: sums over tokens have more terms, which are 0."""
    plain, replayed = tiny_model(family=family).double(), tiny_model(family=family).double()
    train(plain, epochs=2, **settings)
    train(replayed, epochs=2, cuda_graphs=True, **settings)
    assert recorder.tapes
    assert torch.allclose(weights(replayed), weights(plain), rtol=0, atol=1e-9)


def test_half_precision_reads_the_weights_as_they_are(recorder: TapeRecorder) -> None:
    """Their copies are refreshed in place at each step."""
    plain, replayed = tiny_model(), tiny_model()
    train(plain, precision="bf16", lr=1e-2)
    train(replayed, precision="bf16", lr=1e-2, cuda_graphs=True)
    moved = (weights(plain) - weights(tiny_model())).norm()
    assert (weights(replayed) - weights(plain)).norm() < 0.05 * moved


@pytest.mark.parametrize("call", [2, 9, 14])
def test_a_resumed_run_ends_with_the_same_bits(call: int, recorder: TapeRecorder, tmp_path: Path) -> None:
    """With dropout, although it records each graph at another time."""
    settings = {"cuda_graphs": True}
    whole = Run(tmp_path / "whole", settings=settings)
    whole.start()
    again = interrupted(tmp_path / "cut", call, **settings).go_on()
    again.start(resume=True)
    assert_same_end(again, whole)


def test_out_of_memory_goes_on_with_half_the_batch(recorder: TapeRecorder) -> None:
    sizes: list[int] = []

    def small_device(model: nn.Module, batch: LabelledBatch) -> Tensor:
        sizes.append(batch.inputs.num_sequences)
        value = loss(model, batch)
        if sizes[-1] == 8:
            raise torch.OutOfMemoryError
        return value

    plain, replayed = tiny_model().double(), tiny_model().double()
    train(plain)
    train(replayed, loss=small_device, cuda_graphs=True)
    assert sizes[:3] == [8, 4, 4]
    assert torch.allclose(weights(replayed), weights(plain), rtol=0, atol=1e-9)


def test_a_device_without_graphs_is_refused() -> None:
    with pytest.raises(InputError, match="--cuda-graphs: needs bf16 or fp16 on a GPU from A100 on"):
        train(tiny_model(), cuda_graphs=True)


def test_checkpointing_is_refused(recorder: TapeRecorder) -> None:
    with pytest.raises(InputError, match="--cuda-graphs: not with --activation-checkpointing; leave one of them out"):
        train(tiny_model(), cuda_graphs=True, activation_checkpointing=True)


def test_what_fails_while_it_is_recorded_is_said(recorder: TapeRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(work: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(recorder, "record", fail)
    with pytest.raises(InputError, match=r"--cuda-graphs: recording failed \(operation not .*\); leave it out"):
        train(tiny_model(), cuda_graphs=True)
