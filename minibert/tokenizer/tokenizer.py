"""Tokenizers of all families: texts and words to token ids and offsets, with special tokens.

The ``tokenizers`` library does the work.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Regex, pre_tokenizers
from tokenizers import Tokenizer as Backend

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.families import FAMILIES
from minibert.files import make_folder, read_json_object, write_atomically, write_json
from minibert.hub import resolve
from minibert.tokenizer.allowed import refusing_panics
from minibert.tokenizer.files import (
    ALBERT_SPECIAL_TOKENS,
    BERT_SPECIAL_TOKENS,
    ROBERTA_SPECIAL_TOKENS,
    bare_space_id,
    for_separate_words,
    has_two_separators,
    load_backend,
    set_post_processor,
    special_token_ids,
)
from minibert.tokenizer.training import train_byte_level, train_unigram, train_wordpiece
from minibert.tokenizer.trimming import pieces_before_unknown, trimmed

_LENGTH = "model_max_length"  # in tokenizer_config.json
# Embeddings may be padded to a multiple of 8, 64 or 128 rows, for speed on GPUs.
_MAX_PADDING_ROWS = 128
# What a tokenizer is tried on when it is read, so that one that fails is refused there.
_TRIAL = "A na\u00efve (e\u0301) text, \u4e2d\u6587\uff0c 12.5 \u00df \ufb01 \U0001f600 \u3164\u200d x" + "y" * 120


@dataclass(frozen=True)
class Pieces:
    """The tokens of one text.

    Attributes:
        ids: token ids, without special tokens.
        offsets: each token's characters in the text, ``(start, end)``.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]


@dataclass(frozen=True)
class WordPieces:
    """The tokens of one sentence of words; every word has at least one.

    Attributes:
        ids: token ids, without special tokens.
        starts: for each word, the index in ``ids`` of its first token.
        first: for each word, the index of its first token that carries text, where the word's label belongs. Only with
            SentencePiece can it differ: there the first token may be the space before the word.
        num_lost: the number of words without any token (control or zero-width characters), now the unknown token.
    """

    ids: list[int]
    starts: Sequence[int]
    first: Sequence[int]
    num_lost: int = 0


