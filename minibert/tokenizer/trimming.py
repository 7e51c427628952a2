"""A tokenizer with fewer pieces, which cuts every text of the pieces that are left as before.

Why that is so, for each kind of tokenizer, if V are its pieces, V' those that are left, and V' holds the pieces of a
text:

- **WordPiece** takes the longest piece of V that fits, again and again. That piece is in V', and no longer one is. A
  word for which no piece fits at some place is the unknown token; it stays so if V' holds the pieces before that place
  (:func:`pieces_before_unknown`).
- **Byte-level BPE** merges, again and again, the pair of the best rank. Merges inside a piece are those that build the
  piece by itself: a pair across its border was never merged, and pairs outside do not matter to it. The merges that
  build the pieces of V' are left, in their order. So at each step the merge that was best is there, and no better one.
- **Unigram** takes the segmentation with the largest sum of scores. Fewer pieces only remove candidates, so the best
  one stays the best, and the first of equals the first. One kind of candidate is new: a character whose own piece is
  gone costs the unknown piece's score, which is the least score of all pieces less 10. A piece of the least score is
  left, so that this costs more than the character's own piece did, and a candidate with it loses to the one that had
  that piece.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from tokenizers import pre_tokenizers

Description = Mapping[str, Any]
"""What a ``tokenizer.json`` holds."""


def trimmed(description: Description, keep: Iterable[int]) -> tuple[dict[str, Any], list[int]]:
    """A tokenizer with fewer pieces.

    Args:
        description: of the tokenizer.
        keep: the ids to keep. Added tokens, the unknown token, and what the argument above needs are kept, too.

    Returns:
        The new description, and the old id of each new one, in rising order.
    """
    model, added = description["model"], description["added_tokens"]
    pieces = _pieces(model)
    names = {index: piece for piece, index in pieces.items()}
    by_id = {**names, **{token["id"]: token["content"] for token in added}}
    kept = {index for index in keep if index in by_id} | {token["id"] for token in added}
    closed = _CLOSED[model["type"]](model, {names[index] for index in kept if index in names})
    old_ids = sorted(kept | {pieces[piece] for piece in closed})
    ids = {by_id[old]: new for new, old in enumerate(old_ids)}
    return {
        **description,
        "added_tokens": [{**token, "id": ids[token["content"]]} for token in added],
        "post_processor": _renumbered(description["post_processor"], ids),
        "model": _cut(model, {piece: ids[piece] for piece in pieces if piece in ids}),
    }, old_ids


def pieces_before_unknown(description: Description, word: str) -> set[int]:
    """The ids of the pieces that WordPiece takes of a word, to its end or to where none fits."""
    model = description["model"]
    vocab, prefix = model["vocab"], model["continuing_subword_prefix"]
    found, start = set(), 0
    while start < len(word):
        lead = prefix if start else ""
        ends = (end for end in range(len(word), start, -1) if lead + word[start:end] in vocab)
        if (end := next(ends, None)) is None:
            break
        found.add(vocab[lead + word[start:end]])
        start = end
    return found


def merges_within(piece: str, ranks: Mapping[tuple[str, str], int]) -> list[tuple[str, str]]:
    """The merges that build a piece of its symbols, in the order in which BPE makes them."""
    parts, made = list(piece), []
    while pairs := [pair for pair in pairwise(parts) if pair in ranks]:
        best = min(pairs, key=ranks.__getitem__)
        at = next(i for i in range(len(parts)) if (parts[i], parts[i + 1]) == best)
        parts[at : at + 2] = ["".join(best)]
        made.append(best)
    return made


def _pieces(model: Mapping[str, Any]) -> dict[str, int]:
    """The pieces of a model with their ids."""
    if model["type"] == "Unigram":
        return {piece: index for index, (piece, _) in enumerate(model["vocab"])}
    return dict(model["vocab"])


# -- what else must be kept -------------------------------------------------------------------------------------------


def _closed_wordpiece(model: Mapping[str, Any], kept: set[str]) -> set[str]:
    return kept | {model["unk_token"]}


def _closed_bpe(model: Mapping[str, Any], kept: set[str]) -> set[str]:
    """With the symbols of all bytes, and what the pieces are built of."""
    ranks = _ranks(model)
    symbols = {symbol for symbol in pre_tokenizers.ByteLevel.alphabet() if symbol in model["vocab"]}
    unknown = {model["unk_token"]} - {None}
    parts = {part for piece in kept for merge in merges_within(piece, ranks) for part in (*merge, "".join(merge))}
    return kept | symbols | unknown | parts


def _closed_unigram(model: Mapping[str, Any], kept: set[str]) -> set[str]:
    vocab = model["vocab"]
    needed = {min(vocab, key=lambda each: each[1])[0]}
    if model["unk_id"] is not None:
        needed.add(vocab[model["unk_id"]][0])
    if model.get("byte_fallback"):
        needed |= {piece for piece, _ in vocab if piece.startswith("<0x")}
    return kept | needed


_CLOSED = {"WordPiece": _closed_wordpiece, "BPE": _closed_bpe, "Unigram": _closed_unigram}


# -- the new description ----------------------------------------------------------------------------------------------


def _ranks(model: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    return {(left, right): rank for rank, (left, right) in enumerate(model["merges"])}


def _cut(model: Mapping[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
    """A model with the pieces that have new ids."""
    if model["type"] == "Unigram":
        vocab = [[piece, score] for piece, score in model["vocab"] if piece in ids]
        unknown = model["unk_id"]
        return {**model, "vocab": vocab, "unk_id": None if unknown is None else ids[model["vocab"][unknown][0]]}
    new = {**model, "vocab": dict(sorted(ids.items(), key=lambda each: each[1]))}
    if model["type"] == "BPE":
        ranks = _ranks(model)
        needed = {merge for piece in ids for merge in merges_within(piece, ranks)}
        new["merges"] = [list(merge) for merge in ranks if merge in needed]
    return new


def _renumbered(part: Mapping[str, Any] | None, ids: Mapping[str, int]) -> dict[str, Any] | None:
    """A post-processor with the new ids of its tokens."""
    if part is None:
        return None
    new = dict(part)
    for role in ("sep", "cls"):
        if role in part:
            new[role] = [part[role][0], ids[part[role][0]]]
    if "special_tokens" in part:
        new["special_tokens"] = {
            name: {**token, "ids": [ids[content] for content in token["tokens"]]}
            for name, token in part["special_tokens"].items()
        }
    if "processors" in part:
        new["processors"] = [_renumbered(each, ids) for each in part["processors"]]
    return new
