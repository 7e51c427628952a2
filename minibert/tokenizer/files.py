"""Builds the ``tokenizers`` library's tokenizers from the files that checkpoints ship."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from minibert.errors import InputError
from minibert.files import read_bytes, read_json_object, read_lines
from minibert.tokenizer.allowed import check_charsmap, check_description, check_vocab, merges_of

BERT_SPECIAL_TOKENS = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "unk": "[UNK]", "mask": "[MASK]"}
ROBERTA_SPECIAL_TOKENS = {"cls": "<s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
_MOST_BYTES = 64 << 20  # of a vocabulary
ALBERT_SPECIAL_TOKENS = {"cls": "[CLS]", "sep": "[SEP]", "pad": "<pad>", "unk": "<unk>", "mask": "[MASK]"}

# A step that drops SentencePiece's space, "\u2581", before a character of a script that is written without spaces.
_NO_SPACE = {
    "type": "Split",
    "pattern": {
        "Regex": r"\u2581(?=[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])",
    },
    "behavior": "Removed",
    "invert": False,
}


def load_backend(folder: Path, settings: Mapping[str, Any]) -> tuple[Backend, dict[str, str]]:
    """Returns the tokenizer of a folder and its special tokens by role; InputError if there is none."""
    if (folder / "tokenizer.json").is_file():
        description = check_description(read_json_object(folder / "tokenizer.json"))
        _follow(settings, description)
        backend = Backend.from_str(json.dumps(description, ensure_ascii=False))
        families = (BERT_SPECIAL_TOKENS, ROBERTA_SPECIAL_TOKENS, ALBERT_SPECIAL_TOKENS)
        known = [sum(backend.token_to_id(token) is not None for token in family.values()) for family in families]
        return backend, _special_tokens(families[known.index(max(known))], settings)
    if (folder / "vocab.txt").is_file():
        lines = read_lines(folder / "vocab.txt", most=_MOST_BYTES)
        vocab = {line.removesuffix("\r"): index for index, line in enumerate(lines)}
        special_tokens = _special_tokens(BERT_SPECIAL_TOKENS, settings)
        backend = wordpiece(
            models.WordPiece(vocab, unk_token=special_tokens["unk"]),
            lowercase=settings.get("do_lower_case", not _is_cased(vocab)),
            strip_accents=settings.get("strip_accents"),
            chinese_characters=settings.get("tokenize_chinese_chars", True),
        )
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        special_tokens = _special_tokens(ROBERTA_SPECIAL_TOKENS, settings)
        vocab = check_vocab(read_json_object(folder / "vocab.json"))
        model = models.BPE(vocab, merges_of(read_lines(folder / "merges.txt", most=_MOST_BYTES)))
        backend = byte_level(model, add_prefix_space=settings.get("add_prefix_space") is True)
    elif (folder / "spiece.model").is_file():
        special_tokens = _special_tokens(ALBERT_SPECIAL_TOKENS, settings)
        backend = _sentencepiece(folder / "spiece.model", settings)
    elif (folder / "sentencepiece.bpe.model").is_file():
        raise InputError(
            f"{folder}: sentencepiece.bpe.model cannot be read; add the checkpoint's tokenizer.json to the folder "
            "(transformers' AutoTokenizer writes one with save_pretrained)."
        )
    else:
        raise InputError(
            f"{folder}: no tokenizer found; the folder should contain tokenizer.json, vocab.txt, vocab.json with "
            "merges.txt, or spiece.model."
        )
    backend = add_special_tokens(backend, special_tokens)
    _add_tokens(backend, folder, settings)
    return backend, special_tokens


def _follow(settings: Mapping[str, Any], description: dict[str, Any]) -> None:
    """Changes a description as BERT's and RoBERTa's classes in transformers do, where the settings differ from it; the
    general class leaves it as it is."""
    if settings.get("tokenizer_class") in ("PreTrainedTokenizerFast", "TokenizersBackend"):
        return
    normalizer, pre_tokenizer = (description.get(part) or {} for part in ("normalizer", "pre_tokenizer"))
    if normalizer.get("type") == "BertNormalizer":
        names = {"do_lower_case": "lowercase", "tokenize_chinese_chars": "handle_chinese_chars"}
        for name, ours in names.items():
            if isinstance(settings.get(name), bool):
                normalizer[ours] = settings[name]
        if "strip_accents" in settings and settings["strip_accents"] in (True, False, None):
            normalizer["strip_accents"] = settings["strip_accents"]
    if pre_tokenizer.get("type") == "ByteLevel" and isinstance(settings.get("add_prefix_space"), bool):
        pre_tokenizer["add_prefix_space"] = settings["add_prefix_space"]


def _add_tokens(backend: Backend, folder: Path, settings: Mapping[str, Any]) -> None:
    """Adds the tokens that a folder without ``tokenizer.json`` lists beside its vocabulary, with their ids.

    Raises:
        InputError: an id is not the one that follows.
    """
    path = folder / "added_tokens.json"
    listed = read_json_object(path) if path.is_file() else {}
    added: dict[str, tuple[Any, dict[str, Any]]] = {content: (index, {}) for content, index in listed.items()}
    described = settings.get("added_tokens_decoder")
    for index, token in (described if isinstance(described, dict) else {}).items():
        if isinstance(token, dict) and isinstance(token.get("content"), str) and str(index).isdecimal():
            added[token["content"]] = int(index), token
    for content, (index, token) in sorted(added.items(), key=lambda each: str(each[1][0]).zfill(9)):
        if backend.token_to_id(content) is None:
            flags = {name: token.get(name) is True for name in ("lstrip", "rstrip", "single_word", "special")}
            normalized = token.get("normalized", not flags["special"]) is True
            backend.add_tokens([AddedToken(content, normalized=normalized, **flags)])
        if backend.token_to_id(content) != index:
            raise InputError(
                f"{folder}: the token {content[:40]!r} should have the id {index}, and gets "
                f"{backend.token_to_id(content)}; add the checkpoint's tokenizer.json to the folder."
            )


def _special_tokens(family: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, str]:
    """A family's special tokens, overridden by the checkpoint's settings."""
    named = dict(family)
    for role in family:
        given = settings.get(f"{role}_token")
        content = given.get("content") if isinstance(given, dict) else given
        if isinstance(content, str):
            named[role] = content
    return named


def _is_cased(vocab: Iterable[str]) -> bool:
    """Whether a WordPiece vocabulary has capital letters, except in special tokens."""
    return any(re.search("[A-Z]", token) and token[0] not in "[<" for token in vocab)


def wordpiece(
    model: models.WordPiece, *, lowercase: bool, strip_accents: bool | None = None, chinese_characters: bool = True
) -> Backend:
    backend = Backend(model)
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=chinese_characters, strip_accents=strip_accents, lowercase=lowercase
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return backend


def byte_level(model: models.BPE, *, add_prefix_space: bool = False) -> Backend:
    backend = Backend(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentencepiece(path: Path, settings: Mapping[str, Any]) -> Backend:
    """A Unigram tokenizer from ALBERT's ``spiece.model``, with the normalisation of Google's ``preprocess_text``."""
    try:
        # Imported here because it is an extra.
        from sentencepiece import sentencepiece_model_pb2
    except ImportError:
        raise InputError(
            f"{path}: reading a SentencePiece model needs two more packages: pip install -e "
            "'.[sentencepiece]' in minibert's folder."
        ) from None
    proto = sentencepiece_model_pb2.ModelProto.FromString(read_bytes(path, most=_MOST_BYTES))
    vocab = [(piece.piece, piece.score) for piece in proto.pieces]
    if not all(piece and math.isfinite(score) for piece, score in vocab):
        raise InputError(f"{path}: has a piece without characters or a score; take the file from another source.")
    steps: list[normalizers.Normalizer] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not settings.get("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if settings.get("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    if charsmap := proto.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(check_charsmap(charsmap)))
    return metaspace(models.Unigram(vocab, unk_id=proto.trainer_spec.unk_id, byte_fallback=False), steps)


def metaspace(model: models.Unigram, steps: list[normalizers.Normalizer]) -> Backend:
    backend = Backend(model)
    backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    return backend


def add_special_tokens(backend: Backend, special_tokens: Mapping[str, str], *, trim_offsets: bool = True) -> Backend:
    """Registers the special tokens, and the post-processor that adds them to a text for other readers of the file."""
    ids = special_token_ids(backend, special_tokens)  # first, because add_special_tokens gives a missing one a new id
    others = [token for role, token in special_tokens.items() if role != "mask"]
    # In byte-level vocabularies a token includes the space before it; so does the mask that replaces it.
    mask = AddedToken(special_tokens["mask"], lstrip=isinstance(backend.model, models.BPE), special=True)
    backend.add_special_tokens([*others, mask])
    set_post_processor(backend, special_tokens, ids, trim_offsets=trim_offsets)
    return backend


def set_post_processor(
    backend: Backend, special_tokens: Mapping[str, str], ids: Mapping[str, int], *, trim_offsets: bool = True
) -> None:
    """Lets other readers of the file add the special tokens where :meth:`Tokenizer.with_special_tokens` does."""
    cls, sep = ((special_tokens[role], ids[role]) for role in ("cls", "sep"))
    two = has_two_separators(special_tokens)
    if two and isinstance(backend.model, models.BPE):
        backend.post_processor = processors.RobertaProcessing(
            sep, cls, trim_offsets=trim_offsets, add_prefix_space=False
        )
        return
    second = f"{sep[0]}:0 $B:0 {sep[0]}:0" if two else f"$B:1 {sep[0]}:1"
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls[0]}:0 $A:0 {sep[0]}:0",
        pair=f"{cls[0]}:0 $A:0 {sep[0]}:0 {second}",
        special_tokens=[cls, sep],
    )


def has_two_separators(special_tokens: Mapping[str, str]) -> bool:
    """Whether a pair is ``<s> A </s></s> B </s>``, as RoBERTa's, with one token type."""
    return special_tokens["sep"] == "</s>"


