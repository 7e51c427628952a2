"""fairseq's checkpoints against Hugging Face's logits (golden/make_fairseq.py), and hostile files; needs no fairseq."""

import argparse
import collections
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GOLDEN, TOKENIZERS, largest_difference, scramble, tiny_config
from mutations import mutate
from safetensors.torch import load_file
from torch import Tensor

from minibert import Encoder, PretrainingModel, SequenceClassifier, TokenClassifier
from minibert.batch import PackedBatch, from_padded, pack
from minibert.checkpoint import LoadReport, Pretrained, build_model, open_checkpoint, save_model
from minibert.errors import InputError
from minibert.formats.fairseq.checkpoint import name_table, open_fairseq_checkpoint, write_checkpoint
from minibert.formats.fairseq.dictionary import Vocabulary
from minibert.formats.names import from_parameters
from minibert.tokenizer.tokenizer import Tokenizer

ARGS = GOLDEN / "fairseq_args"
CFG = GOLDEN / "fairseq_cfg"
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}
ZEROS = "encoder.embeddings.token_type_embeddings.weight"

Content = dict[str, Any]


def load(
    model_class: type[Pretrained], path: Path, classification_head: str | None = None
) -> tuple[Pretrained, LoadReport]:
    checkpoint = open_fairseq_checkpoint(path)
    table = checkpoint.table(model_class.head, classification_head)
    return build_model(model_class, table, checkpoint.tensors, checkpoint.path)


def content_of(folder: Path) -> Content:
    """What a model.pt holds, read without minibert."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(folder / "model.pt", weights_only=True)


def saved(content: object, folder: Path, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / "model.pt", **options)
    return folder


def renamed(content: Content, change: Callable[[str], str]) -> Content:
    return {**content, "model": {change(name): tensor for name, tensor in content["model"].items()}}


def golden_batch(folder: Path) -> tuple[PackedBatch, dict[str, Tensor]]:
    reference = load_file(folder / "reference.safetensors")
    return from_padded(reference["input_ids"], reference["attention_mask"]), reference


def assert_equals_reference(path: Path, reference_folder: Path, dtype: torch.dtype = torch.float32) -> None:
    batch, reference = golden_batch(reference_folder)
    with torch.no_grad():
        words, _ = load(PretrainingModel, path)[0].to(dtype)(batch)
    assert largest_difference(words, reference["words"]) <= TOLERANCES[dtype]
    if reference_folder == CFG:
        with torch.no_grad():
            classes = load(SequenceClassifier, path)[0].to(dtype)(batch)
        assert largest_difference(classes, reference["classes"]) <= TOLERANCES[dtype]


# -- values ----------------------------------------------------------------------------------------------------------


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
    assert set(checkpoint.not_read) == {"optimizer_history", "extra_state", "last_optimizer_state"}


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
    assert report.fresh == ("classifier.weight", "classifier.bias")
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
    assert report.fresh == ("dense.weight", "dense.bias", "classifier.weight", "classifier.bias")
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
        ("bert", {}, "model_type 'roberta'"),
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


# -- files that do not fit -------------------------------------------------------------------------------------------

LAYER = "decoder.sentence_encoder.layers.1."


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
        ("encoder_layers", 3, "encoder_layers is 3 by its settings, 2 by its tensors"),
        ("encoder_embed_dim", 64, "encoder_embed_dim"),
        ("encoder_ffn_embed_dim", 47, "encoder_ffn_embed_dim"),
        ("max_positions", 18, "max_positions is 18 by its settings, 16 by its tensors"),
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
    with pytest.raises(InputError, match="normalised before"):
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


# -- hostile files ---------------------------------------------------------------------------------------------------


class Runs:
    """Something whose unpickling would make a file."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("older", [False, True], ids=["archive", "older"])
@pytest.mark.parametrize("place", ["model", "args", "inside", "beside", "whole"])
@pytest.mark.parametrize("function", [os.mkdir, eval, open])
def test_nothing_in_a_file_is_executed(
    function: Callable[..., object], place: str, older: bool, tmp_path: Path
) -> None:
    marker = str(tmp_path / "marker")
    arguments = {os.mkdir: (marker,), eval: (f"__import__('os').mkdir({marker!r})",), open: (marker, "w")}
    bomb = Runs(function, *arguments[function])
    content: Any = content_of(ARGS)
    if place == "inside":
        content["args"].seed = bomb
    elif place == "whole":
        content = bomb
    else:
        content["extra_state" if place == "beside" else place] = bomb
    folder = saved(content, tmp_path / "bomb", _use_new_zipfile_serialization=not older)
    with pytest.raises(InputError, match="Files that run code when read are refused"):
        open_fairseq_checkpoint(folder)
    assert not (tmp_path / "marker").exists()


