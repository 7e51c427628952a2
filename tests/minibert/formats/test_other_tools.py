"""Checkpoints as other tools leave them are the same model, or are refused with the next step."""

import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GOLDEN, read_checkpoint, scramble, tiny_config, write, write_checkpoint
from tensor_states import Tensors

from minibert import CrfTokenClassifier, Encoder, MultipleChoiceClassifier, PretrainingModel, TokenClassifier, Tokenizer
from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.formats.conversion import convert
from minibert.formats.google.tensor_bundle import write_bundle
from minibert.formats.source import open_any_tensors, open_source
from tasks import registry
from tools import convert_weights

LABELS = {0: "O", 1: "B-X", 2: "I-X"}


@pytest.fixture
def classifier(tmp_path: Path) -> tuple[Tensors, dict[str, Any]]:
    """The tensors and settings of a token classifier with a tokenizer's vocabulary."""
    tokenizer = Tokenizer.train([["one thing or another"]], model_type="bert", vocab_size=60, running_text=True)
    model = TokenClassifier(tiny_config("bert", vocab_size=tokenizer.vocab_size).with_labels(LABELS))
    scramble(model)
    model.save_pretrained(tmp_path / "first")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    return read_checkpoint(tmp_path / "first")


def with_bin(folder: Path, content: object, settings: dict[str, Any]) -> Path:
    write_checkpoint(folder, {}, settings)
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    return folder


def assert_same_model(folder: Path, expected: Tensors) -> str:
    """The encoder of a folder is the expected one; returns what is said about loading it."""
    model, report = open_checkpoint(folder).load(TokenClassifier, labels=LABELS)
    assert torch.equal(
        model.encoder.embeddings.word_embeddings.weight, expected["bert.embeddings.word_embeddings.weight"]
    )
    assert torch.equal(model.classifier.weight, expected["classifier.weight"])
    assert not report.newly_initialised
    assert all(note in str(report) for note in report.notes)
    return report.summary


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "model.", "module._orig_mod.", "model.module."])
def test_a_common_prefix_is_taken_off_and_said(
    prefix: str, classifier: tuple[Tensors, dict[str, Any]], tmp_path: Path
) -> None:
    tensors, settings = classifier
    folder = write_checkpoint(tmp_path / "w", {prefix + name: value for name, value in tensors.items()}, settings)
    said = assert_same_model(folder, tensors)
    for part in prefix.rstrip(".").split("."):
        assert f"the prefix '{part}.' of the names is taken off" in said
    report = convert(open_source(folder), tmp_path / "out")
    assert sorted(report.notes) == sorted(
        f"the prefix '{p}.' of the names is taken off" for p in prefix[:-1].split(".")
    )
    assert read_checkpoint(tmp_path / "out")[0].keys() == tensors.keys()


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_a_wrapping_dictionary_is_taken_off_and_said(
    key: str, classifier: tuple[Tensors, dict[str, Any]], tmp_path: Path
) -> None:
    tensors, settings = classifier
    content = {"epoch": 3, key: {f"model.{name}": value for name, value in tensors.items()}, "best": 0.5}
    said = assert_same_model(with_bin(tmp_path / "w", content, settings), tensors)
    assert f"the tensors of pytorch_model.bin are those under '{key}', not read: epoch, best" in said


def test_a_prefix_that_only_a_part_has_is_taken_off_beside_parts_that_nobody_knows(
    classifier: tuple[Tensors, dict[str, Any]], tmp_path: Path
) -> None:
    """As a training module has its loss beside the model."""
    tensors, settings = classifier
    wrapped = {f"model.{name}": value for name, value in tensors.items()}
    said = assert_same_model(
        write_checkpoint(tmp_path / "w", {**wrapped, "criterion.weight": torch.ones(3)}, settings), tensors
    )
    assert "left out, as no head of minibert has it: criterion.weight" in said
    others = {name: value + 1 for name, value in wrapped.items()}
    both = write_checkpoint(tmp_path / "both", {**others, **tensors}, settings)
    assert "prefix" not in assert_same_model(both, tensors)  # the names without it are the encoder's


# -- parts that no head has --------------------------------------------------------------------------------------------


def with_foreign_crf(tensors: Tensors, root: str) -> Tensors:
    shapes = {"start_transitions": (3,), "end_transitions": (3,), "transitions": (3, 3)}
    return {**tensors, **{f"{root}.{name}": torch.ones(shape) for name, shape in shapes.items()}}


