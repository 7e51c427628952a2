"""Training steps on multiple choice: choices packed here, and padded to the longest in transformers.

Each question has as many choices, whose lengths differ. Both train the same weights on the same batches, in one
process, in turn; their gradients are compared first. The table gives medians over rounds. Prints one JSON line last.

    python -m benchmarks.multiple_choice --size minilm --sequences 256
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.clock import in_turns
from benchmarks.contender import Trainer, gradient_errors, require_agreement
from benchmarks.ours import OURS, trainer_of
from benchmarks.peers import BASELINE, plain_loop
from benchmarks.record import print_record
from benchmarks.reference import transformers
from benchmarks.workload import Ids, Workload, add_options, padded, read_workload
from minibert import MultipleChoiceClassifier
from minibert.errors import InputError
from minibert.training import Examples, LabelledBatch
from tasks.data import GroupExample
from tasks.multiple_choice.settings import MultipleChoiceSettings
from tasks.multiple_choice.task import MultipleChoiceTask
from tasks.run.console import run_main
from tasks.run.interrupts import command_line


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.multiple_choice",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, lengths="lognormal:28,0.6", sequences=256)
    parser.add_argument("--choices", type=int, default=4, help="of each question (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    work = read_workload(options)
    if options.choices < 2 or any(len(batch) % options.choices for batch in work.batches):
        raise InputError(f"--choices {options.choices}: must be 2 or more and divide the sequences of each batch.")
    torch.manual_seed(work.seed)
    model = MultipleChoiceClassifier(work.config)
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        trainers = [_ours(Path(temporary), work, options.choices), _theirs(Path(temporary), work, options.choices)]
        reference = _theirs(Path(temporary), work, options.choices, precision="fp32")
    errors = gradient_errors(reference, trainers)
    require_agreement(errors, yardstick=BASELINE, precision=work.precision, inexact=())
    seconds = in_turns({each.name: each.train for each in trainers}, rounds=options.rounds, device=work.device)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    figures: dict[str, dict[str, Any]] = {
        name: {
            "questions_per_second": len(work.sequences) / options.choices / median[name],
            "speedup_of_ours": median[name] / median[OURS],
            "error": errors[name],
            "seconds": values,
        }
        for name, values in seconds.items()
    }
    print_record("multiple choice", command_line("benchmarks.multiple_choice", argv), work, contenders=figures)


def _right(work: Workload, choices: int) -> list[int]:
    """The place of the right choice of each question, at random."""
    return np.random.default_rng(work.seed + 1).integers(0, choices, len(work.sequences) // choices).tolist()


def _ours(folder: Path, work: Workload, choices: int) -> Trainer:
    task = MultipleChoiceTask(MultipleChoiceSettings())
    questions = [work.sequences[start : start + choices] for start in range(0, len(work.sequences), choices)]
    examples = [
        GroupExample.join([(ids, np.zeros_like(ids)) for ids in question], target=target, line=0)
        for question, target in zip(questions, _right(work, choices), strict=True)
    ]

    def loss(module: nn.Module, batch: LabelledBatch) -> Tensor:
        return task.losses(module, batch.output_of(module), batch).sum()

    model = MultipleChoiceClassifier.from_pretrained(folder)
    sizes = [len(batch) // choices for batch in work.batches]
    return trainer_of(model, work, data=Examples(examples, task.collate), sizes=sizes, loss=loss)


def _theirs(folder: Path, work: Workload, choices: int, precision: str | None = None) -> Trainer:
    model = transformers.AutoModelForMultipleChoice.from_pretrained(
        folder, attn_implementation="sdpa", dtype=torch.float32
    )
    right = iter(_right(work, choices))

    def loss_of(batch: Sequence[Ids]) -> Callable[[], Tensor]:
        targets = torch.tensor([next(right) for _ in range(len(batch) // choices)]).to(work.device)

        def loss() -> Tensor:
            ids, mask = (
                part.view(len(targets), choices, -1) for part in padded(batch, model.config.pad_token_id, work.device)
            )
            return F.cross_entropy(model(input_ids=ids, attention_mask=mask).logits.float(), targets)

        return loss

    losses = [loss_of(batch) for batch in work.batches]
    return plain_loop(BASELINE, model, work.device, precision or work.precision, losses)


if __name__ == "__main__":
    run_main(main)
