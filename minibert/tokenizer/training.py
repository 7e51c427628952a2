"""Trains vocabularies, with the same result in each run."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import chain, repeat

from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from minibert.errors import InputError
from minibert.tokenizer.files import (
    ALBERT_SPECIAL_TOKENS,
    BERT_SPECIAL_TOKENS,
    ROBERTA_SPECIAL_TOKENS,
    add_special_tokens,
    byte_level,
    metaspace,
    wordpiece,
)


def train_wordpiece(words: Counter[str], vocab_size: int) -> Backend:
    """Cased WordPiece with BERT's special tokens, from word counts."""
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    alphabet = _alphabet(characters)
    known = {word: "".join(c for c in word if c in alphabet) for word in words}
    backend = wordpiece(models.WordPiece(unk_token=BERT_SPECIAL_TOKENS["unk"]), lowercase=False)
    assert backend.pre_tokenizer
    pieces = {piece for word in known.values() for piece, _ in backend.pre_tokenizer.pre_tokenize_str(word)}
    # The library numbers pieces inside words (##a) in the order of a hash table, which changes from run to run, and
    # breaks ties by number. Reserving them first, sorted, makes training repeatable.
    inside = sorted({f"##{character}" for piece in pieces for character in piece[1:]})
    special_tokens = [BERT_SPECIAL_TOKENS[role] for role in ("pad", "unk", "cls", "sep", "mask")]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=special_tokens + inside, min_frequency=2, show_progress=False
    )
    backend.train_from_iterator(
        chain.from_iterable(repeat(known[word], words[word]) for word in sorted(words)), trainer
    )
    vocab = models.WordPiece(backend.get_vocab(), unk_token=BERT_SPECIAL_TOKENS["unk"])
    return add_special_tokens(wordpiece(vocab, lowercase=False), BERT_SPECIAL_TOKENS)


def train_byte_level(words: Counter[str], vocab_size: int) -> Backend:
    """Byte-level BPE with RoBERTa's special tokens, from word counts."""
    backend = byte_level(models.BPE())
    # With a space before it, a Chinese character is the same token in running text and as a separate word.
    each_han = pre_tokenizers.Split(Regex(r" ?\p{Han}"), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([each_han, pre_tokenizers.ByteLevel()])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[ROBERTA_SPECIAL_TOKENS[role] for role in ("cls", "pad", "sep", "unk", "mask")],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    backend.train_from_iterator(chain.from_iterable(repeat(word, words[word]) for word in sorted(words)), trainer)
    # Trimming would also remove the added space from offsets where the text has none.
    return add_special_tokens(backend, ROBERTA_SPECIAL_TOKENS, trim_offsets=False)


def train_unigram(texts: Sequence[str], vocab_size: int) -> Backend:
    """Cased Unigram with ALBERT's special tokens, from running text; the other pieces are sorted by probability.

    Raises:
        InputError: ``vocab_size`` is too small for the alphabet.
    """
    special_tokens = [ALBERT_SPECIAL_TOKENS[role] for role in ("pad", "unk", "cls", "sep", "mask")]
    steps: list[normalizers.Normalizer] = [normalizers.NFKC()]
    backend = metaspace(models.Unigram(), steps)
    assert backend.normalizer
    assert backend.pre_tokenizer
    # As in SentencePiece, no piece mixes punctuation with other characters; encoding needs no rule for that.
    backend.pre_tokenizer = pre_tokenizers.Sequence([backend.pre_tokenizer, pre_tokenizers.Punctuation()])
    normal = [backend.normalizer.normalize_str(text) for text in texts]
    counts = Counter(character for text in normal for character in text)
    alphabet = {character for character in _alphabet(counts) if not character.isspace()} | {"▁"}
    if len(alphabet) + len(special_tokens) >= vocab_size:
        raise InputError(
            f"vocab_size {vocab_size}: the texts have {len(alphabet)} different characters, which all need an entry; "
            "choose a larger vocab_size."
        )
    known = ["".join(c if c in alphabet or c.isspace() else "" for c in text) for text in normal]
    backend.train_from_iterator(
        known,
        trainers.UnigramTrainer(
            vocab_size=vocab_size, special_tokens=special_tokens, unk_token=special_tokens[1], show_progress=False
        ),
    )
    scores = dict(json.loads(backend.to_str())["model"]["vocab"])
    for special in special_tokens:
        del scores[special]
    # The library adds the characters that training dropped, with scores that start at the lowest and increase by 0.0001
    # in the order of a hash table, which changes from run to run. Giving all of them the lowest score, and rounding,
    # makes training repeatable.
    lowest = min(scores.values())
    dropped_below = lowest + 0.0001 * len(alphabet)
    kept = {p: lowest if len(p) == 1 and score < dropped_below else score for p, score in scores.items()}
    ranked = sorted((-round(score, 6), piece) for piece, score in kept.items())
    vocab = [*((special, 0.0) for special in special_tokens), *((piece, -negative) for negative, piece in ranked)]
    return add_special_tokens(
        metaspace(models.Unigram(vocab, unk_id=1, byte_fallback=False), steps), ALBERT_SPECIAL_TOKENS
    )


def _alphabet(counts: Counter[str]) -> set[str]:
    """The characters seen more than once, without the rarest ones that together make up 1 in 2,000."""
    spare = counts.total() / 2000
    kept = set(counts)
    for character, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        spare -= count
        if spare < 0 and count > 1:
            break
        kept.remove(character)
    return kept
