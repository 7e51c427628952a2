"""Text to token ids and back to places in the text, from whatever files a checkpoint ships.

The work is done by the ``tokenizers`` library; here are the choice of files, words with their first pieces, and the
windows that long text is cut into.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.files import read_json_object, write_json, write_whole
from minibert.hub import resolve

_BERT_SPECIALS = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "unk": "[UNK]", "mask": "[MASK]"}
_ROBERTA_SPECIALS = {"cls": "<s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
_ALBERT_SPECIALS = {"cls": "[CLS]", "sep": "[SEP]", "pad": "<pad>", "unk": "<unk>", "mask": "[MASK]"}


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


@dataclass(frozen=True)
class Window:
    """A run of words that fits the model: words ``start:end``, of which ``keep_start:keep_end`` are its own.

    The kept runs of a text's windows cover every word once; each word is kept where it has the most context.
    """

    start: int
    end: int
    keep_start: int
    keep_end: int


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
        self._word_backend = _with_leading_space(backend)
        self.specials = dict(specials)
        ids = _special_ids(backend, specials)
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
            return cls(*_read_backend(folder, settings))
        except InputError as error:
            raise InputError(str(error) if str(folder) in str(error) else f"{folder}: {error}") from None
        except Exception as error:  # the tokenizers library raises bare Exception
            raise InputError(f"{folder}: the tokenizer files cannot be read ({error}).") from None

    def save_pretrained(self, folder: str | os.PathLike[str], *, for_words: bool = False) -> None:
        """Writes ``tokenizer.json`` and ``tokenizer_config.json`` that this class and Hugging Face's read.

        Args:
            folder: made where it is absent.
            for_words: write the form in which :meth:`encode_words` cut its words, for a model trained on them.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        backend = self._word_backend if for_words else self._backend
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
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
        """Makes a tokenizer from sentences of words: byte-level BPE for RoBERTa, WordPiece (cased) for the others.

        A Chinese character is always a word, also for byte-level BPE. The rarest characters, and those seen once, stay
        out of WordPiece's alphabet: few of them would be learnt, and the unknown token is met in training.

        Args:
            sentences: the words; for Chinese, usually the characters.
            model_type: which architecture it is for.
            vocab_size: the most entries to make.
            running_text: what stands for a word is a whole text, to be read with :meth:`encode`.
        """
        words = Counter(word for sentence in sentences for word in sentence)
        if running_text and model_type != "roberta":
            texts, words = words, Counter()
            for text, count in texts.items():
                for start, end in split_words(text):
                    words[text[start:end]] += count
        if model_type == "roberta":
            backend = _byte_level(models.BPE())
            # With a space before it, a Chinese character is the same token in running text and as a word of its own.
            each_han = pre_tokenizers.Split(Regex(r" ?\p{Han}"), behavior="isolated")
            backend.pre_tokenizer = pre_tokenizers.Sequence([each_han, pre_tokenizers.ByteLevel()])
            trainer = trainers.BpeTrainer(
                vocab_size=vocab_size,
                special_tokens=[_ROBERTA_SPECIALS[role] for role in ("cls", "pad", "sep", "unk", "mask")],
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                min_frequency=2,
                show_progress=False,
            )
            backend.train_from_iterator(sorted(words.elements()), trainer)
            # The library would also trim the spaces that it puts in, where the text has none.
            return cls(_finished(backend, _ROBERTA_SPECIALS, trim_offsets=False), _ROBERTA_SPECIALS)
        vocab = _train_wordpiece(
            words, [_BERT_SPECIALS[role] for role in ("pad", "unk", "cls", "sep", "mask")], vocab_size
        )
        backend = _wordpiece(models.WordPiece(vocab, unk_token="[UNK]"), lowercase=False)
        return cls(_finished(backend, _BERT_SPECIALS), _BERT_SPECIALS)

    @classmethod
    def train_unigram(cls, texts: Iterable[str], *, vocab_size: int) -> "Tokenizer":
        """Makes a cased Unigram tokenizer from running text, as SentencePiece does for ALBERT.

        The rarest characters, and those seen once, stay out of its alphabet, as in :meth:`train`.

        Raises:
            InputError: there are more characters than ``vocab_size`` has room for.
        """
        specials = [_ALBERT_SPECIALS[role] for role in ("pad", "unk", "cls", "sep", "mask")]
        vocab = _train_unigram(list(texts), specials, vocab_size)
        backend = _metaspace(models.Unigram(vocab, unk_id=1, byte_fallback=False), [normalizers.NFKC()])
        return cls(_finished(backend, _ALBERT_SPECIALS), _ALBERT_SPECIALS)


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


