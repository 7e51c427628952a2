"""Speed and accuracy of ``--precision int8`` for a trained run, compared with its usual precision.

Both predict the same labelled file, in turn; the rate is the median over rounds. Prints a table, then one JSON line.

    python -m benchmarks.int8 runs/my-ner dev.txt
"""

import argparse
import functools
import json
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.clock import in_turns
from minibert.training import choose_device
from tasks.predict.loading import load_predictor
from tasks.run.console import run_main
from tasks.run.evaluate import evaluate
from tasks.run.folder import device_name, now, versions
from tasks.run.interrupts import command_line
from tasks.settings import INT8


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8", description="Speed and accuracy of int8.")
    parser.add_argument("run", help="run folder")
    parser.add_argument("file", help="labelled file in the format of the run's task")
    parser.add_argument(
        "--items", type=int, default=2000, help="number of items, from the end of the file (default: 2000)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    contenders = {name: load_predictor(options.run, device="cpu", precision=name) for name in ("auto", INT8)}
    task, config = contenders["auto"].task, contenders["auto"].model.config
    items = task.read(options.file).items[-options.items :]
    encoded = task.encode(items, contenders["auto"].tokenizer, config)
    outputs: dict[str, list[Any]] = {}

    def answer(name: str) -> None:
        predictor = contenders[name]
        outputs[name] = evaluate(task, predictor.model, items, encoded, precision=predictor.precision).outputs

    works = {name: functools.partial(answer, name) for name in contenders}
    device = choose_device("cpu")
    seconds = in_turns(works, rounds=options.rounds, device=device)
    num_tokens = sum(encoded.lengths)
    found = {
        name: {
            "tokens_per_second": num_tokens / statistics.median(seconds[name]),
            **{metric: task.compute_metrics(items, outputs[name])[metric] for metric in task.metric_names},
            "seconds": seconds[name],
        }
        for name in contenders
    }
    print(f"{len(items)} items, {num_tokens} tokens; auto is {contenders['auto'].precision}")
    columns = ("tokens_per_second", *task.metric_names)
    print(f"| precision | {' | '.join(columns)} |\n{'|---' * (1 + len(columns))}|")
    for name, figures in found.items():
        print(f"| {name} | {' | '.join(format(figures[column], '.6g') for column in columns)} |")
    print(json.dumps({
        "benchmark": "int8", "command": command_line("benchmarks.int8", argv), "items": len(items),
        "tokens": num_tokens, "contenders": found, "device": device_name(device), "finished": now(),
        "versions": versions(),
    }))  # fmt: skip


if __name__ == "__main__":
    run_main(main)
