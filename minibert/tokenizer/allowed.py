"""What a ``tokenizer.json`` may contain: the parts that the families use, with bounds.

The ``tokenizers`` library trusts its files. Some make it panic or abort, which no ``except`` catches; some double a
text again and again. So a file is checked first, and the library is given what was checked.
"""

import base64
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from minibert.errors import InputError
from minibert.shown import shown

_MOST_ID = 10_000_000
_MOST_CHARACTERS = 1000  # of a token
_MOST_STEPS = 32
_MOST_GROWTH = 32  # of a text in all replacements together
_MOST_CHARSMAP = 4 << 20  # bytes; that of XLM-RoBERTa has 240,000
_LONGEST_REPLACEMENT = 256  # bytes for one character; NFKC's longest has 33


class _NotAllowed(ValueError):
    """Something else is in the file; the message says what, without the file's name."""


@contextmanager
def refusing_panics() -> Iterator[None]:
    """Within the block, a panic of the ``tokenizers`` library, which is no Exception, becomes an InputError."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise InputError(
            f"the tokenizers library fails on the tokenizer's files ({shown(error)}); take them from another source."
        ) from None


def check_description(description: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a ``tokenizer.json`` that are used, checked.

    Raises:
        InputError: it has other parts than the families' tokenizers, or sizes out of bounds.
    """
    try:
        checked = {
            "version": "1.0",
            "truncation": None,  # callers truncate and pad themselves
            "padding": None,
            "added_tokens": _added_tokens(description.get("added_tokens") or []),
            "normalizer": _part(description, "normalizer", _NORMALIZERS, "normalizers"),
            "pre_tokenizer": _part(description, "pre_tokenizer", _PRE_TOKENIZERS, "pretokenizers"),
            "post_processor": _part(description, "post_processor", _POST_PROCESSORS, "processors"),
            "decoder": _part(description, "decoder", _DECODERS, "decoders"),
            "model": _model(description.get("model")),
        }
        _check_growth(checked["normalizer"])
    except _NotAllowed as error:
        raise InputError(
            f"tokenizer.json has {error}, which no tokenizer of the supported families has; take the file from another "
            "source."
        ) from None
    return checked


def check_vocab(vocab: object) -> dict[str, int]:
    """A vocabulary from tokens to ids; InputError if it is something else."""
    try:
        return _vocab(vocab)
    except _NotAllowed as error:
        raise InputError(f"the vocabulary has {error}; take the file from another source.") from None


def check_charsmap(charsmap: bytes) -> bytes:
    """SentencePiece's table of replacements: a trie's size, the trie, and strings that end in a zero byte.

    Raises:
        InputError: it is damaged, or has a long replacement.
    """
    size = struct.unpack_from("<I", charsmap)[0] if len(charsmap) >= 4 else 0
    if len(charsmap) > _MOST_CHARSMAP or size % 4 or size < 1024 or 4 + size > len(charsmap):
        raise InputError("its normaliser's table (precompiled_charsmap) is damaged; take the file from another source.")
    strings = charsmap[4 + size :]
    if max(map(len, strings.split(b"\0"))) > _LONGEST_REPLACEMENT or not strings.endswith(b"\0"):
        raise InputError("its normaliser replaces characters by long texts; take the file from another source.")
    # A unit of the trie (Darts-clone): 31 bits that hold a string's position where the sign is set, else the label of
    # the arc that leads here, whether a string ends here, and the distance to its children.
    units = struct.unpack_from(f"<{size // 4}I", charsmap, 4)
    if any((unit & 0x7FFFFFFF) >= len(strings) for unit in units if unit >> 31):
        raise InputError("its normaliser's table (precompiled_charsmap) is damaged; take the file from another source.")
    for index, unit in enumerate(units):
        reach = index ^ ((unit >> 10) << ((unit & 0x200) >> 6))
        if not unit >> 31 and (reach | 0xFF) >= len(units):
            raise InputError(
                "its normaliser's table (precompiled_charsmap) is damaged; take the file from another source."
            )
    return charsmap


# -- parts ------------------------------------------------------------------------------------------------------------

Check = Callable[[Mapping[str, Any]], None]


def _nothing(part: Mapping[str, Any]) -> None:
    """Nothing in it can do harm beyond what its types allow, which the library checks."""


def _replace(part: Mapping[str, Any]) -> None:
    if "Regex" in _object(part.get("pattern"), "a pattern"):
        _regex(part["pattern"]["Regex"])
    else:
        _text(part["pattern"].get("String"), 1)
    _text(part.get("content"), 0)