def test_the_allowed_class_is_allowed_in_this_reader_alone() -> None:
    open_fairseq_checkpoint(ARGS)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
    with pytest.raises(Exception, match="Namespace"):
        torch.load(ARGS / "model.pt", weights_only=True)


def archive(pickle: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as file:
        file.writestr("archive/data.pkl", pickle)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")
        file.writestr("archive/data/0", bytes(64))
    return packed.getvalue()


def as_bytes(content: object, **options: Any) -> bytes:
    packed = io.BytesIO()
    torch.save(content, packed, **options)
    return packed.getvalue()


def huge_storage() -> bytes:
    """An older file whose storage says that it has 2 ** 33 numbers."""
    older = as_bytes({"model": {"x": torch.zeros(77)}}, _use_new_zipfile_serialization=False)
    assert older.count(b"K\x4d") == 2  # 77 as one byte: the storage's size and the tensor's shape
    return older.replace(b"K\x4d", b"\x8a\x05\x00\x00\x00\x00\x02")


def stretched() -> Content:
    """A checkpoint that fits together, with one row of the embedding standing for four million."""
    content = content_of(ARGS)
    for name in ("sentence_encoder.embed_tokens", "lm_head"):
        content["model"][f"decoder.{name}.weight"] = torch.zeros(1, 32).expand(2**22, 32)
    return content


BOMBS: dict[str, Callable[[], bytes]] = {
    "a gigabyte, compressed": lambda: archive(bytes(2**30), zipfile.ZIP_DEFLATED),
    "bytearray": lambda: archive(b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x02\x85R."),
    "tensor class": lambda: archive(b"\x80\x02ctorch\nFloatTensor\n\x8a\x05\x00\x00\x00\x00\x02\x85R."),
    "a stretched tensor": lambda: as_bytes(stretched()),
    "tuples in tuples": lambda: archive(b"\x80\x02})" + b"\x85" * 2_000_000 + b"K\x01s."),
    "a huge storage": huge_storage,
    "a long string": lambda: archive(b"\x80\x02X\xff\xff\xff\xffabc."),
}

OPEN_ALL = """
import resource, sys
from pathlib import Path
from minibert import PretrainingModel
from minibert.checkpoint import build_model
from minibert.errors import InputError
from minibert.formats.fairseq.checkpoint import open_fairseq_checkpoint

def load(path):
    checkpoint = open_fairseq_checkpoint(path)
    table = checkpoint.table(PretrainingModel.head)
    build_model(PretrainingModel, table, checkpoint.tensors, path)

load(Path(sys.argv[1]))
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    try:
        load(Path(path))
        print(path, "was loaded")
    except InputError:
        pass
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start
    if grown > 100_000:
        print(path, "took", grown, "KiB")
"""


def test_files_made_to_take_memory_are_refused_within_100_mib(tmp_path: Path) -> None:
    paths = []
    for name, make in BOMBS.items():
        paths.append(str(tmp_path / name.replace(" ", "_")))
        Path(paths[-1]).write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-c", OPEN_ALL, str(ARGS), *paths], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_damage_to_a_weight_is_noticed(tmp_path: Path) -> None:
    data = bytearray((ARGS / "model.pt").read_bytes())
    tensor = content_of(ARGS)["model"][f"{LAYER}fc1.weight"]
    data[data.index(tensor.numpy().tobytes()) + 77] ^= 1
    (tmp_path / "model.pt").write_bytes(data)
    with pytest.raises(InputError, match="CRC"):
        open_fairseq_checkpoint(tmp_path)


@pytest.mark.parametrize("source", ["args", "cfg", "older"])
def test_damaged_files_are_read_as_something_whole_or_refused(source: str, tmp_path: Path) -> None:
    """100 seeds each; whatever is not refused must be a checkpoint that builds or is refused by name."""
    if source == "older":
        data = as_bytes(content_of(ARGS), _use_new_zipfile_serialization=False)
    else:
        data = ({"args": ARGS, "cfg": CFG}[source] / "model.pt").read_bytes()
    refused = 0
    for seed in range(100):
        (tmp_path / "model.pt").write_bytes(mutate(data, random.Random(f"{source} {seed}")))
        try:
            load(SequenceClassifier, tmp_path)
        except InputError as error:
            assert len(str(error)) < 2000  # noqa: PT017
            refused += 1
    assert refused >= 30 if source == "older" else refused >= 75


# -- vocabulary ------------------------------------------------------------------------------------------------------


def small_vocabulary(folder: Path, **changes: str) -> Path:
    for name in ("dict.txt", "encoder.json", "vocab.bpe"):
        shutil.copyfile(ARGS / name, folder / name)
    for name, text in changes.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_ids_are_the_rows_of_dict_txt() -> None:
    encoder = json.loads((ARGS / "encoder.json").read_text(encoding="utf-8"))
    tokens = Vocabulary.from_fairseq(ARGS, open_fairseq_checkpoint(ARGS).config.vocab_size).tokens
    assert tokens[:4] == ("<s>", "<pad>", "</s>", "<unk>")
    for row, line in enumerate((ARGS / "dict.txt").read_text(encoding="utf-8").splitlines(), 4):
        symbol = line.split()[0]
        assert symbol == tokens[row] if symbol.startswith("madeup") else encoder[tokens[row]] == int(symbol)
    assert tokens[-1] == "<mask>"


def test_converted_vocabulary_tokenizes_by_gpt2s_merges(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_fairseq(ARGS, 103)
    vocabulary.save_huggingface(tmp_path)
    ids = Tokenizer.from_pretrained(tmp_path).encode_words([["red", "can"]])[0].ids
    # By hand: no merge joins the space to "red"; in "Ġcan" the merge of "an" comes before those of "Ġc" and "Ġca".
    assert [vocabulary.tokens[index] for index in ids] == ["Ġ", "red", "Ġc", "an"]


def test_vocabulary_round_trip_on_the_small_files(tmp_path: Path) -> None:
    first = Vocabulary.from_fairseq(CFG, 103)
    first.save_huggingface(tmp_path / "hf")
    second = Vocabulary.from_huggingface(tmp_path / "hf")
    second.save_fairseq(tmp_path / "fairseq")
    assert first == second == Vocabulary.from_fairseq(tmp_path / "fairseq", 103)
    assert (tmp_path / "fairseq" / "vocab.bpe").read_bytes() == (CFG / "vocab.bpe").read_bytes()
    ours, theirs = (json.loads((at / "encoder.json").read_text()) for at in (tmp_path / "fairseq", CFG))
    assert ours == theirs


@pytest.mark.skipif(not (TOKENIZERS / "roberta-base").is_dir(), reason="needs RoBERTa's and GPT-2's tokenizer files")
def test_the_official_files_convert_into_each_other(tmp_path: Path) -> None:
    gpt2, roberta = TOKENIZERS / "gpt2", TOKENIZERS / "roberta-base"
    encoder = json.loads((gpt2 / "encoder.json").read_text(encoding="utf-8"))
    ids = json.loads((roberta / "vocab.json").read_text(encoding="utf-8"))
    rows = sorted(ids, key=ids.__getitem__)
    lines = [f"{encoder.get(token, token)} {50265 - row}" for row, token in enumerate(rows)][4:-1]
    (tmp_path / "dict.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in ("encoder.json", "vocab.bpe"):
        shutil.copyfile(gpt2 / name, tmp_path / name)

    vocabulary = Vocabulary.from_fairseq(tmp_path, 50265)
    vocabulary.save_huggingface(tmp_path / "hf")
    assert json.loads((tmp_path / "hf" / "vocab.json").read_text(encoding="utf-8")) == ids
    assert (tmp_path / "hf" / "merges.txt").read_bytes() == (roberta / "merges.txt").read_bytes()

    Vocabulary.from_huggingface(roberta).save_fairseq(tmp_path / "back")
    assert json.loads((tmp_path / "back" / "encoder.json").read_text(encoding="utf-8")) == encoder
    assert (tmp_path / "back" / "vocab.bpe").read_bytes() == (gpt2 / "vocab.bpe").read_bytes()
    back = (tmp_path / "back" / "dict.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in back] == [line.split()[0] for line in lines]


def test_mask_in_dict_txt_keeps_its_row(tmp_path: Path) -> None:
    lines = (ARGS / "dict.txt").read_text(encoding="utf-8")
    small_vocabulary(tmp_path, dict_txt=f"<mask> 7\n{lines}")
    vocabulary = Vocabulary.from_fairseq(tmp_path, 103)
    assert vocabulary.tokens[4] == "<mask>"
    vocabulary.save_fairseq(tmp_path / "again")
    assert Vocabulary.from_fairseq(tmp_path / "again", 103) == vocabulary


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("dict.txt", lambda text: text.replace(" 998\n", "\n"), "dict.txt, line 3: not '<GPT-2 id> <count>'"),
        ("dict.txt", lambda text: text.replace(" 998\n", " many\n"), "dict.txt, line 3: not"),
        ("dict.txt", lambda text: text + "\n", "dict.txt, line 99: not"),
        ("dict.txt", lambda text: text + text.split("\n")[5] + "\n", "dict.txt, line 99: .* has a row already"),
        ("dict.txt", lambda text: text + "<pad> 3\n", "dict.txt, line 99: '<pad>' has a row already"),
        ("dict.txt", lambda text: text + "5 3 #fairseq:overwrite\n", "dict.txt, line 99: not"),
        ("dict.txt", lambda text: text + "madeupword0099 0\n", "gives 104 rows .* has 103"),
        ("dict.txt", lambda text: text.split("\n", 1)[1], "gives 102 rows .* has 103"),
        ("dict.txt", lambda text: text.replace("madeupword0003", "00"), "the id 00 is not in encoder.json"),
        ("dict.txt", lambda text: text.replace("madeupword0003", "9" * 5000), "the id 9+ is not in encoder.json"),
        ("dict.txt", lambda text: text.replace("madeupword0003", "Ġt"), "two rows are the token 'Ġt'"),
        ("dict.txt", lambda text: re.sub(r"(?m)^2 ", "madeupwordX ", text), "no row for 1 of .* such as 'c'"),
        ("encoder.json", lambda text: text.replace(": 3,", ": 4,"), "have the same id 4"),
        ("encoder.json", lambda text: text.replace(": 3,", ": -3,"), "does not map tokens to ids"),
        ("encoder.json", lambda text: text.replace(": 3,", ": true,"), "does not map tokens to ids"),
        ("encoder.json", lambda text: text.replace(": 3,", f": {'9' * 5000},"), "not readable as JSON"),
        ("encoder.json", lambda text: text.replace('"d"', r'"\ud800"'), "does not map tokens to ids"),
        ("encoder.json", lambda text: text[:-9], "not JSON"),
        ("encoder.json", lambda text: "[" * 100_000, "nested too deeply"),
        ("encoder.json", lambda text: "[1]", "holds a list"),
        ("vocab.bpe", lambda text: text + "Ġ zzz\n", "vocab.bpe, line 20: not two tokens"),
        ("vocab.bpe", lambda text: text + "Ġt\n", "vocab.bpe, line 20: not two tokens"),
    ],
    ids=range(22),
)
def test_wrong_lines_of_the_vocabulary_are_named(
    name: str, change: Callable[[str], str], message: str, tmp_path: Path
) -> None:
    small_vocabulary(tmp_path)
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert change(text) != text
    (tmp_path / name).write_text(change(text), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        Vocabulary.from_fairseq(tmp_path, 103)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["encoder.json", "vocab.bpe", "dict.txt"])
def test_a_missing_file_of_the_vocabulary_is_named_with_its_source(name: str, tmp_path: Path) -> None:
    small_vocabulary(tmp_path)
    (tmp_path / name).unlink()
    message = "no such file" if name == "dict.txt" else "missing; fairseq's RoBERTa uses GPT-2's. Fetch"
    with pytest.raises(InputError, match=f"{re.escape(name)}: {message}"):
        Vocabulary.from_fairseq(tmp_path, 103)


@pytest.mark.parametrize("name", ["dict.txt", "encoder.json", "vocab.bpe"])
def test_damaged_vocabulary_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    data = (ARGS / name).read_bytes()
    for seed in range(60):
        small_vocabulary(tmp_path)
        (tmp_path / name).write_bytes(mutate(data, random.Random(f"{name} {seed}")))
        try:
            vocabulary = Vocabulary.from_fairseq(tmp_path, 103)
        except InputError:
            continue
        vocabulary.save_huggingface(tmp_path / "hf")
        assert Vocabulary.from_huggingface(tmp_path / "hf") == vocabulary


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["<pad>", "<s>", "</s>", "<unk>", "a"], "begin with <s> <pad>"),
        (["<s>", "<pad>", "</s>", "<unk>", "new token"], "'new token' cannot stand"),
        (["<s>", "<pad>", "</s>", "<unk>", "1234"], "'1234' cannot stand"),
    ],
)
def test_a_vocabulary_that_dict_txt_cannot_hold_is_not_written(tokens: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        Vocabulary(tuple(tokens), ()).save_fairseq(tmp_path)
    assert not list(tmp_path.iterdir())


def test_ids_with_gaps_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"<s>": 0, "<pad>": 2}', encoding="utf-8")
    (tmp_path / "merges.txt").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="without gaps"):
        Vocabulary.from_huggingface(tmp_path)
