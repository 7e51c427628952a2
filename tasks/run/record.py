"""The content of ``metrics.json``: the metrics of a run, what they were computed from, and warnings."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minibert.training import collapse_warning
from tasks.data import Baseline, Details
from tasks.run import folder as run_folder
from tasks.run.advice import FEW_STEPS, num_steps, schedule_warnings
from tasks.run.linear import difference_from_linear
from tasks.run.predictions import figure_intervals
from tasks.run.prepare import AnyTask, Prepared, Run
from tasks.run.provenance import code_version
from tasks.run.score import Score
from tasks.statistics import METHOD

History = Sequence[Mapping[str, Any]]


def metrics_record(
    run: Run,
    history: History,
    scores: Mapping[str, Score],
    details: Mapping[str, Details],
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    linear: Baseline | None,
) -> dict[str, Any]:
    """The content of ``metrics.json``.

    Args:
        run: the run.
        history: one record per epoch.
        scores, details, records: the final evaluation, by split.
        linear: the linear model, whose answers are in ``records``; None if the task has none.
    """
    task, settings, config = run.task, run.task.settings, run.model.config
    collapsed = _collapsed(run, history, list(scores.values())[-1])
    baseline = None if linear is None else linear.record
    final = {
        name: {
            **each.metrics,
            "intervals": figure_intervals(task, records[name], each.metrics),
            **_against_linear(task, records[name]),
            "report": details[name].rows,
        }
        for name, each in scores.items()
    }
    return {
        "task": task.name,
        "arch": config.model_type,
        "weights": settings.weights,
        "origin": run.prepared.start.origin,
        "command": run.command,
        "seed": settings.seed,
        "settings": dataclasses.asdict(settings),
        "precision": run.precision,
        "device": run.device_name,
        "versions": run_folder.versions(),
        "minibert": code_version(),
        "starting_weights": run.weights,
        "started": run.started,
        "finished": run_folder.now(),
        "metric": task.metric.name,
        "metric_higher_is_better": task.metric.higher_is_better,
        "data": run.prepared.described,
        "epochs": history,
        "final": final,
        "interval_method": METHOD,
        "details": {name: shown.to_json() for name, shown in details.items()},
        "baseline": baseline,
        "resources": _resources(run, history, scores),
        "collapsed": collapsed is not None,
        "warnings": _warnings(run, history, scores, baseline, collapsed),
    }


def _against_linear(task: AnyTask, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    test = difference_from_linear(task, records)
    return {} if test is None else {"against_linear": test}


def _warnings(
    run: Run, history: History, scores: Mapping[str, Score], baseline: Mapping[str, Any] | None, collapsed: str | None
) -> list[str]:
    """What a reader of the figures must know first, the gravest first."""
    name, last = list(scores.items())[-1]
    return [
        *([] if collapsed is None else [collapsed]),
        *run.task.warnings(last.split.items, last.metrics),
        *_early_stop_warning(run, history),
        *(schedule_warnings(run, history, last.metrics, baseline, name) if collapsed is None else []),
        *_data_warnings(run.prepared),
    ]


def _resources(run: Run, history: History, scores: Mapping[str, Score]) -> dict[str, Any]:
    rates = [score.evaluation.num_tokens / score.evaluation.seconds for score in scores.values()]
    return {
        "train_seconds": round(sum(epoch["train_seconds"] for epoch in history), 2),
        "tokens_per_second": round(float(np.median([epoch["tokens_per_second"] for epoch in history]))),
        "evaluation_tokens_per_second": round(max(rates)),
        "peak_memory_bytes": run_folder.peak_memory(run.device),
        "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
    }


def _collapsed(run: Run, history: History, score: Score) -> str | None:
    """The warning if the model has learnt nothing, for tasks that choose among labels."""
    pairs = [
        pair
        for item, output in zip(score.split.items, score.evaluation.outputs, strict=True)
        for pair in run.task.label_pairs(item, output)
    ]
    if not pairs:
        return None
    return collapse_warning(
        train_loss=history[-1]["train_loss"],
        num_classes=run.model.config.num_labels,
        few_steps=steps if (steps := num_steps(run, len(history))) < FEW_STEPS else None,
        gold=[gold for gold, _ in pairs],
        predicted=[predicted for _, predicted in pairs],
    )


def _early_stop_warning(run: Run, history: History) -> list[str]:
    settings = run.task.settings
    if len(history) == settings.epochs:
        return []
    return [
        f"Stopped after {len(history)} of {settings.epochs} epochs without a better "
        f"{run.task.metric.name.replace('_', ' ')} (--early-stopping {settings.early_stopping})."
    ]


def _data_warnings(prepared: Prepared) -> list[str]:
    found = []
    if "test" not in prepared.splits:
        found.append(
            "These figures come from the dev data, which also chose the best epoch, so they are slightly optimistic. "
            "Give --test or --test-share for figures on data that played no part in training."
        )
    for name, described in prepared.described.items():
        if also := described.get("also_in_train"):
            found.append(f"{also:,} of the {len(prepared.splits[name].items):,} {name} examples are also in train.")
        if also := described.get("also_held_out"):
            found.append(f"{also:,} of the {described['items']:,} {name.replace('_', '-')} texts are also held out.")
    return found
