"""Labels from the mean of a sequence: parity with transformers' hidden states, and the folders that ask for it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import (
    ALL_FAMILIES,
    largest_difference,
    padded,
    ragged_ids,
    ragged_types,
    read_checkpoint,
    scramble,
    tiny_config,
)
from torch import nn

from minibert import Encoder, MeanSequenceClassifier, SequenceClassifier, pack
from minibert.checkpoint import Pretrained, open_checkpoint
from minibert.errors import InputError
from minibert.families import FAMILIES
from minibert.formats.conversion import convert
from minibert.formats.source import open_source
from tools import convert_weights

LABELS = {0: "bad", 1: "fair", 2: "good"}
LENGTHS = (6, 20, 1, 11)


def classifier(family: str = "bert") -> MeanSequenceClassifier:
    """A model with no parameter at its starting value."""
    model = MeanSequenceClassifier(tiny_config(family, id2label=LABELS))
    scramble(model)
    return model.eval()


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_logits_and_gradients_are_those_of_the_mean_of_transformers_states(family: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    ours = classifier(family).double()
    ours.save_pretrained(tmp_path)
    theirs = transformers.AutoModel.from_pretrained(tmp_path, dtype=torch.float64, attn_implementation="eager").eval()
    linear = nn.Linear(*reversed(ours.classifier.weight.shape), dtype=torch.float64)
    linear.load_state_dict(ours.classifier.state_dict())

    rows = ragged_ids(LENGTHS, ours.config.vocab_size)
    types = ragged_types(LENGTHS, ours.config.type_vocab_size)
    mask = padded([[1] * length for length in LENGTHS], 0)
    inputs = {"input_ids": padded(rows, ours.config.pad_token_id), "attention_mask": mask}
    if ours.config.type_vocab_size:
        inputs["token_type_ids"] = padded(types, 0)
    states = theirs(**inputs).last_hidden_state
    expected = linear((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
    found = ours(pack(rows, types))
    assert largest_difference(found, expected) <= 1e-9
    found.sin().sum().backward()
    expected.sin().sum().backward()
    words = (model.get_parameter(name).grad for model, name in (
        (ours, "encoder.embeddings.word_embeddings.weight"), (theirs, "embeddings.word_embeddings.weight"),
    ))  # fmt: skip
    assert largest_difference(*words) <= 1e-9  # type: ignore[arg-type]
    assert largest_difference(ours.classifier.weight.grad, linear.weight.grad) <= 1e-9  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_adds_up_in_fp32(dtype: torch.dtype) -> None:
    """A sum of 2,000 ones stays at 256 in bf16, and at 2,000 in fp32."""
    batch = pack([[5] * 2000, [5]])
    mean = batch.mean(torch.ones(2001, 3, dtype=dtype))
    assert mean.dtype == torch.float32
    assert mean.tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_folder_gives_the_same_model_back_and_is_converted(family: str, tmp_path: Path) -> None:
    model = classifier(family)
    model.save_pretrained(tmp_path / "saved")
    tensors, settings = read_checkpoint(tmp_path / "saved")
    assert settings["architectures"] == [f"{FAMILIES[family].class_name}MeanForSequenceClassification"]
    assert {name for name in tensors if "classifier" in name} == {"classifier.weight", "classifier.bias"}
    report = convert(open_source(tmp_path / "saved"), tmp_path / "converted")
    assert report.architecture == settings["architectures"][0]
    assert not report.ignored
    for name in ("saved", "converted"):
        loaded, loading = open_checkpoint(tmp_path / name).load(MeanSequenceClassifier, labels=LABELS)
        assert not loading.newly_initialised
        assert not loading.ignored
        assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))


def test_verify_compares_the_hidden_states(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is the oracle of --verify")
    classifier("roberta").save_pretrained(tmp_path / "saved")
    source = open_source(tmp_path / "saved")
    convert(source, tmp_path / "out")
    assert convert_weights.verify(source, tmp_path / "out").keys() == {"hidden states"}


@pytest.mark.parametrize(
    ("saved", "loaded"), [(MeanSequenceClassifier, SequenceClassifier), (SequenceClassifier, MeanSequenceClassifier)]
)
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_classifier_trained_on_another_pooling_is_not_used(
    saved: type[Pretrained], loaded: type[Pretrained], family: str, tmp_path: Path
) -> None:
    saved(tiny_config(family, id2label=LABELS)).save_pretrained(tmp_path)
    _, report = open_checkpoint(tmp_path).load(loaded, labels=LABELS)
    assert {"classifier.weight", "classifier.bias"} <= set(report.newly_initialised)
    assert not any(name.startswith("encoder.groups") for name in report.newly_initialised)


# -- folders of sentence-transformers ----------------------------------------------------------------------------------

MEAN = {"word_embedding_dimension": 24, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
FIRST = {**MEAN, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
BOTH = {**MEAN, "pooling_mode_cls_token": True}


def sentence_transformer(folder: Path, pooling: dict[str, Any], *, pooler: bool = False) -> Path:
    """A folder laid out as sentence-transformers does."""
    Encoder(tiny_config("bert"), add_pooling_layer=pooler).save_pretrained(folder)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("pooling", "pooler", "expected"),
    [
        (MEAN, False, True),
        (FIRST, False, False),
        (BOTH, False, False),
        (MEAN, True, False),
        ({"pooling_mode": "mean"}, False, True),
    ],
)
def test_a_folder_says_how_it_pools(pooling: dict[str, Any], pooler: bool, expected: bool, tmp_path: Path) -> None:
    assert open_checkpoint(sentence_transformer(tmp_path, pooling, pooler=pooler)).made_for_means == expected


def test_other_folders_are_not_made_for_means_unless_this_project_made_them(tmp_path: Path) -> None:
    Encoder(tiny_config("bert"), add_pooling_layer=False).save_pretrained(tmp_path / "encoder")
    assert not open_checkpoint(tmp_path / "encoder").made_for_means
    classifier().save_pretrained(tmp_path / "mean")
    assert open_checkpoint(tmp_path / "mean").made_for_means


def test_without_a_pooling_there_is_no_mean(tmp_path: Path) -> None:
    folder = sentence_transformer(tmp_path, MEAN)
    (folder / "modules.json").write_text('[{"path": "", "type": "x.Transformer"}]', encoding="utf-8")
    assert not open_checkpoint(folder).made_for_means


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[1]", ": does not list the modules of sentence-transformers"),
        ('[{"type": "x.Pooling"}]', ": does not list the modules of sentence-transformers"),
        ("5", ": does not list the modules of sentence-transformers"),
        ("[", ", line 1: not JSON"),
        ("[" * 200_000, ": nested too deeply"),
    ],
)
def test_a_broken_list_of_modules_is_refused_by_name(content: str, why: str, tmp_path: Path) -> None:
    folder = sentence_transformer(tmp_path, MEAN)
    (folder / "modules.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(f"modules.json{why}")):
        _ = open_checkpoint(folder).made_for_means
