"""The command that converts checkpoints: its comparison with transformers, and its messages."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import FAMILIES, GOLDEN
from conversions import HEADS, scrambled
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from minibert import Encoder, PretrainingModel
from minibert.checkpoint import Pretrained
from minibert.errors import InputError
from minibert.formats.conversion import convert
from minibert.formats.source import open_source
from tools import convert_weights


@pytest.mark.parametrize("name", ["bert_gelu", "albert", "roberta"])
def test_convert_verifies_against_transformers(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    out = str(tmp_path / "out")
    assert convert_weights.main([str(GOLDEN / name), out, "--verify", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert max(report["verified"].values()) <= 1e-5
    assert report["destination"] == out


@pytest.mark.parametrize("model_class", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_is_verified(family: str, model_class: type[Pretrained], tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    source = open_source(scrambled(model_class, family, tmp_path / "source"))
    convert(source, tmp_path / "out")
    differences = convert_weights.verify(source, tmp_path / "out")
    expected = {Encoder: {"hidden states", "pooler outputs"}, PretrainingModel: {"logits", "pair logits"}}
    assert differences.keys() == expected.get(model_class, {"logits"}) - (
        {"pair logits"} if family == "roberta" else set()
    )


def test_verify_sees_one_weight_that_is_off(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    source = open_source(GOLDEN / "bert_gelu")
    convert(source, tmp_path / "out")
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    tensors["encoder.layer.1.output.dense.bias"][3] += 1e-2
    save_file(tensors, tmp_path / "out" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="differ from those that transformers computes"):
        convert_weights.verify(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([str(GOLDEN / "google_bert"), "OUT", "--verify"], "nothing to compare with"),
        ([str(GOLDEN / "google_bert"), "OUT", "--head", "news"], "only fairseq's files have heads"),
        ([str(GOLDEN / "fairseq_cfg"), "OUT", "--head", "weather"], "choose one of: news"),
        ([str(GOLDEN / "nothing-here"), "OUT"], "no such folder"),
    ],
)
def test_convert_fails_with_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert_weights.main([argument.replace("OUT", str(tmp_path / "out")) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_full_disk_gives_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("minibert.formats.conversion.save_file", full)
    assert convert_weights.main([str(GOLDEN / "google_bert"), str(tmp_path / "out")]) == 2
    assert "cannot be written (No space left on device)" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
