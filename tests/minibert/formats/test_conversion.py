"""Conversions: each golden checkpoint into a folder that minibert and transformers load with the reference's numbers,
round trips to the last bit, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import (
    FAMILIES,
    GOLDEN,
    TOKENIZERS,
    largest_difference,
    read_checkpoint,
    scramble,
    tiny_config,
    write_checkpoint,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from minibert import Encoder, PretrainingModel, SequenceClassifier, SpanClassifier, TokenClassifier, Tokenizer
from minibert.batch import from_padded
from minibert.checkpoint import Pretrained, open_checkpoint, save_model
from minibert.errors import InputError
from minibert.formats.conversion import Report, convert
from minibert.formats.google.tensor_bundle import write_bundle
from minibert.formats.source import open_any_tensors, open_source
from tools import convert_weights, inspect_weights

Tensors = dict[str, Tensor]

GOOGLE = ("google_bert", "google_albert", "google_albert_groups", "google_albert_brightmart")
TF2 = ("tf2_bert", "tf2_bert_encoder")
FAIRSEQ = ("fairseq_args", "fairseq_cfg")
HUGGING_FACE = ("bert_gelu", "bert_relu", "albert", "roberta")
HEADS: tuple[type[Pretrained], ...] = (Encoder, PretrainingModel, TokenClassifier, SequenceClassifier, SpanClassifier)


def converted(source: Path, destination: Path, **options: Any) -> Report:
    to = options.pop("to", "huggingface")
    return convert(open_source(source, **options), destination, to=to)


def assert_same_bits(ours: Tensors, theirs: Tensors) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name


def values_of(folder: Path) -> Tensors:
    return {name: read() for name, read in open_any_tensors(folder).items()}


def digests(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def computed(folder: Path, reference: Tensors, model_class: type[Pretrained]) -> Any:
    """What minibert makes of a reference's batch, with the loading report's new parameters."""
    model, report = open_checkpoint(folder).load(model_class)
    assert not [name for name in report.fresh if "pooler" not in name or model_class is Encoder]
    types = reference.get("token_type_ids", torch.zeros_like(reference["input_ids"]))
    with torch.no_grad():
        return model(from_padded(reference["input_ids"], reference["attention_mask"], types))


def scrambled(model_class: type[Pretrained], family: str, folder: Path) -> Path:
    model = model_class(tiny_config(family))
    scramble(model)
    save_model(model, folder)
    return folder


# -- the golden checkpoints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOGLE)
def test_googles_pretrained_models_give_the_logits_of_the_reference(name: str, tmp_path: Path) -> None:
    report = converted(GOLDEN / name, tmp_path / "out")
    reference = load_file(GOLDEN / name / "reference.safetensors")
    assert report.architecture in ("BertForPreTraining", "AlbertForPreTraining")
    words, pair = computed(tmp_path / "out", reference, PretrainingModel)
    assert largest_difference(words, reference["mlm_logits"]) <= 1e-5
    assert largest_difference(pair, reference["pair_logits"]) <= 1e-5
    assert_encoder_equals(tmp_path / "out", reference)


@pytest.mark.parametrize("name", TF2)
def test_the_object_graphs_of_tensorflow_2_give_the_states_of_the_reference(name: str, tmp_path: Path) -> None:
    report = converted(GOLDEN / name, tmp_path / "out")
    assert report.architecture == "BertModel"
    assert_encoder_equals(tmp_path / "out", load_file(GOLDEN / name / "reference.safetensors"))


def assert_encoder_equals(folder: Path, reference: Tensors) -> None:
    output = computed(folder, reference, Encoder)
    assert largest_difference(output.last_hidden_state, reference["last_hidden_state"]) <= 1e-5
    assert largest_difference(output.pooler_output, reference["pooler_output"]) <= 1e-5


@pytest.mark.parametrize("name", FAIRSEQ)
def test_fairseqs_language_head_gives_the_logits_of_the_reference(name: str, tmp_path: Path) -> None:
    report = converted(GOLDEN / name, tmp_path / "out")
    reference = load_file(GOLDEN / name / "reference.safetensors")
    assert report.architecture == "RobertaForMaskedLM"
    words, pair = computed(tmp_path / "out", reference, PretrainingModel)
    assert pair is None
    assert largest_difference(words, reference["words"]) <= 1e-5


def test_fairseqs_classification_head_gives_the_logits_of_the_reference(tmp_path: Path) -> None:
    report = converted(GOLDEN / "fairseq_cfg", tmp_path / "out", head="news")
    reference = load_file(GOLDEN / "fairseq_cfg" / "reference.safetensors")
    assert report.architecture == "RobertaForSequenceClassification"
    logits = computed(tmp_path / "out", reference, SequenceClassifier)
    assert largest_difference(logits, reference["classes"]) <= 1e-5


@pytest.mark.parametrize("name", [*GOOGLE, *TF2, *FAIRSEQ, *HUGGING_FACE])
def test_transformers_loads_each_result_whole_and_computes_the_same(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    report = converted(GOLDEN / name, tmp_path / "out")
    model, info = getattr(transformers, report.architecture).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    reference = load_file(GOLDEN / name / "reference.safetensors")
    batch = {key: reference[key] for key in ("input_ids", "attention_mask", "token_type_ids") if key in reference}
    with torch.no_grad():
        theirs = model.eval()(**batch)
    real = reference["attention_mask"].bool()
    if name in HUGGING_FACE:
        expected = computed(tmp_path / "out", reference, Encoder).last_hidden_state
        assert largest_difference(theirs.last_hidden_state[real], expected) <= 1e-5
    elif name in TF2:
        assert largest_difference(theirs.last_hidden_state[real], reference["last_hidden_state"]) <= 1e-5
    else:
        words = theirs.logits if name in FAIRSEQ else theirs.prediction_logits
        expected = reference["words"] if name in FAIRSEQ else reference["mlm_logits"]
        assert largest_difference(words[real], expected) <= 1e-5


def test_the_report_accounts_for_every_name_of_the_file(tmp_path: Path) -> None:
    report = converted(GOLDEN / "google_bert", tmp_path / "out")
    assert report.read.keys() | report.ignored.keys() == open_any_tensors(GOLDEN / "google_bert").keys()
    assert not report.read.keys() & report.ignored.keys()
    assert sorted(new for names in report.read.values() for new in names) == sorted(values_of(tmp_path / "out"))
    rules = list(report.ignored.values())
    assert (rules.count("kept by the optimizer"), rules.count("kept by the training program")) == (92, 1)
    assert report.num_parameters == sum(tensor.numel() for tensor in values_of(tmp_path / "out").values())
    assert "92 names" in str(report)
    assert "bert/pooler/dense/kernel -> bert.pooler.dense.weight" in str(report)


def test_albert_zhs_projection_is_reported(tmp_path: Path) -> None:
    report = converted(GOLDEN / "google_albert_brightmart", tmp_path / "out")
    assert report.ignored["bert/embeddings/word_embeddings_2"] == "multiplied into the word embedding"
    assert set(report.made) == {f"albert.encoder.embedding_hidden_mapping_in.{end}" for end in ("weight", "bias")}


# -- round trips -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_hugging_face_to_itself_keeps_every_bit(name: str, tmp_path: Path) -> None:
    converted(GOLDEN / name, tmp_path / "out")
    assert_same_bits(values_of(tmp_path / "out"), values_of(GOLDEN / name))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("model_class", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_keeps_every_bit_and_its_class(
    family: str, model_class: type[Pretrained], dtype: torch.dtype, tmp_path: Path
) -> None:
    model = model_class(tiny_config(family)).to(dtype)
    save_model(model, tmp_path / "source")
    report = converted(tmp_path / "source", tmp_path / "out")
    assert_same_bits(values_of(tmp_path / "out"), values_of(tmp_path / "source"))
    source, out = (read_checkpoint(tmp_path / folder)[1] for folder in ("source", "out"))
    assert out["architectures"] == source["architectures"] == [report.architecture]
    assert out == source


@pytest.mark.parametrize("model_class", [Encoder, PretrainingModel, SequenceClassifier, SpanClassifier])
@pytest.mark.parametrize("family", ["bert", "albert"])
def test_hugging_face_to_google_and_back_keeps_every_bit(
    family: str, model_class: type[Pretrained], tmp_path: Path
) -> None:
    if family == "albert" and model_class is SpanClassifier:
        pytest.skip("Google's ALBERT has another head for it")
    source = scrambled(model_class, family, tmp_path / "source")
    converted(source, tmp_path / "google", to="google")
    converted(tmp_path / "google", tmp_path / "back")
    assert_same_bits(values_of(tmp_path / "back"), values_of(source))


@pytest.mark.parametrize("name", ["google_bert", "google_albert", "google_albert_groups"])
def test_google_to_hugging_face_and_back_keeps_every_bit(name: str, tmp_path: Path) -> None:
    report = converted(GOLDEN / name, tmp_path / "out")
    converted(tmp_path / "out", tmp_path / "back", to="google")
    theirs = {key: tensor for key, tensor in values_of(GOLDEN / name).items() if key not in report.ignored}
    assert_same_bits(values_of(tmp_path / "back"), theirs)
    written = json.loads(next((tmp_path / "back").glob("*bert_config.json")).read_text())
    shipped = json.loads(next((GOLDEN / name).glob("*bert_config.json")).read_text())
    assert {key: shipped[key] for key in written} == written


def test_fairseq_to_hugging_face_and_back_keeps_every_bit(tmp_path: Path) -> None:
    converted(GOLDEN / "fairseq_cfg", tmp_path / "out", head="news")
    converted(tmp_path / "out", tmp_path / "back", to="fairseq")
    theirs = values_of(GOLDEN / "fairseq_cfg")
    heads = {"news": "sentence_classification_head"}
    expected: Tensors = {}
    for name, tensor in theirs.items():
        if "in_proj" in name:  # fairseq 1.0 keeps the three apart
            for letter, block in zip("qkv", tensor.chunk(3), strict=True):
                expected[name.replace("in_proj_", f"{letter}_proj.")] = block
        elif "lm_head" not in name and "version" not in name:
            expected[name.replace("heads.news.", f"heads.{heads['news']}.")] = tensor
    assert_same_bits(values_of(tmp_path / "back"), expected)


def test_fairseqs_names_of_0_9_come_back_as_those_of_1_0(tmp_path: Path) -> None:
    converted(GOLDEN / "fairseq_args", tmp_path / "out")
    converted(tmp_path / "out", tmp_path / "back", to="fairseq")
    theirs = {
        name.replace("decoder.", "encoder.", 1).replace("emb_layer_norm", "layernorm_embedding"): tensor
        for name, tensor in values_of(GOLDEN / "fairseq_args").items()
        if "version" not in name and "_float_tensor" not in name
    }
    assert_same_bits(values_of(tmp_path / "back"), theirs)


def test_a_source_is_only_read(tmp_path: Path) -> None:
    for name in ("google_bert", "fairseq_cfg", "roberta"):
        shutil.copytree(GOLDEN / name, tmp_path / name)
        before = digests(tmp_path / name)
        converted(tmp_path / name, tmp_path / f"{name}-out")
        assert digests(tmp_path / name) == before


# -- architecture and settings -----------------------------------------------------------------------------------------


@pytest.fixture
def wwm(tmp_path: Path) -> Path:
    """A folder in the manner of chinese-roberta-wwm-ext: BERT throughout, RoBERTa by name."""
    folder = scrambled(PretrainingModel, "bert", tmp_path / "chinese-roberta-wwm-ext")
    tensors, settings = read_checkpoint(folder)
    settings |= {"architectures": ["BertForMaskedLM"], "directionality": "bidi", "pooler_type": "first_token_transform"}
    return write_checkpoint(folder, tensors, settings)


def test_chinese_roberta_wwm_is_recognised_as_bert(wwm: Path, tmp_path: Path) -> None:
    report = converted(wwm, tmp_path / "out", arch="roberta")
    assert report.architecture == "BertForPreTraining"
    assert report.notes == [
        "this is BERT, not RoBERTa: it holds bert.embeddings.word_embeddings.weight, a name that RoBERTa has not"
    ]


def test_tensor_names_outweigh_config_json(wwm: Path, tmp_path: Path) -> None:
    tensors, settings = read_checkpoint(wwm)
    write_checkpoint(wwm, tensors, {**settings, "model_type": "roberta"})
    report = converted(wwm, tmp_path / "out")
    assert report.architecture == "BertForPreTraining"
    assert report.notes == ["config.json calls it roberta, but its tensors are named as BERT's"]
    assert read_checkpoint(tmp_path / "out")[1]["model_type"] == "bert"


def test_unknown_fields_of_config_json_are_kept(wwm: Path, tmp_path: Path) -> None:
    converted(wwm, tmp_path / "out")
    settings = read_checkpoint(tmp_path / "out")[1]
    assert settings["directionality"] == "bidi"
    assert settings["architectures"] == ["BertForPreTraining"]


@pytest.mark.parametrize(
    ("without", "architecture"),
    [
        ("cls.seq_relationship", "BertForMaskedLM"),
        ("cls.predictions", "BertForNextSentencePrediction"),
        ("cls.", "BertModel"),
    ],
)
def test_the_class_is_named_after_what_is_in_the_file(
    wwm: Path, tmp_path: Path, without: str, architecture: str
) -> None:
    tensors, settings = read_checkpoint(wwm)
    write_checkpoint(wwm, {name: value for name, value in tensors.items() if not name.startswith(without)}, settings)
    assert converted(wwm, tmp_path / "out").architecture == architecture


@pytest.mark.parametrize(("name", "default"), [("google_bert", "gelu"), ("google_albert", "gelu_new")])
def test_gelu_is_the_published_configs_unless_told_otherwise(name: str, default: str, tmp_path: Path) -> None:
    converted(GOLDEN / name, tmp_path / "out")
    assert read_checkpoint(tmp_path / "out")[1]["hidden_act"] == default
    converted(GOLDEN / name, tmp_path / "relu", hidden_act="relu")
    assert read_checkpoint(tmp_path / "relu")[1]["hidden_act"] == "relu"


def test_an_activation_that_google_has_no_name_for_is_noted(tmp_path: Path) -> None:
    save_model(Encoder(tiny_config("bert", hidden_act="gelu_new")), tmp_path / "source")
    report = converted(tmp_path / "source", tmp_path / "out", to="google")
    assert "hidden_act gelu_new is written as gelu" in report.notes[0]


# -- tokenizers --------------------------------------------------------------------------------------------------------


def test_googles_vocabulary_comes_along(tmp_path: Path) -> None:
    report = converted(GOLDEN / "google_bert", tmp_path / "out")
    assert report.tokenizer == ["tokenizer.json", "tokenizer_config.json", "vocab.txt"]
    tokenizer = Tokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.encode("abc").ids == Tokenizer.from_pretrained(GOLDEN / "google_bert").encode("abc").ids
    converted(tmp_path / "out", tmp_path / "back", to="google")
    assert (tmp_path / "back" / "vocab.txt").read_bytes() == (GOLDEN / "google_bert" / "vocab.txt").read_bytes()


def test_vocab_txt_is_made_from_tokenizer_json_where_it_is_alone(tmp_path: Path) -> None:
    converted(GOLDEN / "google_bert", tmp_path / "out")
    (tmp_path / "out" / "vocab.txt").unlink()
    converted(tmp_path / "out", tmp_path / "back", to="google")
    lines = [(folder / "vocab.txt").read_text().split() for folder in (tmp_path / "back", GOLDEN / "google_bert")]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("name", FAIRSEQ)
def test_fairseqs_vocabulary_becomes_hugging_faces_and_comes_back(name: str, tmp_path: Path) -> None:
    report = converted(GOLDEN / name, tmp_path / "out")
    assert report.tokenizer == ["merges.txt", "tokenizer.json", "tokenizer_config.json", "vocab.json"]
    converted(tmp_path / "out", tmp_path / "back", to="fairseq")
    converted(tmp_path / "back", tmp_path / "again")
    for file in ("vocab.json", "merges.txt"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "out" / file).read_bytes()


def test_googles_sentencepiece_model_becomes_a_tokenizer(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece", reason="it reads spiece.model")
    if not (TOKENIZERS / "albert-base" / "spiece.model").is_file():
        pytest.skip("needs ALBERT's spiece.model")
    save_model(Encoder(tiny_config("albert", vocab_size=30000)), tmp_path / "source")
    converted(tmp_path / "source", tmp_path / "google", to="google")
    shutil.copyfile(TOKENIZERS / "albert-base" / "spiece.model", tmp_path / "google" / "30k-clean.model")
    report = converted(tmp_path / "google", tmp_path / "out")
    assert report.tokenizer == ["spiece.model", "tokenizer.json", "tokenizer_config.json"]
    assert converted(tmp_path / "out", tmp_path / "back", to="google").tokenizer == ["30k-clean.model"]


def test_a_vocabulary_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    source = shutil.copytree(GOLDEN / "google_bert", tmp_path / "source")
    with open(source / "vocab.txt", "a", encoding="utf-8") as file:
        file.write("extra\n")
    with pytest.raises(InputError, match="95 entries, but the word embedding has 94"):
        converted(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


# -- what is refused ---------------------------------------------------------------------------------------------------


Change = Callable[[Tensors], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("cls.predictions.transform.dense.bias"), "cls.predictions.transform.dense.bias is missing"),
        (lambda t: t.pop("cls.seq_relationship.bias"), "cls.seq_relationship.bias is missing"),
        (lambda t: t.pop("bert.pooler.dense.bias"), "bert.pooler.dense.bias is missing"),
        (
            lambda t: [t.pop(f"bert.pooler.dense.{end}") for end in ("weight", "bias")],
            "bert.pooler.dense.weight, bert.pooler.dense.bias are missing",
        ),
        (
            lambda t: t.pop("bert.encoder.layer.1.attention.self.key.bias"),
            "bert.encoder.layer.1.attention.self.key.bias is missing",
        ),
        (lambda t: t.update({"adapter.weight": torch.ones(2)}), "adapter.weight is not part of a bert checkpoint"),
        (
            lambda t: t.update({"bert.pooler.dense.bias": torch.ones(7)}),
            r"bert.pooler.dense.bias is float32 of shape \(7,\)",
        ),
        (
            lambda t: t.update({"bert.pooler.dense.bias": torch.ones(24, dtype=torch.int8)}),
            "bert.pooler.dense.bias is int8",
        ),
    ],
)
def test_incomplete_and_unknown_tensors_are_refused_by_name(
    wwm: Path, tmp_path: Path, change: Change, message: str
) -> None:
    tensors, settings = read_checkpoint(wwm)
    change(tensors)
    write_checkpoint(wwm, tensors, settings)
    with pytest.raises(InputError, match=message):
        converted(wwm, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [wwm.name]


@pytest.mark.parametrize(
    ("family", "model_class", "to", "message"),
    [
        ("roberta", Encoder, "google", "no TensorFlow program for roberta"),
        ("bert", TokenClassifier, "google", "no head ForTokenClassification"),
        ("bert", Encoder, "fairseq", "fairseq's RoBERTa has model_type 'roberta'"),
    ],
)
def test_a_format_that_cannot_hold_the_model_is_refused(
    family: str, model_class: type[Pretrained], to: str, message: str, tmp_path: Path
) -> None:
    source = scrambled(model_class, family, tmp_path / "source")
    with pytest.raises(InputError, match=message):
        converted(source, tmp_path / "out", to=to)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_fairseq_has_no_place_for_a_token_classifier(tmp_path: Path) -> None:
    save_model(TokenClassifier(tiny_config("roberta", layer_norm_eps=1e-5)), tmp_path / "source")
    with pytest.raises(InputError, match="fairseq has no place for its classifier"):
        converted(tmp_path / "source", tmp_path / "out", to="fairseq")


def test_a_destination_in_use_is_refused_and_an_empty_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    converted(GOLDEN / "roberta", tmp_path / "out")
    before = digests(tmp_path / "out")
    with pytest.raises(InputError, match="is there already"):
        converted(GOLDEN / "albert", tmp_path / "out")
    assert digests(tmp_path / "out") == before


def test_nothing_is_left_where_reading_fails_half_way(tmp_path: Path) -> None:
    source = shutil.copytree(GOLDEN / "google_bert", tmp_path / "source")
    data = source / "bert_model.ckpt.data-00000-of-00001"
    damaged = bytearray(data.read_bytes())
    damaged[-20] ^= 1
    for place in range(0, len(damaged), 4000):
        damaged[place] ^= 1
    data.write_bytes(damaged)
    with pytest.raises(InputError, match="checksum"):
        converted(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights found"):
        open_source(tmp_path)


# -- the command lines -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert_gelu", "albert", "roberta"])
def test_convert_verifies_against_transformers(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    out = str(tmp_path / "out")
    assert convert_weights.main([str(GOLDEN / name), out, "--verify", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert max(report["verified"].values()) <= 1e-5
    assert report["destination"] == out


@pytest.mark.parametrize("model_class", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_is_verified(family: str, model_class: type[Pretrained], tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    source = open_source(scrambled(model_class, family, tmp_path / "source"))
    convert(source, tmp_path / "out")
    differences = convert_weights.verify(source, tmp_path / "out")
    expected = {Encoder: {"hidden states", "pooler outputs"}, PretrainingModel: {"logits", "pair logits"}}
    assert differences.keys() == expected.get(model_class, {"logits"}) - (
        {"pair logits"} if family == "roberta" else set()
    )


def test_verify_sees_one_weight_that_is_off(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    source = open_source(GOLDEN / "bert_gelu")
    convert(source, tmp_path / "out")
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    tensors["encoder.layer.1.output.dense.bias"][3] += 1e-2
    save_file(tensors, tmp_path / "out" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="differ from those that transformers computes"):
        convert_weights.verify(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([str(GOLDEN / "google_bert"), "OUT", "--verify"], "nothing to compare with"),
        ([str(GOLDEN / "google_bert"), "OUT", "--head", "news"], "only fairseq's files have heads"),
        ([str(GOLDEN / "fairseq_cfg"), "OUT", "--head", "weather"], "choose one of: news"),
        ([str(GOLDEN / "nothing-here"), "OUT"], "no such folder"),
    ],
)
def test_convert_fails_with_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert_weights.main([argument.replace("OUT", str(tmp_path / "out")) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["google_bert", "fairseq_args", "albert"])
def test_inspect_lists_every_tensor(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect_weights.main([str(GOLDEN / name), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    values = values_of(GOLDEN / name)
    assert facts.keys() == values.keys()
    for key, fact in facts.items():
        assert fact["shape"] == list(values[key].shape)
        assert fact["max"] == pytest.approx(values[key].double().max().item())


def test_inspect_flags_nan_and_infinity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = torch.tensor([1.0, float("nan"), 3.0, float("inf"), -float("inf")])
    write_checkpoint(tmp_path, {"odd": odd, "even": torch.zeros(2, dtype=torch.int64), "none": torch.zeros(0, 3)}, {})
    assert inspect_weights.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "even"
    assert lines[2].endswith("min 1 max 3 mean 2 std 1 1 NaN! 2 INFINITE!")
    assert lines[3] == "3 tensors, 7 numbers; NaN or infinity in odd"


def test_inspect_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write_checkpoint(one, {"a": torch.ones(2), "b": torch.ones(2), "c": torch.ones(1), "d": torch.ones(1)}, {})
    write_checkpoint(other, {"a": torch.ones(2), "b": torch.ones(3), "c": torch.zeros(1), "e": torch.ones(1)}, {})
    assert inspect_weights.main([str(one), str(one)]) == 0
    assert capsys.readouterr().out == "4 tensors equal bit by bit\n"
    assert inspect_weights.main([str(one), str(other), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "only": [["d"], ["e"]],
        "differing": {"b": "float32 (2,) against float32 (3,)", "c": "by 1 at most"},
        "equal": 1,
    }
    assert inspect_weights.main([str(one), str(tmp_path / "none")]) == 2


def test_a_full_disk_gives_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("minibert.formats.conversion.save_file", full)
    assert convert_weights.main([str(GOLDEN / "google_bert"), str(tmp_path / "out")]) == 2
    assert "cannot be written (No space left on device)" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("tensors", [{"output_weights": torch.tensor(1.0)}, {"output_bias": torch.zeros(2)}])
def test_a_classifier_of_googles_without_its_matrix_is_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "google_bert" / "bert_config.json", tmp_path)
    write_bundle(tmp_path / "model.ckpt", tensors)
    with pytest.raises(InputError, match="its classifier needs output_weights"):
        open_source(tmp_path)
