"""The small pre-trained models that come with minibert, and the tool that makes them."""

import dataclasses
import gzip
import json
from pathlib import Path

import pytest
import torch
from conftest import FAMILIES, largest_difference, padded, rows, write
from safetensors.torch import load_file

from minibert import PretrainingModel, SequenceClassifier, Tokenizer, pack
from minibert.errors import InputError
from tasks import registry
from tasks.predict import load
from tasks.run import local_weights
from tasks.run.local_weights import bundled
from tools import make_bundled_weights

TEXTS = ["臺北是台灣的首都。", "请问在London的住户名簿？", "The cat sat on the mat."]


def test_all_are_small_and_have_a_card_with_licence_and_command() -> None:
    sizes = []
    for family in FAMILIES:
        sizes.append(sum(file.stat().st_size for file in bundled(family).iterdir()))
        card = (bundled(family) / "README.md").read_text(encoding="utf-8")
        assert "CC BY-SA 4.0" in card
        assert "wikipedia.org" in card
        assert f"python -m tasks.pretraining --arch {family}" in card
        said = make_bundled_weights._training_before(bundled(family))
        assert said.startswith("**Starting from corpus counts**")
        assert f"--out WORK/run-{family}" in said
    assert max(sizes) <= 10e6
    assert sum(sizes) <= 24e6


