"""Model folders: what a model is filled with, what is refused and why, and saving that leaves no half file."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GOLDEN, ragged_ids, read_checkpoint, scramble, tiny_config, write_checkpoint
from tensor_states import Tensors, assert_same, state_of

import minibert.checkpoint
from minibert import Encoder, EncoderConfig, PretrainingModel, SequenceClassifier, SpanClassifier, TokenClassifier, pack
from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError

QUERY = "encoder.layer.1.attention.self.query.weight"
LABELS = {0: "B-LOC", 1: "I-LOC", 2: "O"}


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


# -- contents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [QUERY, "embeddings.LayerNorm.bias", "embeddings.word_embeddings.weight"])
def test_a_missing_tensor_is_named(name: str, tensors: Tensors, settings: dict[str, Any], tmp_path: Path) -> None:
    del tensors[name]
    write_checkpoint(tmp_path, tensors, settings)
    with pytest.raises(InputError, match=name):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["encoder.layer.3.output.dense.bias", "encoder.layer.0.adapter.weight", "bert.bert.pooler.dense.weight"],
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
    with pytest.raises(InputError, match=f"{QUERY} contains NaN or infinity"):
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
    assert report.newly_initialised == ("pooler.weight", "pooler.bias")
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
    assert set(report.newly_initialised) == fresh
    body = state_of(Encoder.from_pretrained(GOLDEN / "bert_gelu"))
    assert all(torch.equal(tensor, body[name]) for name, tensor in state_of(model.encoder).items())
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    if model_class in (TokenClassifier, SpanClassifier):
        assert set(report.ignored) == {"pooler.dense.weight", "pooler.dense.bias"}


def test_a_trained_head_is_loaded_with_its_labels(tensors: Tensors, settings: dict[str, Any], tmp_path: Path) -> None:
    token_classifier(tmp_path, tensors, settings)
    for labels in (None, LABELS):
        model, report = open_checkpoint(tmp_path).load(TokenClassifier, labels=labels)
        assert not report.newly_initialised
        assert model.config.id2label == LABELS
        assert torch.equal(model.classifier.weight, read_checkpoint(tmp_path)[0]["classifier.weight"])


def test_the_head_of_another_task_starts_afresh(tensors: Tensors, settings: dict[str, Any], tmp_path: Path) -> None:
    token_classifier(tmp_path, tensors, settings)
    model, report = open_checkpoint(tmp_path).load(SequenceClassifier)
    assert set(report.newly_initialised) >= {"classifier.weight", "classifier.bias"}
    assert "BertForTokenClassification" in report.ignored["classifier.weight"]
    assert not torch.equal(model.classifier.weight, read_checkpoint(tmp_path)[0]["classifier.weight"])


@pytest.mark.parametrize("labels", [{0: "O", 1: "B-PER", 2: "I-PER"}, {0: "O", 1: "X"}])
def test_a_head_with_other_labels_starts_afresh(
    labels: dict[int, str], tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    token_classifier(tmp_path, tensors, settings)
    model, report = open_checkpoint(tmp_path).load(TokenClassifier, labels=labels)
    assert report.newly_initialised == ("classifier.weight", "classifier.bias")
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
    assert not report.newly_initialised
    assert not report.ignored
    assert loaded.config == model.config
    assert_same(state_of(loaded), state_of(model))


def test_an_encoder_without_pooler_comes_back_but_for_the_pooler(tmp_path: Path) -> None:
    model = Encoder(tiny_config("bert"), add_pooling_layer=False)
    model.save_pretrained(tmp_path)
    loaded, report = open_checkpoint(tmp_path).load(Encoder)
    assert report.newly_initialised == ("pooler.weight", "pooler.bias")
    batch = pack(ragged_ids((3, 5), 90))
    assert torch.equal(loaded(batch).last_hidden_state, model.eval()(batch).last_hidden_state)
    assert model(batch).pooler_output is None
