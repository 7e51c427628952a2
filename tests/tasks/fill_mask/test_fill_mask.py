"""Words for gaps, beside transformers' own pipeline."""

import json
from pathlib import Path

import pytest
import torch
from conftest import FAMILIES, scramble, tiny_config

from minibert import PretrainingModel, SequenceClassifier, TokenClassifier, Tokenizer
from minibert.errors import InputError
from tasks import registry
from tasks.predict import load

LINES = ["臺北是臺灣的首都", "The cat sees the river", "the dogs like old houses", "老師看見一本書"] * 4


def checkpoint(family: str, folder: Path) -> Path:
    tokenizer = Tokenizer.train([LINES], model_type=family, vocab_size=300, running_text=True)
    config = tiny_config(family, vocab_size=tokenizer.vocab_size + 9, pad_token_id=tokenizer.pad_token_id)
    model = PretrainingModel(config)
    scramble(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("mask", ["[MASK]", "<mask>"])
@pytest.mark.parametrize("family", FAMILIES)
def test_words_and_probabilities_are_those_of_transformers(family: str, mask: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    folder = checkpoint(family, tmp_path)
    answer = load(str(folder), device="cpu", precision="fp32")
    tokenizer = answer.predictor.tokenizer
    text = f"臺北是{mask}的 the {mask}"
    found, other = answer([{"text": text, "top_k": 4}, f"{mask}臺北"])
    filled = found["masks"]
    assert [text[each["start"] : each["end"]] for each in filled] == [mask, mask]
    assert [len(other["masks"]), len(other["masks"][0]["words"])] == [1, 5]
    own = tokenizer.special_tokens["mask"]
    theirs = transformers.pipeline("fill-mask", model=str(folder), device="cpu")(f"臺北是{own}的 the {own}", top_k=20)
    assert len(filled) == len(theirs) == 2
    for ours, expected in zip(filled, theirs, strict=True):
        # Rows that only fill the embedding up have no token, and transformers shows them nevertheless.
        kept = [candidate for candidate in expected if candidate["token"] < tokenizer.vocab_size][:4]
        words = ours["words"]
        assert [word["token"] for word in words] == [candidate["token"] for candidate in kept]
        assert [word["text"] for word in words] == [tokenizer.decode([candidate["token"]]) for candidate in kept]
        assert [word["probability"] for word in words] == pytest.approx([each["score"] for each in kept], abs=2e-6)


def test_targets_are_those_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    folder = str(checkpoint("bert", tmp_path))
    given = {"text": "The [MASK] sees", "targets": ["cat", "river", "dogs"], "top_k": 2}
    (mask,) = load(folder, device="cpu", precision="fp32")(given)["masks"]
    theirs = transformers.pipeline("fill-mask", model=folder, device="cpu")(
        given["text"], targets=given["targets"], top_k=2
    )
    assert [word["token"] for word in mask["words"]] == [each["token"] for each in theirs]
    assert [word["probability"] for word in mask["words"]] == pytest.approx([e["score"] for e in theirs], abs=2e-6)


def test_every_target_is_answered_by_its_name(tmp_path: Path) -> None:
    """Also more than the usual five, and words of several tokens, of which the first stands for them."""
    answer = load(str(checkpoint("bert", tmp_path)), device="cpu", precision="fp32")
    targets = ["cat", "river", "dogs", "the", "sees", "a", "catriver"]
    (mask,) = answer({"text": "The [MASK] sees", "targets": targets})["masks"]
    named = [name for word in mask["words"] for name in word["targets"]]
    assert sorted(named) == sorted(targets)
    assert any({"cat", "catriver"} <= set(word["targets"]) for word in mask["words"])
    assert all("targets" not in word for word in answer({"text": "The [MASK] sees"})["masks"][0]["words"])


def test_wrong_fields_are_refused(tmp_path: Path) -> None:
    answer = load(str(checkpoint("bert", tmp_path)), device="cpu", precision="fp32")
    for fields, message in (
        ({"text": 3}, "the input: needs text"),
        ({"text": "[MASK]", "top_k": "2"}, "the input: top_k must be a whole number"),
        ({"text": "[MASK] " * 5, "top_k": 401}, "the input: top_k 401 for 5 masks asks for more than 2,000 words"),
        ({"text": "[MASK]", "top_k": 10**9}, "asks for more than 2,000 words; lower it"),
        ({"text": "[MASK]", "top_k": True}, "the input: top_k must be a whole number"),
        ({"text": "[MASK]", "targets": "cat"}, "the input: targets must be a list of words"),
        ({"text": "[MASK]", "targets": ["\u200b"]}, "the input: targets: .* has no token"),
    ):
        with pytest.raises(InputError, match=message):
            answer(fields)


def test_the_command_shows_each_mask_and_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(checkpoint("bert", tmp_path / "run"))
    registry.run("fill_mask", [run, "The [MASK] sees <mask>", "--top", "2"])
    shown = capsys.readouterr().out.splitlines()
    assert [shown[0], shown[3], len(shown)] == ["mask 1", "mask 2", 6]
    assert all(line.split()[0].endswith("%") for line in shown if not line.startswith("mask"))
    with pytest.raises(InputError, match=r"TEXT: holds no \[MASK\] to fill"):
        registry.run("fill_mask", [run, "nothing is missing"])
    with pytest.raises(InputError, match="TEXT: has 52 tokens, and the model has positions for 20"):
        registry.run("fill_mask", [run, "[MASK]" * 50])
    with pytest.raises(InputError, match="--top 0: must be 1 or more"):
        registry.run("fill_mask", [run, "[MASK]", "--top", "0"])
    vocab_size = json.loads((tmp_path / "run" / "config.json").read_text())["vocab_size"]
    tagger = TokenClassifier(tiny_config("bert", vocab_size=vocab_size))
    tagger.save_pretrained(tmp_path / "run")
    with pytest.raises(InputError, match=r"has no trained head for masked words \(mlm\."):
        registry.run("fill_mask", [run, "[MASK]"])


def test_the_model_is_not_left_in_training(tmp_path: Path) -> None:
    answer = load(str(checkpoint("albert", tmp_path)), device="cpu", precision="fp32")
    torch.manual_seed(1)
    first = answer("the [MASK]")["masks"]
    assert answer("the [MASK]")["masks"] == first


def test_the_calibration_of_a_run_is_none_of_its_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = checkpoint("bert", tmp_path)
    (run / "task.json").write_text('{"task": "cloze", "calibration": {"temperature": 2.0}}', encoding="utf-8")
    registry.run("fill_mask", [str(run), "The [MASK] sees"])
    assert capsys.readouterr().out.startswith("mask 1")
    SequenceClassifier(PretrainingModel.from_pretrained(run).config).save_pretrained(run)
    with pytest.raises(InputError, match="has no trained head for masked words"):
        registry.run("fill_mask", [str(run), "The [MASK] sees"])
