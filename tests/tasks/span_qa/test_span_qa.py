"""Answers by span: targets, loss, windows, n-best, and the empty answer, each against another way to get it."""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAMILIES, scramble, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from minibert import SpanClassifier, Tokenizer
from minibert.errors import InputError
from tasks import registry
from tasks.span_qa.data import Answer, Question
from tasks.span_qa.settings import SpanQaSettings
from tasks.span_qa.task import Span, SpanQaTask, Spans, SpanWindow

WORDS = ["Ann", "lives", "in", "Rome", "and", "Bob", "works", "in", "York", "since", "the", "year", "1999", "."]
TOKENIZERS = {
    family: Tokenizer.train([[" ".join(WORDS)]] * 3, model_type=family, vocab_size=300, running_text=True)
    for family in FAMILIES
}
pytestmark = pytest.mark.usefixtures("narrow_models")

SMALL = ["--weights", "random", "--epochs", "2", "--batch-size", "8", "--precision", "fp32"]


def question(context: str, start: int | None = None, end: int | None = None, impossible: bool = False) -> Question:
    answers = [] if start is None else [Answer(start, context[start:end])]
    return Question("id", "Who works ?", context, answers, [a.text for a in answers], impossible, 1, "")


def config_for(family: str, **changes: Any) -> Any:
    return tiny_config(family, vocab_size=TOKENIZERS[family].vocab_size, max_position_embeddings=90, **changes)


