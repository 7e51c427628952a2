"""Vocabularies learnt from text, the same ones in each run."""

import json
from collections import Counter
from collections.abc import Sequence

from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from minibert.errors import InputError
from minibert.tokenizer.files import (
    ALBERT_SPECIALS,
    BERT_SPECIALS,
    ROBERTA_SPECIALS,
    byte_level,
    finished,
    metaspace,
    wordpiece,
)


def train_wordpiece(words: Counter[str], vocab_size: int) -> Backend:
    """Cased WordPiece for BERT's special tokens, from words and how often each stands there."""
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    alphabet = _alphabet(characters)
    known = {word: "".join(c for c in word if c in alphabet) for word in words}
    backend = wordpiece(models.WordPiece(unk_token=BERT_SPECIALS["unk"]), lowercase=False)
    assert backend.pre_tokenizer
    pieces = {piece for word in known.values() for piece, _ in backend.pre_tokenizer.pre_tokenize_str(word)}
    # The library numbers the pieces inside words (##a) in the order of a hash table, which changes from run to run, and
    # breaks ties by number. Reserving them first, in order, makes training repeatable.
    inside = sorted({f"##{character}" for piece in pieces for character in piece[1:]})
    specials = [BERT_SPECIALS[role] for role in ("pad", "unk", "cls", "sep", "mask")]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=specials + inside, min_frequency=2, show_progress=False
    )
    backend.train_from_iterator((known[word] for word in sorted(words.elements())), trainer)
    vocab = models.WordPiece(backend.get_vocab(), unk_token=BERT_SPECIALS["unk"])
    return finished(wordpiece(vocab, lowercase=False), BERT_SPECIALS)


def train_byte_level(words: Counter[str], vocab_size: int) -> Backend:
    """Byte-level BPE for RoBERTa's special tokens, from words and how often each stands there."""
    backend = byte_level(models.BPE())
    # With a space before it, a Chinese character is the same token in running text and as a word of its own.
    each_han = pre_tokenizers.Split(Regex(r" ?\p{Han}"), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([each_han, pre_tokenizers.ByteLevel()])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[ROBERTA_SPECIALS[role] for role in ("cls", "pad", "sep", "unk", "mask")],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    backend.train_from_iterator(sorted(words.elements()), trainer)
    # The library would also trim the spaces that it puts in, where the text has none.
    return finished(backend, ROBERTA_SPECIALS, trim_offsets=False)


def train_unigram(texts: Sequence[str], vocab_size: int) -> Backend:
    """Cased Unigram for ALBERT's special tokens, from running text; after them, the most probable pieces come first.

    Raises:
        InputError: there are more characters than ``vocab_size`` has room for.
    """
    specials = [ALBERT_SPECIALS[role] for role in ("pad", "unk", "cls", "sep", "mask")]
    steps: list[normalizers.Normalizer] = [normalizers.NFKC()]
    backend = metaspace(models.Unigram(), steps)
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
    vocab = [*((special, 0.0) for special in specials), *((piece, -negative) for negative, piece in ranked)]
    return finished(metaspace(models.Unigram(vocab, unk_id=1, byte_fallback=False), steps), ALBERT_SPECIALS)


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
