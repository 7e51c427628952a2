"""Model folders: what is read, what is refused and why, and saving that leaves no half file."""

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GOLDEN, ragged_ids, read_checkpoint, scramble, tiny_config, write_checkpoint
from safetensors.torch import save_file
from torch import Tensor

import minibert.checkpoint
from minibert import (
    Encoder,
    EncoderConfig,
    PretrainingModel,
    SequenceClassifier,
    SpanClassifier,
    TokenClassifier,
    pack,
)
from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.hub import resolve

QUERY = "encoder.layer.1.attention.self.query.weight"
LABELS = {0: "B-LOC", 1: "I-LOC", 2: "O"}

Tensors = dict[str, Tensor]


@pytest.fixture
def tensors() -> Tensors:
    return read_checkpoint(GOLDEN / "bert_gelu")[0]


@pytest.fixture
def settings() -> dict[str, Any]:
    return read_checkpoint(GOLDEN / "bert_gelu")[1]


@pytest.fixture
def expected() -> Tensors:
    return state_of(Encoder.from_pretrained(GOLDEN / "bert_gelu"))


def state_of(model: torch.nn.Module) -> Tensors:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(ours: Tensors, theirs: Tensors) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def with_head(tensors: Tensors, head: Tensors) -> Tensors:
    """The names of a whole model: those of the body behind a prefix, and those of a head."""
    return {f"bert.{name}": tensor for name, tensor in tensors.items()} | head


