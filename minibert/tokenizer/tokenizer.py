"""Text to token ids and back to places in the text, from whatever files a checkpoint ships.

The work is done by the ``tokenizers`` library; here are words with their first pieces, places, and special tokens.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as Backend

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.families import FAMILIES
from minibert.files import read_json_object, write_json, write_whole
from minibert.hub import resolve
from minibert.tokenizer.files import (
    ALBERT_SPECIALS,
    BERT_SPECIALS,
    ROBERTA_SPECIALS,
    read_backend,
    special_ids,
    with_leading_space,
)
from minibert.tokenizer.training import train_byte_level, train_unigram, train_wordpiece

# Embeddings are padded to a multiple of 8, 64 or 128 rows, which suits matrix units.
_MOST_PADDED_ROWS = 128


@dataclass(frozen=True)
class Pieces:
    """The tokens of one text.

    Attributes:
        ids: token ids, without special tokens.
        offsets: where each token stands in the text, as character positions ``(start, end)``.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]


@dataclass(frozen=True)
class WordPieces:
    """The tokens of one sentence of words; every word has at least one.

    Attributes:
        ids: token ids, without special tokens.
        first: for each word, the index in ``ids`` of its first token.
        num_lost: how many words had no piece at all (control or zero-width characters) and stand as the unknown token.
    """

    ids: list[int]
    first: Sequence[int]
    num_lost: int = 0