def windows(first: Sequence[int], num_pieces: int, *, room: int, overlap: int) -> list[Window]:
    """Cuts a sentence of words into overlapping windows of at most ``room`` tokens, at word borders.

    Args:
        first: for each word, the index of its first token.
        num_pieces: the number of tokens in the sentence.
        room: the most tokens a window may have; a single longer word is a window of its own, to be cut by the caller.
        overlap: the most tokens that neighbouring windows share, below ``room``.

    Returns:
        The windows in order; a border between kept runs lies in the middle of what two windows share, so that each
        word is kept where it has the most context (the max-context rule of Google BERT's ``run_squad.py``).

    Raises:
        ValueError: ``overlap`` is not below ``room``.
    """
    if not 0 <= overlap < room:
        raise ValueError(f"overlap {overlap} must be 0 or more and below the room of {room} tokens.")
    if not first:
        return []
    if num_pieces <= room:
        return [Window(0, len(first), 0, len(first))]
    ends = [*first[1:], num_pieces]  # the token behind each word
    spans = []
    start = 0
    while start < len(first):
        end = start + 1
        while end < len(first) and ends[end] - first[start] <= room:
            end += 1
        spans.append((start, end))
        if end == len(first):
            break
        next_start = end
        # Back into the overlap, as long as the next window still holds a word that this one does not.
        while (
            next_start - 1 > start
            and first[end] - first[next_start - 1] <= overlap
            and ends[end] - first[next_start - 1] <= room
        ):
            next_start -= 1
        start = next_start
    borders = [0, *((right[0] + left[1]) // 2 for left, right in pairwise(spans)), len(first)]
    return [
        Window(start, end, keep_start, keep_end)
        for (start, end), keep_start, keep_end in zip(spans, borders[:-1], borders[1:], strict=True)
    ]


# -- back-ends from a checkpoint's files ------------------------------------------------------------------------------


def _read_backend(folder: Path, settings: Mapping[str, Any]) -> tuple[Backend, dict[str, str]]:
    if (folder / "tokenizer.json").is_file():
        backend = Backend.from_file(str(folder / "tokenizer.json"))
        families = (_BERT_SPECIALS, _ROBERTA_SPECIALS, _ALBERT_SPECIALS)
        known = [sum(backend.token_to_id(token) is not None for token in family.values()) for family in families]
        return backend, _named_specials(families[known.index(max(known))], settings)
    if (folder / "vocab.txt").is_file():
        lines = (folder / "vocab.txt").read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
        vocab = {line.removesuffix("\r"): index for index, line in enumerate(lines)}
        specials = _named_specials(_BERT_SPECIALS, settings)
        backend = _wordpiece(
            models.WordPiece(vocab, unk_token=specials["unk"]),
            lowercase=settings.get("do_lower_case", not _is_cased(vocab)),
            strip_accents=settings.get("strip_accents"),
            chinese_characters=settings.get("tokenize_chinese_chars", True),
        )
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        specials = _named_specials(_ROBERTA_SPECIALS, settings)
        backend = _byte_level(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    elif (folder / "spiece.model").is_file():
        specials = _named_specials(_ALBERT_SPECIALS, settings)
        backend = _sentencepiece(folder / "spiece.model", settings)
    else:
        raise InputError(
            f"{folder}: no tokenizer found; the folder should hold tokenizer.json, vocab.txt, vocab.json with "
            "merges.txt, or spiece.model, as the checkpoint ships them."
        )
    return _finished(backend, specials), specials


def _named_specials(family: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, str]:
    """A family's special tokens, with those that the checkpoint's settings name otherwise."""
    named = dict(family)
    for role in family:
        given = settings.get(f"{role}_token")
        content = given.get("content") if isinstance(given, dict) else given
        if isinstance(content, str):
            named[role] = content
    return named


def _is_cased(vocab: Iterable[str]) -> bool:
    """Whether a WordPiece vocabulary knows capital letters (its special tokens aside)."""
    return any(re.search("[A-Z]", token) and token[0] not in "[<" for token in vocab)


def _wordpiece(
    model: models.WordPiece, *, lowercase: bool, strip_accents: bool | None = None, chinese_characters: bool = True
) -> Backend:
    backend = Backend(model)
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=chinese_characters, strip_accents=strip_accents, lowercase=lowercase
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return backend


def _train_wordpiece(words: Counter[str], specials: list[str], vocab_size: int) -> dict[str, int]:
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    alphabet = _alphabet(characters)
    known = {word: "".join(c for c in word if c in alphabet) for word in words}
    backend = _wordpiece(models.WordPiece(unk_token="[UNK]"), lowercase=False)
    assert backend.pre_tokenizer
    pieces = {piece for word in known.values() for piece, _ in backend.pre_tokenizer.pre_tokenize_str(word)}
    # The library numbers the pieces inside words (##a) in the order of a hash table, which changes from run to run, and
    # breaks ties by number. Reserving them first, in order, makes training repeatable.
    inside = sorted({f"##{character}" for piece in pieces for character in piece[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=specials + inside, min_frequency=2, show_progress=False
    )
    backend.train_from_iterator((known[word] for word in sorted(words.elements())), trainer)
    return backend.get_vocab()


def _alphabet(counts: Counter[str]) -> set[str]:
    """The characters worth an entry: seen more than once, and none of the rarest that together make up 1 in 2,000."""
    spare = counts.total() / 2000
    kept = set(counts)
    for character, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        spare -= count
        if spare < 0 and count > 1:
            break
        kept.remove(character)
    return kept


def _byte_level(model: models.BPE) -> Backend:
    backend = Backend(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentencepiece(path: Path, settings: Mapping[str, Any]) -> Backend:
    """A Unigram tokenizer from ALBERT's ``spiece.model``, cleaned up as Google's ``preprocess_text`` does."""
    try:
        from sentencepiece import sentencepiece_model_pb2
    except ImportError:
        raise InputError(
            f"{path}: reading a SentencePiece model needs two more packages: pip install 'minibert[sentencepiece]'."
        ) from None
    proto = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    vocab = [(piece.piece, piece.score) for piece in proto.pieces]
    steps: list[normalizers.Normalizer] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not settings.get("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if settings.get("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    if charsmap := proto.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(charsmap))
    return _metaspace(models.Unigram(vocab, unk_id=proto.trainer_spec.unk_id, byte_fallback=False), steps)


def _metaspace(model: models.Unigram, steps: list[normalizers.Normalizer]) -> Backend:
    backend = Backend(model)
    backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    return backend


def _train_unigram(texts: list[str], specials: list[str], vocab_size: int) -> list[tuple[str, float]]:
    """Pieces with their log-probabilities: the special tokens, then from the most probable on."""
    backend = _metaspace(models.Unigram(), [normalizers.NFKC()])
    assert backend.normalizer
    assert backend.pre_tokenizer
    # As in SentencePiece, no piece holds punctuation beside anything else; encoding needs no rule for that.
    backend.pre_tokenizer = pre_tokenizers.Sequence([backend.pre_tokenizer, pre_tokenizers.Punctuation()])
    normal = [backend.normalizer.normalize_str(text) for text in texts]
    counts = Counter(character for text in normal for character in text)
    alphabet = {character for character in _alphabet(counts) if not character.isspace()} | {"▁"}
    if len(alphabet) + len(specials) >= vocab_size:
        raise InputError(
            f"vocab_size {vocab_size}: the texts have {len(alphabet)} different characters, which all need an entry; "
            "ask for more."
        )
    known = ["".join(c if c in alphabet or c.isspace() else "" for c in text) for text in normal]
    backend.train_from_iterator(
        known,
        trainers.UnigramTrainer(
            vocab_size=vocab_size, special_tokens=specials, unk_token=specials[1], show_progress=False
        ),
    )
    scores = dict(json.loads(backend.to_str())["model"]["vocab"])
    for special in specials:
        del scores[special]
    # The library puts back the characters that training had dropped, each 0.0001 above the one before it, from the
    # least score on and in the order of a hash table, which changes from run to run. Giving them all the least score,
    # and leaving off the last digits, makes training repeatable.
    least = min(scores.values())
    dropped_below = least + 0.0001 * len(alphabet)
    kept = {p: least if len(p) == 1 and score < dropped_below else score for p, score in scores.items()}
    ranked = sorted((-round(score, 6), piece) for piece, score in kept.items())
    return [*((special, 0.0) for special in specials), *((piece, -negative) for negative, piece in ranked)]


def _finished(backend: Backend, specials: Mapping[str, str], *, trim_offsets: bool = True) -> Backend:
    """Marks the special tokens and adds the frame around a text, so that the saved file is whole for other readers."""
    ids = _special_ids(backend, specials)  # first, because add_special_tokens gives a missing one a new id
    others = [token for role, token in specials.items() if role != "mask"]
    # In byte-level vocabularies a word holds the space before it, and so does the mask that stands for one.
    mask = AddedToken(specials["mask"], lstrip=isinstance(backend.model, models.BPE), special=True)
    backend.add_special_tokens([*others, mask])
    cls, sep = ((specials[role], ids[role]) for role in ("cls", "sep"))
    if isinstance(backend.model, models.BPE):
        backend.post_processor = processors.RobertaProcessing(
            sep, cls, trim_offsets=trim_offsets, add_prefix_space=False
        )
    else:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{cls[0]}:0 $A:0 {sep[0]}:0",
            pair=f"{cls[0]}:0 $A:0 {sep[0]}:0 $B:1 {sep[0]}:1",
            special_tokens=[cls, sep],
        )
    return backend


def _special_ids(backend: Backend, specials: Mapping[str, str]) -> dict[str, int]:
    ids = {role: backend.token_to_id(token) for role, token in specials.items()}
    if absent := [specials[role] for role, index in ids.items() if index is None]:
        raise InputError(f"the vocabulary lacks the special tokens {', '.join(absent)}.")
    return {role: index for role, index in ids.items() if index is not None}


def _with_leading_space(backend: Backend) -> Backend:
    """The same tokenizer with a space before each word, where it is byte-level; else the tokenizer itself."""
    description = json.loads(backend.to_str())
    pre_tokenizer = description.get("pre_tokenizer") or {}
    steps = [
        step for step in [pre_tokenizer, *pre_tokenizer.get("pretokenizers", [])] if step.get("type") == "ByteLevel"
    ]
    if all(step["add_prefix_space"] for step in steps):
        return backend
    for step in steps:
        step["add_prefix_space"] = True
    return Backend.from_str(json.dumps(description))
