"""Sentence classification: what is lost and learnt, what a run leaves, and that Hugging Face reads it."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAMILIES, rows, scramble, tiny_config, write
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit

from minibert import SequenceClassifier, Tokenizer, pack
from minibert.errors import InputError
from minibert.inference import for_inference
from minibert.training import autocast
from tasks import registry
from tasks.classification.calibration import Calibration
from tasks.classification.data import LabelledText
from tasks.classification.examples import TextExample, cut_to_fit
from tasks.classification.prediction import TextPrediction, predictions_from_logits
from tasks.classification.settings import ClassificationSettings
from tasks.classification.task import ClassificationTask

pytestmark = pytest.mark.usefixtures("narrow_models")

SMALL = ["--weights", "random", "--epochs", "2", "--batch-size", "8", "--precision", "fp32"]


def metrics_of(out: Path | None) -> Any:
    assert out is not None
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("arch", FAMILIES)
def test_a_run_learns_and_its_folder_is_hugging_faces_too(arch: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    train = write(tmp_path / "train.jsonl", rows(80))
    out = registry.run(
        "classification", ["--train", train, "--arch", arch, "--out", str(tmp_path / "run"), *SMALL, "--epochs", "8"]
    )
    metrics = metrics_of(out)
    assert metrics["final"]["dev"]["accuracy"] == 1.0
    assert {"accuracy", "binary_f1", "macro_f1", "binary_precision"} <= set(metrics["final"]["dev"])
    assert metrics["data"]["train"]["labels"] == {"0": 36, "1": 36}
    assert all({"accuracy", "train_accuracy"} <= set(epoch) for epoch in metrics["epochs"])
    assert metrics["baseline"]["dev"]["accuracy"] >= 0.5
    assert "<html" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")

    theirs, info = transformers.AutoModelForSequenceClassification.from_pretrained(out, output_loading_info=True)
    assert not any(info.values())
    assert theirs.config.problem_type == "single_label_classification"
    encoded = transformers.AutoTokenizer.from_pretrained(out)(
        ["a lovely thing", "a dull thing"], padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        logits = theirs(encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits
    assert [theirs.config.id2label[i] for i in logits.argmax(-1).tolist()] == ["1", "0"]


LABELS = {"single": ["b", "a", "b"], "multi": [("a",), (), ("a", "b")], "regression": [0.5, -2.0, 3.25]}


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_two_passes_differ_by_their_divergence(kind: str) -> None:
    """Against torch's distributions; of numbers the squared distance."""
    task = ClassificationTask(ClassificationSettings(kind=kind))
    width = 1 if kind == "regression" else 3
    first, second = torch.randn(4, width), torch.randn(4, width)
    batch = task.collate(
        [TextExample(np.array([3]), np.array([0]), 0 if kind != "multi" else np.zeros(3), i) for i in range(4)]
    )
    found = task.divergence(torch.nn.Identity())(first, second, batch)
    if kind == "regression":
        assert float(found) == pytest.approx(float(((first - second) ** 2).sum()))
        return
    law = torch.distributions.Categorical if kind == "single" else torch.distributions.Bernoulli
    p, q = law(logits=first), law(logits=second)
    both = (torch.distributions.kl_divergence(p, q) + torch.distributions.kl_divergence(q, p)) / 2
    expected = both.sum() if kind == "single" else both.mean(-1).sum()
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("pairs", [False, True])
def test_the_loss_is_transformers(kind: str, pairs: bool) -> None:
    """BertForSequenceClassification with the same weights, texts and labels, for each problem type."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    texts = ["one two three", "four", "five six seven eight"]
    items = [
        LabelledText(text, "nine ten" if pairs else None, label, 1)
        for text, label in zip(texts, LABELS[kind], strict=True)
    ]
    task = ClassificationTask(ClassificationSettings(kind=kind))
    tokenizer = Tokenizer.train([t.split() for t in texts], model_type="bert", vocab_size=80)
    names = {0: "score"} if kind == "regression" else {0: "a", 1: "b"}
    config = task.update_config(tiny_config("bert", vocab_size=tokenizer.vocab_size).with_labels(names))
    model = SequenceClassifier(config)
    scramble(model)
    model.eval()
    encoded = task.encode(items, tokenizer, config)
    batch = task.collate(encoded.examples)
    ours = task.losses(model, model(batch.inputs), batch)
    assert ours.shape == (3,)

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for index, example in enumerate(encoded.examples):
        output = theirs(
            input_ids=torch.tensor(example.ids[None].astype(np.int64)),
            token_type_ids=torch.tensor(example.types[None].astype(np.int64)),
            labels=batch.targets[index : index + 1],
        )
        assert float(ours[index].detach()) == pytest.approx(float(output.loss.detach()), rel=1e-5)


@given(first=st.integers(0, 12), second=st.integers(0, 12), room=st.integers(0, 14))
def test_pairs_are_cut_from_the_longer_side(first: int, second: int, room: int) -> None:
    """Against the plain way: one token at a time off the longer one, off the second where both are equal."""
    a, b = list(range(first)), list(range(100, 100 + second))
    left, right = list(a), list(b)
    while len(left) + len(right) > room:
        (left if len(left) > len(right) else right).pop()
    assert cut_to_fit(a, b, room) == (left, right)


def test_long_texts_are_cut_and_counted() -> None:
    task = ClassificationTask(ClassificationSettings(max_length=6))
    tokenizer = Tokenizer.train([["one", "two"]], model_type="bert", vocab_size=60)
    config = tiny_config("bert", vocab_size=tokenizer.vocab_size).with_labels({0: "a", 1: "b"})
    items = [LabelledText("one two one two one two", None, "a", 1), LabelledText("one", None, "b", 2)]
    encoded = task.encode(items, tokenizer, config)
    whole = len(tokenizer.encode(items[0].text).ids)
    assert len(encoded.examples[0].ids) == 6
    assert (encoded.notes["cut_texts"], encoded.notes["cut_tokens"]) == (1, whole - 4)


def test_a_pair_has_a_token_of_each_text_at_least(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [{"text": "a b", "pair": "c d", "label": str(i % 2)} for i in range(4)])
    options = ["--train", path, "--dev", path, "--dry-run"]
    with pytest.raises(InputError, match="--max-length 4: too short for a pair of texts; raise it by 1"):
        registry.run("classification", [*options, "--max-length", "4"])
    registry.run("classification", [*options, "--max-length", "5"])


def predicted(kind: str, values: list[list[float]], **thresholds: float) -> TextPrediction:
    """The prediction whose probabilities are ``values``, a row for each prompt."""
    probability = np.array([values], np.float32)
    logits = {"single": np.log, "multi": logit, "regression": np.array}[kind](probability)
    (found,) = predictions_from_logits(kind, "abc", logits, Calibration(thresholds=thresholds))
    return found


def test_what_a_judgement_predicts() -> None:
    single = predicted("single", [[0.1, 0.5, 0.4], [0.2, 0.4, 0.4]])
    assert single.prediction == "b"
    assert single.probability == pytest.approx(0.45)
    assert [name for name, _ in single.ranked()] == ["b", "c", "a"]
    several = [[0.2, 0.5, 0.9], [0.4, 0.7, 0.3]]  # the means are 0.3, 0.6 and 0.6
    assert predicted("multi", several).prediction == ("b", "c")
    assert predicted("multi", several, a=0.25, b=0.61).prediction == ("a", "c")
    assert predicted("multi", several).probability is None
    assert predicted("regression", [[1.5]]).prediction == 1.5


@pytest.mark.slow
def test_several_labels_and_numbers_run_from_file_to_report(tmp_path: Path) -> None:
    multi = [{"text": row["headline"], "labels": ["good", "odd"] if row["is_good"] else []} for row in rows(40)]
    out = registry.run(
        "classification",
        ["--kind", "multi", "--train", write(tmp_path / "m.jsonl", multi), "--out", str(tmp_path / "m"), *SMALL],
    )
    assert {"micro_f1", "subset_accuracy"} <= set(metrics_of(out)["final"]["dev"])
    numbers = [{"text": row["headline"], "score": row["is_good"] * 2.5} for row in rows(40)]
    out = registry.run(
        "classification",
        ["--kind", "regression", "--train", write(tmp_path / "r.jsonl", numbers), "--out", str(tmp_path / "r"), *SMALL],
    )
    assert {"mse", "pearson", "spearman"} <= set(metrics_of(out)["final"]["dev"])
    assert SequenceClassifier.from_pretrained(tmp_path / "r").config.problem_type == "regression"


@pytest.mark.slow
def test_numbers_far_from_one_are_doubted_and_an_early_stop_is_said(tmp_path: Path) -> None:
    far = [{"text": row["headline"], "score": 400 + row["is_good"] * 200} for row in rows(40)]
    options = ["--kind", "regression", "--train", write(tmp_path / "r.jsonl", far), "--metric", "loss"]
    options += [*SMALL, "--lr", "1e-9", "--early-stopping", "1", "--epochs", "20", "--dev-share", "0.5"]
    metrics = metrics_of(registry.run("classification", [*options, "--out", str(tmp_path / "r")]))
    told, stopped, below, _ = metrics["warnings"]
    errors = re.search(
        r"no better than always predicting the mean \(mean squared error (.*), variance (.*)\), whatever", told
    )
    assert errors
    assert float(errors[1]) > 1e5 > float(errors[2]) > 0
    number = len(metrics["epochs"])
    assert number < 20
    assert re.match(r"Pearson .* is below that of TF-IDF 1-2-grams \+ ridge regression, .*: try more epochs", below)
    assert stopped == f"Stopped after {number} of 20 epochs without a better loss (--early-stopping 1)."


def test_numbers_are_not_rounded_to_half_precision() -> None:
    """Near 600, bf16 knows every fourth number."""
    config = tiny_config("bert", vocab_size=80).with_labels({0: "LABEL_0"})
    model = SequenceClassifier(config).eval()
    scramble(model.encoder)
    model.classifier.weight.data *= 500
    model.classifier.bias.data.fill_(600.0)
    batch = pack([[2, 5 + n, 3] for n in range(50)])
    with torch.inference_mode():
        exact = model(batch)
        copied = for_inference(model, torch.bfloat16)(batch)
        with autocast(torch.device("cpu"), "bf16"):
            cast = model(batch)
    assert exact.max() - exact.min() < 20  # a handful of numbers of bf16
    for answers in (copied, cast):
        assert len(set(answers.flatten().tolist())) > 40
        assert (answers - exact).abs().max() < 1


def test_clean_ups_reach_training_and_prediction(tmp_path: Path) -> None:
    task = ClassificationTask(ClassificationSettings(clean=(r"\d+ -> NUMBER", "thing ->")))
    split = task.read(write(tmp_path / "a.jsonl", rows(2)))
    assert split.items[1].text == "a fine  number NUMBER"
    assert task.parse_input({"text": "thing 7"}, "here").text == " NUMBER"


@pytest.mark.slow
def test_what_was_trained_on_pairs_wants_pairs_and_what_was_not_wants_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The columns are not named; what was recognised in training holds for prediction."""
    single = [{"text": row["headline"], "label": str(row["is_good"])} for row in rows(24)]
    pairs = [{"sentence1": row["text"], "sentence2": "why", "label": row["label"]} for row in single]
    for name, objects in (("single", single), ("pairs", pairs)):
        train = write(tmp_path / f"{name}.jsonl", objects)
        registry.run("classification", ["--train", train, "--out", str(tmp_path / name), "--no-baseline", *SMALL])
    capsys.readouterr()
    (tmp_path / "in.txt").write_text("a poor thing\n")
    with pytest.raises(InputError, match=r"in\.txt, line 1: has no sentence2, but the model needs a pair"):
        registry.run("predict", [str(tmp_path / "pairs"), str(tmp_path / "in.txt")])
    both = write(tmp_path / "in.jsonl", [{"text": "a poor thing", "text_pair": "why"}])
    registry.run("predict", [str(tmp_path / "single"), both])
    alone = write(tmp_path / "alone.jsonl", [{"text": "a poor thing"}])
    registry.run("predict", [str(tmp_path / "single"), alone])
    with_pair, without = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "pair" not in with_pair
    assert with_pair["probability"] == without["probability"]
    registry.run("predict", [str(tmp_path / "pairs"), write(tmp_path / "p.jsonl", pairs[:1])])
    assert json.loads(capsys.readouterr().out)["pair"] == "why"