class Tokenizer:
    """A checkpoint's tokenizer.

    Attributes:
        cls_token_id, sep_token_id, pad_token_id, unk_token_id, mask_token_id: the special tokens' ids.
        specials: the special tokens themselves, by ``cls``, ``sep``, ``pad``, ``unk`` and ``mask``.
    """

    def __init__(self, backend: Backend, specials: Mapping[str, str]) -> None:
        # A shipped tokenizer.json may cut or pad (all-MiniLM cuts at 128); here that is never wanted.
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._word_backend = with_leading_space(backend)
        self.specials = dict(specials)
        ids = special_ids(backend, specials)
        self.cls_token_id = ids["cls"]
        self.sep_token_id = ids["sep"]
        self.pad_token_id = ids["pad"]
        self.unk_token_id = ids["unk"]
        self.mask_token_id = ids["mask"]
        self._two_separators = specials["sep"] == "</s>"  # RoBERTa puts two between the segments of a pair

    @property
    def special_ids(self) -> tuple[int, ...]:
        """The ids of all special tokens."""
        return (self.cls_token_id, self.sep_token_id, self.pad_token_id, self.unk_token_id, self.mask_token_id)

    @property
    def vocab_size(self) -> int:
        """The number of ids, added tokens included."""
        return max(self._backend.get_vocab(with_added_tokens=True).values()) + 1

    # -- files ---------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, path_or_name: str | os.PathLike[str]) -> "Tokenizer":
        """Reads the tokenizer of a local folder or hub name, chosen by the files that are there.

        In this order: ``tokenizer.json``; ``vocab.txt`` (WordPiece); ``vocab.json`` with ``merges.txt`` (byte-level
        BPE); ``spiece.model`` (SentencePiece). The class name in ``tokenizer_config.json`` plays no part: Chinese
        ALBERTs call themselves ALBERT and ship a ``vocab.txt``.

        Raises:
            InputError: none of these files is there, or one cannot be read.
        """
        folder = resolve(path_or_name)
        settings: dict[str, Any] = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if (folder / name).is_file():
                settings.update(read_json_object(folder / name))
        try:
            return cls(*read_backend(folder, settings))
        except InputError as error:
            raise InputError(str(error) if str(folder) in str(error) else f"{folder}: {error}") from None
        except Exception as error:  # the tokenizers library raises bare Exception
            raise InputError(f"{folder}: the tokenizer files cannot be read ({error}).") from None

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, for_words: bool = False, token_types: bool = True
    ) -> None:
        """Writes ``tokenizer.json`` and ``tokenizer_config.json`` that this class and Hugging Face's read.

        Args:
            folder: made where it is absent.
            for_words: write the form in which :meth:`encode_words` cut its words, for a model trained on them.
            token_types: whether the model has token types; where it has none (DistilBERT), Hugging Face's tokenizer
                returns no ``token_type_ids`` either. RoBERTa's pairs never have them.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        backend = self._word_backend if for_words else self._backend
        types = ["token_type_ids"] if token_types and not self._two_separators else []
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", *types, "attention_mask"],
            **{f"{role}_token": token for role, token in self.specials.items()},
        }
        write_whole(folder / "tokenizer.json", lambda path: path.write_text(backend.to_str(pretty=True), "utf-8"))
        write_whole(folder / "tokenizer_config.json", lambda path: write_json(path, config))

    def check_fits(self, config: EncoderConfig, name: object) -> None:
        """Makes sure that this tokenizer belongs to a model.

        Raises:
            InputError: it has more ids than the embedding has rows, or so many fewer that padding cannot explain it.
        """
        if not config.vocab_size - _MOST_PADDED_ROWS < self.vocab_size <= config.vocab_size:
            raise InputError(
                f"{name}: the tokenizer has {self.vocab_size} entries, but the word embedding has {config.vocab_size} "
                "rows; they do not belong together. Take both from the same checkpoint."
            )

    # -- encoding ------------------------------------------------------------------------------------------------

    def encode(self, text: str) -> Pieces:
        """Cuts running text into tokens; a space before a word is never part of a token's place."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        return Pieces(encoding.ids, [(start + text[start:end].startswith(" "), end) for start, end in encoding.offsets])

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[WordPieces]:
        """Cuts sentences of words (or of characters) into tokens, keeping track of each word's first.

        Byte-level BPE always sees a space before a word, as in running text. A word of which nothing is left (a
        zero-width or control character) becomes the unknown token, so that labels never shift. What a word is cut into
        does not depend on its neighbours, so each different one is cut once.
        """
        words = list(dict.fromkeys(chain.from_iterable(sentences)))
        encoding = self._word_backend.encode(words, is_pretokenized=True, add_special_tokens=False)
        pieces_of: dict[str, list[int]] = {word: [] for word in words}
        for index, word in zip(encoding.ids, encoding.word_ids, strict=True):
            assert word is not None, "special tokens alone belong to no word"
            pieces_of[words[word]].append(index)
        lost = {word for word, pieces in pieces_of.items() if not pieces}
        pieces_of |= {word: [self.unk_token_id] for word in lost}
        return [
            _in_a_row([pieces_of[word] for word in sentence], sum(map(lost.__contains__, sentence)))
            for sentence in sentences
        ]

    def tokens_of(self, ids: Iterable[int]) -> list[str]:
        """The tokens that ids stand for."""
        return [str(self._backend.id_to_token(int(index))) for index in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """The text that ids stand for, special tokens included."""
        return self._backend.decode([int(index) for index in ids], skip_special_tokens=False)

    def with_special_tokens(self, ids: Sequence[int], pair: Sequence[int] | None = None) -> tuple[list[int], list[int]]:
        """Wraps one or two segments as the model was trained on them.

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
        """How many tokens :meth:`with_special_tokens` adds."""
        return len(self.with_special_tokens([], [] if pair else None)[0])

    @classmethod
    def train(
        cls, sentences: Iterable[Sequence[str]], *, model_type: str, vocab_size: int, running_text: bool = False
    ) -> "Tokenizer":
        """Makes a tokenizer of the kind that a family has: byte-level BPE, or WordPiece (cased).

        A Chinese character is always a word, also for byte-level BPE. The rarest characters, and those seen once, stay
        out of WordPiece's alphabet: few of them would be learnt, and the unknown token is met in training.

        Args:
            sentences: the words; for Chinese, usually the characters.
            model_type: the family that it is for.
            vocab_size: the most entries to make.
            running_text: what stands for a word is a whole text, to be read with :meth:`encode`.
        """
        words = Counter(word for sentence in sentences for word in sentence)
        byte_level = FAMILIES[model_type].tokenizer == "byte_level"
        if running_text and not byte_level:
            texts, words = words, Counter()
            for text, count in texts.items():
                for start, end in split_words(text):
                    words[text[start:end]] += count
        if byte_level:
            return cls(train_byte_level(words, vocab_size), ROBERTA_SPECIALS)
        return cls(train_wordpiece(words, vocab_size), BERT_SPECIALS)

    @classmethod
    def train_unigram(cls, texts: Iterable[str], *, vocab_size: int) -> "Tokenizer":
        """Makes a cased Unigram tokenizer from running text, as SentencePiece does for ALBERT.

        The rarest characters, and those seen once, stay out of its alphabet, as in :meth:`train`.

        Raises:
            InputError: there are more characters than ``vocab_size`` has room for.
        """
        return cls(train_unigram(list(texts), vocab_size), ALBERT_SPECIALS)


def _in_a_row(pieces: Sequence[list[int]], num_lost: int) -> WordPieces:
    ids = list(chain.from_iterable(pieces))
    one_each = len(ids) == len(pieces)
    return WordPieces(ids, range(len(ids)) if one_each else [0, *accumulate(map(len, pieces[:-1]))], num_lost)


def split_words(text: str) -> list[tuple[int, int]]:
    """Where the words of running text stand: ``(start, end)`` by character.

    Words end at white space and punctuation, which is a word of its own by character, as is each Chinese character.
    """
    return [span for _, span in _word_splitter().pre_tokenize_str(text)]


@cache
def _word_splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split(Regex(r"\p{Han}"), behavior="isolated")]
    )