def token_classifier(folder: Path, tensors: Tensors, settings: dict[str, Any], **changes: Any) -> Path:
    """A checkpoint of a token classifier with the labels B-LOC, I-LOC and O."""
    head = {"classifier.weight": torch.randn(3, 32), "classifier.bias": torch.randn(3)}
    body = {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler")}
    return write_checkpoint(folder, with_head(body, head), {
        **settings, "architectures": ["BertForTokenClassification"], "id2label": LABELS, **changes,
    })  # fmt: skip


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"bert.{name}",
        lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"),
        lambda name: "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma"),
    ],
    ids=["prefixed", "gamma and beta", "both"],
)
def test_spellings_of_one_checkpoint_are_one_model(
    rename: Callable[[str], str], tensors: Tensors, settings: dict[str, Any], expected: Tensors, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, {rename(name): tensor for name, tensor in tensors.items()}, settings)
    model, report = open_checkpoint(tmp_path).load(Encoder)
    assert_same(state_of(model), expected)
    assert sorted(report.loaded) == sorted(rename(name) for name in tensors)
    assert not report.fresh
    assert not report.ignored


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("pooler.dense.bias", "pooler.dense.beta"),
        ("encoder.layer.0.output.dense.weight", "encoder.layer.0.output.dense.gamma"),
        ("embeddings.LayerNorm.weight", "embeddings.LayerNorm.gamma.weight"),
        ("embeddings.LayerNorm.weight", "embeddings.MyLayerNorm.gamma"),
    ],
)
def test_gamma_and_beta_are_known_at_the_end_of_a_norm_only(
    right: str, wrong: str, tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    tensors[wrong] = tensors.pop(right)
    write_checkpoint(tmp_path, tensors, settings)
    with pytest.raises(InputError, match=f"{wrong} is not part"):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_constant_buffers_are_listed_and_not_read(
    prefix: str, tensors: Tensors, settings: dict[str, Any], expected: Tensors, tmp_path: Path
) -> None:
    buffer = f"{prefix}embeddings.position_ids"
    body = {prefix + name: tensor for name, tensor in tensors.items()}
    write_checkpoint(tmp_path, {**body, buffer: torch.arange(16)[None]}, settings)
    model, report = open_checkpoint(tmp_path).load(Encoder)
    assert_same(state_of(model), expected)
    assert list(report.ignored) == [buffer]
    assert buffer in str(report)


@pytest.mark.parametrize(
    ("double", "original"),
    [
        ("bert.pooler.dense.bias", "pooler.dense.bias"),
        ("embeddings.LayerNorm.gamma", "embeddings.LayerNorm.weight"),
    ],
)
def test_two_names_for_one_tensor_are_refused(
    double: str, original: str, tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, {**tensors, double: tensors[original] + 1}, settings)
    with pytest.raises(InputError) as error:
        Encoder.from_pretrained(tmp_path)
    assert f"'{double}'" in str(error.value)
    assert f"'{original}'" in str(error.value)


# -- files ------------------------------------------------------------------------------------------------------------


def write_bin(folder: Path, content: object, settings: dict[str, Any]) -> Path:
    write_checkpoint(folder, {}, settings)
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    return folder


def write_shards(folder: Path, tensors: Tensors, settings: dict[str, Any], ending: str) -> list[Path]:
    """Two shards with an index; returns the shards."""
    write_checkpoint(folder, {}, settings)
    (folder / "model.safetensors").unlink()
    stem = ending.split(".")[0]
    suffix = ending.split(".")[1]
    names = sorted(tensors)
    shards = [folder / f"{stem}-0000{number}-of-00002.{suffix}" for number in (1, 2)]
    weight_map = {}
    for shard, part in zip(shards, (names[::2], names[1::2]), strict=True):
        content = {name: tensors[name] for name in part}
        if suffix == "safetensors":
            save_file(content, shard)
        else:
            torch.save(content, shard)
        weight_map |= dict.fromkeys(part, shard.name)
    (folder / f"{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return shards


def test_a_bin_file_is_read(tensors: Tensors, settings: dict[str, Any], expected: Tensors, tmp_path: Path) -> None:
    write_bin(tmp_path, tensors, settings)
    assert_same(state_of(Encoder.from_pretrained(tmp_path)), expected)


@pytest.mark.parametrize("ending", ["model.safetensors", "pytorch_model.bin"])
def test_shards_are_read_by_their_index(
    ending: str, tensors: Tensors, settings: dict[str, Any], expected: Tensors, tmp_path: Path
) -> None:
    shards = write_shards(tmp_path, tensors, settings, ending)
    assert_same(state_of(Encoder.from_pretrained(tmp_path)), expected)
    shards[1].unlink()
    with pytest.raises(InputError, match=shards[1].name):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (None, "weight_map"),
        ({"pooler.dense.bias": "../model.safetensors"}, "plain file name"),
        ({"nowhere": "model-00001-of-00002.safetensors"}, "nowhere"),
    ],
)
def test_a_wrong_index_is_refused(
    weight_map: object, message: str, tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    write_shards(tmp_path, tensors, settings, "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(InputError, match=message):
        Encoder.from_pretrained(tmp_path)


class RunsCodeWhenRead:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_bin_file_that_would_run_code_is_refused_and_does_not_run(
    legacy: bool, tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    trap = tmp_path / "code-ran"
    folder = tmp_path / "model"
    write_bin(folder, {**tensors, "extra": RunsCodeWhenRead(trap)}, settings)
    if legacy:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"extra": RunsCodeWhenRead(trap)}, protocol=2))
    with pytest.raises(InputError, match=r"pytorch_model\.bin"):
        Encoder.from_pretrained(folder)
    assert not trap.exists()


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"model": {"pooler.dense.bias": torch.ones(2)}}])
def test_a_bin_file_of_something_else_is_refused(content: object, settings: dict[str, Any], tmp_path: Path) -> None:
    write_bin(tmp_path, content, settings)
    with pytest.raises(InputError, match="dictionary of tensors"):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("left", [0, 5, 1000, -7])
def test_a_truncated_file_is_named(
    name: str, left: int, tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    if name == "pytorch_model.bin":
        write_bin(tmp_path, tensors, settings)
    else:
        write_checkpoint(tmp_path, tensors, settings)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:left])
    with pytest.raises(InputError, match=name):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("absent", ["config.json", "model.safetensors"])
