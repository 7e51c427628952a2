"""Architectures side by side: ``python -m tasks.compare --task qa --arch bert albert roberta --seeds 3``.

Runs a task with each architecture (or each of several checkpoints) and each seed, and reports mean, standard deviation
and worst, and a linear baseline if the task has one. All other options are the task's own and apply to every run.
"""

from collections.abc import Sequence
from pathlib import Path

from minibert.errors import InputError
from tasks.cloze.settings import ClozeSettings
from tasks.compare.arguments import parser
from tasks.registry import settings_class, task_class
from tasks.run.console import program
from tasks.run.interrupts import command_line, explain_interruption
from tasks.run.options import parse
from tasks.run.variants import compare_variants
from tasks.settings import RANDOM


def main(argv: Sequence[str] | None = None) -> Path:
    """Runs everything; returns the folder of the comparison.

    Raises:
        InputError: something that was given cannot be used.
    """
    given, rest = parser().parse_known_args(argv)
    if given.weights == [RANDOM]:
        given.weights *= len(given.arch)
    if given.weights and len(given.weights) != len(given.arch):
        raise InputError(
            f"--weights: {len(given.weights)} checkpoints for {len(given.arch)} architectures; give one for each."
        )
    variants = []
    for index, arch in enumerate(given.arch):
        weights = ["--weights", given.weights[index]] if given.weights else []
        asked = parse(settings_class(given.task), [*rest, "--arch", arch, *weights], task=given.task)
        if asked.settings.weights and not weights:
            raise InputError("--config: names weights for one architecture; give --weights, one for each --arch.")
        if isinstance(asked.settings, ClozeSettings) and asked.settings.shots:
            raise InputError(f"--shots: is a comparison by itself; run {program('tasks.cloze')}.")
        if asked.dry_run:
            raise InputError(f"--dry-run: looks at one task; run {program(f'tasks.{given.task}')} --dry-run.")
        variants.append(asked.settings)
    typed = command_line("tasks.compare", argv)
    with explain_interruption(typed, levels=2):
        return compare_variants(task_class(given.task), variants, name="compare", command=typed, resume=asked.resume)
