"""Which library computes the linear maps of an encoder's layers fastest on this CPU, for few rows and for many.

Runs the maps of all layers of a BERT (so that weights come from memory, as in a model) by each library in turn. The
table gives the median and the least milliseconds over rounds. Behind ``oneDNN`` and the others stands the class of
:mod:`minibert.cpu_linear`; ``PyTorch`` is ``torch.nn.functional.linear``. Prints one JSON line last.

    python -m benchmarks.linear_maps --rows 1 8 20 64 512

A CPU with AVX-512 computes as one without it in the environment ``ONEDNN_MAX_CPU_ISA=AVX2
MKL_ENABLE_INSTRUCTIONS=AVX2 ATEN_CPU_CAPABILITY=avx2 FBGEMM_ENABLE_INSTRUCTIONS=AVX2``.
"""

import argparse
import functools
import json
import statistics
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.clock import in_turns
from benchmarks.record import all_versions
from benchmarks.workload import SIZES
from minibert.cpu_linear import FbgemmLinear, MklLinear, OneDnnLinear, can_quantize, can_use_mkl, can_use_onednn
from tasks.run.console import run_main
from tasks.run.folder import device_name, now
from tasks.run.interrupts import command_line

Map = Callable[[Tensor], Tensor]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.linear_maps",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 20, 64, 512])
    parser.add_argument("--size", choices=SIZES["bert"], default="base")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(argv)
    device = torch.device("cpu")
    maps = _maps(**SIZES["bert"][options.size])
    found: dict[int, dict[str, list[float]]] = {}
    for rows in options.rows:
        inputs = {width: torch.randn(rows, width) for width in {width for of in maps.values() for width, _ in of}}
        works = {name: functools.partial(_run, of, inputs) for name, of in maps.items()}
        with torch.inference_mode():
            found[rows] = in_turns(works, rounds=options.rounds, device=device)
    print(f"| rows | {' | '.join(maps)} |\n|---{'|---' * len(maps)}|")
    for rows, seconds in found.items():
        cells = (f"{1000 * statistics.median(of):.2f} ({1000 * min(of):.2f})" for of in seconds.values())
        print(f"| {rows} | {' | '.join(cells)} |")
    print(json.dumps({
        "benchmark": "linear maps", "command": command_line("benchmarks.linear_maps", argv), "options": vars(options),
        "seconds": found, "device": device_name(device), "capability": torch.backends.cpu.get_cpu_capability(),
        "finished": now(), "versions": all_versions(),
    }))  # fmt: skip


def _maps(
    num_hidden_layers: int, hidden_size: int, intermediate_size: int, num_attention_heads: int
) -> dict[str, list[tuple[int, Map]]]:
    """The linear maps of all layers, with the width of their inputs, by the name of what computes them."""
    one, four = hidden_size, intermediate_size
    shapes = [(3 * one, one), (one, one), (four, one), (one, four)] * num_hidden_layers
    parameters = [(torch.randn(shape), torch.randn(shape[0])) for shape in shapes]
    found: dict[str, list[tuple[int, Map]]] = {
        "PyTorch": [(w.shape[1], functools.partial(F.linear, weight=w, bias=b)) for w, b in parameters]
    }
    for name, packed_class, can in (
        ("oneDNN", OneDnnLinear, can_use_onednn(torch.float32)),
        ("MKL", MklLinear, can_use_mkl()),
        ("FBGEMM, 8 bits", FbgemmLinear, can_quantize()),
    ):
        if can:
            found[name] = [(w.shape[1], packed_class(w, b)) for w, b in parameters]
    return found


def _run(maps: Sequence[tuple[int, Map]], inputs: dict[int, Tensor]) -> None:
    for width, compute in maps:
        compute(inputs[width])


if __name__ == "__main__":
    run_main(main)
