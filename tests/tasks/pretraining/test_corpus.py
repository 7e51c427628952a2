"""Corpora: reading them, their words and sentences, the chunks that a model sees, and the pairs made of them."""

import gzip
import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from minibert import Tokenizer
from minibert.errors import InputError
from minibert.tokenizer.tokenizer import split_words
from tasks.pretraining.corpus import Corpus, Document, read_corpus
from tasks.pretraining.pairs import NEXT_SENTENCE, SENTENCE_ORDER, draw_pair
from tasks.pretraining.tokens import TokenStream, full_chunks, pair_chunks, tokenise, with_short_sentences

TEXTS = [
    ["臺北是臺灣的首都。這裡人很多！你去過嗎？", "Ann went to Rome. Bob's dog stayed (at home.) It slept."],
    ["小狗不吃青菜；小貓也不吃。", "Mr. Brown has 3.5 dogs and an unbelievably long sentence without any end at all"],
    ["好。"],
    ["The last one is short.", "Really short!"],
]


def tokenizer(model_type: str, vocab_size: int = 400) -> Tokenizer:
    lines = [paragraph for paragraphs in TEXTS for paragraph in paragraphs] * 3
    return Tokenizer.train([lines], model_type=model_type, vocab_size=vocab_size, running_text=True)


def test_paragraphs_are_lines_and_blank_lines_part_documents(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "a.txt", tmp_path / "b.txt.gz"
    plain.write_text("\n\nfirst\n  second \n\n \n\nthird\n", "utf-8")
    zipped.write_bytes(gzip.compress("第四\r\n第五".encode("utf-8-sig")))
    split = read_corpus([str(plain), str(zipped)])
    assert split.items == [
        Document(("first", "second"), str(plain), 3),
        Document(("third",), str(plain), 8),
        Document(("第四", "第五"), str(zipped), 1),
    ]
    assert split.sha256 not in (read_corpus([str(plain)]).sha256, read_corpus([str(zipped)]).sha256)
    (tmp_path / "c.txt").write_bytes("ok\n中文\n".encode("gb18030"))
    with pytest.raises(InputError, match=r"c\.txt, line 2: byte 3 (?s:.*)--encoding gb18030 +中文"):
        read_corpus([str(plain), str(tmp_path / "c.txt")])
    (tmp_path / "d.txt").write_text("\n \n")
    with pytest.raises(InputError, match=r"d\.txt: has no text"):
        read_corpus([str(tmp_path / "d.txt")])


@pytest.mark.parametrize("documents", ["auto", "lines"])
def test_json_is_no_plain_text(tmp_path: Path, documents: str) -> None:
    path = tmp_path / "a.jsonl"
    for content, line, field in (
        ('\n{"text": "The cat."}\n{"text": "A dog."}\n', 2, ".text"),
        ('[{"text": "The cat."}]', 1, ".[].text"),
        ('[\n  {"text": "The cat."}\n]', 1, ".[].text"),
        ('{\n  "text": "The cat."\n}', 1, ".text"),
    ):
        path.write_text(content, "utf-8")
        with pytest.raises(InputError) as caught:
            read_corpus([str(path)], documents=documents)
        assert str(caught.value).startswith(f"{path}, line {line}: is JSON, ")
        assert f"jq -r '{field} + \"\\n\"'" in str(caught.value)
    prose = "[[File:cat.png]] The cat.\n\n3\n\n{a} is a set; in JSON it is\n{}\n"
    path.write_text(prose, "utf-8")
    assert [len(document.paragraphs) for document in read_corpus([str(path)]).items] == [1, 1, 2]


def test_a_file_that_changes_after_its_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("first\n\nsecond\n", "utf-8")
    corpus = Corpus(paths=(str(path),))
    assert corpus.file_hashes == [hashlib.sha256(path.read_bytes()).hexdigest()]
    assert [document.line for document in corpus.read()] == [1, 3]
    path.write_text("first\n\nsecond\n\nthird", "utf-8")
    with pytest.raises(InputError, match=r"a\.txt: changes while it is read"):
        list(corpus.read())


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_words_and_sentences_start_where_they_do_in_the_text(model_type: str) -> None:
    tok = tokenizer(model_type)
    stream = tokenise(TEXTS, tok, separator=None)
    at = 0
    sentences = []
    for paragraphs in TEXTS:
        for paragraph in paragraphs:
            pieces = tok.encode(paragraph)
            words = split_words(paragraph)
            word_of = [
                next(w for w, (start, stop) in enumerate(words) if start < end <= stop) for _, end in pieces.offsets
            ]
            expected = [i == 0 or word_of[i] != word_of[i - 1] for i in range(len(word_of))]
            assert stream.word_starts[at : at + len(expected)].tolist() == expected
            for start in stream.sentences_between(at, at + len(expected)) - at:
                sentences.append(paragraph[pieces.offsets[start][0] :].strip())
            at += len(expected)
    assert at == len(stream.ids) == stream.documents[-1]
    starts = ["臺北", "這裡", "你去", "Ann", "Bob", "It", "小狗", "小貓", "Mr", "Brown", "好", "The", "Really"]
    assert [text[: len(start)] for text, start in zip(sentences, starts, strict=True)] == starts


def test_wordpiece_continuations_do_not_start_words() -> None:
    tok = tokenizer("bert", vocab_size=150)
    stream = tokenise(TEXTS, tok, separator=None)
    continues = [token.startswith("##") for token in tok.convert_ids_to_tokens(stream.ids)]
    assert any(continues)
    assert stream.word_starts.tolist() == [not piece for piece in continues]


@pytest.mark.parametrize("room", [4, 7, 12, 60])
def test_pair_chunks_fit_cover_the_documents_and_can_be_cut_in_two(room: int) -> None:
    stream, chunks = pair_chunks(tokenise(TEXTS, tokenizer("bert"), separator=None), room)
    assert stream.word_starts[stream.sentences].all()
    assert chunks == sorted(chunks)
    for start, end in pairwise(stream.documents.tolist()):
        of_document = [chunk for chunk in chunks if start <= chunk[0] < end]
        covered = [place for chunk in of_document for place in range(*chunk)]
        assert covered in (list(range(start, end)), list(range(start, end - 1))), "a last single token may be left out"
        for chunk in of_document:
            assert 2 <= chunk[1] - chunk[0] <= room
            assert chunk[0] in stream.sentences
            assert len(stream.sentences_between(*chunk)) >= 2


@pytest.mark.parametrize("room", [5, 16, 100])
def test_full_chunks_run_on_over_documents_with_separators_between(room: int) -> None:
    tok = tokenizer("roberta")
    stream = tokenise(TEXTS, tok, separator=tok.sep_token_id)
    assert np.count_nonzero(stream.ids == tok.sep_token_id) == len(TEXTS)
    spans = [(s, e) for _, chunks in full_chunks([stream], room, tok.sep_token_id) for s, e in chunks.tolist()]
    assert sum(end - start for start, end in spans) >= len(stream.ids) - len(TEXTS)
    separated = 0
    for start, end in spans:
        assert 0 < end - start <= room
        assert tok.sep_token_id not in (stream.ids[start], stream.ids[end - 1])
        separated += int(np.count_nonzero(stream.ids[start:end] == tok.sep_token_id))
    assert separated == (3 if room == 100 else separated)
    short = with_short_sentences(stream, room)
    for (_, end), (start, _) in pairwise(spans):  # the next sentence would not have fitted
        following = [*short.sentences_between(start + 1, len(stream.ids)).tolist(), len(stream.ids)][0]
        assert following - spans[[s for s, _ in spans].index(start) - 1][0] > room
        assert start - end in (0, 1)


def numbered_stream() -> tuple[TokenStream, list[tuple[int, int]]]:
    """60 documents of 12 sentences with 3 tokens; an id tells its place."""
    count = 60 * 36
    stream = TokenStream(
        ids=np.arange(count, dtype=np.int32),
        word_starts=np.ones(count, bool),
        sentences=np.arange(0, count, 3),
        documents=np.arange(0, count + 1, 36),
    )
    return stream, [(start, start + 18) for start in range(0, count, 18)]


def test_half_of_the_next_sentences_are_random_ones_of_other_documents() -> None:
    stream, chunks = numbered_stream()
    rng = np.random.default_rng(0)
    labels = []
    documents_met = set()
    for chunk in chunks * 20:
        first, second, label = draw_pair(NEXT_SENTENCE, stream, chunk, rng)
        labels.append(label)
        assert first[0] == chunk[0]
        assert first[1] < chunk[1]
        if label:
            assert second[0] // 36 != chunk[0] // 36, "another document"
            assert second[0] // 36 == (second[1] - 1) // 36, "of one document"
            assert second[0] % 3 == second[1] % 3 == 0, "whole sentences"
            assert 0 < second[1] - second[0] <= chunk[1] - first[1]
            documents_met.add(second[0] // 36)
        else:
            assert second == (first[1], chunk[1])
    assert stats.binomtest(sum(labels), len(labels), 0.5).pvalue > 1e-6
    assert documents_met == set(range(60))


def test_half_of_the_sentence_orders_are_swapped_segments_of_one_chunk() -> None:
    stream, chunks = numbered_stream()
    rng = np.random.default_rng(0)
    labels = []
    borders = set()
    for chunk in chunks * 20:
        first, second, label = draw_pair(SENTENCE_ORDER, stream, chunk, rng)
        labels.append(label)
        before, after = (second, first) if label else (first, second)
        assert (before[0], before[1], after[1]) == (chunk[0], after[0], chunk[1])
        borders.add(before[1] - chunk[0])
    assert borders == {3, 6, 9, 12, 15}
    assert stats.binomtest(sum(labels), len(labels), 0.5).pvalue > 1e-6
