"""``--engine onnx`` answers as PyTorch does, for every task; here the graph itself stands in for ONNX Runtime."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import MODELS, close, make_run

from minibert.errors import InputError
from minibert.export import session as module
from minibert.export.graphs import PackedGraph
from minibert.export.session import save_model_without_weights
from tasks import registry
from tasks.predict import load
from tasks.predict.loading import open_run
from tasks.registry import TASKS
from tasks.run.predictor import trained_model
from tasks.run.task_file import write_task_file

INPUTS: dict[str, list[Any]] = {
    "span_qa": [
        {"question": "Ann", "context": "Bob saw Ann ."},
        {"question": "to Rome", "context": "Ann went to Rome"},
    ],
    "fill_mask": ["Ann [MASK] to Rome", "[MASK] saw [MASK] ."],
}
TEXTS = ["Ann went to Rome and saw Bob .", "Bob", "Rome saw Ann"]


class GraphAsSession:
    """What is used of ``onnxruntime.InferenceSession``."""

    def __init__(self, graph: PackedGraph) -> None:
        self.graph = graph

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name) for name in self.graph.dynamic_shapes()]

    def run(self, _: None, inputs: dict[str, Any]) -> list[Any]:
        assert all(values.dtype == np.int64 for values in inputs.values())
        with torch.no_grad():
            return [output.numpy() for output in self.graph(**{k: torch.from_numpy(v) for k, v in inputs.items()})]


@pytest.fixture
def exported(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A run, and the folder that an export of it is, but for the graph's content."""
    run, out = make_run(tmp_path / "run", request.param), tmp_path / "out"
    out.mkdir()
    task, checkpoint = open_run(run)
    model = trained_model(task, checkpoint)
    save_model_without_weights(model, out)
    checkpoint.tokenizer.save_pretrained(out, for_words=task.for_words)
    if task.name in TASKS:
        write_task_file(out, task)
    (out / "packed.onnx").touch()
    monkeypatch.setattr(module, "open_session", lambda path: GraphAsSession(PackedGraph(model)))
    return run, str(out)


@pytest.mark.parametrize("exported", list(MODELS), indirect=True)
def test_answers_are_those_of_pytorch(exported: tuple[str, str], request: pytest.FixtureRequest) -> None:
    run, out = exported
    inputs = INPUTS.get(request.node.callspec.params["exported"], TEXTS)
    expected = load(run, device="cpu", precision="fp32")(inputs)
    for found, answer in zip(load(out, engine="onnx")(inputs), expected, strict=True):
        assert close({**found, "milliseconds": 0.0}, {**answer, "milliseconds": 0.0})


@pytest.mark.parametrize("exported", ["crf"], indirect=True)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "bf16"}, "--precision bf16: --engine onnx computes in fp32 or int8"),
        ({"precision": "int8"}, "holds no packed-int8.onnx; export the run again with --int8"),
    ],
)
def test_what_the_folder_cannot_do_is_refused(exported: tuple[str, str], options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(exported[1], engine="onnx", **options)


@pytest.mark.parametrize("exported", ["crf"], indirect=True)
def test_a_damaged_crf_is_refused(exported: tuple[str, str]) -> None:
    (Path(exported[1]) / "crf.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"crf\.safetensors: cannot be read"):
        load(exported[1], engine="onnx")


@pytest.mark.parametrize("exported", ["ner"], indirect=True)
def test_a_run_that_was_not_exported_says_what_to_type(exported: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=r"holds no packed\.onnx; .*python tools/export\.py .*run OUT"):
        registry.run("predict", ["--engine", "onnx", exported[0], "-"])