def _split(part: Mapping[str, Any]) -> None:
    _replace({"pattern": part.get("pattern"), "content": ""})


def _precompiled(part: Mapping[str, Any]) -> None:
    try:
        check_charsmap(base64.b64decode(_text(part.get("precompiled_charsmap"), 0, 2 * _MOST_CHARSMAP), validate=True))
    except _NotAllowed:
        raise
    except ValueError:  # of check_charsmap, or of the decoder
        raise _NotAllowed("a damaged precompiled_charsmap") from None


def _prepend(part: Mapping[str, Any]) -> None:
    _text(part.get("prepend"), 0, 8)


def _metaspace(part: Mapping[str, Any]) -> None:
    if len(_text(part.get("replacement"), 1, 1)) != 1:
        raise _NotAllowed("a Metaspace without a replacement")


def _template(part: Mapping[str, Any]) -> None:
    tokens = _object(part.get("special_tokens"), "special_tokens")
    for name, token in tokens.items():
        ids, texts = _object(token, "a special token").get("ids"), token.get("tokens")
        if not isinstance(ids, list) or not isinstance(texts, list) or len(ids) != len(texts) or len(ids) != 1:
            raise _NotAllowed(f"a special token {shown(name, 40)!r} of other than one id")
        _id(ids[0])
        _text(texts[0], 1)
    for role in ("single", "pair"):
        steps = part.get(role)
        if not isinstance(steps, list) or len(steps) > _MOST_STEPS:
            raise _NotAllowed(f"a template without {role}")
        for step in steps:
            special = _object(step, "a step").get("SpecialToken")
            if special is not None and _object(special, "a step").get("id") not in tokens:
                raise _NotAllowed("a template with an unknown token")


def _pair_processing(part: Mapping[str, Any]) -> None:
    for role in ("sep", "cls"):
        pair = part.get(role)
        if not isinstance(pair, list) or len(pair) != 2:
            raise _NotAllowed(f"a post-processor without {role}")
        _text(pair[0], 1)
        _id(pair[1])


