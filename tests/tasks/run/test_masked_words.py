"""Other words in the place of a text's, drawn as transformers' probabilities say."""

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from conftest import FAMILIES, scramble, tiny_config

from minibert import PretrainingModel, SequenceClassifier, Tokenizer
from tasks import registry
from tasks.run.made_up import made_up
from tasks.run.masked_words import WordFiller
from tasks.run.start_model import StartingModel

LINES = ["The cat sees the river", "the dogs like old houses near it", "老師看見一本書", "unseen riverside catlike"] * 4
CPU = torch.device("cpu")


def start(folder: Path, family: str, model_class: Any = PretrainingModel, *, always: str = "") -> StartingModel:
    """A starting model, whose checkpoint may expect the same word at each mask."""
    tokenizer = Tokenizer.train([LINES], model_type=family, vocab_size=400, running_text=True)
    size = {"vocab_size": tokenizer.vocab_size + 9, "pad_token_id": tokenizer.pad_token_id}
    model = model_class(tiny_config(family, **size, max_position_embeddings=40))
    scramble(model)
    if always:
        with torch.no_grad():
            model.mlm.bias[tokenizer.encode(always).ids[-1]] += 100
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return StartingModel(
        model=cast(Any, None), tokenizer=Tokenizer.from_pretrained(folder), origin="a test", folder=folder
    )


def filler(folder: Path, family: str, *, always: str = "") -> WordFiller:
    found = WordFiller.of(start(folder, family, always=always), CPU)
    assert found is not None
    return found


def is_word(text: str) -> bool:
    return bool(re.fullmatch(r"[^\W\u4e00-\u9fff]+|[\u4e00-\u9fff]|[^\w\s\ufffd\x00-\x1f\x7f-\x9f\xad]", text))


def expected(folder: Path, text: str) -> list[Counter[str]]:
    """The probability of each word in the place of each word of a text, all of them masked, by transformers."""
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    tokenizer = Tokenizer.from_pretrained(folder)
    pipe = transformers.pipeline("fill-mask", model=str(folder), device="cpu", top_k=tokenizer.vocab_size + 9)
    words = tokenizer.convert_ids_to_tokens(tokenizer.encode(text).ids)
    of_masks = pipe(" ".join([tokenizer.special_tokens["mask"]] * len(words)))
    found = []
    for word, candidates in zip(words, of_masks if len(words) > 1 else [of_masks], strict=True):
        scores: Counter[str] = Counter()
        for each in candidates:
            if each["token"] in [*tokenizer.all_special_ids, *range(tokenizer.vocab_size, tokenizer.vocab_size + 9)]:
                continue
            # Byte-level BPE writes the space before a word in its first token.
            (piece,) = tokenizer.convert_ids_to_tokens([each["token"]])
            if piece.startswith("Ġ") == word.startswith("Ġ") and is_word(each["token_str"].strip()):
                scores[each["token_str"].strip()] += each["score"]
        found.append(Counter({word: score / scores.total() for word, score in scores.items()}))
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_words_are_drawn_by_the_probabilities_of_transformers(family: str, tmp_path: Path) -> None:
    """Each of some masks has probabilities of its own, in texts of different lengths."""
    fill = filler(tmp_path, family)
    copies = 3000
    drawn = fill.replace(["the old river", "dogs"] * copies, 1.0, random.Random(1))
    for texts, given in ((drawn[::2], "the old river"), (drawn[1::2], "dogs")):
        for place, probabilities in enumerate(expected(tmp_path, given)):
            counts = Counter(text.split(" ")[place] for text in texts)
            assert set(counts) <= set(probabilities)
            likely = {word: copies * score for word, score in probabilities.items() if copies * score > 20}
            assert len(likely) > 5
            for word, often in likely.items():
                assert abs(counts[word] - often) < 4.5 * often**0.5, word


