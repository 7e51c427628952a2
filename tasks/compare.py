"""Architectures beside each other: ``python -m tasks.compare --task qa --arch bert albert roberta --seeds 3``.

Runs a task with each architecture (or each of several weights) and each seed, and gives mean, standard deviation and
worst, beside a linear baseline where the task has one. All other options are the task's own and go to every run.
"""

if __name__ == "__main__":
    from tasks.command import start

    start("compare")  # before what follows brings torch; does not come back


from collections.abc import Sequence
from pathlib import Path

from minibert.errors import InputError
from tasks import command
from tasks.options import ClozeSettings, compare_parser
from tasks.registry import TASKS
from tasks.seeds import repeat
from tasks.settings import RANDOM, parse


def main(argv: Sequence[str] | None = None) -> Path:
    """Runs everything; returns the folder of the comparison.

    Raises:
        InputError: something that was given cannot be used.
    """
    given, rest = compare_parser().parse_known_args(argv)
    if given.weights == [RANDOM]:
        given.weights *= len(given.arch)
    if given.weights and len(given.weights) != len(given.arch):
        raise InputError(
            f"--weights: {len(given.weights)} checkpoints for {len(given.arch)} architectures; give one for each."
        )
    task = TASKS[given.task]
    variants = []
    for index, arch in enumerate(given.arch):
        weights = ["--weights", given.weights[index]] if given.weights else []
        asked = parse(task.settings_class, [*rest, "--arch", arch, *weights], task=task.name)
        if asked.settings.weights and not weights:
            raise InputError("--config: names weights for one architecture; give --weights, one for each --arch.")
        if isinstance(asked.settings, ClozeSettings) and asked.settings.shots:
            raise InputError("--shots: is a comparison of its own; run python -m tasks.cloze.")
        if asked.dry_run:
            raise InputError(f"--dry-run: looks at one task; run python -m tasks.{task.name} --dry-run.")
        variants.append(asked.settings)
    typed = command.command_line("tasks.compare", argv)
    with command.resumable(typed, levels=2):
        return repeat(task, variants, name="compare", command=typed, resume=asked.resume)
