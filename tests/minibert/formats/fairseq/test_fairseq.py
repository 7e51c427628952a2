"""fairseq's checkpoints against Hugging Face's logits (golden/make_fairseq.py), and round trips; needs no fairseq."""

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import largest_difference, scramble, tiny_config
from fairseq_files import (
    ARGS,
    CFG,
    TOLERANCES,
    ZEROS,
    assert_equals_reference,
    content_of,
    golden_batch,
    load,
    renamed,
    saved,
)

from minibert import Encoder, PretrainingModel, SequenceClassifier, TokenClassifier
from minibert.batch import pack
from minibert.checkpoint import open_checkpoint, save_model
from minibert.errors import InputError
from minibert.formats.fairseq.checkpoint import open_fairseq_checkpoint, write_checkpoint
from minibert.formats.fairseq.names import name_table
from minibert.formats.names import from_parameters


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("folder", [ARGS, CFG], ids=lambda folder: folder.name)
def test_logits_of_both_heads_equal_the_reference(folder: Path, dtype: torch.dtype) -> None:
    assert_equals_reference(folder, folder, dtype)


def test_the_comparison_sees_one_weight_that_is_slightly_off(tmp_path: Path) -> None:
    content = content_of(CFG)
    content["model"]["encoder.sentence_encoder.layers.1.self_attn.in_proj_weight"][40, 3] += 1e-2
    with pytest.raises(AssertionError):
        assert_equals_reference(saved(content, tmp_path), CFG)


@pytest.mark.parametrize("older", [False, True], ids=["archive", "older"])
@pytest.mark.parametrize(
    "prefix",
    ["decoder.sentence_encoder.", "encoder.sentence_encoder.", "encoder.", "decoder.", "sentence_encoder.", ""],
)
@pytest.mark.parametrize("folder", [ARGS, CFG], ids=lambda folder: folder.name)
def test_every_prefix_and_both_file_formats_load(folder: Path, prefix: str, older: bool, tmp_path: Path) -> None:
    changed = renamed(content_of(folder), lambda name: re.sub(r"^..coder\.sentence_encoder\.", prefix, name))
    assert_equals_reference(saved(changed, tmp_path, _use_new_zipfile_serialization=not older), folder)


@pytest.mark.parametrize("norm", ["emb_layer_norm", "layernorm_embedding"])
def test_both_names_of_the_first_norm_load(norm: str, tmp_path: Path) -> None:
    changed = renamed(content_of(ARGS), lambda name: name.replace("emb_layer_norm", norm))
    assert_equals_reference(saved(changed, tmp_path), ARGS)


def test_settings_as_a_namespace_inside_cfg_load(tmp_path: Path) -> None:
    content = content_of(CFG)
    content["cfg"]["model"] = argparse.Namespace(**content["cfg"]["model"])
    assert_equals_reference(saved(content, tmp_path), CFG)


def test_buffers_are_known_and_ignored(tmp_path: Path) -> None:
    content = content_of(ARGS)
    buffers = ["decoder.version", "decoder.sentence_encoder.version"]
    buffers.append("decoder.sentence_encoder.embed_positions._float_tensor")
    content["model"].update({name: torch.zeros(1) for name in buffers})
    _, report = load(PretrainingModel, saved(content, tmp_path))
    assert set(buffers) <= report.ignored.keys()


def test_half_precision_is_read_exactly(tmp_path: Path) -> None:
    content = content_of(ARGS)
    content["model"] = {name: tensor.half() for name, tensor in content["model"].items()}
    model, _ = load(Encoder, saved(content, tmp_path))
    theirs = content["model"]["decoder.sentence_encoder.layers.1.fc1.weight"]
    assert torch.equal(model.get_parameter("groups.1.0.feed_forward.intermediate.weight"), theirs.float())