@given(
    words=st.lists(
        st.sampled_from([*WORDS, "臺", "北", "\u200b", "😀", "\t", "\u00a0x", "\x01"]), min_size=1, max_size=40
    ),
    data=st.data(),
    family=st.sampled_from(FAMILIES),
)
@settings(max_examples=80)
def test_targets_are_the_answers_characters_and_every_token_may_start_once(
    words: list[str], data: st.DataObject, family: str
) -> None:
    context = " ".join(words)
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, min(len(context), start + 12)))
    task = SpanQaTask(SpanQaSettings(max_length=40, overlap=8))
    tokenizer = TOKENIZERS[family]
    encoded = task.encode([question(context, start, end)], tokenizer, config_for(family))
    whole = tokenizer.encode(context).offsets
    kept = [tuple(window.offsets[i]) for window in encoded.examples for i in range(*window.keep)]
    assert kept == whole
    touched = [(a, b) for a, b in whole if a < end and b > start]
    for window in encoded.examples:
        assert len(window.ids) <= 40
        if touched and window.target[0] > 0:
            first, last = (window.offsets[place - window.at] for place in window.target)
            assert (first[0], last[1]) == (touched[0][0], touched[-1][1])
            assert first[0] <= max(start, touched[0][0])
            assert last[1] >= min(end, touched[-1][1])
    shown = any(window.target[0] > 0 for window in encoded.examples)
    assert encoded.notes["answers_that_no_window_shows"] == (bool(touched) and not shown)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_transformers(family: str) -> None:
    """ForQuestionAnswering averages the cross-entropies of start and end; a sequence at a time, so without padding."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    context = " ".join(WORDS)
    items = [question(context, 0, 3), question(context), question("Bob works in York", 13, 17)]
    task = SpanQaTask(SpanQaSettings(overlap=8))
    config = config_for(family)
    model = SpanClassifier(config)
    scramble(model)
    model.eval()
    encoded = task.encode(items, TOKENIZERS[family], config)
    batch = task.collate(encoded.examples)
    ours = task.losses(model, model(batch.inputs), batch)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    assert [example.target for example in encoded.examples][1] == (0, 0)
    for example, loss in zip(encoded.examples, ours.tolist(), strict=True):
        types = example.types.astype(np.int64) * (family != "roberta")
        output = theirs(
            input_ids=torch.tensor(example.ids[None].astype(np.int64)),
            token_type_ids=torch.tensor(types[None]),
            start_positions=torch.tensor([example.target[0]]),
            end_positions=torch.tensor([example.target[1]]),
        )
        assert loss == pytest.approx(float(output.loss.detach()), rel=1e-5)


def test_long_questions_are_cut_and_counted() -> None:
    """What is left is encoded as a question of those words."""
    context = " ".join(WORDS)
    long, short = (question(context, 0, 3)._replace(question=" ".join(WORDS[:count])) for count in (9, 5))
    tokenizer = TOKENIZERS["bert"]
    counts = [len(tokenizer.encode(item.question).ids) for item in (long, short)]
    task = SpanQaTask(SpanQaSettings(max_question=counts[1]))
    cut, whole = (task.encode([item], tokenizer, config_for("bert")) for item in (long, short))
    assert counts[0] > counts[1]
    assert list(map(str, cut.examples)) == list(map(str, whole.examples))
    assert [encoded.notes["cut_questions"] for encoded in (cut, whole)] == [1, 0]


def test_a_lost_answer_teaches_nothing() -> None:
    task = SpanQaTask(SpanQaSettings(overlap=8))
    lost = question("Bob works")._replace(golds=["gone"])
    config = config_for("bert")
    encoded = task.encode([lost, question("Bob works", 0, 3)], TOKENIZERS["bert"], config)
    batch = task.collate(encoded.examples)
    assert batch.num_targets == 1
    model = SpanClassifier(config).eval()
    losses = task.losses(model, model(batch.inputs), batch)
    assert losses[0] == 0 < losses[1]


@pytest.mark.slow
@given(
    number=st.integers(1, 12), max_answer=st.integers(1, 6), n_best=st.integers(1, 5), seed=st.integers(0, 100),
    data=st.data(),
)  # fmt: skip
@settings(max_examples=150)
def test_the_best_spans_are_those_of_brute_force(
    number: int, max_answer: int, n_best: int, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    at = 3
    scores = rng.normal(size=(at + number + 1, 2)).astype(np.float32)
    low = data.draw(st.integers(0, number))
    keep = (low, data.draw(st.integers(low, number)))
    offsets = np.array([(2 * i, 2 * i + 1) for i in range(number)], np.int32).reshape(-1, 2)
    window = SpanWindow(np.zeros(0, np.int32), np.zeros(0, np.int8), (0, 0), at, offsets, keep, 1)
    task = SpanQaTask(SpanQaSettings(max_answer=max_answer, n_best=n_best))
    found = task._best_spans(scores, window)
    every = [
        (float(scores[at + i, 0] + scores[at + j, 1]), 2 * i, 2 * j + 1)
        for i in range(*keep)
        for j in range(i, min(number, i + max_answer))
    ]
    expected = sorted(every, reverse=True)[:n_best]
    assert [(span.start, span.end) for span in found.best] == [(start, end) for _, start, end in expected]
    assert [span.score for span in found.best] == pytest.approx([score for score, _, _ in expected])
    assert found.null == pytest.approx(float(scores[0].sum()))


def test_windows_are_put_together_and_the_null_score_decides() -> None:
    task = SpanQaTask(SpanQaSettings(null_threshold=1.0, scorer="words", n_best=2))
    item = question("Bob works in York", 13, 17)
    parts = [Spans([Span(0, 3, 2.0), Span(0, 9, 1.0)], 6.0), Spans([Span(13, 17, 3.0)], 4.5)]
    (output,) = task.outputs(SpanClassifier(config_for("bert")), [item], [parts])
    assert output == Spans([Span(13, 17, 3.0), Span(0, 3, 2.0)], 4.5)
    assert output.null_difference == 1.5
    assert task.format_answer(item, output)["answer"] == ""
    lower = SpanQaTask(SpanQaSettings(null_threshold=1.5, scorer="words"))
    answer = lower.format_answer(item, output)
    assert (answer["answer"], answer["start"], answer["end"]) == ("York", 13, 17)
    weights = [math.exp(score) for score in (3.0, 2.0, 4.5)]
    assert answer["probability"] == pytest.approx(weights[0] / sum(weights))
    assert lower.compute_metrics([item], [output])["exact_match"] == 1.0
    assert task.compute_metrics([item], [output])["exact_match"] == 0.0


@pytest.mark.slow
@given(text=st.text(alphabet=st.sampled_from("ab \t\n\u00a0\u200b\u0001😀臺北é\u0301.,"), min_size=1, max_size=30))
@settings(max_examples=60)
def test_an_answers_offsets_are_characters_of_the_context(text: str) -> None:
    if not text.strip():
        return
    task = SpanQaTask(SpanQaSettings(overlap=8, scorer="words"))
    tokenizer, config = TOKENIZERS["bert"], config_for("bert")
    model = SpanClassifier(config).eval()
    item = task.parse_input({"question": "Who ?", "context": text}, "here")
    encoded = task.encode([item], tokenizer, config)
    if not encoded.examples:
        return
    batch = task.collate(encoded.examples)
    with torch.inference_mode():
        decoded = task.decode(model, model(batch.inputs), batch, encoded.examples)
    answer = task.format_answer(item, task.outputs(model, [item], [decoded])[0])
    for span in answer["n_best"]:
        assert text[span["start"] : span["end"]] == span["text"] != ""


def squad(impossible: bool) -> dict[str, Any]:
    paragraphs = []
    for index in range(12):
        context = f"Ann{index} lives in Rome since 19{index:02} ."
        qas: list[dict[str, Any]] = [
            {"id": f"{index}a", "question": "Who ?", "answers": [{"text": f"Ann{index}", "answer_start": 0}]},
            {
                "id": f"{index}b",
                "question": "Where ?",
                "answers": [{"text": "Rome", "answer_start": context.index("Rome")}],
            },
        ]
        if impossible:
            qas.append({"id": f"{index}c", "question": "Why ?", "answers": [], "is_impossible": True})
        paragraphs.append({"context": context, "qas": qas})
    return {"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}


@pytest.mark.slow
@pytest.mark.parametrize("impossible", [False, True])
def test_a_run_from_file_to_report(tmp_path: Path, impossible: bool, capsys: pytest.CaptureFixture[str]) -> None:
    train = tmp_path / "train.json"
    train.write_text(json.dumps(squad(impossible)), encoding="utf-8")
    out = registry.run("span_qa", ["--train", str(train), "--out", str(tmp_path / "run"), *SMALL])
    assert out is not None
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["settings"]["null_threshold"] == (0.0 if impossible else None)
    assert metrics["settings"]["scorer"] == "words"
    assert metrics["data"]["train"]["questions"] + metrics["data"]["dev"]["questions"] == (36 if impossible else 24)
    figures = metrics["final"]["dev"]
    assert {"exact_match", "f1"} <= set(figures)
    assert ("NoAns_f1" in figures) is impossible
    low, high = figures["intervals"]["f1"]
    assert f"\nf1: 95 % interval {low:.4f} to {high:.4f}" in capsys.readouterr().out
    assert (out / "report.html").is_file()


@pytest.mark.slow
def test_it_learns_where_answers_stand(tmp_path: Path) -> None:
    train = tmp_path / "train.json"
    train.write_text(json.dumps(squad(False)), encoding="utf-8")
    options = ["--epochs", "30", "--batch-size", "4", "--lr", "3e-4"]
    out = registry.run(
        "span_qa", ["--train", str(train), "--dev", str(train), "--out", str(tmp_path / "run"), *options]
    )
    assert out is not None
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["final"]["dev"]["exact_match"] > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-length", "5"], "after which 5 leave no room for a context"),
        (["--overlap", "-1"], "--overlap -1: must be 0 or more"),
        (["--max-answer", "0"], "--max-answer 0: must be 1 or more"),
        (["--scorer", "bleu"], "--scorer bleu: use one of auto, words, characters."),
        (["--null-threshold", "nan"], "--null-threshold nan: must be a finite number"),
    ],
)
def test_bad_options_are_one_sentence(tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        registry.run("span_qa", [*options, "--out", str(tmp_path / "run")])
    assert message in str(error.value)


def test_an_input_needs_a_question_and_a_context() -> None:
    task = SpanQaTask(SpanQaSettings())
    for record in ({"text": "a"}, {"question": "a"}, {"question": "a", "context": " "}):
        with pytest.raises(InputError, match=r"^here: "):
            task.parse_input(record, "here")


def test_a_dry_run_shows_the_question_whose_tokens_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first context has none."""
    paragraphs = [
        {"context": "\u200b", "qas": [{"id": "1", "question": "who?", "answers": [], "is_impossible": True}]},
        {
            "context": "Ann went to Rome.",
            "qas": [{"id": "2", "question": "where to?", "answers": [{"text": "Rome", "answer_start": 12}]}],
        },
    ]
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    path = str(tmp_path / "a.json")
    registry.run("span_qa", ["--train", path, "--dev", path, "--weights", "random", "--dry-run"])
    shown = capsys.readouterr().out.partition("the first example: ")[2]
    assert "where to?" in shown
    assert "who?" not in shown
