"""Conversions that are refused: incomplete sources, formats that cannot hold the model, a destination in use."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import GOLDEN, read_checkpoint, tiny_config, write_checkpoint
from conversions import converted, digests, save_wwm, scrambled
from tensor_states import Tensors
from torch import Tensor

from minibert import Encoder, TokenClassifier
from minibert.checkpoint import Pretrained, save_model
from minibert.errors import InputError
from minibert.formats.google.tensor_bundle import write_bundle
from minibert.formats.source import open_source


@pytest.fixture
def wwm(tmp_path: Path) -> Path:
    return save_wwm(tmp_path)


# -- what is refused ---------------------------------------------------------------------------------------------------


Change = Callable[[Tensors], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("cls.predictions.transform.dense.bias"),
            "missing tensors: cls.predictions.transform.dense.bias;",
        ),
        (lambda t: t.pop("cls.seq_relationship.bias"), "missing tensors: cls.seq_relationship.bias;"),
        (lambda t: t.pop("bert.pooler.dense.bias"), "missing tensors: bert.pooler.dense.bias;"),
        (
            lambda t: [t.pop(f"bert.pooler.dense.{end}") for end in ("weight", "bias")],
            "missing tensors: bert.pooler.dense.weight, bert.pooler.dense.bias;",
        ),
        (
            lambda t: t.pop("bert.encoder.layer.1.attention.self.key.bias"),
            "missing tensors: bert.encoder.layer.1.attention.self.key.bias;",
        ),
        (
            lambda t: t.update({"bert.adapter.weight": torch.ones(2)}),
            "unexpected tensors for a bert checkpoint of 3 layers: bert.adapter.weight;",
        ),
        (
            lambda t: t.update({"bert.pooler.dense.bias": torch.ones(7)}),
            r"bert.pooler.dense.bias is float32 of shape \(7,\)",
        ),
        (
            lambda t: t.update({"bert.pooler.dense.bias": torch.ones(24, dtype=torch.int8)}),
            "bert.pooler.dense.bias is int8",
        ),
    ],
)
def test_incomplete_and_unknown_tensors_are_refused_by_name(
    wwm: Path, tmp_path: Path, change: Change, message: str
) -> None:
    tensors, settings = read_checkpoint(wwm)
    change(tensors)
    write_checkpoint(wwm, tensors, settings)
    with pytest.raises(InputError, match=message):
        converted(wwm, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [wwm.name]


@pytest.mark.parametrize(
    ("family", "model_class", "to", "message"),
    [
        ("roberta", Encoder, "google", "supported for BERT and ALBERT only, not for RoBERTa"),
        ("bert", TokenClassifier, "google", "no head ForTokenClassification"),
        ("bert", Encoder, "fairseq", "supported for RoBERTa only, not for BERT"),
    ],
)
def test_a_format_that_cannot_hold_the_model_is_refused(
    family: str, model_class: type[Pretrained], to: str, message: str, tmp_path: Path
) -> None:
    source = scrambled(model_class, family, tmp_path / "source")
    with pytest.raises(InputError, match=message):
        converted(source, tmp_path / "out", to=to)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_fairseq_has_no_place_for_a_token_classifier(tmp_path: Path) -> None:
    save_model(TokenClassifier(tiny_config("roberta", layer_norm_eps=1e-5)), tmp_path / "source")
    with pytest.raises(InputError, match="fairseq format cannot store its classifier"):
        converted(tmp_path / "source", tmp_path / "out", to="fairseq")


def test_a_destination_in_use_is_refused_and_an_empty_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    converted(GOLDEN / "roberta", tmp_path / "out")
    before = digests(tmp_path / "out")
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        converted(GOLDEN / "albert", tmp_path / "out")
    assert digests(tmp_path / "out") == before


def test_nothing_is_left_where_reading_fails_half_way(tmp_path: Path) -> None:
    source = shutil.copytree(GOLDEN / "google_bert", tmp_path / "source")
    data = source / "bert_model.ckpt.data-00000-of-00001"
    damaged = bytearray(data.read_bytes())
    damaged[-20] ^= 1
    for place in range(0, len(damaged), 4000):
        damaged[place] ^= 1
    data.write_bytes(damaged)
    with pytest.raises(InputError, match="checksum"):
        converted(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights found"):
        open_source(tmp_path)


@pytest.mark.parametrize("tensors", [{"output_weights": torch.tensor(1.0)}, {"output_bias": torch.zeros(2)}])
def test_a_classifier_of_googles_without_its_matrix_is_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "google_bert" / "bert_config.json", tmp_path)
    write_bundle(tmp_path / "model.ckpt", tensors)
    with pytest.raises(InputError, match="its classifier needs output_weights"):
        open_source(tmp_path)


def test_an_albert_zh_with_another_order_of_norms_is_refused(tmp_path: Path) -> None:
    source = shutil.copytree(GOLDEN / "google_albert_brightmart", tmp_path / "source")
    (path,) = source.glob("albert_config*.json")
    settings = json.loads(path.read_text(encoding="utf-8"))
    for ln_type in ("preln", 1):
        path.write_text(json.dumps({**settings, "ln_type": ln_type}), encoding="utf-8")
        with pytest.raises(InputError, match=rf"{path.name}: ln_type is .*{ln_type}.*; only postln is supported"):
            converted(source, tmp_path / "out")
    path.write_text(json.dumps({**settings, "ln_type": "postln"}), encoding="utf-8")
    converted(source, tmp_path / "out")
