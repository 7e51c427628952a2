"""Peers that run an exported graph on a CPU: ONNX Runtime, plain and with its optimiser for transformers, and OpenVINO.

Each makes what it runs from one ``model.onnx``, in the folder of the weights, and keeps it there.
"""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks.contender import Predictor, Unavailable
from benchmarks.workload import Ids, Workload, padded

Inputs = dict[str, Ids]  # ids and mask, (B, S)
Run = Callable[[Inputs], npt.NDArray[np.float32]]  # -> logits, (B, S, num_labels)
Open = Callable[[Path, Workload, str], Run]  # the exported graph, the workload and the precision

_CALIBRATION_BATCHES = 8


def graph_predictor(name: str, folder: Path, work: Workload, module: Callable[[], nn.Module]) -> Predictor:
    """The peer of this name.

    Args:
        folder: where graphs are kept.
        module: makes the module to export, from ids and mask to logits.

    Raises:
        Unavailable: it cannot run here.
    """
    if work.device.type != "cpu":
        raise Unavailable("measured on the CPU only")
    open_graph, precision = GRAPH_PEERS[name]
    graph = _kept(folder / "model.onnx", lambda path: _export(module, path, work))
    run = open_graph(graph, work, precision)

    def compute(sequences: Sequence[Ids]) -> Tensor:
        return torch.from_numpy(run(_inputs(sequences, work)))

    return Predictor(name=name, compute=compute, exact=precision in ("fp32", work.precision))


def _kept(path: Path, make: Callable[[Path], object]) -> Path:
    """The path, after the file is made if there is none."""
    if not path.exists():
        make(path)
    return path


def _inputs(sequences: Sequence[Ids], work: Workload) -> Inputs:
    ids, mask = padded(sequences, work.config.pad_token_id, work.device)
    return {"ids": ids.numpy(), "mask": mask.numpy()}


def _export(module: Callable[[], nn.Module], path: Path, work: Workload) -> None:
    example = padded(work.batches[0], work.config.pad_token_id, work.device)
    axes = {0: "batch", 1: "length"}
    with _extras():
        # Imported here because it is an optional extra; the exporter needs it.
        import onnx  # noqa: F401
    with warnings.catch_warnings():
        # The exporter based on torch.export needs another package, takes minutes, and its graph is not faster.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module().eval(), example, path, dynamo=False, opset_version=17, input_names=["ids", "mask"],
            output_names=["logits"], dynamic_axes=dict.fromkeys(("ids", "mask", "logits"), axes),
        )  # fmt: skip


@contextlib.contextmanager
def _extras() -> Iterator[None]:
    """Turns a missing package into :class:`Unavailable`."""
    try:
        yield
    except ImportError as error:
        raise Unavailable(f'{error.name} is not installed (pip install -e ".[bench]")') from None


# -- ONNX Runtime -----------------------------------------------------------------------------------------------------


def _onnx(graph: Path, work: Workload, precision: str) -> Run:
    """ONNX Runtime with its graph optimisations; int8 quantises activations dynamically."""
    with _extras():
        # Imported here because they are an optional extra: without them, this peer is left out.
        import onnx
        import onnxruntime
        from onnxruntime.quantization import QuantType, quantize_dynamic
    if precision == "int8":
        logging.getLogger().setLevel(logging.ERROR)  # it logs warnings to the root logger
        graph = _kept(
            graph.with_stem(f"{graph.stem}-int8"),
            lambda path: quantize_dynamic(
                graph,
                path,
                weight_type=QuantType.QInt8,
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # of what fused operators compute
            ),
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(inputs: Inputs) -> npt.NDArray[np.float32]:
        logits: npt.NDArray[np.float32] = session.run(None, inputs)[0]
        return logits

    return run


def _onnx_optimised(graph: Path, work: Workload, precision: str) -> Run:
    """The same after ONNX Runtime's optimiser for transformers, which makes one operator each of attention, of a
    residual sum with its norm, and of GELU with its bias. It finds all of them in BERT and RoBERTa, not in ALBERT."""
    with _extras():
        # Imported here because it is an optional extra.
        from onnxruntime.transformers.optimizer import optimize_model
    config = work.config

    def optimise(path: Path) -> None:
        optimize_model(
            str(graph), model_type="bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size
        ).save_model_to_file(str(path))

    return _onnx(_kept(graph.with_stem("optimised"), optimise), work, precision)


# -- OpenVINO ---------------------------------------------------------------------------------------------------------


def _openvino(graph: Path, work: Workload, precision: str) -> Run:
    """OpenVINO, one batch at a time on all threads.

    int8 quantises weights and activations with scales from some of the batches, and computes the rest in the workload's
    precision.
    """
    with _extras():
        # Imported here because it is an optional extra: without it, this peer is left out.
        import openvino
    core = openvino.Core()
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and not has_bf16:
        raise Unavailable("this CPU has no bf16")
    model = core.read_model(graph)
    if precision == "int8":
        path = graph.with_name("openvino-int8.xml")
        model = core.read_model(_kept(path, lambda path: _quantise(model, path, work)))
    in_bf16 = precision == "bf16" or (precision == "int8" and work.precision == "bf16" and has_bf16)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if in_bf16 else "f32",  # the default is bf16 where the CPU has it
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(inputs: Inputs) -> npt.NDArray[np.float32]:
        logits: npt.NDArray[np.float32] = request.infer(inputs)[0]
        return logits

    return run


def _quantise(model: object, path: Path, work: Workload) -> None:
    os.environ.setdefault("NNCF_CI", "1")  # otherwise it reports its use over the network
    with _extras():
        # Imported here because they are an optional extra.
        import nncf
        import openvino
    nncf.set_log_level(logging.ERROR)
    batches = work.batches[:_CALIBRATION_BATCHES]
    with contextlib.redirect_stdout(sys.stderr):  # it draws progress bars
        quantised = nncf.quantize(
            model,
            nncf.Dataset(batches, lambda batch: _inputs(batch, work)),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(batches),
        )
    openvino.save_model(quantised, path, compress_to_fp16=False)


GRAPH_PEERS: Mapping[str, tuple[Open, str]] = {
    "onnx-fp32": (_onnx, "fp32"),
    "onnx-int8": (_onnx, "int8"),
    "onnx-optimised-fp32": (_onnx_optimised, "fp32"),
    "onnx-optimised-int8": (_onnx_optimised, "int8"),
    "openvino-fp32": (_openvino, "fp32"),
    "openvino-bf16": (_openvino, "bf16"),
    "openvino-int8": (_openvino, "int8"),
}
