"""Speed of the exported graphs in ONNX Runtime on the CPU, in fp32: packed against padded, and our own engine.

All process the same batches with the same weights, in one process, in turn; before timing, their logits are compared.
A round is a pass over all batches; the ratio is the median over rounds of the padded graph's time to each one's. Prints
one JSON line last.

    python -m benchmarks.onnx_graphs --lengths msra_uncut_test_lengths.txt
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from benchmarks.clock import in_turns
from benchmarks.contender import Predictor, logit_errors, require_agreement
from benchmarks.ours import our_predictor
from benchmarks.record import print_record
from benchmarks.workload import Ids, Workload, add_options, read_workload
from minibert import pack
from minibert.errors import InputError
from minibert.export.files import open_onnx, quantize, require_onnx, write_onnx
from minibert.export.graphs import Graph, PackedGraph, PaddedGraph
from tasks.run.console import run_main
from tasks.run.interrupts import command_line

_PADDED = "onnx-padded"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.onnx_graphs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, lengths="lognormal:37,0.6", sequences=256)
    parser.set_defaults(device="cpu", precision="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--int8", action="store_true", help="also both graphs in 8 bits")
    options = parser.parse_args(argv)
    if (options.device, options.precision) != ("cpu", "fp32"):
        raise InputError("--device, --precision: the graphs are measured on the CPU in fp32; leave them out.")
    require_onnx()
    work = read_workload(options)
    with tempfile.TemporaryDirectory() as temporary:
        contenders = _contenders(work, Path(temporary), int8=options.int8)
    errors = logit_errors(contenders[0], contenders, work.batches[0])
    inexact = [contender.name for contender in contenders if not contender.exact]
    require_agreement(errors, yardstick=contenders[0].name, precision=work.precision, inexact=inexact)
    works = {contender.name: contender.one_pass(work.batches) for contender in contenders}
    seconds = in_turns(works, rounds=options.rounds, device=work.device)
    print_record(
        "onnx_graphs",
        command_line("benchmarks.onnx_graphs", argv),
        work,
        contenders={
            name: {
                "tokens_per_second": sum(work.lengths) / statistics.median(values),
                "times_padded": statistics.median(a / b for a, b in zip(seconds[_PADDED], values, strict=True)),
                "error": errors[name],
                "seconds": values,
            }
            for name, values in seconds.items()
        },
    )


def _contenders(work: Workload, folder: Path, *, int8: bool) -> list[Predictor]:
    model = work.random_model()
    model.save_pretrained(folder)
    found = [our_predictor(folder, work)]
    for graph in (PaddedGraph(model), PackedGraph(model)):
        path = folder / f"{graph.name}.onnx"
        write_onnx(graph, path)
        found.append(_predictor(graph, path, f"onnx-{graph.name}"))
        if int8:
            small = folder / f"{graph.name}-int8.onnx"
            quantize(path, small)
            found.append(_predictor(graph, small, f"onnx-{graph.name}-int8"))
    return found


def _predictor(graph: Graph, path: Path, name: str) -> Predictor:
    """A graph in ONNX Runtime; making its inputs counts."""
    run = open_onnx(path).run

    def compute(sequences: Sequence[Ids]) -> Tensor:
        return run(graph.inputs(pack(sequences)))[0]

    return Predictor(name=name, compute=compute, exact="int8" not in name)


if __name__ == "__main__":
    run_main(main)