@pytest.mark.parametrize("root", ["crf_layer", "crf"])
def test_a_foreign_crf_is_named_where_training_starts_and_refused_where_its_head_is_asked_for(
    root: str, classifier: tuple[Tensors, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``crf.transitions`` is the name of one of our tensors, too."""
    tensors, settings = classifier
    folder = write_checkpoint(tmp_path / "w", with_foreign_crf(tensors, root), settings)
    shutil.copytree(tmp_path / "tokenizer", folder, dirs_exist_ok=True)
    names = f"{root}.end_transitions, {root}.start_transitions, {root}.transitions"
    for model_class, new in (
        (CrfTokenClassifier, {"crf.transitions", "crf.start", "crf.end"}),
        (TokenClassifier, set()),
    ):
        _, report = open_checkpoint(folder).load(model_class, labels=LABELS)
        assert set(report.newly_initialised) == new
        assert f"left out, as no head of minibert has it: {names}" in report.summary
    assert Encoder.from_pretrained(folder).config.num_hidden_layers == 3
    assert TokenClassifier.from_pretrained(folder, num_labels=5).config.num_labels == 5
    with pytest.raises(InputError, match=rf"its head has parts that minibert does not know \({root}\.end"):
        TokenClassifier.from_pretrained(folder)
    with pytest.raises(InputError, match="give the folder as --weights; to keep the head without them, convert it"):
        registry.run("predict", [str(folder), write(tmp_path / "in.jsonl", [{"text": "one thing"}])])

    sentences = write(tmp_path / "ner.jsonl", [{"tokens": ["one", "thing"], "tags": ["O", "B-Y"]}] * 4)
    registry.run("ner", ["--weights", str(folder), "--train", sentences, "--dev", sentences, "--dry-run"])
    assert names in capsys.readouterr().out


def test_a_foreign_crf_shows_a_token_classifier_and_its_size_the_labels(
    classifier: tuple[Tensors, dict[str, Any]], tmp_path: Path
) -> None:
    """The file's pooler alone would mean a classifier of sequences, and its settings two labels."""
    tensors, settings = classifier
    pooler = {"bert.pooler.dense.weight": torch.ones(24, 24), "bert.pooler.dense.bias": torch.ones(24)}
    silent = {name: value for name, value in settings.items() if name not in ("architectures", "id2label", "label2id")}
    folder = write_checkpoint(tmp_path / "w", {**with_foreign_crf(tensors, "crf_layer"), **pooler}, silent)
    report = convert(open_source(folder), tmp_path / "out")
    assert report.architecture == "BertForTokenClassification"
    assert [name for name, why in report.ignored.items() if why == "no head of minibert has it"] == [
        "crf_layer.end_transitions", "crf_layer.start_transitions", "crf_layer.transitions",
    ]  # fmt: skip
    model = TokenClassifier.from_pretrained(tmp_path / "out")
    assert torch.equal(model.classifier.weight, tensors["classifier.weight"])


@pytest.mark.parametrize(
    "name", ["bert.crf.weight", "encoder.layer.0.adapter.weight", "bert.encoder.layer.3.output.dense.bias"]
)
def test_an_unknown_tensor_inside_the_encoder_is_refused(
    name: str, classifier: tuple[Tensors, dict[str, Any]], tmp_path: Path
) -> None:
    tensors, settings = classifier
    folder = write_checkpoint(tmp_path / "w", {**tensors, name: torch.ones(2)}, settings)
    for use in (lambda: open_checkpoint(folder).load(TokenClassifier, labels=LABELS), lambda: open_source(folder)):
        with pytest.raises(InputError, match=f"unexpected tensors for a bert checkpoint of 3 layers: {name}"):
            use()


def test_a_language_head_with_a_part_that_nobody_knows_is_not_filled_by_halves(tmp_path: Path) -> None:
    model = PretrainingModel(tiny_config("bert"))
    scramble(model)
    model.save_pretrained(tmp_path)
    tensors, settings = read_checkpoint(tmp_path)
    write_checkpoint(tmp_path, {**tensors, "cls.predictions.project.weight": torch.ones(2, 2)}, settings)
    _, report = open_checkpoint(tmp_path).load(PretrainingModel)
    new = [f"mlm.{part}.{end}" for part in ("dense", "norm") for end in ("weight", "bias")]
    assert set(report.newly_initialised) == {*new, "mlm.bias", "pair.weight", "pair.bias"}


def test_another_programs_variables_are_left_out_of_googles_files(tmp_path: Path) -> None:
    source = shutil.copytree(GOLDEN / "google_bert", tmp_path / "source")
    variables = {name: read() for name, read in open_any_tensors(source).items()}
    for path in source.glob("bert_model.ckpt*"):
        path.unlink()
    write_bundle(source / "bert_model.ckpt", {**variables, "crf_loss/transitions": torch.ones(3, 3)})
    report = convert(open_source(source), tmp_path / "out")
    convert(open_source(GOLDEN / "google_bert"), tmp_path / "expected")
    assert report.ignored["crf_loss/transitions"] == "no head of minibert has it"
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "expected")]
    assert weights[0] == weights[1]
    write_bundle(source / "bert_model.ckpt", {**variables, "bert/encoder/adapter": torch.ones(3)})
    with pytest.raises(InputError, match=r"unexpected tensors .* bert/encoder/adapter"):
        open_source(source)


