"""fairseq's vocabulary against GPT-2's and RoBERTa's files, round trips, and what is refused."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TOKENIZERS
from fairseq_files import ARGS, CFG

from benchmarks.attack.damage import mutate
from minibert.errors import InputError
from minibert.formats.fairseq.checkpoint import open_fairseq_checkpoint
from minibert.formats.fairseq.dictionary import Vocabulary
from minibert.tokenizer.tokenizer import Tokenizer


def small_vocabulary(folder: Path, **changes: str) -> Path:
    for name in ("dict.txt", "encoder.json", "vocab.bpe"):
        shutil.copyfile(ARGS / name, folder / name)
    for name, text in changes.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_ids_are_the_rows_of_dict_txt() -> None:
    encoder = json.loads((ARGS / "encoder.json").read_text(encoding="utf-8"))
    tokens = Vocabulary.from_fairseq(ARGS, open_fairseq_checkpoint(ARGS).config.vocab_size).tokens
    assert tokens[:4] == ("<s>", "<pad>", "</s>", "<unk>")
    for row, line in enumerate((ARGS / "dict.txt").read_text(encoding="utf-8").splitlines(), 4):
        symbol = line.split()[0]
        assert symbol == tokens[row] if symbol.startswith("madeup") else encoder[tokens[row]] == int(symbol)
    assert tokens[-1] == "<mask>"


def test_converted_vocabulary_tokenizes_by_gpt2s_merges(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_fairseq(ARGS, 103)
    vocabulary.save_huggingface(tmp_path)
    ids = Tokenizer.from_pretrained(tmp_path).encode_words([["red", "can"]])[0].ids
    # By hand: no merge joins the space to "red"; in "Ġcan" the merge of "an" comes before those of "Ġc" and "Ġca".
    assert [vocabulary.tokens[index] for index in ids] == ["Ġ", "red", "Ġc", "an"]


def test_vocabulary_round_trip_on_the_small_files(tmp_path: Path) -> None:
    first = Vocabulary.from_fairseq(CFG, 103)
    first.save_huggingface(tmp_path / "hf")
    second = Vocabulary.from_huggingface(tmp_path / "hf")
    second.save_fairseq(tmp_path / "fairseq")
    assert first == second == Vocabulary.from_fairseq(tmp_path / "fairseq", 103)
    assert (tmp_path / "fairseq" / "vocab.bpe").read_bytes() == (CFG / "vocab.bpe").read_bytes()
    ours, theirs = (json.loads((at / "encoder.json").read_text()) for at in (tmp_path / "fairseq", CFG))
    assert ours == theirs


@pytest.mark.slow
@pytest.mark.skipif(not (TOKENIZERS / "roberta-base").is_dir(), reason="needs RoBERTa's and GPT-2's tokenizer files")
def test_the_official_files_convert_into_each_other(tmp_path: Path) -> None:
    gpt2, roberta = TOKENIZERS / "gpt2", TOKENIZERS / "roberta-base"
    encoder = json.loads((gpt2 / "encoder.json").read_text(encoding="utf-8"))
    ids = json.loads((roberta / "vocab.json").read_text(encoding="utf-8"))
    rows = sorted(ids, key=ids.__getitem__)
    lines = [f"{encoder.get(token, token)} {50265 - row}" for row, token in enumerate(rows)][4:-1]
    (tmp_path / "dict.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in ("encoder.json", "vocab.bpe"):
        shutil.copyfile(gpt2 / name, tmp_path / name)

    vocabulary = Vocabulary.from_fairseq(tmp_path, 50265)
    vocabulary.save_huggingface(tmp_path / "hf")
    assert json.loads((tmp_path / "hf" / "vocab.json").read_text(encoding="utf-8")) == ids
    assert (tmp_path / "hf" / "merges.txt").read_bytes() == (roberta / "merges.txt").read_bytes()

    Vocabulary.from_huggingface(roberta).save_fairseq(tmp_path / "back")
    assert json.loads((tmp_path / "back" / "encoder.json").read_text(encoding="utf-8")) == encoder
    assert (tmp_path / "back" / "vocab.bpe").read_bytes() == (gpt2 / "vocab.bpe").read_bytes()
    back = (tmp_path / "back" / "dict.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in back] == [line.split()[0] for line in lines]


def test_mask_in_dict_txt_keeps_its_row(tmp_path: Path) -> None:
    lines = (ARGS / "dict.txt").read_text(encoding="utf-8")
    small_vocabulary(tmp_path, dict_txt=f"<mask> 7\n{lines}")
    vocabulary = Vocabulary.from_fairseq(tmp_path, 103)
    assert vocabulary.tokens[4] == "<mask>"
    vocabulary.save_fairseq(tmp_path / "again")
    assert Vocabulary.from_fairseq(tmp_path / "again", 103) == vocabulary


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("dict.txt", lambda text: text.replace(" 998\n", "\n"), "dict.txt, line 3: not '<GPT-2 id> <count>'"),
        ("dict.txt", lambda text: text.replace(" 998\n", " many\n"), "dict.txt, line 3: not"),
        ("dict.txt", lambda text: text + "\n", "dict.txt, line 99: not"),
        ("dict.txt", lambda text: text + text.split("\n")[5] + "\n", "dict.txt, line 99: .* appears twice"),
        ("dict.txt", lambda text: text + "<pad> 3\n", "dict.txt, line 99: '<pad>' appears twice"),
        ("dict.txt", lambda text: text + "5 3 #fairseq:overwrite\n", "dict.txt, line 99: not"),
        ("dict.txt", lambda text: text + "madeupword0099 0\n", "gives 104 rows .* has 103"),
        ("dict.txt", lambda text: text.split("\n", 1)[1], "gives 102 rows .* has 103"),
        ("dict.txt", lambda text: text.replace("madeupword0003", "00"), "the id 00 is not in encoder.json"),
        ("dict.txt", lambda text: text.replace("madeupword0003", "9" * 5000), "the id 9+ is not in encoder.json"),
        ("dict.txt", lambda text: text.replace("madeupword0003", "Ġt"), "two rows are the token 'Ġt'"),
        ("dict.txt", lambda text: re.sub(r"(?m)^2 ", "madeupwordX ", text), "no row for 1 of .* such as 'c'"),
        ("encoder.json", lambda text: text.replace(": 3,", ": 4,"), "have the same id 4"),
        ("encoder.json", lambda text: text.replace(": 3,", ": -3,"), "does not map tokens to ids"),
        ("encoder.json", lambda text: text.replace(": 3,", ": true,"), "does not map tokens to ids"),
        ("encoder.json", lambda text: text.replace(": 3,", f": {'9' * 5000},"), "not readable as JSON"),
        ("encoder.json", lambda text: text.replace('"d"', r'"\ud800"'), "does not map tokens to ids"),
        ("encoder.json", lambda text: text[:-9], "not JSON"),
        ("encoder.json", lambda text: "[" * 100_000, "nested too deeply"),
        ("encoder.json", lambda text: "[1]", "contains a list"),
        ("vocab.bpe", lambda text: text + "Ġ zzz\n", "vocab.bpe, line 20: not two tokens"),
        ("vocab.bpe", lambda text: text + "Ġt\n", "vocab.bpe, line 20: not two tokens"),
    ],
    ids=range(22),
)
def test_wrong_lines_of_the_vocabulary_are_named(
    name: str, change: Callable[[str], str], message: str, tmp_path: Path
) -> None:
    small_vocabulary(tmp_path)
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert change(text) != text
    (tmp_path / name).write_text(change(text), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        Vocabulary.from_fairseq(tmp_path, 103)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["encoder.json", "vocab.bpe", "dict.txt"])
def test_a_missing_file_of_the_vocabulary_is_named_with_its_source(name: str, tmp_path: Path) -> None:
    small_vocabulary(tmp_path)
    (tmp_path / name).unlink()
    message = "no such file" if name == "dict.txt" else "missing; fairseq's RoBERTa uses GPT-2's. Fetch"
    with pytest.raises(InputError, match=f"{re.escape(name)}: {message}"):
        Vocabulary.from_fairseq(tmp_path, 103)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dict.txt", "encoder.json", "vocab.bpe"])
def test_damaged_vocabulary_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    data, read = (ARGS / name).read_bytes(), 0
    for seed in range(60):
        small_vocabulary(tmp_path)
        (tmp_path / name).write_bytes(mutate(data, random.Random(f"{name} {seed}")))
        try:
            vocabulary = Vocabulary.from_fairseq(tmp_path, 103)
        except InputError:
            continue
        vocabulary.save_huggingface(tmp_path / "hf")
        assert Vocabulary.from_huggingface(tmp_path / "hf") == vocabulary
        read += 1
    assert read


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["<pad>", "<s>", "</s>", "<unk>", "a"], "begin with <s> <pad>"),
        (["<s>", "<pad>", "</s>", "<unk>", "new token"], "cannot hold the token 'new token'"),
        (["<s>", "<pad>", "</s>", "<unk>", "1234"], "cannot hold the token '1234'"),
    ],
)
def test_a_vocabulary_that_dict_txt_cannot_hold_is_not_written(tokens: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        Vocabulary(tuple(tokens), ()).save_fairseq(tmp_path)
    assert not list(tmp_path.iterdir())


def test_ids_with_gaps_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"<s>": 0, "<pad>": 2}', encoding="utf-8")
    (tmp_path / "merges.txt").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="without gaps"):
        Vocabulary.from_huggingface(tmp_path)
