"""Texts as the model sees them: tokenised in batches, they are what one at a time gives."""

import numpy as np
import pytest
from conftest import FAMILIES
from hypothesis import given
from hypothesis import strategies as st

from minibert import Tokenizer
from minibert.errors import InputError
from tasks.classification.data import LabelledText
from tasks.classification.examples import encode_texts
from tasks.run.local_weights import bundled

TEXT = st.text(alphabet="ab yé你好。,'\u200b\U0001f600", max_size=30)
ITEMS = st.lists(st.builds(LabelledText, TEXT, st.none() | TEXT, st.just("a"), st.integers(1, 99)), max_size=12)
TOKENIZERS = {family: Tokenizer.from_pretrained(bundled(family)) for family in FAMILIES}


def cut(ids: list[int], other: list[int] | None, room: int) -> tuple[list[int], list[int] | None]:
    """One token less of the longer segment, of the second of two as long, until both fit."""
    ids, other = [*ids], None if other is None else [*other]
    while len(ids) + len(other or []) > room:
        (ids if other is None or len(ids) > len(other) else other).pop()
    return ids, other


@pytest.mark.parametrize("family", FAMILIES)
@given(items=ITEMS, most=st.integers(6, 20), block=st.integers(1, 4))
def test_batches_give_what_single_texts_give(family: str, items: list[LabelledText], most: int, block: int) -> None:
    tokenizer = TOKENIZERS[family]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.classification.examples._BLOCK", block)
        encoded = encode_texts(
            items,
            tokenizer,
            most=most,
            prompted=lambda item: [item.text, f"{item.text}?"],
            target=lambda item: item.line,
        )
    expected = []
    lost = unknown = 0
    for item in items:
        for text in (item.text, f"{item.text}?"):
            first = tokenizer.encode(text).ids
            second = None if item.pair is None else tokenizer.encode(item.pair).ids
            kept, kept_second = cut(first, second, most - tokenizer.num_special_tokens(pair=second is not None))
            lost += len(first) + len(second or []) - len(kept) - len(kept_second or [])
            ids, types = tokenizer.with_special_tokens(kept, kept_second)
            unknown += ids.count(tokenizer.unk_token_id)
            expected.append((ids, types, item.line, item.line))
    assert [(e.ids.tolist(), e.types.tolist(), e.target, e.line) for e in encoded.examples] == expected
    assert {(e.ids.dtype, e.types.dtype) for e in encoded.examples} <= {(np.dtype(np.int32), np.dtype(np.int8))}
    assert encoded.counts == [2] * len(items)
    assert (encoded.notes["cut_tokens"], encoded.notes["unknown_tokens"]) == (lost, unknown)


@pytest.mark.parametrize("family", FAMILIES)
@given(texts=st.lists(TEXT, max_size=8))
def test_tokens_with_their_places_are_the_same_in_batches(family: str, texts: list[str]) -> None:
    tokenizer = TOKENIZERS[family]
    assert tokenizer.encode_all(texts) == [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text).ids for text in texts]


def test_no_room_for_a_pair_is_refused() -> None:
    items = [LabelledText("a", None, "a", 1), LabelledText("a", "b", "a", 2)]
    with pytest.raises(InputError, match="--max-length 4: too short for a pair of texts; raise it by 1"):
        encode_texts(items, TOKENIZERS["bert"], most=4, prompted=lambda item: [item.text], target=lambda item: 0)
