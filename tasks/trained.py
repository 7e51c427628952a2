"""A trained run, ready to answer."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minibert import Tokenizer
from minibert.checkpoint import Pretrained, load_model
from minibert.errors import InputError
from minibert.training import choose_device
from tasks.inference import answers
from tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A task with its trained model and tokenizer."""

    task: Task[Any, Any, Any]
    model: Pretrained
    tokenizer: Tokenizer
    precision: str

    @classmethod
    def load(cls, task: Task[Any, Any, Any], run: str, *, device: str, precision: str) -> "Trained":
        """Loads the model of a run folder (or a fine-tuned checkpoint).

        Raises:
            InputError: it cannot be used, or its head was never trained for this task.
        """
        model, report = load_model(task.model_class, run)
        if report.fresh:
            raise InputError(
                f"{run}: has no trained head for {task.name} ({', '.join(report.fresh)} missing); train one with "
                f"python -m tasks.{task.name} --weights {run}."
            )
        tokenizer = Tokenizer.from_pretrained(run)
        tokenizer.check_fits(model.config, run)
        return cls(task=task, model=model.to(choose_device(device)), tokenizer=tokenizer, precision=precision)

    def answer(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        """The answer to each item, with the mean time that one took in ``milliseconds``."""
        started = time.perf_counter()
        encoded = self.task.encode(items, self.tokenizer, self.model.config)
        given = answers(self.task, self.model, items, encoded, precision=self.precision)
        lines = [self.task.answer(item, output) for item, output in zip(items, given.outputs, strict=True)]
        per_item = 1000 * (time.perf_counter() - started) / max(1, len(items))
        return [{**line, "milliseconds": round(per_item, 3)} for line in lines]
