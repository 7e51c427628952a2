"""The metrics of a model on labelled items, and a run's final scores."""

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minibert.checkpoint import Pretrained
from minibert.training import check_finite
from tasks.data import Encoded, Split, taken
from tasks.run.encode import EncodedRows
from tasks.run.evaluate import Evaluation, evaluate
from tasks.run.prepare import AnyTask, Prepared, Run


@dataclass(frozen=True, kw_only=True)
class Score:
    """The final evaluation of one split.

    Attributes:
        split: the data.
        metrics: the task's, and ``loss``.
        evaluation: the model's outputs.
    """

    split: Split[Any]
    metrics: dict[str, float]
    evaluation: Evaluation[Any]


def score(run: Run) -> dict[str, Score]:
    """Scores the run's model on ``dev``, by which the task is calibrated, and, if there is one, ``test``; all processes
    share the work.

    Raises:
        Diverged: a loss is not finite.
    """
    scores = {}
    for name in [name for name in ("dev", "test") if name in run.prepared.splits]:
        split, encoded = run.prepared.splits[name], run.prepared.encoded[name]
        evaluation = evaluate_labelled(run.task, run.model, split.items, encoded, f"the {name} loss")
        if name == "dev":
            calibrated = run.task.calibrate(split.items, evaluation.outputs)
            evaluation = dataclasses.replace(evaluation, outputs=list(calibrated))
        metrics = figures(run.task, split.items, evaluation)
        scores[name] = Score(split=split, metrics=metrics, evaluation=evaluation)
    return scores


def score_items(
    task: AnyTask, model: Pretrained, items: Sequence[Any], encoded: Encoded[Any], loss_name: str
) -> dict[str, float]:
    """The loss and the task's metrics, before calibration.

    Raises:
        Diverged: the loss is not finite.
    """
    return figures(task, items, evaluate_labelled(task, model, items, encoded, loss_name))


def evaluate_labelled(
    task: AnyTask, model: Pretrained, items: Sequence[Any], encoded: Encoded[Any], loss_name: str
) -> Evaluation[Any]:
    """The outputs for labelled items; all processes share the work.

    Raises:
        Diverged: the loss is not finite.
    """
    evaluation = evaluate(task, model, items, encoded, precision=task.settings.precision, together=True)
    check_finite(evaluation.mean_loss, loss_name)
    return evaluation


def figures(task: AnyTask, items: Sequence[Any], evaluation: Evaluation[Any]) -> dict[str, float]:
    """The loss and the task's metrics."""
    return {"loss": evaluation.mean_loss, **task.compute_metrics(items, evaluation.outputs)}


def training_sample(prepared: Prepared, seed: int) -> tuple[Sequence[Any], Encoded[Any]]:
    """As many random training items as there are dev items, to compare training with dev metrics."""
    items, encoded = prepared.splits["train"].items, prepared.encoded["train"]
    chosen = sorted(random.Random(seed).sample(range(len(items)), min(len(items), len(prepared.splits["dev"].items))))
    if isinstance(encoded, EncodedRows):
        return taken(items, chosen), encoded.take(chosen)
    ends = np.cumsum(encoded.counts)
    examples = [encoded.examples[j] for i in chosen for j in range(ends[i] - encoded.counts[i], ends[i])]
    counts = [encoded.counts[i] for i in chosen]
    return taken(items, chosen), Encoded(examples=examples, counts=counts)