SENTENCES = [
    ("他出生於西元一九八五[MASK]。", "年"),
    ("他出生於1985[MASK]。", "年"),
    ("中華人民共和[MASK]成立於一九四九年。", "國"),
    ("He was born in New [MASK].", "York"),
    ("The United [MASK] of America is a country.", "States"),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_reads_tokens_and_words_alike(family: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    folder = bundled(family)
    tokenizer = Tokenizer.from_pretrained(folder)
    theirs_tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    sequences = [tokenizer.with_special_tokens(tokenizer.encode(text).ids)[0] for text in TEXTS]
    assert sequences == [theirs_tokenizer(text)["input_ids"] for text in TEXTS]

    ours = PretrainingModel.from_pretrained(folder).eval()
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        words, _ = ours(pack(sequences))
        mask = padded([[1] * len(sequence) for sequence in sequences], 0)
        reference = theirs(padded(sequences, tokenizer.pad_token_id), attention_mask=mask).logits[mask.bool()]
    assert largest_difference(words, reference) <= 1e-4 * reference.abs().max().item()


@pytest.mark.parametrize("family", FAMILIES)
def test_characters_are_tokens_in_text_and_as_words(family: str) -> None:
    """What is learnt of running text serves where characters are labelled."""
    tokenizer = Tokenizer.from_pretrained(bundled(family))
    text = "王小明在北京大學讀書"
    (pieces,) = tokenizer.encode_words([list(text)])
    assert pieces.ids == tokenizer.encode(text).ids
    assert len(pieces.ids) == len(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_word_is_told_from_what_stands_around_it(family: str) -> None:
    """Beside the frequent words that a model without context would name; in one of the sentences it may be mistaken."""
    answer = load(str(bundled(family)), device="cpu")
    known = []
    for text, word in SENTENCES:
        (mask,) = answer(text)["masks"]
        known.append(word in [candidate["text"].strip() for candidate in mask["words"]])
    assert sum(known) >= len(SENTENCES) - 1, known


@pytest.mark.slow
def test_a_task_starts_from_them_and_names_official_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = write(tmp_path / "train.jsonl", rows(24))
    options = ["--train", train, "--lr", "1e-12", "--epochs", "1", "--no-baseline", "--out", str(tmp_path / "run")]
    registry.run("classification", [*options, "--arch", "albert"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("model ")]
    assert "albert" in line
    assert "pre-trained by this project" in line
    assert "--weights voidful/albert_chinese_base" in line
    start, end = (SequenceClassifier.from_pretrained(folder) for folder in (bundled("albert"), tmp_path / "run"))
    assert largest_difference(*(m.encoder.embeddings.word_embeddings.weight for m in (start, end))) <= 1e-6


@pytest.mark.slow
def test_where_they_are_missing_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local_weights, "_BUNDLED", tmp_path)
    train = write(tmp_path / "train.jsonl", rows(24))
    options = ["--train", train, "--epochs", "1", "--no-baseline", "--out", str(tmp_path / "run")]
    with pytest.raises(InputError, match=r"bert-tiny: .* give --weights, such as google-bert/.*, or random"):
        registry.run("classification", options)
    registry.run("classification", [*options, "--weights", "random"])
    assert "small and random; for real use pass --weights google-bert" in capsys.readouterr().out


# -- the tool ---------------------------------------------------------------------------------------------------------


def write_corpus(folder: Path, sources: list[str]) -> Path:
    folder.mkdir()
    documents = ["first\nof two lines", "second", "第三"]
    with gzip.open(folder / "zh.txt.gz", "wt", encoding="utf-8") as file:
        file.write("\n\n".join(documents) + "\n")
    with gzip.open(folder / "attribution.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("en\tbooks\tT\t1\ttitle\n" + "".join(f"zh\t{source}\tT\t1\ttitle\n" for source in sources))
    return folder


def test_documents_of_test_data_are_left_out(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", ["zhwiki", "drcd-dev", "twlaw"])
    chosen = make_bundled_weights.select_documents(corpus, "zh", tmp_path)
    assert chosen.read_text(encoding="utf-8") == "first\nof two lines\n\n第三\n"


def test_a_list_of_sources_of_another_corpus_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_corpus(tmp_path / "corpus", ["zhwiki", "twlaw"])
    assert make_bundled_weights.main(["bert", "--corpus", str(corpus), "--work", str(tmp_path / "work")]) == 2
    assert "has 2 documents of zh, and zh.txt.gz 3" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_tool_leaves_a_small_model_that_transformers_reads(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name, sentence in (
        ("zh", "第{}天小明看見白色的房子。他很喜歡它。\n後來他走了。"),
        ("en", "Day {} was fine. Ann slept.\nBob read."),
    ):
        with gzip.open(corpus / f"{name}.txt.gz", "wt", encoding="utf-8") as file:
            file.write("\n\n".join(sentence.format(number) for number in range(12)) + "\n")
    with gzip.open(corpus / "attribution.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("zh\twiki\tT\t1\ttitle\n" * 12 + "en\twiki\tE\t1\ttitle\n" * 12)
    narrow = {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 32}
    monkeypatch.setattr(make_bundled_weights, "CONFIG", make_bundled_weights.CONFIG | narrow)
    monkeypatch.setattr(make_bundled_weights, "VOCABULARY", 350)
    monkeypatch.setattr(make_bundled_weights, "TRAINING", ["--dev-share", "0.2", "--precision", "fp32"])
    recipe = dataclasses.replace(make_bundled_weights.RECIPES[family], epochs=(1, 2))
    monkeypatch.setitem(make_bundled_weights.RECIPES, family, recipe)
    monkeypatch.setattr(make_bundled_weights, "WEIGHTS", tmp_path / "weights")
    assert make_bundled_weights.main([family, "--corpus", str(corpus), "--work", str(tmp_path / "work")]) == 0

    made, run = tmp_path / "weights" / f"{family}-tiny", tmp_path / "work" / f"run-{family}-2"
    halved, trained = (load_file(folder / "model.safetensors") for folder in (made, run))
    assert halved.keys() == trained.keys()
    assert all(torch.equal(halved[name], trained[name].half()) for name in trained)
    card = (made / "README.md").read_text(encoding="utf-8")
    assert "3 epochs in runs of 1 and 2" in card
    assert card.count(f"python -m tasks.pretraining --arch {family}") == 2
    assert f"--weights WORK/run-{family}-1" in card
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(made, dtype=torch.float32)
    assert theirs.config.hidden_dropout_prob == 0.1
    tokenizer = Tokenizer.from_pretrained(made)
    ids = tokenizer.with_special_tokens(tokenizer.encode("小明看見 Ann").ids)[0]
    assert transformers.AutoTokenizer.from_pretrained(made)("小明看見 Ann")["input_ids"] == ids
    with torch.no_grad():
        words, _ = PretrainingModel.from_pretrained(made).eval()(pack([ids]))
        assert largest_difference(words, theirs.eval()(torch.tensor([ids])).logits[0]) <= 1e-5
    card = (made / "README.md").read_text(encoding="utf-8")
    assert "CC BY-SA 4.0" in card
    assert f"python -m tasks.pretraining --arch {family} --corpus WORK/zh.txt WORK/en.txt" in card
    assert str(tmp_path) not in card

    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "cache"))
    taught = [family, "--corpus", str(corpus), "--work", str(tmp_path / "work"), "--teacher", str(run)]
    assert make_bundled_weights.main(taught) == 0
    assert json.loads((tmp_path / "work" / f"start-{family}" / "config.json").read_text())["hidden_dropout_prob"] == 0
    assert json.loads((made / "config.json").read_text())["hidden_dropout_prob"] == 0.1
    weights = load_file(made / "model.safetensors")
    assert weights.keys() == halved.keys()
    assert not all(torch.equal(weights[name], halved[name]) for name in halved)
    card = (made / "README.md").read_text(encoding="utf-8")
    assert card.index("3 epochs in runs of 1 and 2") < card.index("1 epoch over ")
    assert f"with run-{family}-2 as teacher" in card
    assert "distance from the teacher" in card
    assert card.count("--masking ngram") == 1
    assert make_bundled_weights.main(taught) == 0  # again: nothing is left to do, and nothing is said twice
    assert (made / "README.md").read_text(encoding="utf-8") == card
    assert "CC BY-SA 4.0" in card
    assert str(tmp_path) not in card