def test_one_label_for_all_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"text": f"text {i}", "label": "good"} for i in range(20)])
    with pytest.raises(InputError, match=r"t\.jsonl .*: every text has the label good; add texts with other labels"):
        registry.run("classification", ["--train", path, "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_the_training_data_say_what_separates_labels(tmp_path: Path) -> None:
    train = write(
        tmp_path / "t.jsonl", [{"text": f"t{i}", "labels": "a, inc;b" if i % 2 else "inc;a"} for i in range(9)]
    )
    dev = write(tmp_path / "d.jsonl", [{"text": "d", "labels": "a, inc"}])
    task = ClassificationTask(ClassificationSettings(kind="multi", train=train, dev=dev))
    assert [item.label for item in task.read_given()["dev"].items] == [("a, inc",)]


def test_a_dry_run_shows_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train = write(tmp_path / "train.jsonl", rows(40))
    before = sorted(tmp_path.iterdir())
    assert registry.run("classification", ["--train", train, "--dry-run", "--max-length", "5"]) is None
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("36 texts", "cut texts", "[CLS] a", "max_length = 5", "longest 5"))
    assert "weight_decay" not in shown  # as it has its default
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_the_saved_settings_make_the_same_run(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", rows(40))
    options = ["--train", train, "--seed", "3", "--dev-share", "0.2", *SMALL]
    first = registry.run("classification", [*options, "--out", str(tmp_path / "first")])
    again = registry.run(
        "classification", ["--config", str(tmp_path / "first" / "settings.toml"), "--out", str(tmp_path / "again")]
    )
    assert metrics_of(first)["final"] == metrics_of(again)["final"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kind", "binary"], "--kind binary: use one of single, multi, regression"),
        (["--metric", "f1"], "--metric f1: use one of accuracy, macro_f1, loss"),
        (["--clean", "no arrow"], "--clean 'no arrow'"),
        (["--clean", "[a -> b"], "is not a regular expression"),
        (["--dev-share", "1"], "--dev-share 1.0: must be between 0 and 1"),
        (["--dev-share", "0.6", "--test-share", "0.5"], "1.1 in all leaves nothing of --train; stay below 1"),
        (["--test-share", "0.9"], "1 in all leaves nothing"),
        (["--label-column", "mood"], "--label-column mood is not among the columns"),
    ],
)
def test_bad_options_are_one_sentence(tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        registry.run(
            "classification",
            ["--train", write(tmp_path / "t.jsonl", rows(20)), "--out", str(tmp_path / "run"), *options],
        )
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()
