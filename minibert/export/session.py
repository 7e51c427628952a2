"""Answers from ONNX Runtime: a folder with a packed graph, as a model."""

import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from minibert.batch import PackedBatch
from minibert.checkpoint import Checkpoint, Pretrained, class_names
from minibert.config import EncoderConfig
from minibert.crf import LinearChainCRF
from minibert.errors import InputError
from minibert.export.inputs import Inputs, packed_inputs
from minibert.files import read_json_object, write_atomically, write_json

GRAPH = "packed.onnx"
INT8_GRAPH = "packed-int8.onnx"
CRF_FILE = "crf.safetensors"


class OnnxModel(Pretrained):
    """A packed graph in ONNX Runtime, called as the model that it was made from.

    Args:
        config: of that model.
        session: of ONNX Runtime, on the CPU.
        crf: which the graph, whose outputs are emissions, lacks.
    """

    def __init__(self, config: EncoderConfig, session: Any, crf: LinearChainCRF | None = None) -> None:
        super().__init__(config)
        self.crf = crf
        self._session = session

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def forward(self, batch: PackedBatch, positions: Tensor | None = None) -> Tensor:
        """What the model's head returns; of masked words, ``(N, V)`` at ``positions (N,)``."""
        outputs = run_session(self._session, packed_inputs(batch, positions))
        if len(outputs) == 2:  # start and end
            return torch.stack(outputs, dim=-1)
        return outputs[0]


def save_model_without_weights(model: Pretrained, folder: Path) -> None:
    """Writes what an :class:`OnnxModel` needs besides its graph: ``config.json``, and the scores of a CRF."""
    config = {"architectures": [model.config.family.class_of(model.head)], **model.config.to_dict()}
    write_json(folder / "config.json", config)
    if isinstance(crf := getattr(model, "crf", None), LinearChainCRF):
        scores = {name: parameter.detach() for name, parameter in crf.named_parameters()}
        write_atomically(folder / CRF_FILE, lambda path: save_file(scores, path))


def open_export(folder: Path) -> Checkpoint:
    """An exported folder as a checkpoint without tensors.

    Raises:
        InputError: it holds no packed graph; the message says what makes one.
    """
    if not (folder / GRAPH).is_file():
        raise InputError(
            f"{folder}: holds no {GRAPH}; make a folder that does with python tools/export.py {folder} OUT, and name "
            "OUT."
        )
    path = folder / "config.json"
    values = read_json_object(path)
    try:
        config = EncoderConfig.from_dict(values)
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix('config: ')}") from None
    return Checkpoint(
        folder=folder,
        config=config,
        architectures=class_names(values, path),
        tensors={},
    )


def load_onnx_model(checkpoint: Checkpoint, *, int8: bool = False) -> OnnxModel:
    """The model of a folder that :func:`open_export` has opened.

    Raises:
        InputError: ONNX Runtime or a file is missing, or one cannot be used.
    """
    folder = checkpoint.folder
    if int8 and not (folder / INT8_GRAPH).is_file():
        raise InputError(f"{folder}: holds no {INT8_GRAPH}; export the run again with --int8.")
    crf = None
    if (folder / CRF_FILE).is_file():
        crf = LinearChainCRF(checkpoint.config.id2label)
        try:
            crf.load_state_dict(load_file(folder / CRF_FILE))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise InputError(f"{folder / CRF_FILE}: cannot be read ({error}); export the run again.") from None
    return OnnxModel(checkpoint.config, open_session(folder / (INT8_GRAPH if int8 else GRAPH)), crf).eval()


def open_session(path: Path) -> Any:
    """An ONNX file as a session of ONNX Runtime on the CPU, with as many threads as PyTorch has.

    Raises:
        InputError: ONNX Runtime is missing, or the file cannot be used.
    """
    try:
        import onnxruntime  # an optional extra
    except ImportError as error:
        raise InputError(f"{error.name} is missing: pip install -e '.[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        raise InputError(f"{path}: ONNX Runtime cannot read it ({error}); export it again.") from None


def run_session(session: Any, inputs: Inputs) -> tuple[Tensor, ...]:
    """The outputs of a session, in order; inputs that it has not are left out."""
    names = [each.name for each in session.get_inputs()]
    return tuple(map(torch.from_numpy, session.run(None, {name: inputs[name].numpy() for name in names})))
