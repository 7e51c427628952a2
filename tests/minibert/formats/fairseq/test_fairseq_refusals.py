"""fairseq's checkpoints that are incomplete or of another kind are refused by name."""

import argparse
import collections
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_files import ARGS, CFG, LAYER, content_of, load, saved

from minibert import PretrainingModel
from minibert.errors import InputError
from minibert.formats.fairseq.checkpoint import open_fairseq_checkpoint


@pytest.mark.parametrize(
    "name",
    [
        "decoder.sentence_encoder.embed_tokens.weight",
        "decoder.sentence_encoder.embed_positions.weight",
        "decoder.sentence_encoder.emb_layer_norm.bias",
        f"{LAYER}self_attn.k_proj.bias",
        f"{LAYER}fc2.weight",
    ],
)
def test_a_missing_tensor_is_named(name: str, tmp_path: Path) -> None:
    content = content_of(ARGS)
    del content["model"][name]
    short = name.split("sentence_encoder.")[1].replace("emb_layer_norm", "layernorm_embedding")
    with pytest.raises(InputError, match=re.escape(short)):
        load(PretrainingModel, saved(content, tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        f"{LAYER}self_attn.bias_k",
        f"{LAYER}self_attn.in_proj_bias",
        "decoder.sentence_encoder.layer_norm.weight",
        "decoder.sentence_encoder.segment_embeddings.weight",
        "classification_heads.news.out_proj.weight_orig",
        "decoder.sentence_encoder.layers.12345678.fc1.weight",
    ],
)
def test_an_unknown_tensor_is_named(name: str, tmp_path: Path) -> None:
    content = content_of(ARGS)
    content["model"][name] = torch.zeros(32)
    with pytest.raises(InputError, match=re.escape(name)):
        load(PretrainingModel, saved(content, tmp_path))


@pytest.mark.parametrize("name", [f"{LAYER}self_attn.q_proj.weight", "decoder.lm_head.dense.weight"])
def test_a_misshapen_tensor_is_named(name: str, tmp_path: Path) -> None:
    content = content_of(ARGS)
    content["model"][name] = content["model"][name][:, :-1].clone()
    with pytest.raises(InputError, match=f"{re.escape(name)} has shape"):
        load(PretrainingModel, saved(content, tmp_path))


def test_a_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    content = content_of(ARGS)
    content["model"]["encoder.layers.1.fc2.bias"] = content["model"][f"{LAYER}fc2.bias"]
    with pytest.raises(InputError, match="are the same tensor"):
        load(PretrainingModel, saved(content, tmp_path))


def test_an_untied_language_head_is_refused(tmp_path: Path) -> None:
    content = content_of(ARGS)
    content["model"]["decoder.lm_head.weight"] = content["model"]["decoder.lm_head.weight"] + 1
    with pytest.raises(InputError, match="tied decoders only"):
        load(PretrainingModel, saved(content, tmp_path))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("encoder_layers", 3, "encoder_layers is 3 in its settings, but 2 in its tensors"),
        ("encoder_embed_dim", 64, "encoder_embed_dim"),
        ("encoder_ffn_embed_dim", 47, "encoder_ffn_embed_dim"),
        ("max_positions", 18, "max_positions is 18 in its settings, but 16 in its tensors"),
        ("encoder_attention_heads", 5, "not a multiple"),
        ("encoder_attention_heads", None, "encoder_attention_heads is missing"),
        ("encoder_attention_heads", "4", "encoder_attention_heads must be a whole number"),
        ("encoder_attention_heads", True, "encoder_attention_heads must be a whole number"),
        ("encoder_attention_heads", 2**80, "encoder_attention_heads must be a whole number"),
        ("encoder_layers", [[[]]], "encoder_layers must be a whole number.*a list"),
        ("encoder_layers", torch.tensor(2), "encoder_layers must be a whole number.*a Tensor"),
        ("dropout", float("nan"), "dropout must be"),
        ("dropout", 1.5, "dropout must be"),
        ("activation_fn", "swish", "activation_fn must be one of gelu"),
        ("activation_fn", "x" * 10**6, "activation_fn must be one of gelu"),
        ("activation_fn", ["gelu"], "activation_fn must be one of gelu"),
        ("no_scale_embedding", False, "no_scale_embedding"),
        ("encoder_learned_pos", torch.ones(2), "encoder_learned_pos"),
    ],
)
def test_settings_that_do_not_fit_are_named(name: str, value: object, message: str, tmp_path: Path) -> None:
    content = content_of(ARGS)
    setattr(content["args"], name, value)
    with pytest.raises(InputError, match=message) as caught:
        load(PretrainingModel, saved(content, tmp_path))
    assert len(str(caught.value)) < 1000


def test_layers_that_are_normalised_before_are_refused(tmp_path: Path) -> None:
    content = content_of(CFG)
    content["cfg"]["model"]["encoder_normalize_before"] = True
    with pytest.raises(InputError, match="only post-norm is supported"):
        open_fairseq_checkpoint(saved(content, tmp_path))


def nested_laughs() -> list[Any]:
    """A list whose text is as long as the number of its paths: 10 ** 40."""
    laughs: list[Any] = []
    for _ in range(40):
        laughs = [laughs] * 10
    return laughs


@pytest.mark.parametrize(
    "content",
    [
        [1, 2, 3],
        torch.zeros(3),
        {"args": None},
        {"model": {}},
        {"model": None, "args": argparse.Namespace()},
        {"model": {}, "args": argparse.Namespace(encoder_layers=1)},
        {"model": {}, "args": None, "cfg": {"model": None}},
        {"model": {}, "args": None, "cfg": [1]},
        {"model": {}, "args": "roberta_base"},
        {"model": {}, "args": nested_laughs()},
        {"model": {}, "args": argparse.Namespace(encoder_layers=nested_laughs(), activation_fn=nested_laughs())},
        {"model": {3: torch.zeros(1)}, "args": argparse.Namespace()},
        {"model": {"decoder.version": "3"}, "args": argparse.Namespace()},
        {"model": {"x" * 10**6: torch.zeros(1)}, "args": argparse.Namespace()},
        {"model": {"x": torch.zeros(2, 2).to_sparse()}, "args": argparse.Namespace()},
        {"model": {"x": torch.zeros(2, 2, device="meta")}, "args": argparse.Namespace()},
        {"model": {"embed_tokens.weight": torch.zeros(3)}, "args": argparse.Namespace()},
        {"model": {"x": collections.Counter("ab")}, "args": argparse.Namespace()},
    ],
    ids=range(18),
)
def test_contents_that_are_no_checkpoint_are_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_fairseq_checkpoint(saved(content, tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.pt: no such file"):
        open_fairseq_checkpoint(tmp_path)
