"""tokenizer.json is untrusted: only the families' parts, in bounds, reach the library; its panics are refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from tokenizers import Tokenizer as Backend

from minibert import Tokenizer
from minibert.errors import InputError
from minibert.tokenizer import files
from minibert.tokenizer.allowed import check_charsmap, check_description

Description = dict[str, Any]


def replace(pattern: Any, content: str) -> Description:
    return {"type": "Replace", "pattern": pattern, "content": content}


def normalizer(part: Any) -> Callable[[Description], None]:
    return lambda description: description.update(normalizer=part)


def model(**changes: Any) -> Callable[[Description], None]:
    return lambda description: description["model"].update(changes)


def split(regex: str) -> Callable[[Description], None]:
    part = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return lambda description: description.update(pre_tokenizer=part)


def nested(depth: int) -> Description:
    part: Description = {"type": "Lowercase"}
    for _ in range(depth):
        part = {"type": "Sequence", "normalizers": [part]}
    return part


HOSTILE: dict[str, Callable[[Description], None]] = {
    "a doubling normaliser": normalizer({"type": "Sequence", "normalizers": [replace({"String": "a"}, "aa")] * 30}),
    "one long replacement": normalizer(replace({"String": "a"}, "a" * 900)),
    "a replacement of nothing": normalizer(replace({"String": ""}, "a")),
    "an endless expression": normalizer(replace({"Regex": "(a+)+$"}, "")),
    "an expression that looks back": split(r"(\w)\1"),
    "two repetitions": split("a*b*"),
    "a repetition in the middle": split("a*b"),
    "sequences in sequences": normalizer(nested(3)),
    "a hundred steps": normalizer({"type": "Sequence", "normalizers": [{"type": "NFC"}] * 100}),
    "an unknown normaliser": normalizer({"type": "Shout"}),
    "a damaged table": normalizer({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    "no table": normalizer({"type": "Precompiled", "precompiled_charsmap": "\u4e2d"}),
    "a number as a normaliser": normalizer(3),
    "an odd model": model(type="WordLevel"),
    "an id without end": model(vocab={"[UNK]": 10**30}),
    "an id below zero": model(vocab={"[UNK]": -1}),
    "a long token": model(vocab={"a" * 5000: 1}),
    "words without end": model(max_input_chars_per_word=10**9),
    "a model of lists": lambda description: description.update(model=[]),
    "an empty added token": lambda description: description["added_tokens"][0].update(content=""),
    "added tokens of numbers": lambda description: description.update(added_tokens=[1, 2]),
    "an odd decoder": lambda description: description.update(decoder={"type": "CTC"}),
    "a template without its token": lambda description: description["post_processor"].update(special_tokens={}),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Tokenizer.train([["the", "cat", "sat"]] * 3, model_type="bert", vocab_size=60).save_pretrained(tmp_path)
    return tmp_path


def change(folder: Path, apply: Callable[[Description], None]) -> None:
    description = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    apply(description)
    (folder / "tokenizer.json").write_text(json.dumps(description), encoding="utf-8")


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_family_has_never_reaches_the_library(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(folder, HOSTILE[name])
    monkeypatch.setattr(files, "Backend", type("Backend", (), {"from_str": lambda _: pytest.fail("it was read")}))
    with pytest.raises(InputError, match=r"tokenizer\.json has .*; take the file from another source") as error:
        Tokenizer.from_pretrained(folder)
    assert len(str(error.value)) < 500


def test_a_large_file_is_refused_before_it_is_parsed(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("[" + "[],[" * 1_600_000, encoding="utf-8")
    with pytest.raises(InputError, match=r"more than 3,000,000 values"):
        Tokenizer.from_pretrained(folder)


def test_a_panic_is_a_refusal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's panics are no Exceptions."""
    tokenizer = Tokenizer.from_pretrained(folder)
    panic = type("PanicException", (BaseException,), {})("index out of bounds")

    class Panics:
        def encode(self, *_: object, **__: object) -> None:
            raise panic

        decode = encode

    monkeypatch.setattr(tokenizer, "_backend", Panics())
    monkeypatch.setattr(tokenizer, "_word_backend", Panics())
    for call in (lambda: tokenizer.encode("a"), lambda: tokenizer.encode_words([["a"]]), lambda: tokenizer.decode([1])):
        with pytest.raises(InputError, match="the tokenizers library fails"):
            call()


def test_only_what_was_checked_is_read(folder: Path) -> None:
    """A field that occurs twice: the library may take another one than Python."""
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    padding = '"padding": {"strategy": {"Fixed": 1000000000000}}, "truncation": {"max_length": 1}'
    (folder / "tokenizer.json").write_text(text.replace("{", "{" + padding + ",", 1), encoding="utf-8")
    assert len(Tokenizer.from_pretrained(folder).encode("the cat sat the cat").ids) == 5


@pytest.mark.parametrize("path", sorted((ROOT / "weights").glob("*/tokenizer.json")), ids=lambda path: path.parent.name)
def test_the_bundled_ones_are_read_as_the_library_reads_them(path: Path) -> None:
    text = "The na\u00efve cat, \u4e2d\u6587\uff01 12.5"
    expected = Backend.from_file(str(path)).encode(text, add_special_tokens=False)
    assert Tokenizer.from_pretrained(path.parent).encode(text).ids == expected.ids


def test_files_of_2020_name_no_model_type(folder: Path) -> None:
    change(folder, lambda description: description["model"].pop("type"))
    assert Tokenizer.from_pretrained(folder).encode("the cat").ids


@pytest.mark.parametrize("regex", [" {2,}", r" ?\p{Han}", r"\s+", "[0-9]", r"\u2581(?=[\p{Han}\p{Thai}])", "a|b"])
def test_expressions_of_linear_time_are_allowed(regex: str, folder: Path) -> None:
    description = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    split(regex)(description)
    check_description(description)


@pytest.mark.parametrize("charsmap", [b"", b"\0\0\0\0", b"\xff" * 2000, b"\0\4\0\0" + bytes(1024) + b"x" * 300 + b"\0"])
def test_damaged_tables_of_replacements_are_refused(charsmap: bytes) -> None:
    with pytest.raises(InputError):
        check_charsmap(charsmap)
