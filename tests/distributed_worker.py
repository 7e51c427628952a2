"""Runs of several processes, for ``test_distributed.py``: ``python distributed_worker.py FOLDER`` forks groups of 1, 2
and 4 that train the same; under ``torchrun`` it is one process of a group that loses a member.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch._dynamo  # every optimizer needs it: imported once, before the forks
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from training_runs import CPU, collate, examples, loss, ragged_items, tiny_model, without_times

from minibert import TokenClassifier
from minibert.errors import InputError
from minibert.training import (
    Examples,
    Interrupted,
    LabelledBatch,
    Metric,
    Trainer,
    TrainingSettings,
    class_divergence,
    distributed,
    loop,
)
from minibert.training.step import OptimizerStep, StepResult

BATCH = 6  # of 25 sequences: with 4 processes some have two sequences, some one, and in the last step three have none
VARIANTS: dict[str, dict[str, Any]] = {
    "albert": {"epochs": 4},
    "bert": {"epochs": 1},
    "fgm": {"epochs": 1, "fgm": 0.5},
    "r_drop": {"epochs": 1, "r_drop": 1.0},
    "checkpointing": {"epochs": 1, "activation_checkpointing": True},
    "ema": {"epochs": 1, "ema": 0.5},
    "tokens": {"epochs": 1, "batch_size": None, "batch_tokens": 45},
}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        with distributed.process_group(CPU) as device:
            train_in_a_group_of_two(
                folder, device, sent_to_itself=None if distributed.was_restarted() else signal.SIGKILL
            )
            if distributed.is_rank0():
                (folder / "restarted").write_text(str(distributed.was_restarted()), encoding="utf-8")
        return
    for size in (1, 2, 4):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        children = [_fork(rank, size, port, folder) for rank in range(size)]
        failed = [os.waitpid(child, 0)[1] for child in children]
        assert not any(failed), f"{size} processes: {failed}"


def _fork(rank: int, size: int, port: int, folder: Path) -> int:
    child = os.fork()
    if child:
        return child
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "test", "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    status = 1
    try:
        with distributed.process_group(CPU) as device:
            loop.OptimizerStep = StepWatch  # type: ignore[misc]
            results = {name: trained(name, settings, device) for name, settings in VARIANTS.items()}
            results["untrained"] = evaluated(tiny_model())
            results["refusals"] = [
                error_by_process(InputError("use auto.")),
                error_by_process(PermissionError(13, "Permission denied", "f")),
            ]
            if size == 2:
                train_in_a_group_of_two(folder / "uninterrupted", device)
                results["interrupted"] = interrupted_group_of_two(folder / "interrupted", device)
        if rank == 0:
            (folder / f"{size}.json").write_text(json.dumps(results), encoding="utf-8")
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def trained(variant: str, settings: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The loss of each step, the record of each epoch, and the norms of the weights at each evaluation and the end."""
    model = tiny_model(family="bert" if variant == "bert" else "albert")
    if distributed.rank():  # process 0's weights are the ones that count
        with torch.no_grad():
            model.classifier.weight.add_(1)
    StepWatch.losses = []
    history = Trainer(
        model=model, data=examples(ragged_items(25)), loss=loss, device=device,
        evaluate=lambda: {**evaluated(model), "norms": norms_by_process(model)},
        metric=Metric("loss", higher_is_better=False),
        settings=TrainingSettings(
            **{"batch_size": BATCH, "micro_batch_size": 1, "lr": 1e-3, "precision": "fp32", **settings}
        ),
        divergence=class_divergence,
    ).fit()  # fmt: skip
    return {
        "losses": list(StepWatch.losses),
        "history": without_times(history),
        "norms": norms_by_process(model),
    }


def norms_by_process(model: nn.Module) -> list[float]:
    """The sum of the squared weights in each process."""
    with torch.no_grad():
        return distributed.all_gather([sum((p.double() ** 2).sum().item() for p in model.parameters())])


def evaluated(model: TokenClassifier) -> dict[str, Any]:
    """Figures over all processes: the loss, the number of correct tags, and the same by batch."""
    data, results = ragged_items(23), []
    model.eval()
    for start in distributed.shard(range(0, len(data), 4)):
        batch = collate(data[start : start + 4])
        with torch.no_grad():
            logits = model(batch.inputs)
        right = int((logits.argmax(-1) == batch.targets).sum())
        results.append((F.cross_entropy(logits, batch.targets, reduction="sum").item(), right, batch.num_targets))
    batches = distributed.all_gather(results)
    return {"loss": sum(value for value, _, _ in batches), "right": sum(n for _, n, _ in batches), "batches": batches}


def error_by_process(error: Exception) -> list[str]:
    """The message that each process raises for an error in process 0."""

    def fail() -> None:
        raise error

    try:
        distributed.broadcast_from_rank0(fail)
    except type(error) as arrived:
        return distributed.all_gather([str(arrived)])
    return []


class StepWatch(OptimizerStep):
    """Records the loss of each step, over all processes."""

    losses: ClassVar[list[float]]

    def __call__(self, indices: Sequence[int]) -> StepResult:
        result = super().__call__(indices)
        self.losses.append(distributed.all_reduce_sum([result.loss_and_norm[0].item()])[0] / result.num_targets)
        return result


def train_in_a_group_of_two(
    folder: Path, device: torch.device, *, sent_to_itself: signal.Signals | None = None, resume: bool = False
) -> None:
    """Trains with checkpoints, and leaves its end in ``folder``; process 1 may send itself a signal in the fourth
    step."""
    steps = iter(range(1, 1000))

    def watched(module: nn.Module, batch: LabelledBatch) -> Tensor:
        if next(steps) == 4 and distributed.rank() == 1 and sent_to_itself is not None:
            os.kill(os.getpid(), sent_to_itself)
        return loss(module, batch)

    model = tiny_model(0.2)
    history = Trainer(
        model=model, data=Examples(ragged_items(), collate), loss=watched, evaluate=lambda: {"loss": 1.0},
        metric=Metric("loss"), device=device, checkpoints=folder / "checkpoints",
        settings=TrainingSettings(epochs=2, batch_size=8, lr=1e-3, precision="fp32", save_steps=1), resume=resume,
    ).fit()  # fmt: skip
    if distributed.is_rank0():
        save_file(model.state_dict(), folder / "weights.safetensors")
        (folder / "history.json").write_text(json.dumps(without_times(history)), encoding="utf-8")


def interrupted_group_of_two(folder: Path, device: torch.device) -> list[str]:
    """Resumes after one of the processes was asked to stop; returns the message of each."""
    try:
        train_in_a_group_of_two(folder, device, sent_to_itself=signal.SIGTERM)
    except Interrupted as error:
        said = str(error)
    train_in_a_group_of_two(folder, device, resume=True)
    return distributed.all_gather([said])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
