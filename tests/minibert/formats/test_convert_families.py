"""Conversions of every family and head, from models that transformers made; what other formats cannot store."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ALL_FAMILIES, scramble, tiny_config
from conversions import assert_same_bits, scrambled, values_of

from minibert import CrfTokenClassifier, Encoder
from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.families import FAMILIES, OWN_HEADS
from minibert.formats.conversion import convert
from minibert.formats.source import MODELS, open_source
from tools import convert_weights

transformers = pytest.importorskip("transformers", reason="transformers is the oracle of these tests")
transformers.utils.logging.disable_progress_bar()

LABELS = {0: "O", 1: "B-LOC", 2: "I-LOC"}
HEADS = [
    (family, head)
    for family in ALL_FAMILIES
    for head in MODELS
    if head in ("Model", *FAMILIES[family].heads) and head not in OWN_HEADS
]


def save_theirs(family: str, head: str, folder: Path) -> Path:
    """Saves a tiny random model of transformers for one of our heads."""
    settings = tiny_config(family).to_dict()
    if head in ("ForTokenClassification", "ForSequenceClassification"):
        settings |= {"id2label": LABELS, "label2id": {label: index for index, label in LABELS.items()}}
    config = transformers.AutoConfig.for_model(**settings)
    model = getattr(transformers, FAMILIES[family].class_of(head))(config)
    scramble(model)
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("family", "head"), HEADS)
def test_conversion_keeps_every_bit_every_name_and_the_class(
    family: str, head: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    save_theirs(family, head, tmp_path / "source")
    class_ = getattr(transformers, FAMILIES[family].class_of(head))
    class_.from_pretrained(tmp_path / "source", dtype=dtype).save_pretrained(tmp_path / "cast")
    report = convert(open_source(tmp_path / "cast"), tmp_path / "out")
    assert report.architecture == class_.__name__
    theirs = values_of(tmp_path / "cast")
    assert report.read.keys() | report.ignored.keys() == theirs.keys()
    assert_same_bits(values_of(tmp_path / "out"), {name: theirs[name] for name in report.read})
    loaded, info = class_.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values()), info
    assert_same_bits(loaded.state_dict(), class_.from_pretrained(tmp_path / "cast").state_dict())


@pytest.mark.parametrize(("family", "head"), HEADS)
def test_verify_compares_the_outputs_of_every_head(family: str, head: str, tmp_path: Path) -> None:
    source = open_source(save_theirs(family, head, tmp_path / "source"))
    convert(source, tmp_path / "out")
    expected = {"logits"}
    if head == "Model":
        expected = {"hidden states"} | ({"pooler outputs"} if FAMILIES[family].has_pooler else set())
    elif head == "ForPreTraining" and FAMILIES[family].pair_objective:
        expected = {"logits", "pair logits"}
    assert convert_weights.verify(source, tmp_path / "out").keys() == expected


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_crf_is_converted_bit_by_bit_and_its_emissions_are_verified(family: str, tmp_path: Path) -> None:
    model = CrfTokenClassifier(tiny_config(family))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path / "source")
    source = open_source(tmp_path / "source")
    report = convert(source, tmp_path / "out")
    assert {"crf.transitions", "crf.start", "crf.end"} <= report.read.keys()
    assert not report.ignored
    assert_same_bits(values_of(tmp_path / "out"), values_of(tmp_path / "source"))
    before, after = (open_checkpoint(tmp_path / name).load(CrfTokenClassifier)[0] for name in ("source", "out"))
    assert_same_bits(after.state_dict(), before.state_dict())
    assert convert_weights.verify(source, tmp_path / "out").keys() == {"logits"}


@pytest.mark.parametrize(
    ("without", "architecture", "outputs"),
    [("cls.seq", "BertForMaskedLM", {"logits"}), ("cls.pred", "BertForNextSentencePrediction", {"pair logits"})],
)
def test_half_of_a_pretraining_head_is_verified(
    without: str, architecture: str, outputs: set[str], tmp_path: Path
) -> None:
    model = getattr(transformers, architecture)(transformers.AutoConfig.for_model(**tiny_config("bert").to_dict()))
    scramble(model)
    model.save_pretrained(tmp_path / "source")
    source = open_source(tmp_path / "source")
    assert not any(name.startswith(without) for name in source.read)
    assert convert(source, tmp_path / "out").architecture == architecture
    assert convert_weights.verify(source, tmp_path / "out").keys() == outputs


@pytest.mark.parametrize("family", ["ernie", "electra", "distilbert", "xlm-roberta", "camembert"])
@pytest.mark.parametrize(("to", "supported"), [("google", "BERT and ALBERT"), ("fairseq", "RoBERTa")])
def test_formats_without_the_family_are_refused_in_one_sentence(
    family: str, to: str, supported: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = scrambled(Encoder, family, tmp_path / "source")
    assert convert_weights.main([str(source), str(tmp_path / "out"), "--to", to]) == 2
    error = capsys.readouterr().err
    assert f"format is supported for {supported} only, not for {FAMILIES[family].title}" in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_verify_names_the_output_that_differs_for_a_choice(tmp_path: Path) -> None:
    source = open_source(save_theirs("electra", "ForMultipleChoice", tmp_path / "source"))
    convert(source, tmp_path / "out")
    other: Any = open_checkpoint(tmp_path / "out").load(MODELS["ForMultipleChoice"])[0]
    with torch.no_grad():
        other.classifier.bias += 1e-2
    other.save_pretrained(tmp_path / "out")
    with pytest.raises(InputError, match="its logits differ from those that transformers computes"):
        convert_weights.verify(source, tmp_path / "out")