def test_a_classifier_that_nothing_says_is_for_choices_is_not_used_for_them(
    classifier: tuple[Tensors, dict[str, Any]], tmp_path: Path
) -> None:
    tensors, settings = classifier
    del settings["architectures"]
    _, report = open_checkpoint(write_checkpoint(tmp_path / "w", tensors, settings)).load(MultipleChoiceClassifier)
    assert set(report.newly_initialised) >= {"classifier.weight", "classifier.bias"}


# -- what is refused, with the next step -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "embedding.word_embedding.weight",
        "embedding.word.embedding.weight",
        "encoder.transformer.0.self_attn.linear_layers.0.weight",
    ],
)
def test_uer_is_named(name: str, classifier: tuple[Tensors, dict[str, Any]], tmp_path: Path) -> None:
    folder = with_bin(
        tmp_path / "w", {name: torch.ones(2, 2), "target.mlm.layer_norm.gamma": torch.ones(2)}, classifier[1]
    )
    for use in (open_checkpoint, open_source):
        with pytest.raises(InputError, match=r"UER-py or TencentPretrain.*convert_bert_from_uer_to_huggingface\.py"):
            use(folder)


class AttributeDict(dict[str, Any]):
    """As Lightning saves hyper-parameters: a class of its own."""


AttributeDict.__module__ = "lightning_fabric.utilities.data"


def test_lightning_is_named(
    classifier: tuple[Tensors, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for end in (1, 2, 3):  # pickle imports the class by its name
        module = types.ModuleType(".".join(AttributeDict.__module__.split(".")[:end]))
        module.AttributeDict = AttributeDict  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    tensors, settings = classifier
    content = {"state_dict": tensors, "hyper_parameters": AttributeDict(lr=1.0), "pytorch-lightning_version": "2.4"}
    folder = with_bin(tmp_path / "w", content, settings)
    with pytest.raises(InputError, match=r"PyTorch Lightning checkpoint with more than weights.*\['state_dict'\]"):
        open_checkpoint(folder)
    del content["hyper_parameters"]
    torch.save(content, folder / "last.ckpt")
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match=r"If last\.ckpt \(PyTorch Lightning's\?\) has them, copy it to pytorch_model"):
        open_checkpoint(folder)
    (folder / "last.ckpt").rename(folder / "pytorch_model.bin")
    assert "not read: pytorch-lightning_version" in assert_same_model(folder, tensors)


def test_peft_and_old_sentence_transformers_are_named(tmp_path: Path) -> None:
    adapter, old = tmp_path / "adapter", tmp_path / "old"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").touch()
    shutil.copytree(GOLDEN / "bert_gelu", old / "0_BERT")
    (old / "modules.json").write_text(json.dumps([{"path": "0_BERT"}]))
    for use in (open_checkpoint, open_source):
        with pytest.raises(InputError, match=r"is a PEFT adapter.*merge_and_unload\(\)\.save_pretrained"):
            use(adapter)
        with pytest.raises(
            InputError, match=rf"sentence-transformers folder of old; give the model in it, {old}/0_BERT"
        ):
            use(old)
    open_source(old / "0_BERT")


def test_fairseq_weights_convert_without_a_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("model.pt", "dict.txt"):
        shutil.copy(GOLDEN / "fairseq_args" / name, source)
    assert convert_weights.main([str(source), str(tmp_path / "out")]) == 2
    assert "--no-tokenizer" in capsys.readouterr().err
    assert convert_weights.main([str(source), str(tmp_path / "out"), "--no-tokenizer"]) == 0
    assert "note: the tokenizer was left out, as asked" in capsys.readouterr().out
    convert(open_source(GOLDEN / "fairseq_args"), tmp_path / "whole")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]
