"""Graphs as files: ONNX, ``torch.export`` programs, and ONNX with weights in 8 bits."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.fx.experimental import _config as symbolic_shapes

from minibert.errors import InputError
from minibert.export.graphs import Graph, example_batch
from minibert.export.inputs import Inputs
from minibert.export.session import open_session, run_session

OPSET = 20
"""Of the ONNX files: the first in which GELU is one operator."""
LARGEST_FILE = 2 << 30  # bytes; protobuf's limit. The weights of a larger model lie in a file beside its graph

Run = Callable[[Inputs], tuple[Tensor, ...]]


class Opened(NamedTuple):
    """A graph that was read from its file: a function, and a line for each input and output."""

    run: Run
    signature: Sequence[str]


class Format(NamedTuple):
    """A kind of files: the ending of their names, the version of their operators, and how they are written and read."""

    suffix: str
    version: str
    write: Callable[[Graph, Path], None]
    open: Callable[[Path], Opened]


def require_onnx() -> None:
    """Raises InputError if a package that writes and runs ONNX files is missing."""
    try:
        # An optional extra, which takes seconds to import.
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"{error.name} is missing: pip install -e '.[onnx]'") from None


def write_onnx(graph: Graph, path: Path) -> None:
    """Writes a graph as ONNX."""
    size = sum(parameter.nbytes for parameter in graph.parameters())
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph,
            kwargs=graph.inputs(example_batch(graph.model.config)),
            dynamo=True,
            dynamic_shapes=graph.dynamic_shapes(),
            input_names=list(graph.dynamic_shapes()),
            output_names=list(graph.output_names),
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None
        for node in program.model.graph:  # the lines of our source from which it came
            node.metadata_props.clear()
        program.save(path, external_data=size >= LARGEST_FILE)


def write_program(graph: Graph, path: Path) -> None:
    """Writes a graph as a program of ``torch.export``."""
    any_size = symbolic_shapes.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]  # 1 is like others
    with _quiet(), torch.no_grad(), any_size:
        program = torch.export.export(
            graph,
            args=(),
            kwargs=graph.inputs(example_batch(graph.model.config)),
            dynamic_shapes=graph.dynamic_shapes(),
        )
        torch.export.save(program, path)


def quantize(path: Path, to: Path) -> None:
    """Writes an ONNX file again with the weights of its matrix products in 8 bits, one scale for each column. Inputs of
    a product are quantised while it runs, with one scale for a batch."""
    # An optional extra.
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(path, to, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)


def open_onnx(path: Path) -> Opened:
    """An ONNX file in ONNX Runtime."""
    session = open_session(path)
    ends = [("in ", each) for each in session.get_inputs()] + [("out", each) for each in session.get_outputs()]
    lines = [f"{way} {each.name} ({', '.join(map(str, each.shape))})" for way, each in ends]
    return Opened(lambda inputs: run_session(session, inputs), lines)


def open_program(path: Path) -> Opened:
    """A program of ``torch.export``."""
    program = torch.export.load(path)
    module = program.module()
    lines = [f"in  {name}" for name in program.graph_signature.user_inputs]
    return Opened(lambda inputs: module(**inputs), lines)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn of what is of no concern here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


FORMATS = {
    "onnx": Format(".onnx", f"opset {OPSET}", write_onnx, open_onnx),
    "torch": Format(".pt2", f"torch {torch.__version__}", write_program, open_program),
}
"""What graphs are written as, by name."""
