"""The output of every benchmark: a table of its contenders, and a JSON line with figures, settings and versions."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any, TypeVar

import torch

from benchmarks.contender import Unavailable
from benchmarks.workload import Workload, operations
from tasks.run.folder import device_name, now, versions

Contender = TypeVar("Contender")

_FORMATS = {
    "utilisation": ".0%", "error": ".1e", "speedup_of_ours": ".2f", "part_of_transformers": ".2f",
    "times_padded": ".2f",
}  # fmt: skip


def available(names: Sequence[str], make: Callable[[str], Contender]) -> list[Contender]:
    """Makes the contenders of these names; leaves out those that cannot run here, and prints why."""
    made = []
    for name in names:
        try:
            made.append(make(name))
        except Unavailable as reason:
            print(f"{name} is left out: {reason}.")
    return made


def print_record(
    benchmark: str,
    command: str,
    work: Workload,
    *,
    contenders: Mapping[str, Mapping[str, Any]],
    matrix_peak: float | None = None,
    bounds: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Prints the table, then the JSON line, which also has the raw measurements (the lists).

    Args:
        contenders: each contender's figures by name; all contenders have the same figures.
        matrix_peak: the machine's peak rate of matrix products, in operations per second.
        bounds: the milliseconds that the machine needs at least in each precision; see :mod:`benchmarks.latency`.
    """
    lengths = work.lengths
    print(
        f"{benchmark}: {work.options['arch']} {work.options['size']}, {work.precision}, {len(lengths)} sequences of "
        f"{sum(lengths) / len(lengths):.1f} tokens in {len(work.batches)} batches, with padding {work.padding:.2f} "
        f"times the tokens; {device_name(work.device)}"
    )
    if matrix_peak is not None:
        print(f"matrix products: {matrix_peak / 1e12:.3f} T operations per second")
    for precision, bound in (bounds or {}).items():
        print(
            f"bound in {precision}: {max(bound['weights_milliseconds'], bound['operations_milliseconds']):.2f} ms "
            f"(reading the weights at {bound['read_rate'] / 1e9:.1f} GB/s takes {bound['weights_milliseconds']:.2f}, "
            f"multiplying at {bound['matrix_peak'] / 1e12:.3f} T operations per second "
            f"{bound['operations_milliseconds']:.2f})"
        )
    columns = [name for name, value in next(iter(contenders.values())).items() if not isinstance(value, list)]
    print("| contender | " + " | ".join(column.replace("_", " ") for column in columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for name, figures in contenders.items():
        cells = (format(figures[column], _FORMATS.get(column, ",.1f")) for column in columns)
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(json.dumps({
        "benchmark": benchmark, "command": command, "options": work.options, "precision": work.precision,
        "tokens": sum(lengths), "sequences": len(lengths), "batches": len(work.batches), "padding": work.padding,
        "forward_operations": operations(work.config, lengths),
        **({} if matrix_peak is None else {"matrix_peak": matrix_peak}),
        **({} if bounds is None else {"bounds": bounds}), "contenders": contenders,
        "device": device_name(work.device), "finished": now(), "versions": all_versions(),
    }))  # fmt: skip


def all_versions() -> dict[str, str]:
    """The versions of minibert's dependencies and of the peers."""
    found = {**versions(), "cuda": str(torch.version.cuda)}
    for name in ("transformers", "datasets", "onnxruntime", "openvino", "nncf", "flash-attn", "sentence-transformers"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
