"""Tokenizer: the right one from the files that are there, ids as the model was trained on, and places in the text."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from conftest import tiny_config
from hypothesis import given
from hypothesis import strategies as st

import minibert
from minibert import Encoder, Tokenizer
from minibert.errors import InputError
from minibert.tokenizer.tokenizer import split_words

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SMALL_VOCAB = [*SPECIALS, "hello", "Hello", "##s", "caf", "##e", "##é", "人", "民", ",", "a", "b"]

CORPUS = [
    sentence.split()
    for sentence in [
        "the cat sat on the mat",
        "the dog sat on the log",
        "a cat and a dog met the rat",
        "人 民 人 民 日",
    ]
] * 3


def wordpiece_folder(folder: Path, vocab: list[str] = SMALL_VOCAB, **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in vocab), encoding="utf-8")
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def tokens_of(tokenizer: Tokenizer, text: str, vocab: list[str] = SMALL_VOCAB) -> list[str]:
    return [vocab[index] for index in tokenizer.encode(text).ids]


# -- which files, which settings --------------------------------------------------------------------------------------


def test_vocab_txt_is_wordpiece_whatever_the_class_name_says(tmp_path: Path) -> None:
    wordpiece_folder(tmp_path, tokenizer_class="AlbertTokenizer", do_lower_case=True)
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert tokens_of(tokenizer, "Hellos, 人民") == ["hello", "##s", ",", "人", "民"]
    assert (tokenizer.cls_token_id, tokenizer.pad_token_id) == (2, 0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"do_lower_case": True}, ["hello", "caf", "##e"]),
        ({"do_lower_case": False}, ["Hello", "caf", "##é"]),
        ({"do_lower_case": True, "strip_accents": False}, ["hello", "caf", "##é"]),
        ({"do_lower_case": False, "strip_accents": True}, ["Hello", "caf", "##e"]),
        ({}, ["Hello", "caf", "##é"]),  # the vocabulary knows capital letters
    ],
)
def test_case_and_accents_follow_the_settings_and_travel_with_the_saved_files(
    settings: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    tokenizer = Tokenizer.from_pretrained(wordpiece_folder(tmp_path / "shipped", **settings))
    assert tokens_of(tokenizer, "Hello café") == expected
    tokenizer.save_pretrained(tmp_path / "saved")
    assert tokens_of(Tokenizer.from_pretrained(tmp_path / "saved"), "Hello café") == expected


def test_without_settings_a_vocabulary_of_small_letters_is_lower_cased(tmp_path: Path) -> None:
    small = [token for token in SMALL_VOCAB if token != "Hello"]
    tokenizer = Tokenizer.from_pretrained(wordpiece_folder(tmp_path, small))
    assert tokens_of(tokenizer, "HELLO Café", small) == ["hello", "caf", "##e"]


def test_shipped_truncation_and_padding_have_no_effect(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(wordpiece_folder(tmp_path / "plain"))
    tokenizer.save_pretrained(tmp_path / "cutting")
    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "cutting" / "tokenizer.json"))
    backend.enable_truncation(4)
    backend.enable_padding(length=16)
    backend.save(str(tmp_path / "cutting" / "tokenizer.json"))
    cutting = Tokenizer.from_pretrained(tmp_path / "cutting")
    for words in (["a"], ["a", "b"] * 5):
        assert cutting.encode(" ".join(words)).ids == [SMALL_VOCAB.index(word) for word in words]
        assert cutting.encode_words([words])[0].ids == [SMALL_VOCAB.index(word) for word in words]


def test_special_tokens_of_the_settings_are_used(tmp_path: Path) -> None:
    renamed = [{"[CLS]": "<start>", "[SEP]": "<end>"}.get(token, token) for token in SMALL_VOCAB]
    wordpiece_folder(tmp_path, renamed, cls_token="<start>", sep_token={"content": "<end>"})
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert tokenizer.with_special_tokens([14])[0] == [2, 14, 3]
    assert tokenizer.vocab_size == len(renamed)


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer.json", "merges.txt", None])
def test_a_folder_without_a_readable_tokenizer_is_refused_by_name(name: str | None, tmp_path: Path) -> None:
    if name is not None:
        (tmp_path / name).write_bytes(b"{\xff\n")
    with pytest.raises(InputError) as error:
        Tokenizer.from_pretrained(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_vocabulary_without_its_special_tokens_is_refused(tmp_path: Path) -> None:
    wordpiece_folder(tmp_path, [token for token in SMALL_VOCAB if token not in ("[SEP]", "[MASK]")])
    with pytest.raises(InputError, match=r"\[SEP\].*\[MASK\]"):
        Tokenizer.from_pretrained(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(wordpiece_folder(tmp_path))
    size = len(SMALL_VOCAB)
    assert tokenizer.vocab_size == size
    tokenizer.check_fits(tiny_config("bert", vocab_size=size), tmp_path)
    tokenizer.check_fits(tiny_config("bert", vocab_size=64), tmp_path)  # rows padded to a round number
    for rows in (size - 1, 21128):
        with pytest.raises(InputError, match=str(rows)) as error:
            tokenizer.check_fits(tiny_config("bert", vocab_size=rows), tmp_path)
        assert str(tmp_path) in str(error.value)


# -- words and places -------------------------------------------------------------------------------------------------


# Of any kind, and often one that is easily got wrong. (Lone surrogates are no text.)
any_character = st.one_of(
    st.sampled_from("thecadog人民 \t\n,.-'\u200b\u0001\u3000\u00a0😀é\u0301\x1c"), st.characters(codec="utf-8")
)


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    return {
        "bert": Tokenizer.train(CORPUS, model_type="bert", vocab_size=80),
        "roberta": Tokenizer.train(CORPUS, model_type="roberta", vocab_size=300),
    }


@pytest.mark.parametrize("lost", ["\u200b", "\u0001", "\ue000", "", " ", "\ufeff"])
def test_a_word_of_which_nothing_is_left_becomes_the_unknown_token(lost: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(wordpiece_folder(tmp_path))
    (pieces,) = tokenizer.encode_words([["人", lost, "hellos", lost, lost, "民", "a", lost]])
    names = [SMALL_VOCAB[index] for index in pieces.ids]
    assert names == ["人", "[UNK]", "hello", "##s", "[UNK]", "[UNK]", "民", "a", "[UNK]"]
    assert [names[first] for first in pieces.first] == [
        "人", "[UNK]", "hello", "[UNK]", "[UNK]", "民", "a", "[UNK]",
    ]  # fmt: skip
    assert pieces.num_lost == 4


def test_an_unknown_word_is_not_a_lost_one(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(wordpiece_folder(tmp_path))
    (pieces,) = tokenizer.encode_words([["a", "😀", "b"]])
    assert [SMALL_VOCAB[index] for index in pieces.ids] == ["a", "[UNK]", "b"]
    assert pieces.num_lost == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "roberta"])
@given(words=st.lists(st.text(any_character, max_size=6)))
def test_a_word_has_the_same_pieces_in_every_sentence(
    trained: dict[str, Tokenizer], kind: str, words: list[str]
) -> None:
    tokenizer = trained[kind]
    (whole,) = tokenizer.encode_words([words])
    alone = tokenizer.encode_words([[word] for word in words])
    assert whole.ids == [index for pieces in alone for index in pieces.ids]
    assert list(whole.first) == [sum(len(pieces.ids) for pieces in alone[:i]) for i in range(len(words))]
    assert whole.num_lost == sum(pieces.num_lost for pieces in alone)
    assert all(pieces.ids for pieces in alone)


def test_a_trained_roberta_cuts_words_as_it_cuts_running_text(trained: dict[str, Tokenizer]) -> None:
    """Each Chinese character is a word; what a model learns of running text then serves labels of characters."""
    tokenizer = trained["roberta"]
    words = [*["the", "cat", "sat", "on", "the", "mat"], *"人民日報"]
    (pieces,) = tokenizer.encode_words([words])
    assert tokenizer.encode("the cat sat on the mat 人民日報").ids == pieces.ids
    assert tokenizer.encode("the cat sat on the mat人民 日報").ids == pieces.ids


def test_offsets_of_a_trained_roberta_name_words_without_their_spaces(trained: dict[str, Tokenizer]) -> None:
    text = "the  cat人 民on the"
    covered = [index for start, end in trained["roberta"].encode(text).offsets for index in range(start, end)]
    assert sorted(set(covered)) == [index for index, character in enumerate(text) if character != " "]


def test_offsets_say_where_each_piece_stands(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(wordpiece_folder(tmp_path, do_lower_case=True))
    text = "  Hellos,\u200b\u00a0Café人民 😀 b"
    pieces = tokenizer.encode(text)
    surfaces = ["Hello", "s", ",", "Caf", "é", "人", "民", "😀", "b"]
    assert [text[start:end] for start, end in pieces.offsets] == surfaces
    assert len(pieces.ids) == len(surfaces)


def test_segments_are_framed_by_special_tokens(trained: dict[str, Tokenizer]) -> None:
    bert, roberta = trained["bert"], trained["roberta"]
    cls, sep = bert.cls_token_id, bert.sep_token_id
    assert bert.with_special_tokens([20, 21]) == ([cls, 20, 21, sep], [0, 0, 0, 0])
    assert bert.with_special_tokens([20], [21, 22]) == ([cls, 20, sep, 21, 22, sep], [0, 0, 0, 1, 1, 1])
    start, end = roberta.cls_token_id, roberta.sep_token_id
    assert roberta.with_special_tokens([20, 21])[0] == [start, 20, 21, end]
    assert roberta.with_special_tokens([20], [21])[0] == [start, 20, end, end, 21, end]
    assert (bert.num_special_tokens(), bert.num_special_tokens(pair=True)) == (2, 3)
    assert (roberta.num_special_tokens(), roberta.num_special_tokens(pair=True)) == (2, 4)


@given(st.text(any_character))
def test_split_words_finds_every_character_that_is_not_space(text: str) -> None:
    spans = split_words(text)
    borders = [border for span in spans for border in span]
    assert borders == sorted(borders)
    assert all(start < end for start, end in spans)
    covered = {i for start, end in spans for i in range(start, end)}
    assert covered >= {i for i, character in enumerate(text) if not character.isspace()}
    for start, end in spans:
        word = text[start:end]
        # Python counts the four separators 1C-1F as space, Unicode does not: they are part of a word.
        assert not any(c.isspace() and not "\x1c" <= c <= "\x1f" for c in word), word
        if any("\u4e00" <= c <= "\u9fff" or c in ",.-'" for c in word):
            assert len(word) == 1


def test_split_words_by_example() -> None:
    text = "Don't  say 你好,\u200bfoo-bar 👍🏽!"
    assert [text[start:end] for start, end in split_words(text)] == [
        "Don", "'", "t", "say", "你", "好", ",", "\u200bfoo", "-", "bar", "👍🏽", "!",
    ]  # fmt: skip


# -- training ---------------------------------------------------------------------------------------------------------

TRAIN = """
import json, sys
from minibert import Tokenizer
corpus = json.load(sys.stdin)
for kind in ("bert", "albert", "roberta"):
    Tokenizer.train(corpus, model_type=kind, vocab_size=320).save_pretrained(sys.argv[1] + "/" + kind)