_NORMALIZERS: dict[str, Check] = {
    **dict.fromkeys(
        ("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Strip", "StripAccents"), _nothing
    ),
    "Replace": _replace,
    "Prepend": _prepend,
    "Precompiled": _precompiled,
}
_PRE_TOKENIZERS: dict[str, Check] = {
    **dict.fromkeys(
        ("BertPreTokenizer", "ByteLevel", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit"), _nothing
    ),
    "Metaspace": _metaspace,
    "Split": _split,
}
_POST_PROCESSORS: dict[str, Check] = {
    "BertProcessing": _pair_processing,
    "RobertaProcessing": _pair_processing,
    "TemplateProcessing": _template,
    "ByteLevel": _nothing,
}
_DECODERS: dict[str, Check] = {
    **dict.fromkeys(("WordPiece", "ByteLevel", "BPEDecoder", "Fuse", "ByteFallback", "Strip"), _nothing),
    "Metaspace": _metaspace,
    "Replace": _replace,
}


def _part(description: Mapping[str, Any], name: str, allowed: Mapping[str, Check], several: str) -> Any:
    part = description.get(name)
    if part is None:
        return None
    steps = _steps(_object(part, f"a {name}"), several)
    if len(steps) > _MOST_STEPS:
        raise _NotAllowed(f"a {name} of {len(steps)} steps")
    for step in steps:
        kind = step.get("type")
        if not isinstance(kind, str) or kind not in allowed:
            raise _NotAllowed(f"the {name} {shown(repr(kind), 40)}")
        allowed[kind](step)
    return part


def _steps(part: Mapping[str, Any], several: str) -> list[Mapping[str, Any]]:
    """A part, or the parts of a sequence, which are no sequences themselves."""
    if part.get("type") != "Sequence":
        return [part]
    steps = part.get(several)
    if not isinstance(steps, list):
        raise _NotAllowed("a Sequence without steps")
    return [_object(step, "a step") for step in steps]


def _check_growth(normalizer: Mapping[str, Any] | None) -> None:
    steps = _steps(normalizer, "normalizers") if normalizer else []
    growth = 1.0
    for step in steps:
        if step["type"] == "Replace":
            shortest = len(step["pattern"].get("String", "x"))  # what an expression matches has at least one character
            growth *= max(1.0, len(step["content"]) / shortest)
    if growth > _MOST_GROWTH or sum(step["type"] == "Precompiled" for step in steps) > 1:
        raise _NotAllowed(f"a normalizer that makes texts {growth:,.0f} times as long")


# -- models -----------------------------------------------------------------------------------------------------------


def _model(given: object) -> dict[str, Any]:
    model = dict(_object(given, "a model"))
    if "type" not in model:  # as in files of 2020
        model["type"] = "BPE" if "merges" in model else "Unigram" if "unk_id" in model else "WordPiece"
    if model["type"] == "WordPiece":
        _whole(model.get("max_input_chars_per_word", 100), 1, 10_000)
        _text(model.get("continuing_subword_prefix", "##"), 0, 16)
        _text(model.get("unk_token", "[UNK]"), 1)
        _vocab(model.get("vocab"))
    elif model["type"] == "BPE":
        if model.get("dropout"):
            raise _NotAllowed("a dropout of merges")
        for name in ("continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(name):
                raise _NotAllowed(f"a BPE with {name}")
        _merges(model.get("merges"), _vocab(model.get("vocab")))
    elif model["type"] == "Unigram":
        _unigram(model)
    else:
        raise _NotAllowed(f"the model {shown(repr(model['type']), 40)}")
    return model


def _vocab(vocab: object) -> dict[str, int]:
    if not isinstance(vocab, dict) or not vocab:
        raise _NotAllowed("no vocabulary")
    for token, number in vocab.items():
        _text(token, 0)
        _id(number)
    return vocab


def _merges(merges: object, vocab: Mapping[str, int]) -> None:
    if not isinstance(merges, list):
        raise _NotAllowed("a BPE without merges")
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(each, str) for each in pair):
            raise _NotAllowed("a merge of other than two tokens")
        if not {pair[0], pair[1], pair[0] + pair[1]} <= vocab.keys():
            raise _NotAllowed("a merge of unknown tokens")


def _unigram(model: Mapping[str, Any]) -> None:
    vocab = model.get("vocab")
    if not isinstance(vocab, list) or not vocab:
        raise _NotAllowed("no vocabulary")
    for piece in vocab:
        if not isinstance(piece, list) or len(piece) != 2 or type(piece[1]) not in (int, float):
            raise _NotAllowed("a piece without a score")
        _text(piece[0], 1)
        if not -1e9 < piece[1] < 1e9:
            raise _NotAllowed("a piece without a score")
    if model.get("unk_id") is not None:
        _whole(model["unk_id"], 0, len(vocab) - 1)


def _added_tokens(tokens: object) -> list[Any]:
    if not isinstance(tokens, list) or len(tokens) > 100_000:
        raise _NotAllowed("no list of added_tokens")
    for token in tokens:
        _text(_object(token, "an added token").get("content"), 1)
        _id(token.get("id"))
    return tokens


# -- values -----------------------------------------------------------------------------------------------------------


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _NotAllowed(f"{what} that is no object")
    return value


def _whole(value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise _NotAllowed(f"{shown(repr(value), 40)} where a number from {least} to {most:,} belongs")


def _id(value: object) -> None:
    _whole(value, 0, _MOST_ID)


def _text(value: object, least: int, most: int = _MOST_CHARACTERS) -> str:
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise _NotAllowed(f"{shown(repr(value), 40)} where a text of {least} to {most:,} characters belongs")
    return value


def _regex(value: object) -> None:
    """Allows expressions that are matched in linear time: with one repetition at most, at the end."""
    regex = _text(value, 1, 500)
    rest = re.sub(r"\\[pP]\{\^?\w+\}", "c", regex)
    rest = re.sub(r"\\[^0-9kgRXKG]", "c", rest)  # an escaped character; the others refer back or span several
    rest = re.sub(r"\[\^?[^\[\]]*\]", "c", rest)
    harmless = re.fullmatch(r"(?:[^\\\[*+{(]|\((?!\?)|\(\?[:=!])*?(?:[*+]|\{\d{0,3},?\d{0,3}\})?", rest)
    if not harmless or rest.count("?") - rest.count("(?") > 4 or _matches_nothing(regex):
        raise _NotAllowed(f"the expression {shown(repr(regex), 60)}")


def _matches_nothing(regex: str) -> bool:
    """Whether an expression may match the empty text, so that a replacement is put between all characters."""
    return bool(re.fullmatch(r".[*?]|", regex))


def merges_of(lines: Iterable[str]) -> list[tuple[str, str]]:
    """The pairs of a ``merges.txt``; InputError if a line is no pair."""
    merges = []
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        left, space, right = line.partition(" ")
        if not space or " " in right:
            raise InputError(f"merges.txt, line {number}: not two tokens.")
        merges.append((left, right))
    return merges
