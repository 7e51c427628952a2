"""Exports a trained run, or a fine-tuned checkpoint, as two graphs for other run times.

    python tools/export.py RUN OUT                         # ONNX
    python tools/export.py RUN OUT --int8 --data dev.txt   # also in 8 bits, with what that costs
    python tools/export.py RUN OUT --format torch          # torch.export

OUT must be new or empty. Each graph is compared with the model that it was made from; where one differs by more than
rounding, the exit status is 2, and nothing is written. weights/README.md describes the graphs.
"""

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minibert.errors import InputError
from minibert.export.files import FORMATS, Format, Run, quantize, require_onnx
from minibert.export.graphs import Graph, PackedGraph, PaddedGraph, random_batch
from minibert.export.session import load_onnx_model, open_export, save_model_without_weights
from minibert.files import new_folder
from tasks.predict.loading import open_run
from tasks.registry import TASKS
from tasks.run.arguments import ArgumentParser
from tasks.run.console import run_main
from tasks.run.evaluate import evaluate
from tasks.run.predictor import trained_model
from tasks.run.streams import say
from tasks.run.task_file import write_task_file
from tasks.task import Task

SCRIPT = "python tools/export.py"

_TOLERANCE = 1e-5  # relative to the largest value, or absolute if that is below 1


def main(argv: Sequence[str] | None = None, *, program: str = SCRIPT) -> int:
    """Runs the command, under the name that ``program`` gives it; returns its exit status."""
    arguments = _parser(program).parse_args(argv)
    try:
        export(arguments)
    except (InputError, OSError) as error:
        say(f"error: {error}", error=True)
        return 2
    return 0


def _parser(program: str) -> ArgumentParser:
    about, _, details = (__doc__ or "").replace(SCRIPT, program).partition("\n\n")
    parser = ArgumentParser(
        prog=program, description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="run folder, or a fine-tuned checkpoint's folder or hub name")
    parser.add_argument("out", metavar="OUT", help="the folder to write")
    parser.add_argument("--format", choices=tuple(FORMATS), default="onnx")
    parser.add_argument("--int8", action="store_true", help="also write ONNX graphs with weights in 8 bits")
    parser.add_argument("--data", metavar="FILE", help="labelled file to measure the cost of --int8 on")
    return parser


def export(arguments: argparse.Namespace) -> None:
    """Writes the folder, and says what is in it.

    Raises:
        InputError: the run, an option or the folder cannot be used, or a graph differs from its model.
    """
    _check(arguments)
    out = Path(arguments.out)
    with new_folder(out) as unfinished:
        task, checkpoint = open_run(arguments.run)
        items = task.read(arguments.data).items if arguments.data else []
        model = trained_model(task, checkpoint)
        save_model_without_weights(model, unfinished)
        checkpoint.tokenizer.save_pretrained(unfinished, for_words=task.for_words, config=model.config)
        if task.name in TASKS:  # filling masks is a command, not a task
            write_task_file(unfinished, task)
        for graph in (PaddedGraph(model), PackedGraph(model)):
            _write(graph, unfinished, FORMATS[arguments.format])
            if arguments.int8:
                path = unfinished / f"{graph.name}-int8.onnx"
                quantize(unfinished / f"{graph.name}.onnx", path)
                say(f"{path.name}: {_megabytes(path)}")
        if arguments.int8:
            _say_cost(task, unfinished, items)
    answers = f"; minibert predict --engine onnx {shlex.quote(str(out))} answers from it"
    say(f"{out}: written{answers if arguments.format == 'onnx' else ''}")


def _check(arguments: argparse.Namespace) -> None:
    if arguments.int8 and arguments.format != "onnx":
        raise InputError("--int8: only --format onnx has it; leave one of them out.")
    if arguments.data and not arguments.int8:
        raise InputError("--data: measures the cost of --int8; give that, too.")
    if arguments.format == "onnx":
        require_onnx()


def _write(graph: Graph, folder: Path, form: Format) -> None:
    """Writes a graph, compares it with its model, and says what it is like.

    Raises:
        InputError: it differs by more than rounding.
    """
    path = folder / f"{graph.name}{form.suffix}"
    form.write(graph, path)
    opened = form.open(path)
    error = parity(graph, opened.run)
    if not error <= _TOLERANCE:  # not, for NaN
        raise InputError(f"{path.name}: differs from the model by {error:.1e}, more than rounding; nothing is written.")
    say(f"{path.name}: {form.version}, {_megabytes(path)}, differs from the model by {error:.1e} at most")
    for line in opened.signature:
        say(f"  {line}")


def parity(graph: Graph, run: Run) -> float:
    """The largest difference between a graph's file and its model, relative to the largest output or absolute if that
    is below 1, over batches of 1 to 64 sequences of 1 token to the most that the model reads."""
    config = graph.model.config
    chance = np.random.default_rng(0)

    def like_texts(count: int, median: float) -> list[int]:
        lengths = chance.lognormal(np.log(median), 0.7, count).round().astype(int)
        return np.clip(lengths, 1, config.max_length).tolist()

    worst = 0.0
    most = config.max_length
    for seed, lengths in enumerate([[1], [most], [1, most, 2], [1] * 3, like_texts(16, 28), like_texts(64, 8)]):
        batch = random_batch(lengths, config, seed)
        with torch.inference_mode():
            expected, found = graph.expected(batch), graph.real(run(graph.inputs(batch)), batch)
        for right, value in zip(expected, found, strict=True):
            difference = float((value - right).abs().max() / right.abs().max().clamp(min=1))
            worst = max(worst, difference) if math.isfinite(difference) else math.inf
    return worst


def _say_cost(task: Task[Any, Any, Any], folder: Path, items: Sequence[Any]) -> None:
    """Prints the task's metrics in fp32 and in 8 bits."""
    if not items:
        say("int8: what it costs was not measured; --data FILE with a labelled file does so")
        return
    checkpoint = open_export(folder)
    encoded = task.encode(items, checkpoint.tokenizer, checkpoint.config)
    metrics = []
    for int8 in (False, True):
        outputs = evaluate(task, load_onnx_model(checkpoint, int8=int8), items, encoded, precision="fp32").outputs
        metrics.append(task.compute_metrics(items, outputs))
    for name, value in metrics[0].items():
        say(f"{name} of {len(items):,} items: fp32 {value:.4f}, int8 {metrics[1][name]:.4f}")


def _megabytes(path: Path) -> str:
    size = sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*"))  # weights may lie beside their graph
    return f"{size / 1e6:,.1f} MB"


if __name__ == "__main__":
    run_main(lambda: sys.exit(main()))