def test_config_says_what_the_settings_and_shapes_say() -> None:
    checkpoint = open_fairseq_checkpoint(CFG)
    config = checkpoint.table("ForSequenceClassification").config
    assert (config.model_type, config.vocab_size, config.hidden_size) == ("roberta", 103, 32)
    assert (config.num_hidden_layers, config.num_attention_heads, config.intermediate_size) == (2, 2, 48)
    assert (config.max_position_embeddings, config.max_length, config.type_vocab_size) == (18, 16, 1)
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (1, 0, 2)
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.1, 0.05)
    assert (config.classifier_dropout, config.layer_norm_eps, config.hidden_act) == (0.2, 1e-5, "gelu")
    assert config.num_labels == 3
    assert checkpoint.config.classifier_dropout is None
    assert set(checkpoint.unread) == {"optimizer_history", "extra_state", "last_optimizer_state"}


@pytest.mark.parametrize(
    ("name", "ours"), [("gelu", "gelu"), ("gelu_accurate", "gelu_new"), ("gelu_fast", "gelu_new"), ("relu", "relu")]
)
def test_activation_has_fairseqs_form(name: str, ours: str, tmp_path: Path) -> None:
    content = content_of(ARGS)
    content["args"].activation_fn = name
    checkpoint = open_fairseq_checkpoint(saved(content, tmp_path))
    assert checkpoint.config.hidden_act == ours
    if name != "gelu":
        with pytest.raises(InputError, match=f"language head has the activation {name}"):
            checkpoint.table("ForPreTraining")


def test_report_names_the_token_types_and_the_unused_heads() -> None:
    model, report = load(TokenClassifier, CFG)
    assert report.zeros == {ZEROS: "not in fairseq: zeros"}
    assert f"{ZEROS} (not in fairseq: zeros)" in str(report)
    assert not model.get_parameter(ZEROS).any()
    assert report.newly_initialised == ("classifier.weight", "classifier.bias")
    heads = [name for name in content_of(CFG)["model"] if "lm_head" in name or "classification_heads" in name]
    assert set(heads) <= report.ignored.keys()


# -- classification heads --------------------------------------------------------------------------------------------


def with_second_head(folder: Path) -> Path:
    content = content_of(CFG)
    content["model"]["classification_heads.mnli.dense.weight"] = torch.zeros(32, 32)
    content["model"]["classification_heads.mnli.dense.bias"] = torch.zeros(32)
    content["model"]["classification_heads.mnli.out_proj.weight"] = torch.zeros(5, 32)
    content["model"]["classification_heads.mnli.out_proj.bias"] = torch.arange(5.0)
    return saved(content, folder)


def test_one_of_several_heads_is_chosen_by_name(tmp_path: Path) -> None:
    folder = with_second_head(tmp_path)
    batch, reference = golden_batch(CFG)
    with torch.no_grad():
        mnli = load(SequenceClassifier, folder, "mnli")[0](batch)
        news = load(SequenceClassifier, folder, "news")[0](batch)
    assert torch.equal(mnli, torch.arange(5.0).expand(len(mnli), 5))
    assert largest_difference(news, reference["classes"]) <= 1e-5