def test_a_number_just_below_1_draws_the_last_word_that_may_be(tmp_path: Path) -> None:
    """One in thirty million is so near that it is 1 in fp32."""

    class AlmostOne(random.Random):
        def random(self) -> float:
            return 1 - 2**-53

    words = filler(tmp_path, "bert").replace(["the old river"] * 2, 1.0, AlmostOne())
    assert all(len(text.split()) == 3 for text in words)


@pytest.mark.parametrize("family", FAMILIES)
def test_words_alone_are_replaced_and_all_else_stays(family: str, tmp_path: Path) -> None:
    """Spaces and the words that are not masked, also those that the tokenizer does not know, and of many pieces."""
    fill = filler(tmp_path, family, always="the river")
    gaps = ["  ", "", "\t", " ", "", "", " ", "", "", " ", " ", " "]
    words = ["catlike", ",", "qqqq", "(", "the", ")", "老", "師", "看", "un\u00efve", "\U0001f600", "riverside"]
    text = "".join(gap + word for gap, word in zip(gaps, words, strict=True))
    pattern = "".join(rf"{gap}(?:{re.escape(word)}|\w+|[^\w\s])" for gap, word in zip(gaps, words, strict=True))
    found = fill.replace([text] * 300, 0.25, random.Random(0))
    assert [one for one in found if not re.fullmatch(pattern, one)] == []
    assert len(set(found)) > 100
    assert sum("river " in one for one in found) > 50
    share = sum("qqqq" not in one for one in found) / len(found)
    assert 0.15 < share < 0.35


@pytest.mark.parametrize("family", FAMILIES)
def test_sentences_keep_their_number_of_words(family: str, tmp_path: Path) -> None:
    fill = filler(tmp_path, family)
    sentences = [["catlike", "houses", "老", "師", "\u200b", "qqqq"], list("老師看見一本書"), ["dogs"]] * 50
    found = fill.replace_words(sentences, 0.25, random.Random(0))
    assert list(map(len, found)) == list(map(len, sentences))
    assert all(word and word.split() == [word] for words in found for word in words)
    changed = [a != b for new, old in zip(found, sentences, strict=True) for a, b in zip(new, old, strict=True)]
    assert 0.15 < sum(changed) / len(changed) < 0.45


def test_words_behind_the_last_position_stay(tmp_path: Path) -> None:
    (found,) = filler(tmp_path, "bert", always="river").replace(["cat " * 100], 1.0, random.Random(0))
    assert found == "river " * 38 + "cat " * 62


def test_texts_of_which_nothing_can_be_masked_stay(tmp_path: Path) -> None:
    fill = filler(tmp_path, "bert")
    assert fill.replace(["\u200d", "cat"], 0.0, random.Random(0))[0] == "\u200d"
    assert fill.replace([], 0.5, random.Random(0)) == []


def test_only_a_checkpoint_with_a_trained_head_can(tmp_path: Path) -> None:
    assert WordFiller.of(start(tmp_path, "bert", SequenceClassifier), CPU) is None
    without = StartingModel(model=cast(Any, None), tokenizer=cast(Any, None), origin="random")
    assert WordFiller.of(without, CPU) is None


@pytest.mark.parametrize("name", ["classification", "ner"])
def test_a_third_of_made_up_texts_are_of_the_model(name: str, tmp_path: Path) -> None:
    fill = filler(tmp_path, "bert", always="river")
    task = registry.task_class(name)(registry.settings_class(name)())
    texts = ["The cat sees the dogs near old houses"] * 5
    items = [task.parse_input({"tokens": text.split()} if name == "ner" else {"text": text}, "") for text in texts]
    found = made_up(task, items, 6, fill)
    assert len(found) == 30
    words = [item.words if name == "ner" else item.text.split() for item in found]
    of_model = ["river" in each for each in words]
    assert of_model == [number // 5 in (1, 5) for number in range(30)]
    assert found == made_up(task, items, 6, fill)
