"""Tokenizers made from text: each kind, the same each time, and read by transformers as by us."""

import random
import re
from pathlib import Path

import pytest

from minibert import Tokenizer
from minibert.errors import InputError
from tools.train_tokenizer import main, train

KINDS = ("wordpiece", "unigram", "bpe")
TEXT = "臺北是臺灣的首都，人很多。 The cats (and dogs) don't like 30 houses! 台湾的猫。"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sentences of made-up words, long and short, with a few characters each that are seen once or seldom."""
    rng = random.Random(0)
    latin = ["".join(rng.choices("abcdefghilmnoprstu", k=rng.randint(2, 9))) for _ in range(150)]
    chinese = "臺北是臺灣的首都人很多台湾猫狗山水火木金土日月年大小中上下"
    lines = []
    for number in range(200):
        words = rng.choices(latin, k=6)
        characters = "".join(rng.choices(chinese, k=12))
        rare = chr(0x5000 + number // 2) + (chr(0x6000 + number) if number % 10 == 0 else "")
        lines.append(f"{' '.join(words).capitalize()}. {characters}，{rare}。 The cats (and dogs) don't like {number}!")
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_makes_the_same_each_time_and_transformers_reads_it(
    kind: str, corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    given = [kind, "--corpus", corpus, corpus, "--vocab-size", "600", "--out"]
    assert [main([*given, str(tmp_path / name)]) for name in "ab"] == [0, 0]
    assert (tmp_path / "a" / "tokenizer.json").read_bytes() == (tmp_path / "b" / "tokenizer.json").read_bytes()
    ours = Tokenizer.from_pretrained(tmp_path / "a")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")
    assert ours.vocab_size == len(theirs) <= 600
    assert f"{ours.vocab_size} entries, saved to" in capsys.readouterr().out
    pieces = ours.encode(TEXT)
    assert theirs(TEXT)["input_ids"] == ours.with_special_tokens(pieces.ids)[0]
    assert ours.unk_token_id not in pieces.ids
    assert theirs.mask_token_id == ours.mask_token_id
    assert ours.encode(f"a {ours.special_tokens['mask']}b").ids.count(ours.mask_token_id) == 1
    decoded = ours.decode(pieces.ids).replace(",", "，")  # unigram writes all widths of a comma as one
    assert decoded.replace(" ", "") == TEXT.replace(" ", "")
    assert main([*given, str(tmp_path / "a")]) == 2
    assert re.match(r"error: --out .*a: is there already; name a new folder\.\n$", capsys.readouterr().err)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_characters_seen_once_are_unknown(kind: str, corpus: str) -> None:
    tokenizer = train(kind, [corpus], 600)
    once, twice = chr(0x6000 + 10), chr(0x5000 + 10)
    assert tokenizer.unk_token_id in tokenizer.encode(once).ids
    assert tokenizer.unk_token_id not in tokenizer.encode(twice).ids


def test_unigram_pieces_are_words_and_parts_of_them_with_places_in_the_text(corpus: str) -> None:
    tokenizer = train("unigram", [corpus], 600)
    pieces = tokenizer.encode(TEXT)
    tokens = tokenizer.convert_ids_to_tokens(pieces.ids)
    assert any(len(token.strip("▁")) > 1 for token in tokens)
    assert any(len(token) > 1 and token.startswith("▁") for token in tokens)
    assert not any(len(token.strip("▁")) > 1 and re.search(r"[^\w▁]", token) for token in tokens), "punctuation alone"
    for token, (start, end) in zip(tokens, pieces.offsets, strict=True):
        if token != "▁":  # the blank before the text, which has no place in it
            assert token.strip("▁") == TEXT[start:end].strip().replace("，", ",")


def test_a_vocabulary_too_small_for_the_characters_is_refused(corpus: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"vocab_size 100: the texts have \d+ different characters"):
        train("unigram", [corpus], 100)
    for kind, size in (("bpe", 200), ("wordpiece", 5)):
        with pytest.raises(InputError, match=rf"--vocab-size {size}: special tokens and single characters alone are"):
            train(kind, [corpus], size)
    for size in (0, -5, 10**20):
        with pytest.raises(InputError, match=f"--vocab-size {size}: give a positive number"):
            train("bpe", [corpus], size)
    assert main(["bpe", "--corpus", "no.txt", "--vocab-size", "9", "--out", "never"]) == 2
    assert capsys.readouterr().err == "error: no.txt: no such file.\n"