"""


@pytest.mark.slow
def test_training_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    """In fresh processes with other hash seeds, and with the sentences in another order."""
    letters = "abcdefghij人民日報"
    corpus = [
        [letters[i % 13] + letters[i * j % 14] + letters[(i + j) % 11] for i in range(j, j + 9)] for j in range(40)
    ]
    written = []
    for seed, sentences in (("1", corpus), ("2", corpus[::-1])):
        paths = [str(Path(minibert.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-c", TRAIN, str(tmp_path / seed)]
        subprocess.run(command, input=json.dumps(sentences), text=True, check=True, env=environment)
        files = sorted((tmp_path / seed).rglob("*.json"))
        written.append({str(file.relative_to(tmp_path / seed)): file.read_bytes() for file in files})
    assert len(written[0]) == 6
    assert written[0] == written[1]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_trained_tokenizer_comes_back_from_its_files(
    kind: str, trained: dict[str, Tokenizer], tmp_path: Path
) -> None:
    tokenizer = trained[kind]
    tokenizer.save_pretrained(tmp_path)
    again = Tokenizer.from_pretrained(tmp_path)
    assert again.special_tokens == tokenizer.special_tokens
    assert again.vocab_size == tokenizer.vocab_size <= {"bert": 80, "roberta": 300}[kind]
    assert again.encode_words(CORPUS) == tokenizer.encode_words(CORPUS)
    assert again.encode("the dog 😀 met").ids == tokenizer.encode("the dog 😀 met").ids


def test_training_leaves_characters_seen_once_unknown() -> None:
    tokenizer = Tokenizer.train([["cat", "cat", "cot", "日"], ["cat"]], model_type="bert", vocab_size=60)
    (pieces,) = tokenizer.encode_words([["cat", "日", "cot"]])
    assert pieces.ids[pieces.first[1]] == tokenizer.unk_token_id
    assert pieces.ids[pieces.first[0]] != tokenizer.unk_token_id
    assert pieces.ids[pieces.first[2]] == tokenizer.unk_token_id
    assert pieces.num_lost == 0


def test_a_trained_roberta_numbers_its_special_tokens_as_fairseq(trained: dict[str, Tokenizer]) -> None:
    tokenizer = trained["roberta"]
    assert (tokenizer.cls_token_id, tokenizer.pad_token_id, tokenizer.sep_token_id) == (0, 1, 2)
    assert tokenizer.unk_token_id == 3


def test_byte_level_files_saved_for_words_cut_words_alike_elsewhere(
    trained: dict[str, Tokenizer], tmp_path: Path
) -> None:
    trained["roberta"].save_pretrained(tmp_path, for_words=True)
    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for words in CORPUS:
        theirs = backend.encode(words, is_pretokenized=True, add_special_tokens=False).ids
        assert theirs == trained["roberta"].encode_words([words])[0].ids


# -- beside a model ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["xlm-roberta", "camembert"])
def test_a_folder_with_sentencepiece_bpe_alone_is_refused_with_the_file_to_fetch(family: str, tmp_path: Path) -> None:
    Encoder(tiny_config(family)).save_pretrained(tmp_path)
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"model")
    with pytest.raises(InputError, match=r"sentencepiece\.bpe\.model cannot be read; add .* tokenizer\.json") as error:
        Tokenizer.from_pretrained(tmp_path)
    assert str(error.value).startswith(str(tmp_path))


# -- what stands beside the vocabulary, against transformers ----------------------------------------------------------


def official(folder: Path, name: str) -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    return getattr(transformers, name).from_pretrained(folder)


def both(folder: Path, name: str, text: str) -> tuple[list[int], list[int]]:
    ours = Tokenizer.from_pretrained(folder).encode(text).ids
    return ours, official(folder, name)(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("form", ["added_tokens.json", "added_tokens_decoder"])
def test_added_tokens_are_whole_without_tokenizer_json(form: str, tmp_path: Path) -> None:
    folder = wordpiece_folder(tmp_path, do_lower_case=True)
    added = {"covid19x": len(SMALL_VOCAB), "[E1]": len(SMALL_VOCAB) + 1}
    if form == "added_tokens.json":
        (folder / form).write_text(json.dumps(added), encoding="utf-8")
    else:
        described = {str(i): {"content": token, "special": token[0] == "["} for token, i in reversed(added.items())}
        (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, form: described}))
    ours, theirs = both(folder, "BertTokenizer", "Hello covid19x [E1] a")
    assert ours == theirs
    assert set(added.values()) <= set(ours)
    assert Tokenizer.from_pretrained(folder).vocab_size == len(SMALL_VOCAB) + 2
    (folder / "added_tokens.json").write_text(json.dumps({"far": 99}), encoding="utf-8")
    with pytest.raises(InputError, match="the token 'far' should have the id 99, and gets"):
        Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize("lower", [True, False])
def test_the_settings_go_before_tokenizer_json_as_in_berts_class(lower: bool, tmp_path: Path) -> None:
    Tokenizer.from_pretrained(wordpiece_folder(tmp_path / "vocab", do_lower_case=not lower)).save_pretrained(tmp_path)
    text = "Hello café 人民"
    assert tokens_of(Tokenizer.from_pretrained(tmp_path), text)[0] == ("Hello" if lower else "hello")
    changed = {"tokenizer_class": "BertTokenizer", "do_lower_case": lower, "strip_accents": True}
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, **changed}), encoding="utf-8")
    ours, theirs = both(tmp_path, "BertTokenizer", text)
    assert ours == theirs
    assert tokens_of(Tokenizer.from_pretrained(tmp_path), text)[0] == ("hello" if lower else "Hello")


@pytest.mark.parametrize("whole", [True, False])
def test_a_space_before_the_text_as_in_robertas_class(whole: bool, tmp_path: Path) -> None:
    Tokenizer.train(CORPUS, model_type="roberta", vocab_size=300).save_pretrained(tmp_path)
    description = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    description["pre_tokenizer"] = {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(description), encoding="utf-8")
    model = description["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "".join(" ".join(merge) + "\n" for merge in model["merges"])
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    if not whole:
        (tmp_path / "tokenizer.json").unlink()
    found = []
    for space in (True, False):
        settings = {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": space}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        ours, theirs = both(tmp_path, "RobertaTokenizer", "the cat sat")
        assert ours == theirs
        found.append(ours)
    assert found[0] != found[1]
    assert found[0] == Tokenizer.from_pretrained(tmp_path).encode(" the cat sat").ids
