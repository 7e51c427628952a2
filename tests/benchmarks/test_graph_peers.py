"""The peers that run exported graphs: they compute what transformers computes, or are left out with the reason."""

import sys
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="transformers is the peer whose graph is exported")

from benchmarks import contender, peers
from benchmarks.workload import Workload, add_options, read_workload

SMALL = ["--device", "cpu", "--size", "trial", "--lengths", "lognormal:9,0.6", "--sequences", "11", "--batch", "4"]


def workload(precision: str = "fp32") -> Workload:
    parser = ArgumentParser()
    add_options(parser, lengths="fixed:8", sequences=4)
    return read_workload(parser.parse_args([*SMALL, "--precision", precision]))


@pytest.mark.filterwarnings("ignore")
def test_onnx_runtime_takes_part_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="an extra: minibert[bench]")
    onnx = pytest.importorskip("onnx", reason="an extra: minibert[bench]")
    work = workload()
    work.random_model().save_pretrained(tmp_path)
    names = ("onnx-fp32", "onnx-optimised-fp32", "onnx-int8-sorted", "onnx-optimised-int8-sorted")
    runners = [peers.predictor(name, tmp_path, work) for name in names]
    reference = peers.reference_predictor(tmp_path, work)
    for batch in work.batches:  # of other shapes than the exported one
        errors = contender.logit_errors(reference, runners, batch)
        assert max(errors[name] for name in names[:2]) < 1e-5
        assert 1e-5 < min(errors[name] for name in names[2:]) <= max(errors.values()) < 0.5
    assert [runner.exact for runner in runners] == [True, True, False, False]
    assert [runner.sorts for runner in runners] == [False, False, True, True]
    graph = onnx.load(tmp_path / "optimised.onnx").graph
    operators = Counter(node.op_type for node in graph.node)
    assert (operators["Attention"], operators["SkipLayerNormalization"], operators["BiasGelu"]) == (2, 4, 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_openvino_takes_part_where_it_is_installed(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="an extra: minibert[bench]")
    pytest.importorskip("nncf", reason="an extra: minibert[bench]")
    pytest.importorskip("onnx", reason="an extra: minibert[bench]")
    work = workload()
    work.random_model().save_pretrained(tmp_path)
    runners = [peers.predictor(name, tmp_path, work) for name in ("openvino-fp32", "openvino-int8-sorted")]
    reference = peers.reference_predictor(tmp_path, work)
    for batch in work.batches:
        errors = contender.logit_errors(reference, runners, batch)
        assert errors["openvino-fp32"] < 1e-5 < errors["openvino-int8-sorted"] < 0.5
    assert [runner.exact for runner in runners] == [True, False]
    can = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for precision in ("fp32", "bf16"):
        same = workload(precision)
        if can:
            assert peers.predictor("openvino-bf16", tmp_path, same).exact is (precision == "bf16")
        else:
            with pytest.raises(contender.Unavailable, match="this CPU has no bf16"):
                peers.predictor("openvino-bf16", tmp_path, same)


@pytest.mark.parametrize(
    ("peer", "package"), [("onnx-fp32", "onnxruntime"), ("onnx-optimised-int8", "onnx"), ("openvino-fp32", "openvino")]
)
def test_a_peer_that_is_not_installed_is_left_out(
    peer: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package != "onnx":
        (tmp_path / "model.onnx").write_bytes(b"")  # nothing to export
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(contender.Unavailable, match=f"{package} is not installed"):
        peers.predictor(peer, tmp_path, workload())
