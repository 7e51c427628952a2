"""Runs and predictions on fake CUDA, each by its name; what a case returns is what the tests look at."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from fake_cuda.bugs import PLANTED
from fake_cuda.device import Log, fake_cuda, on_device, on_host
from fake_cuda.examples import LENGTHS, smallest, without_values, workload
from torch import Tensor, nn

from benchmarks.gpu.heads import Head
from minibert import EncoderConfig
from minibert.training import (
    Examples,
    LabelledBatch,
    Metric,
    Trainer,
    TrainingSettings,
    choose_device,
    data,
    predict,
    state,
)
from minibert.training.checkpoints import Checkpoints
from minibert.training.step import PendingResults
from tasks.run.distillation import SoftExample, collate, distillation_loss

BERT_BASE = EncoderConfig(
    model_type="bert", vocab_size=21_128, hidden_size=768, num_hidden_layers=12, num_attention_heads=12,
    intermediate_size=3072,
)  # fmt: skip

Loss = Callable[[nn.Module, LabelledBatch], Tensor]


def train(
    load: Head,
    config: EncoderConfig,
    *,
    log: Log,
    loss: Loss | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> Trainer:
    """A whole run of the training loop, in file order, in which a loss is never read. The log has its last step."""
    model = on_device(without_values(load, config))

    def collate(examples: Sequence[Any]) -> LabelledBatch:
        log.clear()
        batch: LabelledBatch = on_host(lambda: load.collate(examples))
        return batch

    given = {"epochs": 1, "batch_size": len(load.examples) // 2, "lr": 1e-3, **settings}
    with (
        mock.patch.object(data, "shuffled", lambda count, seed, epoch: np.arange(count)),
        mock.patch.object(PendingResults, "add_to", lambda results, progress: results._results.clear()),
    ):
        trainer = Trainer(
            model=model,
            data=Examples(load.examples, collate, lengths=[5] * len(load.examples)),
            loss=loss or (lambda module, batch: load.task.losses(model, batch.output_of(module), batch).sum()),
            evaluate=lambda: {"figure": 1.0},
            metric=Metric("figure"),
            settings=TrainingSettings(**given),
            device=choose_device("auto"),
            divergence=load.task.divergence(model),
            checkpoints=checkpoints,
            resume=resume,
        )
        trainer.fit()
    return trainer


def trained(head: str, family: str, precision: str) -> dict[str, Any]:
    with fake_cuda() as log:
        load = workload(head)
        trainer = train(load, smallest(family), log=log, precision=precision, batch_size=len(load.examples))
        return {**_facts(log), "devices": _devices(trainer.model)}


def predicted(head: str, family: str, precision: str) -> dict[str, Any]:
    """The outputs of a batch, and its losses."""
    load = workload(head)
    batch = load.collate(load.examples)
    with fake_cuda() as log:
        model = on_device(without_values(load, smallest(family)))
        (moved, output), *_ = predict(model, [batch], precision=precision, device=torch.device("cuda"))
        losses = load.task.losses(model, output, moved)
        return {**_facts(log), "devices": [str(losses.device)]}


def with_settings(head: str = "words", family: str = "bert", **settings: Any) -> dict[str, Any]:
    with fake_cuda() as log:
        train(workload(head), smallest(family), log=log, precision="bf16", **settings)
        return _facts(log)


def taught(head: str = "words") -> dict[str, Any]:
    """Words with what a teacher says about each."""
    load = workload(head)
    soft = [
        SoftExample(each, np.zeros((load.task.num_targets(each), 3), np.float32), labelled=True)
        for each in load.examples
    ]

    def loss(module: nn.Module, batch: LabelledBatch) -> Tensor:
        return distillation_loss(load.task, module, batch.output_of(module), batch)

    with fake_cuda() as log:
        of_teacher = replace(load, examples=soft, collate=partial(collate, load.task))
        train(of_teacher, smallest("bert"), log=log, loss=loss, precision="bf16", batch_size=len(soft))
        return _facts(log)


def on_an_old_device() -> dict[str, Any]:
    with fake_cuda(capability=(7, 5)) as log:
        train(workload("words"), smallest("bert"), log=log)
        return _facts(log)


def with_narrow_heads() -> dict[str, Any]:
    """Of 12 values, which flash attention does not take."""
    with fake_cuda() as log:
        train(workload("words"), smallest("bert", hidden_size=24), log=log, precision="bf16")
        return _facts(log)


def out_of_memory() -> dict[str, Any]:
    """The first batch does not fit; its halves do."""
    load, sizes = workload("words"), []

    def small_device(module: nn.Module, batch: LabelledBatch) -> Tensor:
        sizes.append(batch.inputs.num_sequences)
        output = batch.output_of(module)
        if sizes[-1] == len(LENGTHS):
            raise torch.OutOfMemoryError
        return load.task.losses(module, output, batch).sum()

    with fake_cuda() as log:
        train(load, smallest("bert"), log=log, loss=small_device, precision="bf16", batch_size=len(LENGTHS))
        return {**_facts(log), "sizes": sizes}


def snapshot_and_restore() -> dict[str, Any]:
    """A run with a scaler and a moving average saves a checkpoint, which is kept in memory; a second run resumes."""
    kept: list[Any] = []
    settings = {"precision": "fp16", "ema": 0.9, "save_steps": 1}
    scaler = {"scale": 8.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 9, "_growth_tracker": 0}
    config, checkpoints = smallest("bert"), Path("never-written")
    with (
        mock.patch.object(Checkpoints, "save", lambda self, step, snapshot, best_step=None: kept.append(snapshot)),
        mock.patch.object(Checkpoints, "read_newest", side_effect=lambda: kept[0]),
        mock.patch.object(Checkpoints, "read", side_effect=lambda step: kept[0]),
        mock.patch.object(state, "random_state", return_value={}),
        mock.patch.object(torch.amp.GradScaler, "state_dict", return_value=scaler),  # reads values, once a checkpoint
        fake_cuda() as log,
    ):
        train(workload("words"), config, log=log, checkpoints=checkpoints, **settings)
        resumed = train(workload("words"), config, log=log, checkpoints=checkpoints, resume=True, **settings)
        saved = {str(tensor.device) for tensors in kept[0].tensors.values() for tensor in tensors.values()}
        moments = {str(value.device) for each in resumed._state.optimizer.state.values() for value in each.values()}
        return {**_facts(log), "saved": sorted(saved), "devices": _devices(resumed.model), "moments": sorted(moments)}


def base_step() -> dict[str, Any]:
    """Kernels of a step of BERT-base over 32 short sentences, estimated."""
    load = workload("words", lengths=[20 + number % 20 for number in range(64)])
    with fake_cuda() as log:
        train(load, BERT_BASE, log=log, precision="bf16")
        return {"launches": dict(log.launches.most_common()), "total": log.launches.total()}


class _Recorder:
    """In place of CUDA graphs: what was recorded is launched by one call, which launches nothing here."""

    log: Log

    def __init__(self) -> None:
        self.launches: list[int] = []

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        before = self.log.launches.total()
        result = work()
        self.launches.append(self.log.launches.total() - before)
        return result, lambda: None


def with_graphs(config: EncoderConfig, lengths: Sequence[int], **settings: Any) -> dict[str, Any]:
    """Two steps of batches of one bucket: kernels in its graphs, and those launched besides them in the second step."""
    load = workload("words", lengths)
    recorder = _Recorder()
    with (
        mock.patch("minibert.graphs._warm_up", lambda work, device: work()),
        mock.patch("minibert.training.step.CudaRecorder", return_value=recorder),
        fake_cuda() as recorder.log,
    ):
        log = recorder.log
        train(load, config, log=log, precision="bf16", cuda_graphs=True, **settings)
        return {
            "recorded": recorder.launches,
            "launched": log.launches.total(),
            "by operator": dict(log.launches.most_common()),
            "sent": log.sent,
        }


def crf_step() -> dict[str, Any]:
    """How many kernels a CRF over 32 sentences of up to 95 words and 7 labels launches more than the linear head."""
    lengths = [7 + number * 90 // 31 for number in range(32)]  # two of the tokens of each are special
    labels = dict(enumerate(["O", *(f"{prefix}-{kind}" for prefix in "BI" for kind in "XYZ")]))
    launches = {}
    for head in ("words", "crf"):
        load = dataclasses.replace(workload(head, lengths), labels=labels)
        with fake_cuda() as log:
            train(load, smallest("bert", max_position_embeddings=97), log=log, precision="bf16", batch_size=32)
            launches[head] = log.launches
    more = launches["crf"] - launches["words"]
    return {"launches": dict(more.most_common()), "total": launches["crf"].total() - launches["words"].total()}


def _facts(log: Log) -> dict[str, Any]:
    return {"operators": dict(log.operators), "flash_calls": log.flash_calls, "sent": log.sent}


def _devices(model: nn.Module) -> list[str]:
    return sorted({str(parameter.device) for parameter in model.parameters()})


OPTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "r_drop": lambda: with_settings(r_drop=1.0),
    "teacher": taught,
    "crf with r_drop": lambda: with_settings("crf", r_drop=1.0),
    "crf with teacher": lambda: taught("crf"),
    "several labels": lambda: with_settings("several labels", r_drop=1.0),
    "fgm": lambda: with_settings(fgm=1.0),
    "ema": lambda: with_settings(ema=0.9),
    "checkpointing": lambda: with_settings(family="albert", activation_checkpointing=True),
    "deterministic": lambda: with_settings(deterministic=True),
    "micro-batches": lambda: with_settings(micro_batch_size=1),
    "token budget": lambda: with_settings(batch_size=None, batch_tokens=10),
    "old device": on_an_old_device,
    "narrow heads": with_narrow_heads,
    "out of memory": out_of_memory,
    "snapshot and restore": snapshot_and_restore,
    "base step": base_step,
    "graphs": lambda: with_graphs(BERT_BASE, [20 + number % 16 for number in range(64)]),
    "graphs with micro-batches": lambda: with_graphs(smallest("bert"), 2 * (3, 6, 4, 5), micro_batch_size=2),
    "crf step": crf_step,
}


def run(name: str) -> dict[str, Any]:
    """The case of a name such as ``train/crf/albert/bf16``, ``option/ema`` or ``bug/...``."""
    kind, *words = name.split("/")
    if kind == "train":
        return trained(*words)
    if kind == "predict":
        return predicted(*words)
    if kind == "bug":
        with PLANTED[words[0]]():
            return with_settings()
    return OPTIONS[words[0]]()