def test_a_folder_without_config_or_weights_is_refused(
    absent: str, tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, tensors, settings)
    (tmp_path / absent).unlink()
    with pytest.raises(InputError, match=absent) as error:
        Encoder.from_pretrained(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_setting_that_is_refused_comes_with_the_name_of_its_file(
    tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, tensors, {**settings, "hidden_act": "mish"})
    with pytest.raises(InputError, match="mish") as error:
        Encoder.from_pretrained(tmp_path)
    assert str(tmp_path / "config.json") in str(error.value)


# -- contents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [QUERY, "embeddings.LayerNorm.bias", "embeddings.word_embeddings.weight"])
def test_a_missing_tensor_is_named(name: str, tensors: Tensors, settings: dict[str, Any], tmp_path: Path) -> None:
    del tensors[name]
    write_checkpoint(tmp_path, tensors, settings)
    with pytest.raises(InputError, match=name):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["encoder.layer.3.output.dense.bias", "encoder.layer.0.adapter.weight", "bert.bert.pooler.dense.weight", "extra"],
)
def test_an_unknown_tensor_is_named(name: str, tensors: Tensors, settings: dict[str, Any], tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {**tensors, name: torch.ones(2)}, settings)
    with pytest.raises(InputError, match=name):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize(("value", "is_damaged"), [(math.nan, True), (-math.inf, True), (3e38, False)])