def special_token_ids(backend: Backend, special_tokens: Mapping[str, str]) -> dict[str, int]:
    """The id of each special token, by role; InputError if the vocabulary lacks one."""
    ids = {role: backend.token_to_id(token) for role, token in special_tokens.items()}
    if absent := [special_tokens[role] for role, index in ids.items() if index is None]:
        raise InputError(f"the vocabulary lacks the special tokens {', '.join(absent)}.")
    return {role: index for role, index in ids.items() if index is not None}


def for_separate_words(backend: Backend) -> Backend:
    """The tokenizer in the form for words that are tokenized one by one.

    A byte-level tokenizer adds a space before each word. A SentencePiece tokenizer does so as it is; it leaves out the
    space before scripts written without spaces, as in running text. Any other tokenizer stays as it is.
    """
    description = json.loads(backend.to_str())
    pre_tokenizer = description.get("pre_tokenizer") or {}
    steps = pre_tokenizer["pretokenizers"] if pre_tokenizer.get("type") == "Sequence" else [pre_tokenizer]
    byte_level_steps = [step for step in steps if step.get("type") == "ByteLevel"]
    adds_space = all(step["add_prefix_space"] for step in byte_level_steps)
    if adds_space and (not _is_sentencepiece(steps) or _NO_SPACE in steps):
        return backend
    for step in byte_level_steps:
        step["add_prefix_space"] = True
    if _is_sentencepiece(steps):
        description["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [*steps, _NO_SPACE]}
    return Backend.from_str(json.dumps(description))


def bare_space_id(backend: Backend) -> int | None:
    """The id of the token that is a space before a word and nothing else, in a SentencePiece tokenizer; else None."""
    pre_tokenizer = json.loads(backend.to_str()).get("pre_tokenizer") or {}
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    return backend.token_to_id("\u2581") if _is_sentencepiece(steps) else None


def _is_sentencepiece(steps: Iterable[Mapping[str, Any]]) -> bool:
    return any(step.get("type") == "Metaspace" for step in steps)
