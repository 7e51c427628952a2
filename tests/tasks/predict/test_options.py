"""Options that change what an answer has: how many alternatives, which column, what is unknown, how large a batch."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import scramble, tiny_config
from tiny_runs import TEXTS, WORDS, close, make_run

from minibert import MultipleChoiceClassifier, SequenceClassifier, Tokenizer
from minibert.errors import InputError
from tasks import registry
from tasks.predict import load
from tasks.predict.arguments import parse
from tasks.run import evaluate

LABELS = ("a", "b", "c", "d", "e")
QUESTION = {"context": "Ann went to Rome", "question": "Bob saw", "choices": ["Ann .", "Rome", "Bob and Ann"]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checkpoints without training; of labels also as runs of tasks that give them otherwise."""
    folder = tmp_path_factory.mktemp("runs")
    made = {name: make_run(folder / name, name) for name in ("ner", "span_qa", "fill_mask")}
    tokenizer = Tokenizer.train([WORDS] * 2, model_type="bert", vocab_size=80)
    config = tiny_config("bert", vocab_size=tokenizer.vocab_size, max_position_embeddings=40)
    torch.manual_seed(5)
    labels = SequenceClassifier(config.with_labels(dict(enumerate(LABELS))))
    choices = MultipleChoiceClassifier(config)
    for name, model in (("classification", labels), ("qa", labels), ("regression", labels), ("choice", choices)):
        scramble(model)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        made[name] = str(folder / name)
    (folder / "qa" / "task.json").write_text(json.dumps({"task": "qa"}))
    (folder / "regression" / "task.json").write_text(json.dumps({"task": "classification", "kind": "regression"}))
    return made


def answer(run: str, given: Any, **options: Any) -> Any:
    found = load(run, device="cpu", precision="fp32", **options)(given)
    found.pop("milliseconds")
    return found


def test_the_likeliest_labels(runs: dict[str, str]) -> None:
    whole = answer(runs["classification"], "Ann saw Bob")
    ranked = sorted(whole["probabilities"].items(), key=lambda pair: -pair[1])
    assert len(ranked) == 5
    for top_k in (1, 3, 9):
        found = answer(runs["classification"], "Ann saw Bob", top_k=top_k)
        assert list(found["probabilities"].items()) == ranked[:top_k]
        assert {**found, "probabilities": whole["probabilities"]} == whole
    found = answer(runs["qa"], "Ann saw Bob", top_k=2)
    assert [(each["label"], each["probability"]) for each in found["answers"]] == ranked[:2]


def test_the_likeliest_choices(runs: dict[str, str]) -> None:
    whole = answer(runs["choice"], QUESTION)
    found = answer(runs["choice"], QUESTION, top_k=2)
    order = sorted(range(3), key=lambda choice: -whole["probabilities"][choice])
    assert found["answers"] == [
        {"answer": QUESTION["choices"][choice], "label": choice, "probability": whole["probabilities"][choice]}
        for choice in order[:2]
    ]
    assert found["label"] == whole["label"] == order[0]
    assert found["choices"] == QUESTION["choices"]
    assert "probabilities" not in found


def test_the_best_spans_keep_their_probabilities(runs: dict[str, str]) -> None:
    given = {"question": "Who saw Bob ?", "context": "Ann went to Rome and saw Bob ."}
    whole = answer(runs["span_qa"], given)
    assert len(whole["n_best"]) == 20
    assert answer(runs["span_qa"], given, top_k=3) == {**whole, "n_best": whole["n_best"][:3]}
    more = answer(runs["span_qa"], given, top_k=30)
    assert [(span["start"], span["end"]) for span in more["n_best"]][:20] == [
        (span["start"], span["end"]) for span in whole["n_best"]
    ]
    assert len(more["n_best"]) > 20


