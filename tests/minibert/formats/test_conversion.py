"""Conversions: each golden checkpoint into a folder that minibert and transformers load with the reference's numbers,
and round trips to the last bit.
"""

import json
import os
import shutil
from pathlib import Path

import pytest
import tokenizers
import torch
from conftest import FAMILIES, GOLDEN, TOKENIZERS, largest_difference, read_checkpoint, tiny_config, write_checkpoint
from conversions import (
    FAIRSEQ,
    GOOGLE,
    HEADS,
    HUGGING_FACE,
    TF2,
    assert_same_bits,
    computed,
    converted,
    digests,
    save_wwm,
    scrambled,
    values_of,
)
from safetensors.torch import load_file
from tensor_states import Tensors

from minibert import Encoder, PretrainingModel, SequenceClassifier, SpanClassifier, Tokenizer
from minibert.checkpoint import Pretrained, open_checkpoint, save_model
from minibert.errors import InputError
from minibert.formats.conversion import convert
from minibert.formats.source import open_any_tensors, open_source


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


@pytest.mark.slow
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
    assert (rules.count("optimizer state"), rules.count("training state")) == (92, 1)
    assert report.num_parameters == sum(tensor.numel() for tensor in values_of(tmp_path / "out").values())
    assert "92 names" in str(report)
    assert "bert/pooler/dense/kernel -> bert.pooler.dense.weight" in str(report)


def test_albert_zhs_projection_is_reported(tmp_path: Path) -> None:
    report = converted(GOLDEN / "google_albert_brightmart", tmp_path / "out")
    assert report.ignored["bert/embeddings/word_embeddings_2"] == "multiplied into the word embedding"
    assert set(report.synthesised) == {
        f"albert.encoder.embedding_hidden_mapping_in.{end}" for end in ("weight", "bias")
    }


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
    return save_wwm(tmp_path)


def test_chinese_roberta_wwm_is_recognised_as_bert(wwm: Path, tmp_path: Path) -> None:
    report = converted(wwm, tmp_path / "out", arch="roberta")
    assert report.architecture == "BertForPreTraining"
    assert report.notes == [
        "this is BERT, not RoBERTa: RoBERTa has no tensor named bert.embeddings.word_embeddings.weight"
    ]


def test_tensor_names_outweigh_config_json(wwm: Path, tmp_path: Path) -> None:
    tensors, settings = read_checkpoint(wwm)
    write_checkpoint(wwm, tensors, {**settings, "model_type": "roberta"})
    report = converted(wwm, tmp_path / "out")
    assert report.architecture == "BertForPreTraining"
    assert report.notes == ["config.json says model_type roberta, but the tensor names are BERT's"]
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


# -- what lies beside the weights --------------------------------------------------------------------------------------


def with_companions(folder: Path) -> dict[str, bytes]:
    """A model in the folder with the files of a run and of sentence-transformers; returns these by path."""
    save_model(Encoder(tiny_config("bert")), folder)
    modules = [{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "1_Pooling"}]
    files = {
        "task.json": b'{"task": "classification", "max_length": 32}',
        "modules.json": json.dumps(modules).encode(),
        "1_Pooling/config.json": b'{"pooling_mode_cls_token": true}',
        "sentence_bert_config.json": b'{"max_seq_length": 16}',
        "config_sentence_transformers.json": b"{}",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return files


def test_what_answers_depend_on_goes_with_the_weights(tmp_path: Path) -> None:
    files = with_companions(tmp_path / "source")
    assert converted(tmp_path / "source", tmp_path / "out").notes == []
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files} == files
    assert open_checkpoint(tmp_path / "out").sentence_settings == open_checkpoint(tmp_path / "source").sentence_settings


@pytest.mark.parametrize(("family", "to"), [("bert", "google"), ("roberta", "fairseq")])
def test_what_another_format_has_no_place_for_is_noted(family: str, to: str, tmp_path: Path) -> None:
    fairseqs = {"layer_norm_eps": 1e-5} if to == "fairseq" else {}
    config = tiny_config(family, **fairseqs).with_labels({0: "neg", 1: "pos"})
    save_model(SequenceClassifier(config.with_problem_type("multi_label_classification")), tmp_path / "source")
    (tmp_path / "source" / "task.json").write_text("{}")
    notes = " ".join(converted(tmp_path / "source", tmp_path / "out", to=to).notes)
    assert "the names of the labels (neg, pos) are left out" in notes
    assert "problem_type multi_label_classification is left out" in notes
    assert f"task.json, on which answers depend, left out; keep the folder {tmp_path / 'source'}" in notes


def test_the_leftover_of_a_process_that_had_the_same_number_is_no_hindrance(tmp_path: Path) -> None:
    leftover = tmp_path / f".out.{os.getpid()}.tmp"
    leftover.mkdir()
    (leftover / "model.safetensors").touch()
    converted(GOLDEN / "google_bert", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


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


@pytest.mark.slow
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


@pytest.mark.parametrize(("name", "to"), [("google_bert", "google"), (FAIRSEQ[0], "fairseq")])
def test_added_tokens_are_not_lost(name: str, to: str, tmp_path: Path) -> None:
    """Other programs would cut a text that has them into other tokens."""
    converted(GOLDEN / name, tmp_path / "source")
    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "source" / "tokenizer.json"))
    backend.add_tokens(["COVID-19"])
    backend.save(str(tmp_path / "source" / "tokenizer.json"))
    tensors, config = read_checkpoint(tmp_path / "source")
    word = next(key for key in tensors if key.endswith("word_embeddings.weight"))
    write_checkpoint(
        tmp_path / "source",
        {
            key: torch.cat([tensor, tensor[:1]]) if len(tensor) == len(tensors[word]) else tensor
            for key, tensor in tensors.items()
        },
        {**config, "vocab_size": config["vocab_size"] + 1},
    )
    with pytest.raises(InputError, match=r"source: its tokenizer has tokens beside its vocabulary \(COVID-19\)"):
        converted(tmp_path / "source", tmp_path / "out", to=to)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    assert convert(open_source(tmp_path / "source"), tmp_path / "out", to=to, tokenizer=False).tokenizer == []
