"""Hostile tokenizers and data files."""

import base64
import gzip
import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.attack.damage import mutate
from benchmarks.attack.settings import NEEDED, dumped
from benchmarks.attack.values import LONG, change, odd_value
from minibert import Tokenizer
from tasks.read.stream import records
from tasks.registry import TASKS, settings_class, task_class

_SAMPLES = Path(__file__).parents[2] / "tasks" / "samples"
_TEXT = "the cat \u4e2d\u6587 na\u00efve \ufb01 (x) \U0001f600 " + "ab" * 200


@cache
def _tokenizers(folder: str) -> list[str]:
    words = [["the", "cat", "sat", "\u4e2d", "\u6587", "na\u00efve"]] * 3
    texts = ["the cat sat on the mat", "the dog sat", "\u4e2d\u6587 na\u00efve"] * 20
    made = [
        Tokenizer.train(words, model_type="bert", vocab_size=60),
        Tokenizer.train(words, model_type="roberta", vocab_size=300),
        Tokenizer.train_unigram(texts, vocab_size=60),
    ]
    found = []
    for number, tokenizer in enumerate(made):
        path = Path(folder) / f"good-tokenizer-{number}"
        tokenizer.save_pretrained(path)
        found.append((path / "tokenizer.json").read_text(encoding="utf-8"))
    return found


def _odd_part(chance: random.Random) -> Any:
    """A part of a tokenizer that the library knows, with what may go wrong in it."""
    regex = chance.choice(("(a+)+$", "(?:a|a)*b", ".*.*.*x", "[", "(?<=a)b", r"(\w+)\1", " {2,}", "x*", "", r"\p{Han}"))
    pattern = chance.choice(({"Regex": regex}, {"String": chance.choice(("a", "", " ", "\u4e2d"))}, odd_value(chance)))
    content = chance.choice(("", "aa", "a" * 500, LONG, odd_value(chance)))
    charsmap = base64.b64encode(chance.randbytes(chance.choice((0, 3, 4, 16, 4096)))).decode()
    return chance.choice((
        {"type": "Replace", "pattern": pattern, "content": content},
        {"type": "Split", "pattern": pattern, "behavior": chance.choice(("Removed", "Isolated", "x")), "invert": False},
        {"type": "Precompiled", "precompiled_charsmap": charsmap},
        {"type": "Prepend", "prepend": content},
        {"type": "Metaspace", "replacement": content, "prepend_scheme": "always", "split": True},
        {"type": "ByteLevel", "add_prefix_space": odd_value(chance), "trim_offsets": True, "use_regex": True},
        {"type": "Strip", "strip_left": True, "strip_right": True},
        {"type": chance.choice(("NFD", "NFKC", "Lowercase", "Nmt", "Digits", "UnicodeScripts", "CharDelimiterSplit"))},
        {"type": "CTC", "pad_token": "a", "word_delimiter_token": "b", "cleanup": True},
        {"type": "Fuse"}, {"type": "FixedLength", "length": odd_value(chance)},
    ))  # fmt: skip


def _nested_part(chance: random.Random) -> Any:
    key = chance.choice(("normalizers", "pretokenizers", "decoders", "processors"))
    part = _odd_part(chance)
    if chance.random() < 0.3:
        return {"type": "Sequence", key: [part] * chance.choice((2, 30, 3000))}
    for _ in range(chance.choice((0, 1, 2, 500))):
        part = {"type": "Sequence", key: [part]}
    return part


