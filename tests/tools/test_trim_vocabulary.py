"""A model with fewer words: the same states to the bit for texts of those that are left, here and in transformers."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ALL_FAMILIES, ROOT, scramble, tiny_config
from safetensors.torch import load_file, save_file

from minibert import Encoder, PretrainingModel, ReplacedTokenDetector, SequenceClassifier, Tokenizer, pack
from minibert.checkpoint import Pretrained, open_checkpoint
from minibert.errors import InputError
from minibert.families import FAMILIES
from tasks.embed import load as load_embedder
from tasks.predict import load
from tools.trim_vocabulary import Corpus, main, single_characters

LETTERS = "abcdeé"
TEXT = "ab cab 北京。\nbad ace, dab\n\n大学 bead\n"


def texts(seed: int, count: int = 120) -> list[str]:
    rng = random.Random(seed)
    words = ["".join(rng.choices(LETTERS, k=rng.randint(1, 5))) for _ in range(80)]
    return [" ".join(rng.choices(words, k=4)) + rng.choice(["北京。", "大学，", " 上海", "."]) for _ in range(count)]


def make_model(folder: Path, family: str, model_class: type[Pretrained] = PretrainingModel, **changes: Any) -> Path:
    """A model with random weights, and a tokenizer of the kind that its family uses."""
    if family == "albert":
        tokenizer = Tokenizer.train_unigram(texts(0), vocab_size=180)
    else:
        tokenizer = Tokenizer.train([texts(0)], model_type=family, vocab_size=500, running_text=True)
    config = tiny_config(
        family,
        vocab_size=tokenizer.vocab_size + 3,  # padded, as for speed on a GPU
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=60,
        **changes,
    )
    model = model_class(config)
    scramble(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, config=config)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def trim(model: Path, corpus: Path, *options: str) -> Path:
    """The folder that the command writes."""
    out = model.with_name(f"{model.name}-trimmed")
    assert main([str(model), str(out), "--corpus", str(corpus), *options]) == 0
    return out


def rows_of(folder: Path) -> list[list[int]]:
    tokenizer = Tokenizer.from_pretrained(folder)
    return [tokenizer.with_special_tokens(ids)[0] for ids in tokenizer.encode_batch(TEXT.split("\n"))]


def old_ids_of(model: Path, trimmed: Path) -> list[int]:
    """By their names."""
    old, new = Tokenizer.from_pretrained(model), Tokenizer.from_pretrained(trimmed)
    names = old.convert_ids_to_tokens(range(old.vocab_size))
    return [names.index(name) for name in new.convert_ids_to_tokens(range(new.vocab_size))]


@torch.no_grad()
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_states_are_the_same_to_the_bit(family: str, corpus: Path, tmp_path: Path) -> None:
    """And so are the scores of words, but for the order in which a narrower product may add up."""
    has_words = "ForPreTraining" in FAMILIES[family].heads
    model_class = PretrainingModel if has_words else ReplacedTokenDetector
    model = make_model(tmp_path / "model", family, model_class)
    trimmed = trim(model, corpus)
    old_ids = old_ids_of(model, trimmed)
    before, after = (model_class.from_pretrained(folder) for folder in (model, trimmed))
    assert after.config.vocab_size == len(old_ids) < before.config.vocab_size - 50
    rows, new_rows = rows_of(model), rows_of(trimmed)
    assert [[old_ids[index] for index in row] for row in new_rows] == rows
    states, new_states = (each.encoder(pack(ids)) for each, ids in ((before, rows), (after, new_rows)))
    assert torch.equal(new_states.last_hidden_state, states.last_hidden_state)
    if not has_words:
        assert torch.equal(after(pack(new_rows)), before(pack(rows)))
        return
    assert torch.equal(after.mlm.bias, before.mlm.bias[old_ids])
    (words, pairs), (new_words, new_pairs) = before(pack(rows)), after(pack(new_rows))
    torch.testing.assert_close(new_words, words[:, old_ids], rtol=0, atol=1e-5)
    assert pairs is None or torch.equal(new_pairs, pairs)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "albert", "roberta", "distilbert"])
def test_transformers_reads_the_result_and_gives_the_same_logits(family: str, corpus: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    model = make_model(tmp_path / "model", family)
    trimmed = trim(model, corpus)
    old_ids = old_ids_of(model, trimmed)
    ids, states, logits = [], [], []
    for folder in (model, trimmed):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        read = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
        inputs = [tokenizer(line, return_tensors="pt") for line in TEXT.split("\n")]
        outputs = [read(**each, output_hidden_states=True) for each in inputs]
        ids.append([each["input_ids"][0].tolist() for each in inputs])
        states.append(torch.cat([each.hidden_states[-1][0] for each in outputs]))
        logits.append(torch.cat([each.logits[0] for each in outputs]))
    assert [[old_ids[index] for index in row] for row in ids[1]] == ids[0] == rows_of(model)
    assert torch.equal(states[1], states[0])
    torch.testing.assert_close(logits[1], logits[0][:, old_ids], rtol=0, atol=1e-5)


def test_what_comes_with_a_model_comes_with_the_trimmed_one(corpus: Path, tmp_path: Path) -> None:
    """The task of a run, sentence-transformers' files, the settings of the tokenizer, and the ids in config.json."""
    model = make_model(tmp_path / "model", "bert", SequenceClassifier, id2label={0: "bad", 1: "good"})
    (model / "task.json").write_text('{"task": "classification", "kind": "multi"}', encoding="utf-8")
    modules = [{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.Pooling"}]
    (model / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}', encoding="utf-8")
    settings = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    more = {"model_max_length": 9, "added_tokens_decoder": {"7": {"content": "[MASK]"}}}
    (model / "tokenizer_config.json").write_text(json.dumps({**settings, **more}), encoding="utf-8")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    old = Tokenizer.from_pretrained(model)
    special = {"bos_token_id": 40, "eos_token_id": None, "sep_token_id": old.sep_token_id}
    (model / "config.json").write_text(json.dumps({**config, **special, "custom": 5}), encoding="utf-8")
    trimmed = trim(model, corpus)
    line = "bad ace, dab"
    expected, answer = load(str(model), device="cpu")(line), load(str(trimmed), device="cpu")(line)
    assert {**answer, "milliseconds": 0} == {**expected, "milliseconds": 0}
    assert load_embedder(str(trimmed), device="cpu").settings.pooling == "first"
    assert load_embedder(str(trimmed), device="cpu").settings.max_length == 9
    new = Tokenizer.from_pretrained(trimmed)
    changed = json.loads((trimmed / "config.json").read_text(encoding="utf-8"))
    assert changed == {
        **config, "vocab_size": new.vocab_size, "custom": 5, "pad_token_id": new.pad_token_id, "eos_token_id": None,
        "sep_token_id": new.sep_token_id, "bos_token_id": old_ids_of(model, trimmed).index(40),
    }  # fmt: skip
    assert "added_tokens_decoder" not in json.loads((trimmed / "tokenizer_config.json").read_text(encoding="utf-8"))


PROMPTS = {"prompts": {"query": "represent this Sentence: "}, "default_prompt_name": "query"}


@pytest.mark.parametrize("family", ["bert", "albert", "roberta"])
def test_what_the_model_reads_beside_its_inputs_is_kept(family: str, tmp_path: Path) -> None:
    """The default prompt of sentence-transformers, and the template and the words of cloze questions."""
    model = ROOT / "weights" / f"{family}-tiny"
    lines = ["The quick brown fox", "over the lazy dog."]
    (tmp_path / "corpus.txt").write_text("\n".join(lines), encoding="utf-8")
    vectors, cloze = tmp_path / "vectors", tmp_path / "cloze"
    for folder in (vectors, cloze):
        shutil.copytree(model, folder)
    (vectors / "modules.json").write_text('[{"type": "a.Transformer", "path": ""}]', encoding="utf-8")
    (vectors / "config_sentence_transformers.json").write_text(json.dumps(PROMPTS), encoding="utf-8")
    settings = {
        "task": "cloze",
        "template": "{text} However, people said [MASK] (1987)!",
        "words": ["a=new,first", "b=two"],
    }
    (cloze / "task.json").write_text(json.dumps(settings), encoding="utf-8")
    config = json.loads((cloze / "config.json").read_text(encoding="utf-8"))
    config |= {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}
    (cloze / "config.json").write_text(json.dumps(config), encoding="utf-8")
    embed = [
        load_embedder(str(folder), pooling="mean", device="cpu")
        for folder in (vectors, trim(vectors, tmp_path / "corpus.txt"))
    ]
    assert np.array_equal(embed[0](lines), embed[1](lines))
    answers = [load(str(folder), device="cpu")(lines) for folder in (cloze, trim(cloze, tmp_path / "corpus.txt"))]
    for before, after in zip(*answers, strict=True):
        assert before["label"] == after["label"]
        assert before["probability"] == pytest.approx(after["probability"], abs=2e-6)


def test_half_precision_stays(corpus: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "bert", Encoder)
    Encoder.from_pretrained(model).half().save_pretrained(model)
    tensors = open_checkpoint(trim(model, corpus)).tensors
    assert {read().dtype for read in tensors.values()} == {torch.float16}


@pytest.mark.parametrize("family", ["bert", "albert", "roberta"])
def test_single_characters_of_scripts_are_kept(family: str, corpus: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", family, Encoder)
    tokenizer = Tokenizer.from_pretrained(model)
    kept = {tokenizer.decode([index]).removeprefix("##").strip() for index in single_characters(tokenizer, ["Han"])}
    assert kept == set("北京大学上海")
    without = Tokenizer.from_pretrained(trim(model, corpus))
    (tmp_path / "more").mkdir()
    with_han = Tokenizer.from_pretrained(
        trim(model.rename(tmp_path / "more" / "model"), corpus, "--scripts", "Han", "P")
    )
    for text in ("上海", "海，"):
        old = tokenizer.convert_ids_to_tokens(tokenizer.encode(text).ids)
        assert with_han.convert_ids_to_tokens(with_han.encode(text).ids) == old
        assert without.convert_ids_to_tokens(without.encode(text).ids) != old


def test_words_by_themselves_are_cut_as_before(corpus: Path, tmp_path: Path) -> None:
    """As for named entities, where a byte-level tokenizer sees a space before each word."""
    model = make_model(tmp_path / "model", "roberta", Encoder)
    trimmed = trim(model, corpus)
    old, new, old_ids = Tokenizer.from_pretrained(model), Tokenizer.from_pretrained(trimmed), old_ids_of(model, trimmed)
    words = [["ab", "cab", "北", "京", "。"], ["bad", "ace", ",", "bead"]]
    assert [[old_ids[i] for i in each.ids] for each in new.encode_words(words)] == [
        each.ids for each in old.encode_words(words)
    ]


def test_what_cannot_be_done_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = make_model(tmp_path / "model", "bert", Encoder), tmp_path / "out"
    given = [str(model), str(out), "--corpus", str(corpus)]
    for arguments, message in (
        ([*given, "--scripts", "Klingonian"], "--scripts Klingonian: no script or other Unicode property"),
        ([*given, "--scripts", "L}x"], "--scripts L}x: no script"),
        ([*given, "--encoding", "utf-9"], "--encoding utf-9"),
        ([str(model), str(model), "--corpus", str(corpus)], "is there already; name a new folder."),
        ([str(model), str(out), "--corpus", "none.txt"], "none.txt: no such file."),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    right = Tokenizer.trimmed

    def wrong(tokenizer: Tokenizer, keep: set[int]) -> tuple[Tokenizer, list[int]]:
        return right(tokenizer, keep - {tokenizer.encode("ab").ids[-1]})

    monkeypatch.setattr(Tokenizer, "trimmed", wrong)
    assert main(given) == 2
    assert "the trimmed tokenizer cuts 'ab cab 北京。' otherwise than the model's own" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.txt", "model"]


def test_nothing_half_written_is_left(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tmp_path / "model", "bert", Encoder)

    def full(*_: object, **__: object) -> None:
        raise InputError("the disk is full")

    monkeypatch.setattr(Tokenizer, "save_pretrained", full)
    assert main([str(model), str(tmp_path / "out"), "--corpus", str(corpus)]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.txt", "model"]


def test_a_corpus_has_lines_and_words(corpus: Path) -> None:
    found = Corpus.read([str(corpus)])
    assert list(found.lines) == [line for line in TEXT.split("\n") if line]
    assert set(found.words) == {"ab", "cab", "北", "京", "。", "bad", "ace", ",", "dab", "大", "学", "bead"}


def test_a_tied_name_that_stands_alone_is_cut_and_kept(corpus: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "bert")
    tensors = load_file(model / "model.safetensors")
    tensors["cls.predictions.decoder.bias"] = tensors.pop("cls.predictions.bias")
    save_file(tensors, model / "model.safetensors")
    trimmed = trim(model, corpus)
    bias = load_file(trimmed / "model.safetensors")["cls.predictions.decoder.bias"]
    assert torch.equal(bias, tensors["cls.predictions.decoder.bias"][old_ids_of(model, trimmed)])


def test_an_embedding_of_another_size_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_model(tmp_path / "model", "bert")
    tensors = load_file(model / "model.safetensors")
    name = next(name for name in tensors if name.endswith("word_embeddings.weight"))
    save_file({**tensors, name: tensors[name][:20].clone()}, model / "model.safetensors")
    assert main([str(model), str(tmp_path / "out"), "--corpus", str(corpus)]) == 2
    assert "has 20 rows, and config.json a vocabulary of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
