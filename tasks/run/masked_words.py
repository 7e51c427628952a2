"""Other words in the place of some of a text's, by a pre-trained model's head for masked words."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from minibert import Tokenizer, pack
from minibert.batch import IntSequence
from minibert.checkpoint import open_checkpoint
from minibert.heads import WordsModel
from minibert.tokenizer.tokenizer import Pieces, split_words
from minibert.training import LabelledBatch, distributed, predict
from tasks.run.evaluate import BATCH_TOKENS, batches_by_length
from tasks.run.start_model import StartingModel, untrained_head

_SPACES = ("\u0120", "\u2581")
"""As they are written in tokens of byte-level BPE and SentencePiece."""


class _Part(NamedTuple):
    """What one mask can stand for: tokens of a text, and its characters (or its one word)."""

    tokens: slice
    given: slice


class _Masked(NamedTuple):
    """A text with masks.

    Attributes:
        given: its characters, or its words.
        parts: those that are masked, in order.
        ids: of all tokens, with special ones.
        masks: the places of the masks in ``ids``.
        spaced: for each mask, whether the token that it stands for begins with a space.
        draws: a number from 0 to 1 for each mask.
    """

    given: list[str]
    parts: list[slice]
    ids: IntSequence
    masks: list[int]
    spaced: list[bool]
    draws: list[float]


@dataclass(frozen=True, kw_only=True)
class WordFiller:
    """A model that puts words in the place of others.

    Attributes:
        model: on the device where it computes.
        tokenizer: the model's.
        words: for each token, the word that it is; empty where it is none.
        spaced: for each token, whether it begins with a space.
    """

    model: WordsModel
    tokenizer: Tokenizer
    words: Sequence[str]
    spaced: Sequence[bool]

    @classmethod
    def of(cls, start: StartingModel, device: torch.device) -> "WordFiller | None":
        """The model whose weights a run starts from; None where it has no trained head for masked words."""
        if start.folder is None:
            return None
        model, report = open_checkpoint(start.folder).load(WordsModel)
        if untrained_head(report):
            return None
        tokens = start.tokenizer.convert_ids_to_tokens(range(start.tokenizer.vocab_size))
        return cls(
            model=model.to(device),
            tokenizer=start.tokenizer,
            words=_words_of(start.tokenizer),
            spaced=[token.startswith(_SPACES) for token in tokens],
        )

    def replace(self, texts: Sequence[str], share: float, rng: random.Random) -> list[str]:
        """Running texts with a share of their words masked (at least one), and for each a word drawn by its
        probability.

        Words of which a token has parts, such as two Chinese characters, are masked together. Words beyond the model's
        last position are kept.
        """
        pieces = self.tokenizer.encode_all(texts)
        given = [
            self._masked(list(text), of_text.ids, _parts(text, of_text), share, rng)
            for text, of_text in zip(texts, pieces, strict=True)
        ]
        return ["".join(characters) for characters in self._fill(given)]

    def replace_words(self, sentences: Sequence[Sequence[str]], share: float, rng: random.Random) -> list[list[str]]:
        """The same for sentences of words, which stay as many."""
        given = []
        for words, pieces in zip(sentences, self.tokenizer.encode_words(sentences), strict=True):
            ends = [*pieces.starts[1:], len(pieces.ids)]
            spans = zip(pieces.starts, ends, strict=True)
            parts = [_Part(slice(*span), slice(word, word + 1)) for word, span in enumerate(spans)]
            given.append(self._masked(list(words), pieces.ids, parts, share, rng))
        return self._fill(given)

    def _masked(
        self, given: list[str], ids: list[int], parts: Sequence[_Part], share: float, rng: random.Random
    ) -> _Masked:
        """A text with masks for a share of its parts, as far as the model has positions for it."""
        room = self.model.config.max_length - self.tokenizer.num_special_tokens()
        chosen = [part for part in parts if rng.random() < share] or rng.sample(parts, min(1, len(parts)))
        kept, end, places = [], 0, []
        for part in chosen:
            kept += ids[end : part.tokens.start]
            places.append(len(kept))
            kept.append(self.tokenizer.mask_token_id)
            end = part.tokens.stop
        whole, _ = self.tokenizer.with_special_tokens([*kept, *ids[end:]][:room])
        masks = [place + 1 for place in places if place < room]  # behind [CLS]
        return _Masked(
            given=given,
            parts=[part.given for part in chosen],
            ids=np.array(whole, np.int32),
            masks=masks,
            spaced=[self.spaced[ids[part.tokens.start]] for part in chosen[: len(masks)]],
            draws=[rng.random() for _ in masks],
        )

    def _fill(self, texts: Sequence[_Masked]) -> list[list[str]]:
        """The texts with words for their masks. The processes of ``torchrun`` share the work, and get the same ones."""
        device = self.model.device
        batches = batches_by_length([len(text.ids) for text in texts], BATCH_TOKENS[device.type])
        mine = [[texts[index] for index in indices] for indices in distributed.shard(batches)]
        is_word = torch.tensor([bool(word) for word in self.words], device=device)
        is_spaced = torch.tensor(self.spaced, device=device)
        done = []
        outputs = predict(self.model, map(_collate, mine), precision="fp32", device=device)
        shown = distributed.is_rank0()
        bar = tqdm(total=sum(map(len, mine)), desc="made up", unit=" texts", leave=False, disable=not shown or None)
        for in_batch, (batch, (logits, _)) in zip(mine, outputs, strict=True):
            spaced = torch.tensor([each for text in in_batch for each in text.spaced], device=device)
            allowed = is_word & (is_spaced == spaced[:, None])
            allowed |= is_word & ~allowed.any(1, keepdim=True)
            of_allowed = logits[:, : len(self.words)].masked_fill(~allowed, -torch.inf)
            done.append(_draw(of_allowed, batch.targets).tolist())
            bar.update(len(in_batch))
        bar.close()
        found = [text.given for text in texts]
        for indices, tokens in zip(batches, distributed.all_gather(done), strict=True):
            words = iter([self.words[token] for token in tokens])
            for index in indices:
                found[index] = _replaced(texts[index], [next(words) for _ in texts[index].masks])
        return found


def _words_of(tokenizer: Tokenizer) -> list[str]:
    """For each token, the one word that it is on its own, such as ``cat`` for ``Ġcat``; empty for parts of words,
    several words, and special tokens."""
    special = set(tokenizer.all_special_ids)
    words = []
    for index in range(tokenizer.vocab_size):
        text = "" if index in special else tokenizer.decode([index]).strip()
        is_one = text.isprintable() and "\ufffd" not in text and split_words(text) == [(0, len(text))]
        words.append(text if is_one else "")
    return words


def _parts(text: str, pieces: Pieces) -> list[_Part]:
    """The words of a running text; those that have a token in common are one part."""
    word_end = list(range(1, len(text) + 1))  # for each character, the end of its word
    for start, end in split_words(text):
        word_end[start:end] = [end] * (end - start)
    parts: list[_Part] = []
    for index, (start, end) in enumerate(pieces.offsets):
        first, begin = index, end - len(text[start:end].lstrip())
        if begin == end:  # white space
            continue
        if parts and begin < parts[-1].given.stop:
            first, begin = parts[-1].tokens.start, parts[-1].given.start
            del parts[-1]
        parts.append(_Part(slice(first, index + 1), slice(begin, max(end, word_end[end - 1]))))
    return parts


def _collate(texts: Sequence[_Masked]) -> LabelledBatch:
    """A batch whose outputs are those of the masks, and whose targets are the numbers drawn for them."""
    inputs = pack([text.ids for text in texts])
    starts = inputs.cu_seqlens[:-1].tolist()
    masks = [start + mask for start, text in zip(starts, texts, strict=True) for mask in text.masks]
    return LabelledBatch(
        inputs=inputs,
        targets=torch.tensor([draw for text in texts for draw in text.draws]),
        num_targets=0,
        positions=torch.tensor(masks, dtype=torch.long),
    )


def _draw(logits: Tensor, draws: Tensor) -> Tensor:
    """For each row of ``(N, V)`` a column, drawn by its probability with a number from 0 to 1 ``(N,)``."""
    below = logits.float().softmax(-1).cumsum(-1)
    draws = draws.clamp(max=1 - 2**-24)  # in fp32 a number just below 1 is 1, behind all columns
    return torch.searchsorted(below, draws[:, None] * below[:, -1:], right=True)[:, 0]


def _replaced(text: _Masked, words: Sequence[str]) -> list[str]:
    found, end = [], 0
    for part, word in zip(text.parts, words, strict=False):  # parts without a position have no word
        found += [*text.given[end : part.start], word]
        end = part.stop
    return [*found, *text.given[end:]]
