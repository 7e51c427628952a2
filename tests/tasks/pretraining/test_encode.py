"""Documents as tokens and chunks: the same in blocks of any size, by any number of processes, as all at once."""

import multiprocessing
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from corpus_texts import texts

from minibert import Tokenizer
from minibert.errors import InputError
from tasks.pretraining import encode as module
from tasks.pretraining.encode import ChunkedStream, Chunking, encode_in_memory
from tasks.pretraining.tokens import TokenStream, pair_chunks, tokenise, with_short_sentences


def tokenizer(model_type: str) -> Tokenizer:
    return Tokenizer.train(texts(), model_type=model_type, vocab_size=300, running_text=True)


def all_at_once(documents: Sequence[Sequence[str]], chunking: Chunking) -> tuple[TokenStream, list[tuple[int, int]]]:
    tok, room = chunking.tokenizer, chunking.room
    if chunking.in_pairs:
        return pair_chunks(tokenise(documents, tok, separator=None), room)
    stream = tokenise(documents, tok, separator=tok.sep_token_id)
    spans = []
    start = 0
    for border, following in pairwise([*with_short_sentences(stream, room).sentences[1:].tolist(), len(stream.ids)]):
        if following - start > room:
            spans.append((start, border))
            start = border
    spans.append((start, len(stream.ids)))
    separates = (stream.ids == tok.sep_token_id).tolist()
    spans = [(first + separates[first], last - separates[last - 1]) for first, last in spans]
    return stream, [span for span in spans if span[0] < span[1]]


def assert_same(chunked: ChunkedStream, stream: TokenStream, spans: Sequence[tuple[int, int]]) -> None:
    for name in ("ids", "word_starts", "sentences", "documents"):
        assert np.array_equal(getattr(chunked.stream, name), getattr(stream, name)), name
    assert list(zip(chunked.starts, chunked.starts + chunked.lengths, strict=True)) == list(spans)
    borders = stream.documents
    counts = [sum(first <= start < last for start, _ in spans) for first, last in pairwise(borders)]
    assert np.diff(chunked.first_chunks).tolist() == counts


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
@pytest.mark.parametrize("room", [6, 31, 125])
@pytest.mark.parametrize("block", [1, 300, 1 << 20])
def test_blocks_of_any_size_give_what_all_documents_at_once_give(
    model_type: str, room: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    monkeypatch.setattr(module, "_FEW", 1000)
    tok = tokenizer(model_type)
    chunking = Chunking(tokenizer=tok, in_pairs=model_type == "bert", room=room)
    chunked, unknown = encode_in_memory(texts(), chunking)
    stream, spans = all_at_once(texts(), chunking)
    assert_same(chunked, stream, spans)
    assert unknown == np.count_nonzero(stream.ids == tok.unk_token_id)
    assert chunked.stream.ids.dtype == np.uint16


@pytest.mark.slow
def test_a_killed_process_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 500)
    monkeypatch.setattr(module, "_FEW", 2)
    chunking = Chunking(tokenizer=tokenizer("bert"), in_pairs=True, room=31)

    def documents() -> Iterator[list[str]]:
        for document in texts():
            for child in multiprocessing.active_children():
                child.kill()
            yield document

    with pytest.raises(InputError, match="a process that makes tokens was killed"):
        encode_in_memory(documents(), chunking)


@pytest.mark.slow
def test_many_blocks_are_shared_among_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 500)
    monkeypatch.setattr(module, "_FEW", 2)
    chunking = Chunking(tokenizer=tokenizer("roberta"), in_pairs=False, room=31)
    started = []
    monkeypatch.setattr(module, "tokenise", lambda *_, **__: started.append(1))  # of this process alone
    chunked, _ = encode_in_memory(texts(), chunking)
    assert not started
    assert_same(chunked, *all_at_once(texts(), chunking))
