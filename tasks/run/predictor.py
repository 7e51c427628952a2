"""A trained run that answers new inputs."""

import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from minibert import Tokenizer, pack
from minibert.checkpoint import Checkpoint, Pretrained
from minibert.encoder import Encoder
from minibert.errors import InputError
from minibert.export.session import load_onnx_model
from minibert.graphs import CudaRecorder, EncoderGraphs, require_graphs
from minibert.inference import for_inference
from minibert.training import choose_device, choose_precision
from minibert.training.precision import DTYPES
from tasks.run.evaluate import evaluate
from tasks.run.task_file import load_calibration
from tasks.settings import INT8
from tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A task with its trained model and tokenizer.

    Attributes:
        task, model, tokenizer, precision: of the run.
        batch_tokens: in a batch at most; None for what is fastest on the device.
        notes: counts over all inputs so far, such as ``cut_texts``.
    """

    task: Task[Any, Any, Any]
    model: Pretrained
    tokenizer: Tokenizer
    precision: str
    batch_tokens: int | None = None
    notes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def load(
        cls,
        task: Task[Any, Any, Any],
        checkpoint: Checkpoint,
        *,
        device: str,
        precision: str = "auto",
        batch_tokens: int | None = None,
        cuda_graphs: bool = False,
    ) -> "Predictor":
        """Loads the model of a run folder (or a fine-tuned checkpoint).

        Args:
            precision: as in training, or int8 (on a CPU only). ``auto`` is fp32 for a model whose settings ask for
                fp32.
            batch_tokens: in a batch at most; None for what is fastest on the device.
            cuda_graphs: launch the encoder's kernels all at once, for small batches on a GPU.

        Raises:
            InputError: it or what was fitted with it cannot be used, or it has no trained head for this task.
        """
        model = trained_model(task, checkpoint)
        if precision == "auto" and task.settings.precision == "fp32":
            precision = "fp32"
        place = choose_device(device)
        int8 = precision == INT8
        precision = choose_precision("fp32" if int8 else precision, place)
        if cuda_graphs:
            require_graphs(model.config, place, DTYPES[precision])
        ready = for_inference(model.to(place), DTYPES[precision], int8=int8)
        if cuda_graphs:
            encoder = cast(Encoder, ready if isinstance(ready, Encoder) else ready.encoder)
            EncoderGraphs(encoder, lambda: CudaRecorder(place)).install()
            with torch.inference_mode():
                encoder(pack([[0]]).to(place))  # what cannot be recorded is refused here, not at the first text
        return cls(
            task=task, model=ready, tokenizer=checkpoint.tokenizer, precision=precision, batch_tokens=batch_tokens
        )

    @classmethod
    def load_export(
        cls,
        task: Task[Any, Any, Any],
        checkpoint: Checkpoint,
        *,
        device: str,
        precision: str = "auto",
        batch_tokens: int | None = None,
    ) -> "Predictor":
        """Loads the graph of an exported folder (:func:`~minibert.export.session.open_export`) into ONNX Runtime.

        Args:
            precision: ``auto`` and ``fp32``, or int8 if the folder has that graph.
            batch_tokens: in a batch at most; None for what is fastest.

        Raises:
            InputError: it cannot be used, or not in this precision or on this device.
        """
        if choose_device("cpu" if device == "auto" else device).type != "cpu":
            raise InputError(f"--device {device}: --engine onnx computes on the CPU; leave it out.")
        if precision not in ("auto", "fp32", INT8):
            raise InputError(f"--precision {precision}: --engine onnx computes in fp32 or int8; leave it out.")
        load_calibration(checkpoint.folder, task)
        model = load_onnx_model(checkpoint, int8=precision == INT8)
        return cls(task=task, model=model, tokenizer=checkpoint.tokenizer, precision="fp32", batch_tokens=batch_tokens)

    def outputs(self, items: Sequence[Any]) -> list[Any]:
        """The task's output for each item."""
        encoded = self.task.encode(items, self.tokenizer, self.model.config)
        self.notes.update(encoded.notes)
        given = evaluate(
            self.task, self.model, items, encoded, precision=self.precision, batch_tokens=self.batch_tokens
        )
        return given.outputs

    def answer(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        """The answer to each item, as a JSON object, with the mean time per item in ``milliseconds``."""
        started = time.perf_counter()
        lines = [self.task.format_answer(*each) for each in zip(items, self.outputs(items), strict=True)]
        per_item = 1000 * (time.perf_counter() - started) / max(1, len(items))
        return [_rounded({**line, "milliseconds": per_item}) for line in lines]


def trained_model(task: Task[Any, Any, Any], checkpoint: Checkpoint) -> Pretrained:
    """A checkpoint's model in fp32 on the CPU; the task gets what was fitted with it.

    Raises:
        InputError: one of them cannot be used, or it has no trained head for this task.
    """
    model, report = checkpoint.load(task.model_class)
    task.check_loaded(report, checkpoint.folder)
    if untrained := task.untrained(report):
        raise InputError(
            f"{checkpoint.folder}: has no trained head for {task.name} ({', '.join(untrained)} missing); train "
            f"one with python -m tasks.{task.name} --weights {shlex.quote(str(checkpoint.folder))}."
        )
    checkpoint.require_whole_head(model, report)
    load_calibration(checkpoint.folder, task)
    return model


def _rounded(value: Any) -> Any:
    """The same with every number rounded to six decimals; the others are noise."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list) else value
