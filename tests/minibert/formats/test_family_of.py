"""Which family a Hugging Face checkpoint is of, by the names of its tensors and its config."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ALL_FAMILIES, read_checkpoint, tiny_config, write_checkpoint

from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.families import FAMILIES
from minibert.formats.huggingface import family_of
from minibert.formats.source import open_source

transformers = pytest.importorskip("transformers", reason="transformers makes the checkpoints of these tests")

# Families with the same tensor names, apart from the prefix; only config.json tells them apart.
SAME_NAMES = [{"roberta", "xlm-roberta", "camembert"}]


def save_theirs(family: str, class_: str, folder: Path, **changes: Any) -> Path:
    config = transformers.AutoConfig.for_model(**tiny_config(family, **changes).to_dict())
    getattr(transformers, class_)(config).save_pretrained(folder)
    return folder


def names_of(family: str, class_: str) -> list[str]:
    config = transformers.AutoConfig.for_model(**tiny_config(family).to_dict())
    with torch.device("meta"):
        return list(getattr(transformers, class_)(config).state_dict())


def with_model_type(folder: Path, model_type: str | None) -> Path:
    """The folder, with another ``model_type`` in its config or none."""
    settings = json.loads((folder / "config.json").read_text())
    del settings["model_type"]
    settings |= {"model_type": model_type} if model_type is not None else {}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def looks_like(family: str) -> set[str]:
    return next((group for group in SAME_NAMES if family in group), {family})


@pytest.mark.parametrize("named", [None, *ALL_FAMILIES])
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_model_with_a_head_is_known_by_its_names_whatever_the_config_says(family: str, named: str | None) -> None:
    found = family_of(names_of(family, f"{FAMILIES[family].class_name}ForSequenceClassification"), named)
    assert found is not None
    assert found.name == (named if named in looks_like(family) else min(looks_like(family), key=ALL_FAMILIES.index))


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_language_model_is_known_by_its_names(family: str) -> None:
    found = family_of(names_of(family, f"{FAMILIES[family].class_name}ForMaskedLM"), family)
    assert found is FAMILIES[family]


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_an_encoder_without_prefix_is_what_its_config_says(family: str, tmp_path: Path) -> None:
    save_theirs(family, f"{FAMILIES[family].class_name}Model", tmp_path)
    assert open_checkpoint(tmp_path).config.model_type == family
    assert open_source(tmp_path).config.model_type == family


@pytest.mark.parametrize("family", ["albert", "electra", "distilbert", "ernie"])
@pytest.mark.parametrize("named", ["bert", "roberta"])
def test_an_encoder_with_layers_of_its_own_is_known_whatever_the_config_says(family: str, named: str) -> None:
    config = transformers.AutoConfig.for_model(**tiny_config(family, **NARROW.get(family, {})).to_dict())
    names = list(transformers.AutoModel.from_config(config).state_dict())
    for said in (None, named):
        found = family_of(names, said)
        assert found is FAMILIES[family]


NARROW = {"electra": {"embedding_size": 12}}  # so that it has a projection


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "camembert"])
def test_an_encoder_with_berts_names_is_not_guessed_from_them(family: str) -> None:
    assert family_of(names_of(family, f"{FAMILIES[family].class_name}Model")) is None


@pytest.mark.parametrize(("family", "found"), [("bert", "bert"), ("albert", "albert"), ("roberta", "roberta")])
def test_an_encoder_of_2019_without_model_type_is_told_by_its_settings(family: str, found: str, tmp_path: Path) -> None:
    with_model_type(save_theirs(family, f"{FAMILIES[family].class_name}Model", tmp_path), None)
    assert open_checkpoint(tmp_path).config.model_type == found


@pytest.mark.parametrize(
    ("family", "named"), [("bert", "ernie"), ("ernie", "bert"), ("distilbert", "bert"), ("bert", "distilbert")]
)
def test_a_wrong_model_type_is_corrected_and_noted(family: str, named: str, tmp_path: Path) -> None:
    folder = save_theirs(family, f"{FAMILIES[family].class_name}ForMaskedLM", tmp_path)
    names = {"model_type": named}
    # The fields of DistilBERT and BERT have other names, so that its config gives both.
    settings = {**tiny_config("bert").to_dict(), **tiny_config("distilbert").to_dict(), **read_checkpoint(folder)[1]}
    write_checkpoint(folder, read_checkpoint(folder)[0], settings | names)
    assert open_checkpoint(folder).config.model_type == family
    source = open_source(folder)
    assert source.config.model_type == family
    assert source.notes == (
        f"config.json says model_type {named}, but the tensor names are {FAMILIES[family].title}'s",
    )


def test_an_ernie_in_the_old_upload_with_berts_names_is_a_bert(tmp_path: Path) -> None:
    save_theirs("bert", "BertForMaskedLM", tmp_path)
    assert open_checkpoint(with_model_type(tmp_path, "ernie")).config.model_type == "bert"


UNKNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 24, "n_layer": 2, "n_head": 2, "vocab_size": 90}),
    "deberta-v2": ("DebertaV2ForMaskedLM", {}),
    "t5": ("T5EncoderModel", {"d_model": 24, "d_kv": 6, "d_ff": 40, "num_layers": 2, "num_heads": 4}),
    "mobilebert": ("MobileBertForPreTraining", {"embedding_size": 12, "intra_bottleneck_size": 12}),
    "megatron-bert": ("MegatronBertForPreTraining", {}),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_another_kind_of_model_is_refused_by_its_kind(kind: str, tmp_path: Path) -> None:
    class_, more = UNKNOWN[kind]
    sizes = {"vocab_size": 90, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.AutoConfig.for_model(kind, **{**sizes, "intermediate_size": 40, **more})
    getattr(transformers, class_)(config).save_pretrained(tmp_path)
    for open_ in (open_checkpoint, open_source):
        with pytest.raises(InputError, match=f"config.json: model_type '{kind}' is another kind of model") as error:
            open_(tmp_path)
        assert str(tmp_path) in str(error.value)
