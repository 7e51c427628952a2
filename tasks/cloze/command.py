"""The command of this task: training, or with ``--shots`` a comparison on few examples."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tasks.classification.settings import ClassificationSettings
from tasks.classification.task import ClassificationTask
from tasks.cloze.few_shot import compare_shots
from tasks.cloze.settings import ClozeSettings
from tasks.cloze.task import ClozeTask
from tasks.run.command import run_task
from tasks.run.interrupts import command_line, explain_interruption
from tasks.run.options import parse


def main(argv: Sequence[str] | None = None) -> Path | None:
    """Trains, or compares ``--shots``; returns the run folder."""
    asked = parse(ClozeSettings, argv, task=ClozeTask.name)
    settings: ClozeSettings = asked.settings
    if not settings.shots or asked.dry_run:
        return run_task(ClozeTask, argv)
    typed = command_line("tasks.cloze", argv)
    of_classification = [each.name for each in dataclasses.fields(ClassificationSettings)]
    methods = {
        "prompt": ClozeTask(dataclasses.replace(settings, shots=())),
        "fine-tuning": ClassificationTask(
            ClassificationSettings(**{name: getattr(settings, name) for name in of_classification} | {"ngrams": False})
        ),
    }
    with explain_interruption(typed, levels=2):
        return compare_shots(
            methods, settings.shots, fixed_epochs="epochs" in asked.given, command=typed, resume=asked.resume
        )