def test_the_likeliest_words_for_a_mask(runs: dict[str, str]) -> None:
    whole = answer(runs["fill_mask"], "Ann saw [MASK] .")
    found = answer(runs["fill_mask"], "Ann saw [MASK] .", top_k=2)
    assert found["masks"][0]["words"] == whole["masks"][0]["words"][:2]
    own = answer(runs["fill_mask"], {"text": "Ann saw [MASK] .", "top_k": 1}, top_k=2)
    assert len(own["masks"][0]["words"]) == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ner", {"top_k": 2}, "--top-k 2: answers of ner are not chosen from a ranking; leave it out"),
        ("regression", {"top_k": 2}, "--top-k 2: this model's answer is a number"),
        ("classification", {"top_k": 0}, "--top-k 0: must be 1 or more"),
        ("classification", {"batch_tokens": -1}, "--batch-tokens -1: must be 1 or more"),
        ("span_qa", {"text_column": "body"}, "--text-column body: inputs of span_qa have other fields than a text"),
        ("choice", {"text_column": "body"}, "--text-column body: inputs of multiple_choice have other fields"),
    ],
)
def test_what_a_model_does_not_have_is_refused(
    name: str, options: dict[str, Any], message: str, runs: dict[str, str]
) -> None:
    with pytest.raises(InputError, match=message):
        load(runs[name], device="cpu", **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top-k", "0"], "--top-k 0: must be 1 or more"),
        (["--batch-tokens", "0"], "--batch-tokens 0: must be 1 or more"),
        (["in.txt", "--resume"], "--resume: goes on with a file; name it with --out"),
        (["-", "--resume", "--out", "x"], "--resume: standard input cannot be read again"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_once(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(["run", *arguments])


@pytest.mark.parametrize(
    ("name", "text"), [("ner", "Ann saw Bob"), ("classification", "Ann saw Bob"), ("fill_mask", "Ann saw [MASK]")]
)
def test_the_text_may_stand_in_any_column(name: str, text: str, runs: dict[str, str]) -> None:
    """Even where another field has a name that is recognised; the answer has the text once, under its own name."""
    expected = answer(runs[name], text)
    expected.pop("text")
    given = {"id": 7, "Blurb": text, "text": "Rome", "sentence": "Bob"}
    assert answer(runs[name], given, text_column="blurb") == {**given, **expected}
    assert answer(runs[name], text, text_column="blurb") == {"blurb": text, **expected}


def test_the_column_of_a_question(runs: dict[str, str]) -> None:
    found = answer(runs["qa"], {"asked": "Ann saw Bob", "label": "x"}, text_column="asked")
    assert list(found) == ["asked", "input_label", "label", "probability", "answers"]
    assert found["label"] == answer(runs["qa"], "Ann saw Bob")["label"]


def test_a_column_that_is_missing_is_named_with_its_line(runs: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,review\n1,Ann\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"in\.csv, line 2: has no --text-column reviews; did you mean review\?"):
        registry.run("predict", [runs["ner"], str(tmp_path / "in.csv"), "--text-column", "reviews"])


def test_unknown_characters_of_a_text(runs: dict[str, str]) -> None:
    """The tokenizer knows the letters of WORDS; a word with any other letter is unknown as a whole."""
    for name in ("ner", "classification"):
        found = answer(runs[name], "Ann 好 saw  Qx , Rome", unknown=True)
        assert found["unknown"] == [
            {"start": 4, "end": 5, "text": "好"},
            {"start": 11, "end": 13, "text": "Qx"},
            {"start": 14, "end": 15, "text": ","},
        ]
        assert "unknown" not in answer(runs[name], "Ann saw Rome .", unknown=True)
        assert "unknown" not in answer(runs[name], "Ann 好")
    found = answer(runs["ner"], {"tokens": ["好", "Ann", "\u200b", "好", "Zz"]}, unknown=True)
    assert [found["text"][part["start"] : part["end"]] for part in found["unknown"]] == ["好", "\u200b", "好", "Zz"]
    assert [part["text"] for part in found["unknown"]] == ["好", "\u200b", "好", "Zz"]


def test_unknown_parts_of_several_texts_name_their_field(runs: dict[str, str]) -> None:
    given = {"question": "Who saw Bob", "context": "Ann , Rome"}
    found = answer(runs["span_qa"], given, unknown=True)
    assert found["unknown"] == [
        {"field": "question", "start": 0, "end": 3, "text": "Who"},
        {"field": "context", "start": 4, "end": 5, "text": ","},
    ]
    given = {"context": " 好 Ann", "question": "Bob saw", "choices": ["Ann", "Rome ,"]}
    found = answer(runs["choice"], given, unknown=True)
    assert found["unknown"] == [
        {"field": "context", "start": 1, "end": 2, "text": "好"},
        {"field": "choices", "index": 1, "start": 5, "end": 6, "text": ","},
    ]


def test_equal_texts_are_told_apart_and_choices_may_be_in_an_object(runs: dict[str, str]) -> None:
    given = {"context": "好", "question": "好", "choices": {"text": ["Ann", "好", "好"], "label": ["A", "B", "C"]}}
    found = answer(runs["choice"], given, unknown=True)
    assert [(part["field"], part.get("index")) for part in found["unknown"]] == [
        ("context", None), ("question", None), ("choices", 1), ("choices", 2),
    ]  # fmt: skip


def test_unknown_parts_are_those_of_the_text_as_it_was_given(runs: dict[str, str], tmp_path: Path) -> None:
    path = Path(runs["classification"])
    for file in path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "task.json").write_text(json.dumps({"task": "classification", "clean": ["Ann -> Bob saw"]}))
    found = answer(str(tmp_path), "Ann 好", unknown=True)
    assert found["unknown"] == [{"start": 4, "end": 5, "text": "好"}]


def test_batches_have_at_most_so_many_tokens(runs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[list[int]] = []
    by_length = evaluate.batches_by_length

    def noted(lengths: list[int], most: int) -> list[list[int]]:
        batches = by_length(lengths, most)
        sizes.append([sum(lengths[index] for index in batch) for batch in batches])
        return batches

    monkeypatch.setattr(evaluate, "batches_by_length", noted)
    whole = load(runs["classification"], device="cpu", precision="fp32")(TEXTS)
    small = load(runs["classification"], device="cpu", precision="fp32", batch_tokens=25)(TEXTS)
    for one, other in zip(whole, small, strict=True):
        assert close(one["probabilities"], other["probabilities"])
    assert len(sizes[0]) == 1
    assert max(sizes[1]) <= 25 < sum(sizes[1]) / 10
