"""A tokenizer with fewer pieces cuts every text of those that are left as before, whatever its kind."""

import random
from collections.abc import Sequence
from functools import cache

import pytest
from conftest import TOKENIZERS
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from minibert import Tokenizer
from minibert.tokenizer.files import ALBERT_SPECIAL_TOKENS, BERT_SPECIAL_TOKENS, ROBERTA_SPECIAL_TOKENS, wordpiece
from minibert.tokenizer.trimming import merges_within

KINDS = ("wordpiece", "bpe", "unigram")
LETTERS = "abcde"
ALPHABET = LETTERS + "AÉ 北京大学，. 1\u200b😀"
REAL = {"bert-base-chinese": KINDS[0], "bert-base-uncased": KINDS[0], "roberta-base": KINDS[1], "albert-base": KINDS[2]}
SENTENCES = [
    "The quick brown fox, naïvely, jumps.",
    "长江流经武汉，人很多。 Ann left (12.5 %)!",
    "unbelievable 臺北",
    "😀 x",
]


def texts_of(seed: int, count: int) -> list[str]:
    """Texts of the same words in other places."""
    rng = random.Random(0)
    words = ["".join(rng.choices(LETTERS, k=rng.randint(1, 6))) for _ in range(60)]
    rng = random.Random(seed)
    return [" ".join(rng.choices(words, k=5)) + rng.choice(["北京", "大学，", ".", "京大 1"]) for _ in range(count)]


@cache
def tokenizer_of(kind: str) -> Tokenizer:
    """Trained on words of few letters, so that texts have many cuts to choose from."""
    texts = texts_of(0, 300)
    if kind == "unigram":
        return Tokenizer.train_unigram(texts, vocab_size=200)
    model_type = {"wordpiece": "bert", "bpe": "roberta"}[kind]
    return Tokenizer.train([texts], model_type=model_type, vocab_size=400, running_text=True)


@cache
def real_tokenizer(name: str) -> Tokenizer:
    if not (TOKENIZERS / name).is_dir():
        pytest.skip("the published tokenizers are not at hand")
    if REAL[name] == "unigram":
        pytest.importorskip("sentencepiece", reason="spiece.model is read by sentencepiece")
    return Tokenizer.from_pretrained(TOKENIZERS / name)


def check(tokenizer: Tokenizer, corpus: Sequence[str], texts: Sequence[str]) -> int:
    """Trims to the pieces of a corpus, and compares on texts; returns how many were comparable."""
    keep = {index for ids in tokenizer.encode_batch(corpus) for index in ids}
    keep |= tokenizer.pieces_before_unknown(corpus)
    trimmed, old_ids = tokenizer.trimmed(keep)
    assert old_ids == sorted(set(old_ids))
    assert trimmed.vocab_size == len(old_ids)
    assert trimmed.convert_ids_to_tokens(range(len(old_ids))) == tokenizer.convert_ids_to_tokens(old_ids)
    assert [old_ids[index] for index in trimmed.all_special_ids] == list(tokenizer.all_special_ids)
    compared = 0
    for text in [*corpus, *texts]:
        before = tokenizer.encode(text)
        if text in corpus or (set(before.ids) <= set(old_ids) and tokenizer.unk_token_id not in before.ids):
            after = trimmed.encode(text)
            assert [old_ids[index] for index in after.ids] == before.ids, text
            assert after.offsets == before.offsets
            compared += 1
    return compared - len(corpus)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    corpus=st.lists(st.text(ALPHABET, max_size=20), min_size=1, max_size=6),
    texts=st.lists(st.text(LETTERS + " ", max_size=12), max_size=20),
)
def test_texts_of_the_pieces_that_are_left_are_cut_as_before(
    kind: str, seed: int, corpus: list[str], texts: list[str]
) -> None:
    check(tokenizer_of(kind), [*corpus, *texts_of(seed, 3)], [*texts, *texts_of(seed + 1, 20)])