@pytest.mark.parametrize(
    ("name", "message"), [(None, "several.*news, mnli"), ("xnli", "no classification head 'xnli'.*news, mnli")]
)
def test_a_choice_of_head_that_is_none_is_refused(name: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load(SequenceClassifier, with_second_head(tmp_path), name)


def test_a_file_without_heads_starts_one_afresh_and_refuses_a_name() -> None:
    _, report = load(SequenceClassifier, ARGS)
    assert report.newly_initialised == ("dense.weight", "dense.bias", "classifier.weight", "classifier.bias")
    with pytest.raises(InputError, match="no classification head 'news'"):
        load(SequenceClassifier, ARGS, "news")


def test_heads_that_are_not_tanh_are_refused(tmp_path: Path) -> None:
    content = content_of(CFG)
    content["cfg"]["model"]["pooler_activation_fn"] = "relu"
    folder = saved(content, tmp_path)
    load(PretrainingModel, folder)
    with pytest.raises(InputError, match="heads have the activation relu"):
        load(SequenceClassifier, folder)


# -- round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("folder", [ARGS, CFG], ids=lambda folder: folder.name)
def test_written_file_holds_the_same_tensors_bit_for_bit(folder: Path, fused: bool, tmp_path: Path) -> None:
    model, _ = load(PretrainingModel, folder)
    table = name_table(model.config, model.head, fused=fused)
    write_checkpoint(tmp_path / "model.pt", table, from_parameters(dict(model.named_parameters())))
    assert_equals_reference_words(tmp_path, folder)

    def spelled(name: str) -> str:
        return re.sub("^decoder", "encoder", name).replace("emb_layer_norm", "layernorm_embedding")

    theirs = {spelled(name): tensor for name, tensor in content_of(folder)["model"].items()}
    ours = content_of(tmp_path)["model"]
    left_out = {name for name in theirs if "classification_heads" in name or "version" in name}
    if fused is ("in_proj" in str(theirs)):
        assert ours.keys() == theirs.keys() - left_out
    for name in ours.keys() & theirs.keys():
        assert torch.equal(ours[name], theirs[name]), name
    assert not list(tmp_path.glob(".*tmp"))


def assert_equals_reference_words(path: Path, reference_folder: Path) -> None:
    batch, reference = golden_batch(reference_folder)
    with torch.no_grad():
        words, _ = load(PretrainingModel, path)[0](batch)
    assert largest_difference(words, reference["words"]) <= 1e-5


def test_classification_head_is_written_and_read_back(tmp_path: Path) -> None:
    model, _ = load(SequenceClassifier, CFG)
    table = name_table(model.config, model.head, classification_head="news", fused=True)
    write_checkpoint(tmp_path / "model.pt", table, from_parameters(dict(model.named_parameters())))
    ours, theirs = content_of(tmp_path)["model"], content_of(CFG)["model"]
    assert ours.keys() == {name for name in theirs if "lm_head" not in name and "version" not in name}
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    back, _ = load(SequenceClassifier, tmp_path)
    assert back.config == model.config


def test_a_folder_of_hugging_face_goes_to_fairseq_and_back(tmp_path: Path) -> None:
    model, _ = load(PretrainingModel, ARGS)
    save_model(model, tmp_path / "hf")
    again, _ = open_checkpoint(tmp_path / "hf").load(PretrainingModel)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name)), name


def test_a_token_type_that_is_not_zero_goes_into_the_positions(tmp_path: Path) -> None:
    model = PretrainingModel(tiny_config("roberta", layer_norm_eps=1e-5, bos_token_id=0, eos_token_id=2)).eval()
    scramble(model)
    assert model.get_parameter(ZEROS).any()
    write_checkpoint(
        tmp_path / "model.pt", name_table(model.config, model.head), from_parameters(dict(model.named_parameters()))
    )
    batch = pack([[0, 7, 8, 2], [0, 5, 2]])
    with torch.no_grad():
        assert largest_difference(load(PretrainingModel, tmp_path)[0](batch)[0], model(batch)[0]) <= 1e-5


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("bert", {}, "for RoBERTa only, not for BERT"),
        ("roberta", {}, "layer_norm_eps 1e-05"),
        ("roberta", {"layer_norm_eps": 1e-5, "type_vocab_size": 2}, "type_vocab_size 1"),
        ("roberta", {"layer_norm_eps": 1e-5, "hidden_act": "silu"}, "no activation 'silu'"),
    ],
)
def test_what_fairseq_cannot_compute_is_not_written(
    family: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model = Encoder(tiny_config(family, **changes))
    with pytest.raises(InputError, match=message):
        write_checkpoint(
            tmp_path / "model.pt", name_table(model.config, model.head), from_parameters(dict(model.named_parameters()))
        )
    assert not list(tmp_path.iterdir())
