"""EncoderConfig: what config.json fields mean, what is written back, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import FAMILIES, TOKENIZERS, tiny_config, tiny_settings

from minibert import EncoderConfig
from minibert.errors import InputError
from minibert.files import read_json_object

# A file as the official checkpoints ship it, and what it means.
PUBLISHED = {
    "bert-base-chinese": {
        "model_type": "bert", "vocab_size": 21128, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "type_vocab_size": 2,
        "embedding_size": 768, "num_hidden_groups": 12, "max_length": 512, "position_offset": 0, "num_labels": 2,
    },
    "albert-base": {
        "model_type": "albert", "vocab_size": 30000, "hidden_act": "gelu_new", "hidden_dropout_prob": 0,
        "embedding_size": 128, "num_hidden_groups": 1, "inner_group_num": 1, "max_length": 512, "num_labels": 3,
        "classifier_dropout": 0.1,
    },
    "roberta-base": {
        "model_type": "roberta", "vocab_size": 50265, "layer_norm_eps": 1e-5, "type_vocab_size": 1, "pad_token_id": 1,
        "max_position_embeddings": 514, "max_length": 512, "position_offset": 2, "bos_token_id": 0, "eos_token_id": 2,
    },
}  # fmt: skip

# Settings that would change what is computed, and that must not be passed over in silence.
REFUSED: list[tuple[str, str, Any]] = [
    ("bert", "position_embedding_type", "relative_key"),
    ("roberta", "position_embedding_type", "relative_key_query"),
    ("bert", "is_decoder", True),
    ("roberta", "add_cross_attention", True),
    ("bert", "is_encoder_decoder", True),
    ("bert", "pruned_heads", {"1": [0, 2]}),
    ("albert", "down_scale_factor", 2),
    ("albert", "gap_size", 1),
    ("albert", "net_structure_type", 1),
    ("albert", "num_memory_blocks", 4),
    ("bert", "hidden_act", "mish"),
    ("bert", "model_type", "gpt2"),
    ("bert", "num_attention_heads", 5),
    ("bert", "embedding_size", 12),
    ("roberta", "num_hidden_groups", 1),
    ("bert", "inner_group_num", 2),
    ("albert", "num_hidden_groups", 4),
    ("bert", "hidden_size", 0),
    ("bert", "vocab_size", "90"),
    ("bert", "num_hidden_layers", 2.0),
    ("bert", "type_vocab_size", True),
    ("bert", "hidden_dropout_prob", 1.0),
    ("bert", "attention_probs_dropout_prob", -0.1),
    ("bert", "classifier_dropout", "0.1"),
    ("albert", "classifier_dropout_prob", 2),
    ("bert", "layer_norm_eps", 0),
    ("bert", "initializer_range", -0.02),
    ("bert", "pad_token_id", 90),
    ("bert", "pad_token_id", -1),
    ("roberta", "max_position_embeddings", 2),
    ("bert", "id2label", {"0": "O", "2": "B"}),
    ("bert", "id2label", {"0": "O", "1": "O"}),
    ("bert", "id2label", {"zero": "O"}),
    ("bert", "id2label", ["O", "B"]),
]


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("bert", {}),
        ("bert", {"hidden_act": "silu", "layer_norm_eps": 1e-3, "classifier_dropout": 0.3, "pad_token_id": 5}),
        ("albert", {}),
        ("albert", {"hidden_dropout_prob": 0.2, "classifier_dropout_prob": 0.0}),
        ("roberta", {}),
        ("roberta", {"pad_token_id": 3, "eos_token_id": 7, "hidden_act": "relu"}),
        ("bert", {"id2label": {"0": "O", "1": "B-PER", "2": "人"}}),
    ],
)
def test_to_dict_and_from_dict_are_inverse_also_through_json(family: str, changes: dict[str, Any]) -> None:
    config = EncoderConfig.from_dict(tiny_settings(family, **changes))
    written = json.loads(json.dumps(config.to_dict()))
    assert EncoderConfig.from_dict(written) == config
    assert written.items() >= tiny_settings(family, **changes).items()


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_reads_the_same_values_from_what_is_written(family: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers reads the written file back")
    config = tiny_config(family, id2label={0: "O", 1: "B-LOC", 2: "I-LOC"}, hidden_act="relu", layer_norm_eps=1e-4)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    for name in (*tiny_settings(family), "hidden_act", "layer_norm_eps", "initializer_range", "pad_token_id",
                 "hidden_dropout_prob", "attention_probs_dropout_prob"):  # fmt: skip
        assert getattr(theirs, name) == getattr(config, name), name
    dropout = theirs.classifier_dropout_prob if family == "albert" else theirs.classifier_dropout
    assert dropout == config.classifier_dropout
    assert theirs.id2label == config.id2label
    assert theirs.label2id == {"O": 0, "B-LOC": 1, "I-LOC": 2}


@pytest.mark.parametrize("family", FAMILIES)
def test_absent_fields_take_the_values_that_transformers_gives_them(family: str) -> None:
    transformers = pytest.importorskip("transformers", reason="its config classes hold the defaults")
    theirs = transformers.AutoConfig.for_model(family)
    config = EncoderConfig.from_dict({
        name: getattr(theirs, name)
        for name in ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                     "intermediate_size")
    })  # fmt: skip
    names = ["max_position_embeddings", "type_vocab_size", "hidden_act", "hidden_dropout_prob", "pad_token_id",
             "attention_probs_dropout_prob", "layer_norm_eps", "initializer_range", "bos_token_id",
             "eos_token_id", "id2label"]  # fmt: skip
    if family == "albert":
        names += ["embedding_size", "num_hidden_groups", "inner_group_num"]
    assert {name: getattr(config, name) for name in names} == {name: getattr(theirs, name) for name in names}
    dropout = theirs.classifier_dropout_prob if family == "albert" else theirs.classifier_dropout
    assert config.classifier_dropout == dropout


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_config_files_mean_what_their_models_are(name: str) -> None:
    path = TOKENIZERS / name / "config.json"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    config = EncoderConfig.from_dict(read_json_object(path))
    assert {field: getattr(config, field) for field in PUBLISHED[name]} == PUBLISHED[name]


def test_a_roberta_of_514_positions_takes_512_tokens() -> None:
    assert tiny_config("roberta", max_position_embeddings=514, pad_token_id=1).max_length == 512
    assert tiny_config("bert", max_position_embeddings=512).max_length == 512


@pytest.mark.parametrize(("family", "name", "value"), REFUSED)
def test_a_setting_that_is_not_computed_is_refused_by_name(family: str, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name.removesuffix("_prob")):
        EncoderConfig.from_dict(tiny_settings(family, **{name: value}))


@pytest.mark.parametrize(
    "harmless",
    [
        {"position_embedding_type": "absolute", "is_decoder": False, "pruned_heads": {}},
        {"use_cache": True, "transformers_version": "4.0", "directionality": "bidi", "pooler_fc_size": 768},
    ],
)
def test_fields_that_change_nothing_are_passed_over(harmless: dict[str, Any]) -> None:
    assert EncoderConfig.from_dict(tiny_settings("bert", **harmless)) == tiny_config("bert")


@pytest.mark.parametrize(
    "name",
    ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"],
)
def test_a_missing_shape_is_named(name: str) -> None:
    settings = tiny_settings("bert")
    del settings[name]
    with pytest.raises(InputError, match=name):
        EncoderConfig.from_dict(settings)


def test_num_labels_alone_numbers_the_labels() -> None:
    config = EncoderConfig.from_dict(tiny_settings("bert", num_labels=3))
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"model_type": "bert",\n oops', "line 2"),
        (b"[1, 2]", "list"),
        (b'{"model_type": "\xff"}', "UTF-8"),
        (b"[" * 100_000, "nested"),
        (None, "no such file"),
    ],
)
def test_an_unreadable_file_is_named_with_the_reason(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        EncoderConfig.from_dict(read_json_object(path))
    assert str(path) in str(error.value)


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tiny_settings("bert")), encoding="utf-8-sig")
    assert EncoderConfig.from_dict(read_json_object(path)) == tiny_config("bert")


def test_layers_are_shared_out_among_groups_as_in_the_reference_code() -> None:
    """Against the rule of Hugging Face's ALBERT, ``int(layer / (layers / groups))``, up to where its rounding begins
    to show: 18 layers over 14 groups give 7 / 9 * 9 = 6.999."""
    for layers in range(1, 18):
        for groups in range(1, layers + 1):
            config = tiny_config("albert", num_hidden_layers=layers, num_hidden_groups=groups)
            ours = [config.group_of_layer(layer) for layer in range(layers)]
            assert ours == [int(layer / (layers / groups)) for layer in range(layers)], (layers, groups)


@pytest.mark.parametrize("family", FAMILIES)
def test_old_files_without_model_type_are_told_by_their_shapes(family: str) -> None:
    settings = tiny_settings(family)
    del settings["model_type"]
    assert EncoderConfig.from_dict(settings) == tiny_config(family)
