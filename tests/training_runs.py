"""What the tests of the training engine train: ragged random sequences, tiny models, and runs that leave files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_config
from torch import Tensor, nn

from minibert import TokenClassifier, pack
from minibert.training import Callbacks, Examples, LabelledBatch, Metric, Progress, Trainer, TrainingSettings, predict

CPU = torch.device("cpu")
TIMES = ("train_seconds", "seconds_left", "tokens_per_second", "deterministic_slowdown")
Item = tuple[list[int], list[int]]

CALLS_PER_STEP = 3  # micro-batches of 3, 3 and 2 sequences
CALLS_PER_EPOCH = 9


def collate(items: Sequence[Item]) -> LabelledBatch:
    targets = torch.tensor([target for _, row in items for target in row])
    return LabelledBatch(inputs=pack([ids for ids, _ in items]), targets=targets, num_targets=int((targets >= 0).sum()))


def examples(items: Sequence[Item]) -> Examples[Item]:
    return Examples(items, collate, lengths=[len(ids) for ids, _ in items])


def loss(model: nn.Module, batch: LabelledBatch) -> Tensor:
    """Cross-entropy in fp32 at least."""
    logits = model(batch.inputs)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(logits, batch.targets, reduction="sum")


def ragged_items(count: int = 24) -> list[Item]:
    """Sequences whose number of targets differs widely: some tokens carry none."""
    rng = np.random.default_rng(3)
    items = []
    for length in rng.integers(1, 15, count):
        ids = rng.integers(5, 90, length)
        targets = np.where(rng.random(length) < rng.random(), ids % 2, -100)
        targets[0] = ids[0] % 2
        items.append((ids.tolist(), targets.tolist()))
    return items


def tiny_model(dropout: float = 0.0, family: str = "bert", **changes: Any) -> TokenClassifier:
    """The same initial weights every time."""
    torch.manual_seed(1)
    rates = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")
    return TokenClassifier(tiny_config(family, **dict.fromkeys(rates, dropout), **changes))


def weights(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def without_times(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in record.items() if name not in TIMES} for record in records]


def train(
    model: TokenClassifier,
    items: list[Item] | None = None,
    *,
    loss: Callable[[nn.Module, LabelledBatch], Tensor] = loss,
    **settings: Any,
) -> list[Mapping[str, Any]]:
    """Runs the loop on ragged items and gives every record."""
    records: list[Mapping[str, Any]] = []
    given: dict[str, Any] = {"epochs": 2, "batch_size": 8, "lr": 1e-3, "precision": "fp32", **settings}
    Trainer(
        model=model, data=examples(items or ragged_items()), loss=loss, evaluate=lambda: {"figure": 0.0},
        metric=Metric("figure"), settings=TrainingSettings(**given), device=CPU,
        callbacks=Callbacks(on_record=records.append),
    ).fit()  # fmt: skip
    return records


@dataclass
class Run:
    """A run with dropout, accumulation, bf16 and a moving average, that keeps everything in ``folder``.

    Its log and its best model outlive it, as files do: a second ``Run`` on the same folder takes them over by
    :meth:`go_on`.
    """

    folder: Path
    loss: Callable[[nn.Module, LabelledBatch], Tensor] = loss
    settings: Mapping[str, Any] = field(default_factory=dict)
    metric: Metric = field(default_factory=lambda: Metric("loss", higher_is_better=False))
    model: TokenClassifier = field(default_factory=lambda: tiny_model(0.2, num_hidden_layers=1))
    log: list[Mapping[str, Any]] = field(default_factory=list)
    best: list[Tensor] = field(default_factory=list)
    figures: Callable[[], Mapping[str, float]] | None = None
    on_best: Callable[[], None] | None = None
    fingerprint_extra: Mapping[str, Any] = field(default_factory=dict)

    def start(self, *, resume: bool = False) -> list[dict[str, Any]]:
        return self.trainer(resume=resume).fit()

    def trainer(self, *, resume: bool = False) -> Trainer:
        given = {
            "epochs": 3, "batch_size": 8, "micro_batch_size": 3, "lr": 3e-3, "precision": "bf16", "ema": 0.9,
            "save_steps": 2, **self.settings,
        }  # fmt: skip
        return Trainer(
            model=self.model, data=examples(ragged_items()), loss=self.loss, evaluate=self.figures or self._figures,
            metric=self.metric, settings=TrainingSettings(**given), device=CPU,
            checkpoints=self.folder, resume=resume, fingerprint_extra=self.fingerprint_extra,
            callbacks=Callbacks(
                on_best=self.on_best or self._keep_best, on_record=self.log.append, on_resume=self._cut_log
            ),
        )  # fmt: skip

    def go_on(self, **changes: Any) -> "Run":
        """What the same command with ``--resume`` makes of what is left of this run, ready to be started."""
        return Run(self.folder, log=self.log, best=self.best, settings=self.settings, metric=self.metric, **changes)

    def _figures(self) -> dict[str, float]:
        data = Examples(ragged_items(9), collate)
        outputs = predict(self.model, data.batches(range(9), 4), precision="fp32", device=CPU)
        loss = sum(float(F.cross_entropy(logits, batch.targets)) for batch, logits in outputs)
        return {"loss": loss, "constant": 0.5}

    def _keep_best(self) -> None:
        self.best[:] = [weights(self.model).clone()]

    def _cut_log(self, progress: Progress) -> None:
        del self.log[progress.num_records :]


def assert_same_end(run: Run, expected: Run) -> None:
    """The weights at the end, the best ones, and all records are the same to the bit."""
    assert torch.equal(weights(run.model), weights(expected.model))
    assert torch.equal(run.best[0], expected.best[0])
    assert without_times(run.log) == without_times(expected.log)


def failing_at(call: int, error: BaseException) -> Callable[[nn.Module, LabelledBatch], Tensor]:
    """A loss whose ``call``-th evaluation, counted from 1, raises."""
    calls = iter(range(1, 1_000_000))

    def failing(model: nn.Module, batch: LabelledBatch) -> Tensor:
        if next(calls) == call:
            raise error
        return loss(model, batch)

    return failing


class PowerCut(Exception):
    """Ends a run like a crash: only its files are left."""


def interrupted(folder: Path, call: int, **settings: Any) -> Run:
    """A run that was interrupted in the ``call``-th computation of a loss."""
    run = Run(folder, loss=failing_at(call, PowerCut()), settings=settings)
    with pytest.raises(PowerCut):
        run.start()
    return run


def saved_steps(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in folder.iterdir())
