"""Tokenizers against the official ones: transformers and sentencepiece on the published files."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from conftest import TOKENIZERS

from minibert import Tokenizer

LINES = [
    "Hello, World! It isn't 3.14, is it?",
    "The United Nations (UN) in New York; e-mail: someone@example.com",
    "我爱北京天安门，天安门上太阳升。",
    "中央研究院歷史語言研究所",
    "emoji 😀 and 👍🏽 done",
    "naïve café Ünïcödé résumé",
    "mixed 中文English混排 2024年3月",
    "tab\tand\u00a0no-break\u3000space",
    "ﬁne ½ ① ㈠ ｆｕｌｌ",
]
SENTENCES = [line.split() for line in LINES] + [list("我爱北京天安门"), ["a", "😀", "naïve", "中文"]]


def official(name: str) -> Path:
    folder = TOKENIZERS / name
    if not folder.is_dir():
        pytest.skip(f"the official tokenizer files of {name} are not at {folder}")
    return folder


def their_tokenizer(name: str, **settings: Any) -> Any:
    transformers = pytest.importorskip("transformers", reason="its tokenizers are the oracle")
    kind = {"bert": transformers.BertTokenizer, "roberta": transformers.RobertaTokenizer}[name.split("-")[0]]
    return kind.from_pretrained(official(name), **settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert-base-chinese", "bert-base-uncased", "roberta-base"])
def test_ids_of_running_text_equal_transformers(name: str) -> None:
    theirs = their_tokenizer(name)
    ours = Tokenizer.from_pretrained(official(name))
    for line in LINES:
        ids = ours.encode(line).ids
        assert ids == theirs(line, add_special_tokens=False)["input_ids"], line
        assert ours.with_special_tokens(ids)[0] == theirs(line)["input_ids"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert-base-chinese", "bert-base-uncased", "roberta-base"])
def test_ids_and_first_pieces_of_words_equal_transformers(name: str) -> None:
    theirs = their_tokenizer(name, **({"add_prefix_space": True} if name == "roberta-base" else {}))
    ours = Tokenizer.from_pretrained(official(name))
    for words, pieces in zip(SENTENCES, ours.encode_words(SENTENCES), strict=True):
        expected = theirs(words, is_split_into_words=True, add_special_tokens=False)
        assert pieces.ids == expected["input_ids"], words
        assert list(pieces.first) == [expected.word_ids().index(word) for word in range(len(words))]
        assert pieces.num_lost == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert-base-chinese", "roberta-base"])
def test_pairs_are_framed_as_in_transformers(name: str) -> None:
    theirs = their_tokenizer(name)
    ours = Tokenizer.from_pretrained(official(name))
    expected = theirs(LINES[0], LINES[6])
    ids, types = ours.with_special_tokens(ours.encode(LINES[0]).ids, ours.encode(LINES[6]).ids)
    assert ids == expected["input_ids"]
    if name != "roberta-base":  # whose one type transformers leaves out or gives as 0
        assert types == expected["token_type_ids"]
    assert ours.num_special_tokens(pair=True) == theirs.num_special_tokens_to_add(pair=True)
    assert ours.num_special_tokens() == theirs.num_special_tokens_to_add(pair=False)


def test_sentencepiece_ids_equal_the_library_on_cleaned_text() -> None:
    """ALBERT's preprocess_text: straight quotes, no accents, lower case; then the SentencePiece model itself."""
    sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is the oracle")
    folder = official("albert-base")
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    ours = Tokenizer.from_pretrained(folder)
    for line in [*LINES, "he said ``yes'' twice", "1,000,000", "  lead and trail  "]:
        decomposed = unicodedata.normalize("NFKD", line.replace("``", '"').replace("''", '"'))
        cleaned = "".join(c for c in decomposed if not unicodedata.combining(c)).lower()
        assert ours.encode(line).ids == theirs.encode(cleaned), line
    assert ours.cls_token_id == theirs.piece_to_id("[CLS]")
    assert ours.pad_token_id == theirs.piece_to_id("<pad>")
    assert ours.vocab_size == len(theirs)


def test_sentencepiece_words_each_begin_with_a_space() -> None:
    sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is the oracle")
    folder = official("albert-base")
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    words = ["the", "quick", "unaffable", "u.n.", "3.14"]
    (pieces,) = Tokenizer.from_pretrained(folder).encode_words([words])
    by_word = [theirs.encode(word) for word in words]
    assert pieces.ids == [index for ids in by_word for index in ids]
    assert list(pieces.first) == [sum(len(ids) for ids in by_word[:i]) for i in range(len(words))]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert-base-uncased", "bert-base-chinese", "roberta-base", "albert-base"])
def test_saved_files_give_the_same_ids_here_and_in_transformers(name: str, tmp_path: Path) -> None:
    ours = Tokenizer.from_pretrained(official(name))
    ours.save_pretrained(tmp_path)
    again = Tokenizer.from_pretrained(tmp_path)
    assert again.special_tokens == ours.special_tokens
    assert [again.encode(line) for line in LINES] == [ours.encode(line) for line in LINES]
    assert again.encode_words(SENTENCES) == ours.encode_words(SENTENCES)
    transformers = pytest.importorskip("transformers", reason="reads the saved files back")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for line in LINES:
        assert theirs(line)["input_ids"] == ours.with_special_tokens(ours.encode(line).ids)[0]
    framed = dict(theirs(LINES[0], LINES[1]))
    ids, types = ours.with_special_tokens(ours.encode(LINES[0]).ids, ours.encode(LINES[1]).ids)
    expected = {"input_ids": ids, "token_type_ids": types, "attention_mask": [1] * len(ids)}
    if name == "roberta-base":  # which has one type of token
        del expected["token_type_ids"]
    assert framed == expected
    assert (theirs.pad_token_id, theirs.mask_token_id) == (ours.pad_token_id, ours.mask_token_id)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert-base-uncased", "roberta-base", "albert-base"])
def test_offsets_name_characters_of_words_and_no_white_space(name: str) -> None:
    tokenizer = Tokenizer.from_pretrained(official(name))
    text = "The United Nations, in New York"
    surfaces = [text[start:end] for start, end in tokenizer.encode(text).offsets]
    assert surfaces == ["The", "United", "Nations", ",", "in", "New", "York"]
