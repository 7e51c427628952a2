"""The command that exports a run, its files in ONNX Runtime, and the example that needs neither torch nor minibert."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, scramble, tiny_config, write
from tiny_runs import TEXTS, close, make_run

from minibert import MeanSequenceClassifier
from minibert.checkpoint import Pretrained
from minibert.export import files
from minibert.export.files import Opened, open_program, write_program
from minibert.export.graphs import PackedGraph, PaddedGraph
from tasks import registry
from tasks.predict import load
from tools import export


@pytest.fixture(scope="session")
def _onnx() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is an extra, which writes or runs ONNX files")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_run(tmp_path_factory.mktemp("run") / "run", "classification", num_hidden_layers=1)


@pytest.fixture(scope="session")
def exported(run: str, tmp_path_factory: pytest.TempPathFactory, _onnx: None) -> Path:
    folder = tmp_path_factory.mktemp("export")
    rows = [{"text": text, "label": ("bad", "good")[i % 2]} for i, text in enumerate(TEXTS[:20])]
    data = write(folder / "dev.jsonl", rows)
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr(export, "say", lambda text, **_: said.append(text))
        assert export.main([run, str(folder / "out"), "--int8", "--data", data]) == 0
    (folder / "said.txt").write_text("\n".join(said), "utf-8")
    return folder


@pytest.mark.slow
def test_the_command_says_what_it_wrote(exported: Path) -> None:
    said = (exported / "said.txt").read_text("utf-8")
    assert sorted(path.name for path in (exported / "out").iterdir()) == [
        "config.json", "packed-int8.onnx", "packed.onnx", "padded-int8.onnx", "padded.onnx", "task.json",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert "padded.onnx: opset 20, " in said
    assert "in  attention_mask (batch, length)" in said
    assert "in  cu_seqlens (batch_plus_1)" in said
    assert "out logits (batch, 2)" in said
    assert "accuracy of 20 items: fp32 0." in said
    assert str(ROOT).encode() not in (exported / "out" / "packed.onnx").read_bytes()


@pytest.mark.slow
def test_onnx_runtime_answers_as_pytorch(
    run: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.txt"
    path.write_text("\n".join(TEXTS), "utf-8")
    answers: dict[str, list[dict[str, Any]]] = {}
    for name, options in {
        "torch": [run, str(path), "--precision", "fp32"],
        "onnx": [str(exported / "out"), str(path), "--engine", "onnx"],
        "int8": [str(exported / "out"), str(path), "--engine", "onnx", "--precision", "int8"],
    }.items():
        registry.run("predict", options)
        answers[name] = [{**json.loads(line), "milliseconds": 0.0} for line in capsys.readouterr().out.splitlines()]
    assert close(answers["onnx"], answers["torch"])
    assert not close(answers["int8"], answers["torch"])
    for found, expected in zip(answers["int8"], answers["torch"], strict=True):
        assert found["probabilities"]["good"] == pytest.approx(expected["probabilities"]["good"], abs=0.05)


@pytest.mark.slow
@pytest.mark.usefixtures("_onnx")
def test_large_weights_lie_beside_their_graph_and_move_with_it(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE", 1)
    assert export.main([run, str(tmp_path / "out"), "--int8"]) == 0
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "out").rename(tmp_path / "elsewhere" / "model")
    weights = (Path(run) / "model.safetensors").stat().st_size
    for name in ("packed", "padded"):
        assert (moved / f"{name}.onnx.data").stat().st_size > weights / 2
    expected = [answer["probabilities"] for answer in load(run, precision="fp32")(TEXTS)]
    for precision, tolerance in (("fp32", 1e-5), ("int8", 0.05)):
        found = load(str(moved), engine="onnx", precision=precision)(TEXTS)
        for answer, each in zip(found, expected, strict=True):
            assert answer["probabilities"] == pytest.approx(each, abs=tolerance)


@pytest.mark.slow
def test_the_example_answers_without_torch_and_minibert(run: str, exported: Path) -> None:
    example = ROOT / "tools" / "onnx_example.py"
    code = (
        "import runpy, sys; sys.path = [path for path in sys.path if path]; runpy.run_path(sys.argv[1]); "
        "assert not {'torch', 'minibert', 'tasks'} & {name.partition('.')[0] for name in sys.modules}"
    )
    texts = TEXTS[:5]
    done = subprocess.run(
        [sys.executable, "-I", "-c", code.replace("sys.argv[1]", "sys.argv.pop(0) and sys.argv[0]"), str(example),
         str(exported / "out"), *texts],
        capture_output=True, text=True, encoding="utf-8", check=True,
    )  # fmt: skip
    for line, text, answer in zip(done.stdout.splitlines(), texts, load(run, precision="fp32")(texts), strict=True):
        found = json.loads(line)
        assert (found["text"], found["label"]) == (text, answer["label"])
        assert found["probability"] == pytest.approx(answer["probability"], abs=1e-5)
    lines = [line for line in example.read_text("utf-8").split('"""')[2].splitlines() if line.strip()]
    assert len(lines) <= 20


def scrambled(model_class: type[Pretrained], family: str) -> Pretrained:
    model = model_class(tiny_config(family, num_hidden_layers=1)).eval()
    scramble(model.encoder)  # type: ignore[arg-type]
    return model


@pytest.mark.slow
def test_programs_of_torch_export_take_any_sizes(tmp_path: Path) -> None:
    graph = PackedGraph(scrambled(MeanSequenceClassifier, "roberta"))
    write_program(graph, tmp_path / "graph.pt2")
    assert export.parity(graph, open_program(tmp_path / "graph.pt2").run) <= 1e-5


def test_parity_sees_one_weight_that_is_off() -> None:
    graph = PaddedGraph(scrambled(MeanSequenceClassifier, "bert"))
    other = copy.deepcopy(graph)
    with torch.no_grad():
        assert export.parity(graph, lambda inputs: other(**inputs)) <= 1e-5
        other.get_parameter("model.encoder.groups.0.0.feed_forward.output.bias")[3] += 0.1
        assert export.parity(graph, lambda inputs: other(**inputs)) > 1e-4


def test_a_graph_that_differs_is_refused_and_nothing_is_left(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = export.FORMATS["torch"]._replace(
        write=lambda graph, path: path.touch(),
        open=lambda path: Opened(lambda inputs: (torch.full((len(inputs["input_ids"]), 2), 9.0),), []),
    )
    monkeypatch.setitem(export.FORMATS, "torch", written)
    assert export.main([run, str(tmp_path / "out"), "--format", "torch"]) == 2
    assert "padded.pt2: differs from the model by" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--int8", "--format", "torch"], "--int8: only --format onnx has it"),
        (["--data", "dev.txt"], "--data: measures the cost of --int8"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export.main(["a-run", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert export.main(["a-run", str(tmp_path)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
