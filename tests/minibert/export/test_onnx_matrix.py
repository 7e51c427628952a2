"""Files in ONNX Runtime: every family, head and graph at least once; with ``EXPORT_MATRIX=1`` each with each, in ten
minutes."""

import itertools
import os
from pathlib import Path

import pytest
from conftest import ALL_FAMILIES, scramble, tiny_config

from minibert import (
    CrfTokenClassifier,
    MeanSequenceClassifier,
    MultipleChoiceClassifier,
    PretrainingModel,
    SequenceClassifier,
    SpanClassifier,
    TokenClassifier,
)
from minibert.checkpoint import Pretrained
from minibert.export.files import open_onnx, write_onnx
from minibert.export.graphs import PackedGraph, PaddedGraph
from tools.export import parity

for _name in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(_name, reason=f"{_name} is an extra, which writes or runs ONNX files")

HEADS: tuple[type[Pretrained], ...] = (
    TokenClassifier,
    SequenceClassifier,
    SpanClassifier,
    PretrainingModel,
    MeanSequenceClassifier,
    MultipleChoiceClassifier,
    CrfTokenClassifier,
)
GRAPHS = (PaddedGraph, PackedGraph)
EVERY_ONE_ONCE = list(zip(ALL_FAMILIES, itertools.cycle(HEADS), itertools.cycle(GRAPHS)))  # two are endless
EACH_WITH_EACH = list(itertools.product(ALL_FAMILIES, HEADS, GRAPHS))
ONE_LAYER = {"num_hidden_layers": 1, "num_hidden_groups": 1, "inner_group_num": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "head", "graph_class"), EACH_WITH_EACH if "EXPORT_MATRIX" in os.environ else EVERY_ONE_ONCE
)
def test_the_file_computes_what_the_model_does(
    family: str, head: type[Pretrained], graph_class: type[PaddedGraph] | type[PackedGraph], tmp_path: Path
) -> None:
    """Over batches of 1 to 64 sequences of 1 token to the most."""
    layers = ONE_LAYER if family == "albert" else {"num_hidden_layers": 1}
    model = head(tiny_config(family, **layers)).eval()
    scramble(model.encoder)  # type: ignore[arg-type]
    graph = graph_class(model)
    write_onnx(graph, tmp_path / "graph.onnx")
    assert parity(graph, open_onnx(tmp_path / "graph.onnx").run) <= 1e-5