class Tokenizer:
    """A checkpoint's tokenizer.

    Attributes:
        cls_token_id, sep_token_id, pad_token_id, unk_token_id, mask_token_id: the special tokens' ids.
        special_tokens: the special tokens, by ``cls``, ``sep``, ``pad``, ``unk`` and ``mask``.
    """

    def __init__(self, backend: Backend, special_tokens: Mapping[str, str]) -> None:
        # A shipped tokenizer.json may truncate or pad (all-MiniLM truncates at 128); callers do that themselves.
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._word_backend = for_separate_words(backend)
        self._bare_space_id = bare_space_id(backend)
        self.special_tokens = dict(special_tokens)
        ids = special_token_ids(backend, special_tokens)
        self.cls_token_id = ids["cls"]
        self.sep_token_id = ids["sep"]
        self.pad_token_id = ids["pad"]
        self.unk_token_id = ids["unk"]
        self.mask_token_id = ids["mask"]
        self._two_separators = has_two_separators(special_tokens)

    @property
    def all_special_ids(self) -> tuple[int, ...]:
        """The ids of all special tokens."""
        return (self.cls_token_id, self.sep_token_id, self.pad_token_id, self.unk_token_id, self.mask_token_id)

    @cached_property
    def vocab_size(self) -> int:
        """The number of ids, added tokens included."""
        return max(self._backend.get_vocab(with_added_tokens=True).values()) + 1

    # -- files ---------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, path_or_name: str | os.PathLike[str]) -> "Tokenizer":
        """Reads the tokenizer of a local folder or hub name, from the first of these that it has.

        ``tokenizer.json``; ``vocab.txt`` (WordPiece); ``vocab.json`` with ``merges.txt`` (byte-level BPE);
        ``spiece.model`` (SentencePiece). The class name in ``tokenizer_config.json`` is ignored: Chinese ALBERTs say
        ALBERT but ship a ``vocab.txt``.

        Raises:
            InputError: none of these files exists, or one cannot be read.
        """
        folder = resolve(path_or_name)
        settings: dict[str, Any] = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if (folder / name).is_file():
                settings.update(read_json_object(folder / name))
        try:
            with refusing_panics():
                tokenizer = cls(*load_backend(folder, settings))
                tokenizer.encode(_TRIAL)
                tokenizer.encode_words([_TRIAL.split()])
            return tokenizer
        except InputError as error:
            raise InputError(str(error) if str(folder) in str(error) else f"{folder}: {error}") from None
        except Exception as error:  # the tokenizers library raises bare Exception
            raise InputError(f"{folder}: the tokenizer files cannot be read ({error}).") from None

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        for_words: bool = False,
        config: EncoderConfig | None = None,
        shipped: Path | None = None,
    ) -> None:
        """Writes ``tokenizer.json`` and ``tokenizer_config.json`` for this class and Hugging Face's.

        Args:
            folder: created if necessary.
            for_words: save the form that :meth:`encode_words` uses, for a model trained on words.
            config: of the model. Hugging Face's tokenizer then cuts texts at its length where truncation is asked for,
                and returns no ``token_type_ids`` if it has but one type (DistilBERT); for RoBERTa it never does.
            shipped: the folder that it was read from; what its ``tokenizer_config.json`` says besides is kept, and the
                length there if that is shorter.

        Raises:
            InputError: the folder cannot be written, or the shipped file not be read.
        """
        folder = Path(folder)
        make_folder(folder)
        backend = self._adding_special_tokens(self._word_backend if for_words else self._backend)
        has_types = config is None or config.type_vocab_size > 1
        types = ["token_type_ids"] if has_types and not self._two_separators else []
        path = None if shipped is None else shipped / "tokenizer_config.json"
        kept = {} if path is None or not path.is_file() else read_json_object(path)
        kept.pop("added_tokens_decoder", None)  # tokenizer.json has them, perhaps by other ids
        limits = (None if config is None else config.max_length, kept.get(_LENGTH))
        lengths = [length for length in limits if type(length) is int]
        settings: dict[str, Any] = {
            **kept,
            **({_LENGTH: min(lengths)} if lengths else {}),
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", *types, "attention_mask"],
            **{f"{role}_token": token for role, token in self.special_tokens.items()},
        }
        write_atomically(folder / "tokenizer.json", lambda path: path.write_text(backend.to_str(pretty=True), "utf-8"))
        write_atomically(folder / "tokenizer_config.json", lambda path: write_json(path, settings))

    def _adding_special_tokens(self, backend: Backend) -> Backend:
        """The same, for other readers, which add no special tokens unless a post-processor does; a shipped
        ``tokenizer.json`` may have none, or another."""
        for pair in (None, ""):
            found = backend.encode("", pair)
            ids, types = self.with_special_tokens([], None if pair is None else [])
            if found.ids != ids or (found.type_ids != types and not self._two_separators):
                changed = Backend.from_str(backend.to_str())
                set_post_processor(changed, self.special_tokens, special_token_ids(backend, self.special_tokens))
                return changed
        return backend

    def to_json(self) -> str:
        """Everything that its tokens depend on, but the version of the ``tokenizers`` library."""
        return json.dumps([self._backend.to_str(), self.special_tokens], sort_keys=True)

    @classmethod
    def from_json(cls, description: str) -> "Tokenizer":
        """From what :meth:`to_json` gave."""
        backend, special_tokens = json.loads(description)
        return cls(Backend.from_str(backend), special_tokens)

    def check_fits(self, config: EncoderConfig, name: object) -> None:
        """Checks that this tokenizer fits a model.

        Raises:
            InputError: it has more ids than the embedding has rows, or fewer by more than padding explains.
        """
        if not config.vocab_size - _MAX_PADDING_ROWS < self.vocab_size <= config.vocab_size:
            raise InputError(
                f"{name}: the tokenizer has {self.vocab_size} entries, but the word embedding has {config.vocab_size} "
                "rows; take both from the same checkpoint."
            )

    # -- encoding ------------------------------------------------------------------------------------------------

    def encode(self, text: str) -> Pieces:
        """Tokenizes running text; a token's offsets never include a space before a word."""
        with refusing_panics():
            encoding = self._backend.encode(text, add_special_tokens=False)
        return _pieces(text, encoding)

    def encode_all(self, texts: Sequence[str]) -> list[Pieces]:
        """:meth:`encode` for each text, on all cores."""
        with refusing_panics():
            encodings = self._backend.encode_batch(texts, add_special_tokens=False)
        return list(map(_pieces, texts, encodings))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of running texts, as :meth:`encode` gives them, computed on all cores."""
        with refusing_panics():
            return [encoding.ids for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[WordPieces]:
        """Tokenizes sentences of words (or of characters), keeping track of each word's first token.

        Byte-level BPE always sees a space before a word, as in running text. So does SentencePiece, unless the word
        begins in a script that is written without spaces, such as Chinese. A word without any token (a zero-width or
        control character) becomes the unknown token, so that labels stay aligned. A word's tokens do not depend on its
        neighbours, so each distinct word is tokenized once.
        """
        words = list(dict.fromkeys(chain.from_iterable(sentences)))
        with refusing_panics():
            encoding = self._word_backend.encode(words, is_pretokenized=True, add_special_tokens=False)
        pieces_of: dict[str, list[int]] = {word: [] for word in words}
        for index, word in zip(encoding.ids, encoding.word_ids, strict=True):
            assert word is not None, "only special tokens belong to no word"
            pieces_of[words[word]].append(index)
        lost = {word for word, pieces in pieces_of.items() if not pieces}
        pieces_of |= {word: [self.unk_token_id] for word in lost}
        return [
            self._concatenate([pieces_of[word] for word in sentence], sum(map(lost.__contains__, sentence)))
            for sentence in sentences
        ]

    def _concatenate(self, pieces: Sequence[list[int]], num_lost: int) -> WordPieces:
        ids = list(chain.from_iterable(pieces))
        if len(ids) == len(pieces):
            return WordPieces(ids, range(len(ids)), range(len(ids)), num_lost)
        starts = first = [0, *accumulate(map(len, pieces[:-1]))]
        if self._bare_space_id in ids:
            bare = self._bare_space_id
            first = [s + (len(p) > 1 and p[0] == bare) for s, p in zip(starts, pieces, strict=True)]
        return WordPieces(ids, starts, first, num_lost)

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of ids."""
        return [str(self._backend.id_to_token(int(index))) for index in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, special tokens included."""
        with refusing_panics():
            return self._backend.decode([int(index) for index in ids], skip_special_tokens=False)

    def with_special_tokens(self, ids: Sequence[int], pair: Sequence[int] | None = None) -> tuple[list[int], list[int]]:
        """Adds the special tokens that the model expects around one or two segments.

        Returns:
            The ids, ``[CLS] A [SEP]`` or ``[CLS] A [SEP] B [SEP]`` (RoBERTa: ``<s> A </s></s> B </s>``), and the token
            types, 1 for the second segment and its separator.
        """
        whole = [self.cls_token_id, *ids, self.sep_token_id]
        types = [0] * len(whole)
        if pair is not None:
            second = [self.sep_token_id] * self._two_separators + [*pair, self.sep_token_id]
            whole += second
            types += [1] * len(second)
        return whole, types

    def num_special_tokens(self, *, pair: bool = False) -> int:
        """The number of tokens that :meth:`with_special_tokens` adds."""
        return len(self.with_special_tokens([], [] if pair else None)[0])

    def trimmed(self, keep: Iterable[int]) -> tuple["Tokenizer", list[int]]:
        """A tokenizer with fewer pieces, which cuts texts of those that are left as this one does.

        Args:
            keep: the ids to keep. Those of special and added tokens are kept, too, and what else
                :mod:`minibert.tokenizer.trimming` needs.

        Returns:
            The tokenizer, and the id here of each of its ids, in rising order.
        """
        description, old_ids = trimmed(json.loads(self._backend.to_str()), {*keep, *self.all_special_ids})
        return Tokenizer(Backend.from_str(json.dumps(description)), self.special_tokens), old_ids

    def pieces_before_unknown(self, texts: Iterable[str]) -> set[int]:
        """The ids of the pieces that WordPiece finds in the words of texts before one that is unknown; a trimmed
        tokenizer needs them to find the same words unknown. None for the other kinds, which need nothing."""
        description = json.loads(self._backend.to_str())
        if description["model"]["type"] != "WordPiece":
            return set()
        normalizer, splitter = self._backend.normalizer, self._backend.pre_tokenizer
        normal = (text if normalizer is None else normalizer.normalize_str(text) for text in texts)
        words = {word for text in normal for word, _ in (splitter.pre_tokenize_str(text) if splitter else [(text, ())])}
        return {index for word in words for index in pieces_before_unknown(description, word)}

    @classmethod
    def train(
        cls, sentences: Iterable[Sequence[str]], *, model_type: str, vocab_size: int, running_text: bool = False
    ) -> "Tokenizer":
        """Trains the kind of tokenizer that a family uses: byte-level BPE, or WordPiece (cased).

        A Chinese character is always a word, also for byte-level BPE. WordPiece's alphabet leaves out the rarest
        characters and those seen once: few would be learnt, and so the unknown token occurs in training.

        Args:
            sentences: their words; for Chinese, usually the characters.
            model_type: the family.
            vocab_size: the maximal size.
            running_text: each word is a whole text, which the model will read with :meth:`encode`.
        """
        texts = chain.from_iterable(sentences)
        byte_level = FAMILIES[model_type].tokenizer == "byte_level"
        if running_text and not byte_level:
            words = Counter(text[start:end] for text in texts for start, end in split_words(text))
        else:
            words = Counter(texts)
        if byte_level:
            return cls(train_byte_level(words, vocab_size), ROBERTA_SPECIAL_TOKENS)
        return cls(train_wordpiece(words, vocab_size), BERT_SPECIAL_TOKENS)

    @classmethod
    def train_unigram(cls, texts: Iterable[str], *, vocab_size: int) -> "Tokenizer":
        """Trains a cased Unigram tokenizer on running text, as SentencePiece does for ALBERT.

        Its alphabet leaves out the rarest characters and those seen once, as in :meth:`train`.

        Raises:
            InputError: ``vocab_size`` is too small for the alphabet.
        """
        return cls(train_unigram(list(texts), vocab_size), ALBERT_SPECIAL_TOKENS)


def _pieces(text: str, encoding: Encoding) -> Pieces:
    return Pieces(encoding.ids, [(start + text[start:end].startswith(" "), end) for start, end in encoding.offsets])


def split_words(text: str) -> list[tuple[int, int]]:
    """The words of running text, as ``(start, end)`` in characters.

    Words end at white space. Each punctuation mark and each Chinese character is a word of its own.
    """
    return [span for _, span in _word_splitter().pre_tokenize_str(text)]


@cache
def _word_splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split(Regex(r"\p{Han}"), behavior="isolated")]
    )
