"""Warnings for runs that end before they have learnt what they could, and what to try next."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.run.prepare import Run
from tasks.settings import LOSS, RANDOM

FEW_STEPS = 200  # fewer steps often learn nothing (Mosbach et al. 2021)
_FALLS_FAST = 0.05  # share of the dev loss in one epoch


def num_steps(run: Run, num_epochs: int) -> int:
    """The optimizer steps of so many epochs; about, where ``batch_tokens`` sets the batches."""
    settings, data = run.task.settings, run.prepared.training
    if settings.batch_tokens is not None:
        return num_epochs * math.ceil(int(np.sum(np.asarray(data.lengths))) / settings.batch_tokens)
    return num_epochs * math.ceil(len(data.items) / settings.batch_size)


def schedule_warnings(
    run: Run,
    history: Sequence[Mapping[str, Any]],
    final: Mapping[str, float],
    baseline: Mapping[str, Any] | None,
    split: str,
) -> list[str]:
    """One warning, with what to try, if the dev loss was still falling fast in the last epoch, or if the linear model
    has the better figure.

    Args:
        run: the run.
        history: one record per epoch.
        final: the metrics that head the report.
        baseline: those of the linear model by split, and its ``name``, if there is one.
        split: the split of ``final``.
    """
    problems = []
    main = run.task.metric_names[0] if run.task.metric.name == LOSS else run.task.metric.name
    if len(history) > 1 and final[main] < 1:
        before, last = history[-2]["loss"], history[-1]["loss"]
        if before > 0 and (fell := (before - last) / before) >= _FALLS_FAST:
            problems.append(f"the dev loss still fell by {fell:.0%} in the last epoch, from {before:.4f} to {last:.4f}")
    linear = {} if baseline is None else baseline[split]
    below_linear = baseline is not None and final[main] < linear.get(main, final[main])
    if baseline is not None and below_linear:
        name = main.replace("_", " ")
        problems.append(f"{name} {final[main]:.4f} is below that of {baseline['name']}, {linear[main]:.4f}")
    if not problems:
        return []
    text = ", and ".join(problems)
    return [f"{text[0].upper()}{text[1:]}: try {_what_to_try(run, below_linear=below_linear)}."]


def _what_to_try(run: Run, *, below_linear: bool) -> str:
    settings = run.task.settings
    addable = below_linear and getattr(settings, "may_have_ngrams", False) and not settings.ngrams
    tips = ["--ngrams, which adds its scores"] if addable else []
    tips += [f"more epochs (--epochs {2 * settings.epochs})", f"a higher --lr than {settings.lr:g}"]
    if (settings.batch_size or 0) > 1:
        tips.append(f"a smaller --batch-size than {settings.batch_size}")
    family = run.model.config.family
    if settings.weights in (None, RANDOM) and run.task.answers_inputs and family.examples:
        tips.append(f"official weights (--weights {family.examples})")
    return f"{', '.join(tips[:-1])} or {tips[-1]}"
