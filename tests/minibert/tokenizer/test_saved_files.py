"""The saved files, for other readers: they add the special tokens that the model is given here, have its
token types, and cut texts at its length."""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from conftest import tiny_config
from tokenizers import models, pre_tokenizers

from minibert import Encoder, Tokenizer
from minibert.families import FAMILIES
from minibert.tokenizer.files import ROBERTA_SPECIAL_TOKENS

TEXTS = ("a cat", "sat down")
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def shipped(kind: str, folder: Path) -> Path:
    """A checkpoint's ``tokenizer.json``, which adds the special tokens."""
    folder.mkdir(exist_ok=True)
    if kind != "xlm-roberta":
        Tokenizer.train([" ".join(TEXTS).split()] * 3, model_type=kind, vocab_size=300).save_pretrained(folder)
        return folder
    pieces = [*ROBERTA_SPECIAL_TOKENS.values(), "▁a", "▁cat", "▁sat", "▁down"]
    backend = tokenizers.Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.add_special_tokens([*ROBERTA_SPECIAL_TOKENS.values()])
    backend.save(str(folder / "tokenizer.json"))
    Tokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def read(folder: Path) -> dict[str, Any]:
    description: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    return description


@pytest.mark.parametrize("for_words", [False, True])
@pytest.mark.parametrize("post_processor", ["as it is", None, BYTE_LEVEL], ids=["shipped", "none", "byte level"])
@pytest.mark.parametrize("kind", ["bert", "albert", "roberta", "xlm-roberta"])
def test_transformers_adds_the_same_special_tokens(
    kind: str, post_processor: Any, for_words: bool, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers", reason="reads the saved files")
    folder = shipped(kind, tmp_path / "shipped")
    before = read(folder)
    if post_processor != "as it is":
        (folder / "tokenizer.json").write_text(json.dumps({**before, "post_processor": post_processor}), "utf-8")
    tokenizer = Tokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path / "saved", for_words=for_words)
    if post_processor == "as it is":
        assert read(tmp_path / "saved")["post_processor"] == before["post_processor"]
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    if for_words:
        words = [text.split() for text in TEXTS]
        one, two = (pieces.ids for pieces in tokenizer.encode_words(words))
        found = [theirs(given, is_split_into_words=True) for given in words]
        assert [each["input_ids"] for each in found] == [tokenizer.with_special_tokens(ids)[0] for ids in (one, two)]
        return
    one, two = (tokenizer.encode(text).ids for text in TEXTS)
    assert theirs(TEXTS[0])["input_ids"] == tokenizer.with_special_tokens(one)[0]
    pair, (ids, types) = theirs(*TEXTS), tokenizer.with_special_tokens(one, two)
    assert pair["input_ids"] == ids
    assert pair.get("token_type_ids", types) == types


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_gives_token_types_where_there_are_some_and_cuts_texts(family: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="its tokenizer and model read the folder")
    tokenizer = Tokenizer.train([text.split() for text in TEXTS] * 3, model_type=family, vocab_size=300)
    config = tiny_config(family, vocab_size=tokenizer.vocab_size, pad_token_id=tokenizer.pad_token_id)
    Encoder(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path, config=config)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)(*TEXTS, return_tensors="pt")
    assert ("token_type_ids" in theirs) == (config.type_vocab_size > 1)
    model = transformers.AutoModel.from_pretrained(tmp_path)
    model(**theirs)  # takes each of them
    cut = transformers.AutoTokenizer.from_pretrained(tmp_path)("a cat " * 99, truncation=True, return_tensors="pt")
    assert cut["input_ids"].shape == (1, config.max_length)
    model(**cut)