def tokenizers(folder: Path, chance: random.Random) -> Callable[[], object]:
    """tokenizer.json with hostile parts and values, and the older files."""
    description = json.loads(chance.choice(_tokenizers(str(folder.parent))))
    kind = chance.choice(("part", "part", "change", "change", "model", "vocab"))
    if kind == "part":
        place = chance.choice(("normalizer", "pre_tokenizer", "decoder", "post_processor"))
        description[place] = _nested_part(chance)
    elif kind == "change":
        description = change(description, chance)
    elif kind == "model":
        description["model"] = change(description["model"], chance)
    if kind == "vocab":
        lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "the"]
        lines[chance.randrange(len(lines))] = chance.choice(("", "\x00", LONG, " ", "##", "\u202e", "[UNK]"))
        (folder / "vocab.txt").write_bytes(mutate("\n".join(lines).encode(), chance))
        settings = {"do_lower_case": odd_value(chance), "unk_token": odd_value(chance), "strip_accents": None}
        (folder / "tokenizer_config.json").write_bytes(dumped(settings, chance))
        if chance.random() < 0.5:
            (folder / "vocab.txt").rename(folder / "vocab.json")
            vocab = {line: odd_value(chance) if chance.random() < 0.2 else i for i, line in enumerate(lines)}
            (folder / "vocab.json").write_bytes(dumped(vocab, chance))
            (folder / "merges.txt").write_bytes(mutate(b"#version: 0.2\na b\nt h\nth e\n", chance))
    else:
        (folder / "tokenizer.json").write_bytes(dumped(description, chance))

    def read() -> None:
        tokenizer = Tokenizer.from_pretrained(folder)
        ids = tokenizer.encode(_TEXT).ids
        tokenizer.encode_words([_TEXT.split(), ["\u200b", "a" * 300]])
        tokenizer.decode(ids)

    return read


_FILES = {
    "ner": "ner/dev.txt", "classification": "classification/dev.jsonl", "qa": "qa/dev.txt",
    "span_qa": "span_qa/dev.json", "cloze": "classification/dev.jsonl",
}  # fmt: skip


@cache
def _sample(task: str) -> bytes:
    text = (_SAMPLES / _FILES[task]).read_bytes()
    return text[: text.rfind(b"\n", 0, 6000)] if task != "span_qa" else _short_squad(text)


def _short_squad(text: bytes) -> bytes:
    content = json.loads(text)
    content["data"] = content["data"][:2]
    return json.dumps(content, ensure_ascii=False).encode()


def _changed_lines(text: bytes, chance: random.Random) -> bytes:
    """JSON lines or columns with hostile cells."""
    lines = text.decode("utf-8").split("\n")
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(lines))
        cell = chance.choice(
            ("", "\t", '"', "\x00", "\x1b[2J", "\u2028", "\u202e", LONG, ",", "B-", "\r", "  ", "[", "{")
        )
        try:
            lines[at] = json.dumps(change(json.loads(lines[at]), chance), ensure_ascii=False)
        except (ValueError, RecursionError):
            cut = chance.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:cut] + cell + lines[at][cut:]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def data(folder: Path, chance: random.Random) -> Callable[[], object]:
    """A data file of each task, and the inputs of prediction, with hostile lines, encodings and damage."""
    name = chance.choice(list(_FILES))
    text = _sample(name)
    kind = chance.choice(("lines", "lines", "damage", "encoding"))
    if kind == "lines":
        text = _changed_lines(text, chance)
    elif kind == "damage":
        text = mutate(text, chance)
    else:
        text = text.decode().encode(chance.choice(("utf-16", "utf-8-sig", "gb18030", "utf-32")), "replace")
    if name == "span_qa" and chance.random() < 0.6:
        text = dumped(change(json.loads(_sample(name)), chance), chance)
    ending = chance.choice((Path(_FILES[name]).suffix,) * 3 + (".csv", ".tsv", ".jsonl", ".txt", ".json"))
    path = folder / f"data{ending}"
    if chance.random() < 0.05:
        text = gzip.compress(text + b"x" * chance.choice((0, 1 << 24)))
        text = mutate(text, chance) if chance.random() < 0.5 else text
    path.write_bytes(text)
    task = task_class(name)(settings_class(name)(**NEEDED.get(name, {})))
    if chance.random() < 0.4:
        return lambda: list(_parsed(task, str(path)))
    return lambda: task.read(str(path))


def _parsed(task: Any, path: str) -> Iterator[Any]:
    for record in records(path):
        yield task.parse_input(record.fields, record.place)


assert set(_FILES) <= set(TASKS)
