"""The benchmark of the exported graphs, with the graphs themselves in place of ONNX Runtime."""

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers", reason="transformers is the peer of other benchmarks, which print records alike")

from benchmarks import onnx_graphs
from minibert.errors import InputError
from minibert.export.files import Opened
from minibert.export.graphs import Graph


@pytest.mark.slow
def test_packed_and_padded_graphs_are_measured_in_turn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graphs: dict[Path, Graph] = {}

    def opened(path: Path) -> Opened:
        return Opened(torch.no_grad()(lambda inputs: graphs[path](**inputs)), [])

    monkeypatch.setattr(onnx_graphs, "require_onnx", lambda: None)
    monkeypatch.setattr(onnx_graphs, "write_onnx", lambda graph, path: graphs.update({path: graph}))
    monkeypatch.setattr(onnx_graphs, "open_onnx", opened)
    onnx_graphs.main(
        ["--size", "trial", "--lengths", "lognormal:9,0.6", "--sequences", "11", "--batch", "4", "--rounds", "2"]
    )
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(record["contenders"]) == ["minibert", "onnx-padded", "onnx-packed"]
    for figures in record["contenders"].values():
        assert figures["error"] <= 1e-5
        assert len(figures["seconds"]) == 2
    assert record["contenders"]["onnx-padded"]["times_padded"] == 1


def test_other_precisions_are_refused() -> None:
    with pytest.raises(InputError, match="on the CPU in fp32"):
        onnx_graphs.main(["--precision", "bf16"])
