"""Words with SentencePiece vocabularies: where labels belong, and what transformers makes of the saved files."""

import gzip
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from conftest import ROOT, SHARED, largest_difference, tiny_config
from tokenizers import models, normalizers, pre_tokenizers, trainers

from minibert import TokenClassifier, Tokenizer, pack

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
PIECES = ["▁", "▁the", "▁,", "北", "京", "の", "ไ", "8", "9", "股", "▁A", "한"]
PRE_TOKENIZERS = {
    "metaspace": pre_tokenizers.Metaspace(),
    "after white space": pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
}


def load(backend: tokenizers.Tokenizer, folder: Path) -> Tokenizer:
    """As a person downloads it: a tokenizer.json of XLM-R's kind."""
    folder.mkdir(exist_ok=True)
    backend.add_special_tokens(SPECIALS)
    backend.save(str(folder / "tokenizer.json"))
    return Tokenizer.from_pretrained(folder)


def backend_of(kind: str) -> tokenizers.Tokenizer:
    vocab = [*((special, 0.0) for special in SPECIALS), *((piece, -3.0) for piece in PIECES)]
    backend = tokenizers.Tokenizer(models.Unigram(vocab, unk_id=3))
    backend.normalizer, backend.pre_tokenizer = normalizers.NFKC(), PRE_TOKENIZERS[kind]
    return backend


@pytest.mark.parametrize("kind", PRE_TOKENIZERS)
def test_labels_belong_on_the_first_piece_that_carries_text(kind: str, tmp_path: Path) -> None:
    tokenizer = load(backend_of(kind), tmp_path)
    words = ["the", "北", "8", "，", "京北", "A股", "98", "の", "ไ", "한", "▁"]
    (pieces,) = tokenizer.encode_words([words])
    assert tokenizer.convert_ids_to_tokens(pieces.ids) == (
        ["▁the", "北", "▁", "8", "▁,", "京", "北", "▁A", "股", "▁", "9", "8", "の", "ไ", "▁", "한", "▁"]
    )
    assert list(pieces.starts) == [0, 1, 2, 4, 5, 7, 9, 12, 13, 14, 16]
    assert list(pieces.first) == [0, 1, 3, 4, 5, 7, 10, 12, 13, 15, 16]
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("北京 the").ids) == ["▁", "北", "京", "▁the"]  # as it was


@pytest.mark.parametrize("kind", PRE_TOKENIZERS)
def test_files_saved_for_words_give_the_same_words_here_and_in_transformers(kind: str, tmp_path: Path) -> None:
    """Saved twice, as by a run that starts from a run."""
    tokenizer = load(backend_of(kind), tmp_path / "shipped")
    tokenizer.save_pretrained(tmp_path / "first", for_words=True)
    Tokenizer.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second", for_words=True)
    files = [(tmp_path / name / "tokenizer.json").read_text("utf-8") for name in ("first", "second")]
    assert files[0] == files[1]
    words = ["the", "北", "8", "，", "京北", "A股", "98"]
    (pieces,) = tokenizer.encode_words([words])
    assert Tokenizer.from_pretrained(tmp_path / "second").encode_words([words]) == [pieces]

    transformers = pytest.importorskip("transformers", reason="reads the saved files")
    theirs: Any = transformers.AutoTokenizer.from_pretrained(tmp_path / "second")
    assert theirs(words, is_split_into_words=True, add_special_tokens=False)["input_ids"] == pieces.ids

    model = TokenClassifier(tiny_config("roberta", vocab_size=tokenizer.vocab_size)).eval()
    model.save_pretrained(tmp_path / "second")
    page = (ROOT / "tasks" / "ner" / "README.md").read_text("utf-8")
    (code,) = (part for part in re.findall(r"```\n(.*?)```", page, re.DOTALL) if part.startswith("from transformers"))
    names: dict[str, Any] = {"words": words}
    exec(code.replace("runs/my-ner", str(tmp_path / "second")), names)
    with torch.no_grad():
        expected = model(pack([tokenizer.with_special_tokens(pieces.ids)[0]]))[[1 + place for place in pieces.first]]
    assert largest_difference(names["logits"], expected) <= 1e-5


@pytest.mark.slow
def test_next_to_no_label_of_msra_is_on_a_bare_space(tmp_path: Path) -> None:
    """With a vocabulary trained on running Chinese text, as XLM-R's was; transformers' rule put most labels there."""
    folder = SHARED / "data" / "ner" / "msra"
    if not folder.is_dir():
        pytest.skip(f"MSRA is not at {folder}")
    sentences = {}
    for part in ("train", "dev"):
        with gzip.open(folder / f"{part}.txt.gz", "rt", encoding="utf-8") as file:
            words = (line.split()[0] if line.strip() else "" for line in file)
            sentences[part] = [list(block) for filled, block in groupby(words, key=bool) if filled]
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.normalizer, backend.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=8000, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(("".join(words) for words in sentences["train"][:4000]), trainer)
    space = backend.token_to_id("▁")

    before = after = total = 0
    tokenizer = load(backend, tmp_path)
    for words, pieces in zip(sentences["dev"], tokenizer.encode_words(sentences["dev"]), strict=True):
        encoding = backend.encode(words, is_pretokenized=True, add_special_tokens=False)
        before += sum(encoding.ids[encoding.word_ids.index(word)] == space for word in range(len(words)))
        after += sum(pieces.ids[index] == space for index in pieces.first)
        total += len(words)
    assert before / total > 0.8
    assert after / total <= 0.01