def test_numbers_that_are_none_are_named(
    value: float, is_damaged: bool, tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    damaged = tensors[QUERY].clone()
    damaged[:2, :3] = value  # whose finite sum is none
    write_checkpoint(tmp_path, {**tensors, QUERY: damaged}, settings)
    if not is_damaged:
        Encoder.from_pretrained(tmp_path)
        return
    with pytest.raises(InputError, match=f"{QUERY} holds numbers that are not finite"):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [(QUERY, (32, 31)), ("embeddings.word_embeddings.weight", (79, 32)), ("embeddings.LayerNorm.bias", (1,))],
)
def test_a_wrong_shape_is_named_with_both_shapes(
    name: str, shape: tuple[int, ...], tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    right = tuple(tensors[name].shape)
    write_checkpoint(tmp_path, {**tensors, name: torch.ones(shape)}, settings)
    with pytest.raises(InputError, match=name) as error:
        Encoder.from_pretrained(tmp_path)
    assert str(shape) in str(error.value)
    assert str(right) in str(error.value)


def test_the_tensors_tell_the_family_where_the_config_names_another(
    tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    prefixed = {f"bert.{name}": tensor for name, tensor in tensors.items()}
    write_checkpoint(tmp_path, prefixed, {**settings, "model_type": "roberta", "pad_token_id": 1})
    encoder = Encoder.from_pretrained(tmp_path)
    assert (encoder.config.model_type, encoder.config.position_offset) == ("bert", 0)


def test_an_absent_pooler_is_reported_as_fresh(
    tensors: Tensors, settings: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler")}
    write_checkpoint(tmp_path, body, settings)
    model, report = open_checkpoint(tmp_path).load(Encoder)
    assert report.fresh == ("pooler.weight", "pooler.bias")
    assert 0 < model.pooler.weight.std() < 0.05
    assert not model.pooler.bias.any()
    assert "pooler.weight" in str(report)
    Encoder.from_pretrained(tmp_path)
    assert "pooler.weight" in caplog.text


@pytest.mark.parametrize(
    ("model_class", "fresh"),
    [
        (TokenClassifier, {"classifier.weight", "classifier.bias"}),
        (SequenceClassifier, {"classifier.weight", "classifier.bias"}),
        (SpanClassifier, {"classifier.weight", "classifier.bias"}),
        (PretrainingModel, {"mlm.dense.weight", "mlm.dense.bias", "mlm.norm.weight", "mlm.norm.bias", "mlm.bias",
                            "pair.weight", "pair.bias"}),
    ],
)  # fmt: skip
def test_an_absent_head_is_reported_as_fresh_and_the_body_is_loaded(model_class: Any, fresh: set[str]) -> None:
    model, report = open_checkpoint(GOLDEN / "bert_gelu").load(model_class)
    assert set(report.fresh) == fresh
    body = state_of(Encoder.from_pretrained(GOLDEN / "bert_gelu"))
    assert all(torch.equal(tensor, body[name]) for name, tensor in state_of(model.encoder).items())
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    if model_class in (TokenClassifier, SpanClassifier):
        assert set(report.ignored) == {"pooler.dense.weight", "pooler.dense.bias"}


def test_a_trained_head_is_loaded_with_its_labels(tensors: Tensors, settings: dict[str, Any], tmp_path: Path) -> None:
    token_classifier(tmp_path, tensors, settings)
    for labels in (None, LABELS):
        model, report = open_checkpoint(tmp_path).load(TokenClassifier, labels=labels)
        assert not report.fresh
        assert model.config.id2label == LABELS
        assert torch.equal(model.classifier.weight, read_checkpoint(tmp_path)[0]["classifier.weight"])


def test_the_head_of_another_task_starts_afresh(tensors: Tensors, settings: dict[str, Any], tmp_path: Path) -> None:
    token_classifier(tmp_path, tensors, settings)
    model, report = open_checkpoint(tmp_path).load(SequenceClassifier)
    assert set(report.fresh) >= {"classifier.weight", "classifier.bias"}
    assert "BertForTokenClassification" in report.ignored["classifier.weight"]
    assert not torch.equal(model.classifier.weight, read_checkpoint(tmp_path)[0]["classifier.weight"])


@pytest.mark.parametrize("labels", [{0: "O", 1: "B-PER", 2: "I-PER"}, {0: "O", 1: "X"}])
def test_a_head_with_other_labels_starts_afresh(
    labels: dict[int, str], tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    token_classifier(tmp_path, tensors, settings)
    model, report = open_checkpoint(tmp_path).load(TokenClassifier, labels=labels)
    assert report.fresh == ("classifier.weight", "classifier.bias")
    assert "labels" in report.ignored["classifier.weight"]
    assert model.classifier.weight.shape == (len(labels), 32)
    assert model.config.id2label == labels


def test_the_same_labels_in_another_order_are_refused(
    tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    token_classifier(tmp_path, tensors, settings)
    with pytest.raises(InputError, match="B-LOC, I-LOC, O"):
        TokenClassifier.from_pretrained(tmp_path, id2label={0: "O", 1: "B-LOC", 2: "I-LOC"})


def test_num_labels_sizes_a_fresh_head_and_keeps_a_fitting_one(
    tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    token_classifier(tmp_path, tensors, settings)
    assert TokenClassifier.from_pretrained(tmp_path, num_labels=3).config.id2label == LABELS
    fresh = TokenClassifier.from_pretrained(tmp_path, num_labels=5)
    assert fresh.config.id2label == {index: f"LABEL_{index}" for index in range(5)}
    assert fresh.classifier.weight.shape == (5, 32)
    with pytest.raises(ValueError, match="num_labels"):
        TokenClassifier.from_pretrained(tmp_path, num_labels=2, id2label=LABELS)


# -- tied weights -----------------------------------------------------------------------------------------------------


def pretraining_checkpoint(folder: Path, family: str, decoder: Tensors) -> Path:
    """A saved pre-training model, with the decoder's own tensors added as old files have them."""
    model = PretrainingModel(tiny_config(family))
    scramble(model)
    model.save_pretrained(folder)
    tensors, settings = read_checkpoint(folder)
    return write_checkpoint(folder, {**tensors, **decoder}, settings)


DECODERS = {
    "bert": ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
    "albert": ("predictions.decoder.weight", "albert.embeddings.word_embeddings.weight"),
    "roberta": ("lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight"),
}


@pytest.mark.parametrize("family", DECODERS)
def test_a_tied_decoder_is_saved_once_and_read_where_it_repeats(family: str, tmp_path: Path) -> None:
    decoder, embedding = DECODERS[family]
    pretraining_checkpoint(tmp_path, family, {})
    before = state_of(PretrainingModel.from_pretrained(tmp_path))
    tensors, settings = read_checkpoint(tmp_path)
    assert decoder not in tensors
    write_checkpoint(tmp_path, {**tensors, decoder: tensors[embedding].clone()}, settings)
    model, report = open_checkpoint(tmp_path).load(PretrainingModel)
    assert_same(state_of(model), before)
    assert decoder in report.ignored


@pytest.mark.parametrize("family", DECODERS)
def test_a_decoder_alone_fills_the_embedding_it_is_tied_to(family: str, tmp_path: Path) -> None:
    decoder, embedding = DECODERS[family]
    pretraining_checkpoint(tmp_path, family, {})
    before = state_of(PretrainingModel.from_pretrained(tmp_path))
    tensors, settings = read_checkpoint(tmp_path)
    tensors[decoder] = tensors.pop(embedding)
    write_checkpoint(tmp_path, tensors, settings)
    assert_same(state_of(PretrainingModel.from_pretrained(tmp_path)), before)


@pytest.mark.parametrize("family", DECODERS)
def test_a_decoder_that_is_not_tied_is_refused_where_it_is_used(family: str, tmp_path: Path) -> None:
    decoder, embedding = DECODERS[family]
    pretraining_checkpoint(tmp_path, family, {decoder: torch.randn(90, 12 if family == "albert" else 24)})
    with pytest.raises(InputError) as error:
        PretrainingModel.from_pretrained(tmp_path)
    assert decoder in str(error.value)
    assert embedding in str(error.value)
    Encoder.from_pretrained(tmp_path)


# -- saving -----------------------------------------------------------------------------------------------------------


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_saving_over_the_folder_that_was_read(tensors: Tensors, settings: dict[str, Any], tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tensors, settings)
    model = Encoder.from_pretrained(tmp_path)
    with torch.no_grad():
        model.pooler.bias += 1
    model.save_pretrained(tmp_path)
    written, _ = read_checkpoint(tmp_path)
    tensors["pooler.dense.bias"] += 1
    assert_same(written, tensors)
    assert sorted(files_of(tmp_path)) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("step", ["save_file", "write_json"])
def test_a_failure_while_saving_leaves_the_old_file_whole_and_nothing_behind(
    step: str, tensors: Tensors, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, tensors, settings)
    model = Encoder.from_pretrained(tmp_path)
    before = files_of(tmp_path)

    def half(*arguments: Any, **_: Any) -> None:
        path = next(argument for argument in arguments if isinstance(argument, Path))
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(minibert.checkpoint, step, half)
    with pytest.raises(InputError, match="no space left"):
        model.save_pretrained(tmp_path)
    if step == "save_file":
        assert files_of(tmp_path) == before
    else:
        assert sorted(files_of(tmp_path)) == sorted(before)
        assert files_of(tmp_path)["config.json"] == before["config.json"]
        assert_same(read_checkpoint(tmp_path)[0], tensors)


def test_saving_makes_the_folders_and_names_class_and_dtype(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    model = TokenClassifier(EncoderConfig.from_dict({**tiny_config("roberta").to_dict(), "id2label": LABELS}))
    model.bfloat16().save_pretrained(folder)
    tensors, settings = read_checkpoint(folder)
    assert settings["architectures"] == ["RobertaForTokenClassification"]
    assert settings["dtype"] == "bfloat16"
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    loaded = TokenClassifier.from_pretrained(folder)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert_same(state_of(loaded.bfloat16()), state_of(model))


@pytest.mark.parametrize(
    "model_class", [Encoder, TokenClassifier, SequenceClassifier, SpanClassifier, PretrainingModel]
)
@pytest.mark.parametrize("family", ["bert", "albert", "roberta"])
def test_a_saved_model_comes_back_bit_by_bit(model_class: Any, family: str, tmp_path: Path) -> None:
    model = model_class(tiny_config(family)).eval()
    scramble(model)
    model.save_pretrained(tmp_path)
    loaded, report = open_checkpoint(tmp_path).load(model_class)
    assert not report.fresh
    assert not report.ignored
    assert loaded.config == model.config
    assert_same(state_of(loaded), state_of(model))


def test_an_encoder_without_pooler_comes_back_but_for_the_pooler(tmp_path: Path) -> None:
    model = Encoder(tiny_config("bert"), add_pooling_layer=False)
    model.save_pretrained(tmp_path)
    loaded, report = open_checkpoint(tmp_path).load(Encoder)
    assert report.fresh == ("pooler.weight", "pooler.bias")
    batch = pack(ragged_ids((3, 5), 90))
    assert torch.equal(loaded(batch).last_hidden_state, model.eval()(batch).last_hidden_state)
    assert model(batch).pooler_output is None


# -- names and paths --------------------------------------------------------------------------------------------------


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert resolve(tmp_path) == resolve(str(tmp_path)) == tmp_path


def test_a_file_is_not_a_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(InputError, match="is a file") as error:
        resolve(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "a/b/c", "../nowhere/", "name with spaces"])
def test_a_path_that_does_not_exist_is_refused_without_asking_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minibert.hub._from_hub", lambda *_: pytest.fail("the hub was asked"))
    with pytest.raises(InputError, match="no such folder"):
        resolve(name)