@pytest.mark.parametrize("kind", KINDS)
def test_the_property_is_seen_on_texts_outside_the_corpus(kind: str) -> None:
    assert check(tokenizer_of(kind), texts_of(5, 20), texts_of(6, 200)) > 20


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_published_tokenizers_are_trimmed(name: str) -> None:
    tokenizer = real_tokenizer(name)
    rng = random.Random(0)
    size = tokenizer.vocab_size
    pieces = [tokenizer.decode([rng.randrange(size)]).strip("#") for _ in range(300)]
    lines = [" ".join(rng.sample(pieces, 6)) + rng.choice(pieces) for _ in range(80)]
    assert check(tokenizer, SENTENCES + lines[:40], ["The quick brown fox,", *lines[40:]]) >= 1
    trimmed, _ = tokenizer.trimmed(set())
    assert trimmed.vocab_size < {"wordpiece": 110, "bpe": 280, "unigram": 7}[REAL[name]]  # with all bytes


def test_ids_of_a_batch_are_those_of_each_text() -> None:
    for kind in KINDS:
        tokenizer = tokenizer_of(kind)
        assert tokenizer.encode_batch(SENTENCES) == [tokenizer.encode(text).ids for text in SENTENCES]


@pytest.mark.parametrize("word", ["abx", "abcdx"])
def test_a_word_that_is_unknown_behind_a_piece_stays_unknown(word: str) -> None:
    """``ab``, perhaps ``##cd``, and then nothing; without the last of them, shorter pieces would reach the end."""
    pieces = [*BERT_SPECIAL_TOKENS.values(), "a", "##bx", "ab", "e", "##cd", "##c", "##dx"]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(wordpiece(models.WordPiece(vocab, unk_token="[UNK]"), lowercase=False), BERT_SPECIAL_TOKENS)
    needed = tokenizer.pieces_before_unknown([f"{word} e"])
    assert needed == {vocab[piece] for piece in ("ab", "e", "##cd") if piece.strip("#") in f"{word} e"}
    shorter = {vocab[piece] for piece in (["a", "##bx"] if word == "abx" else ["ab", "##c", "##dx"])}
    assert tokenizer.trimmed(shorter)[0].encode(word).ids != [tokenizer.unk_token_id]
    trimmed, old_ids = tokenizer.trimmed(shorter | needed)
    assert [old_ids[index] for index in trimmed.encode(word).ids] == tokenizer.encode(word).ids == [3]


def test_the_least_score_stays_so_that_unknown_characters_cost_as_much() -> None:
    """Without ``z``, ``x`` would cost -13 in place of -30, and ``xaaa`` would be unknown and ``aaa``."""
    scores = {"xa": -9.0, "a": -8.0, "aaa": -1.0, "x": -30.0, "z": -40.0, "▁": -3.0}
    special = [(token, 0.0) for token in ALBERT_SPECIAL_TOKENS.values()]
    backend = Backend(models.Unigram([*special, *scores.items()], unk_id=3, byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = Tokenizer(backend, ALBERT_SPECIAL_TOKENS)
    names = [*ALBERT_SPECIAL_TOKENS.values(), *scores]
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("xaaa").ids) == ["xa", "a", "a"]
    trimmed, old_ids = tokenizer.trimmed(names.index(piece) for piece in ("xa", "a", "aaa"))
    assert [names[old] for old in old_ids] == [*ALBERT_SPECIAL_TOKENS.values(), "xa", "a", "aaa", "z"]
    assert trimmed.convert_ids_to_tokens(trimmed.encode("xaaa").ids) == ["xa", "a", "a"]


def test_merges_are_those_of_the_library_and_no_others_are_left() -> None:
    ranks = {("b", "c"): 0, ("a", "b"): 1, ("a", "bc"): 2, ("abc", "abc"): 3, ("c", "a"): 4}
    assert merges_within("abcabc", ranks) == [("b", "c"), ("b", "c"), ("a", "bc"), ("a", "bc"), ("abc", "abc")]
    vocab = [*ROBERTA_SPECIAL_TOKENS.values(), *"abc", "bc", "ab", "abc", "abcabc", "ca"]
    backend = Backend(models.BPE({piece: i for i, piece in enumerate(vocab)}, list(ranks)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.add_special_tokens([AddedToken(token, special=True) for token in ROBERTA_SPECIAL_TOKENS.values()])
    tokenizer = Tokenizer(backend, ROBERTA_SPECIAL_TOKENS)
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("abcabcab").ids) == ["abcabc", "ab"]
    trimmed, old_ids = tokenizer.trimmed([vocab.index("abcabc")])
    assert [vocab[old] for old in old_ids[5:]] == ["a", "b", "c", "bc", "abc", "abcabc"]
    assert trimmed.convert_ids_to_tokens(trimmed.encode("abcabcca").ids) == ["abcabc", "c", "a"]
