"""The fit of n-gram scores: scikit-learn's features and machines, the weight beside an encoder, and whole runs."""

import dataclasses
import itertools
import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_config, write
from scipy.sparse import csr_matrix
from scipy.special import expit, softmax
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics import log_loss
from sklearn.svm import LinearSVC

from minibert import SequenceClassifier, pack
from minibert.checkpoint import open_checkpoint
from minibert.cpu_linear import can_quantize
from minibert.errors import InputError
from minibert.inference import for_inference
from minibert.ngrams import NgramScores, bigram_rows, unigram_rows
from minibert.training.optimizer import build_optimizer
from tasks import registry
from tasks.classification.data import LabelledText
from tasks.classification.examples import TextExample
from tasks.classification.ngrams import fit_ngrams
from tasks.classification.settings import ClassificationSettings
from tasks.classification.task import ClassificationTask
from tasks.cloze.settings import ClozeSettings
from tasks.cloze.task import ClozeTask
from tasks.data import Encoded, Split
from tasks.qa.settings import QaSettings
from tasks.qa.task import QaTask
from tasks.run.prepare import prepare

BUCKETS = 499
SMALL = ["--epochs", "2", "--batch-size", "8", "--precision", "fp32", "--weights", "random", "--ngrams"]


def examples_of(kind: str, labels: int, count: int = 150) -> list[TextExample]:
    """Texts of six to twelve tokens, of which one tells the label, most times."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        label = int(rng.integers(labels))
        ids = rng.integers(20, 60, rng.integers(6, 13))
        target: Any = label
        if kind == "multi":
            target = (rng.random(labels) < 0.3).astype(np.float32)
            ids[:labels] = np.where(target > 0, 60 + np.arange(labels), ids[:labels])
        elif rng.random() < 0.8:
            ids[2] = 60 + label
        found.append(TextExample(ids.astype(np.int32), np.zeros(len(ids), np.int8), target, number))
    return found


def tf_idf(examples: list[TextExample], fitted_on: int) -> Any:
    """scikit-learn's, fitted on the first examples, of counts that are made one by one."""
    counts = np.zeros((len(examples), BUCKETS))
    for row, example in enumerate(examples):
        ids = [int(each) for each in example.ids]
        for each in ids:
            counts[row, unigram_rows(each, BUCKETS)] += 1
        for one, other in pairwise(ids):
            counts[row, bigram_rows(one, other, BUCKETS)] += 1
    return counts, TfidfTransformer(norm=None).fit(counts[:fitted_on])


def fitted(train: list[TextExample], dev: list[TextExample], logits: Any, kind: str) -> NgramScores:
    module = NgramScores(BUCKETS, logits.shape[1])
    parts = {"train": train, "dev": dev}
    encoded = {name: Encoded(examples=each, counts=[1] * len(each)) for name, each in parts.items()}
    fit_ngrams(module, encoded, logits[:, None], ClassificationSettings(seed=3, kind=kind))
    return module.eval()


def entropy(
    logits: Any, examples: list[TextExample], kind: str, factors: Iterable[float] = np.geomspace(0.01, 30, 200)
) -> float:
    """scikit-learn's, at the best temperature."""
    targets = np.array([example.target for example in examples])

    def at(factor: float) -> float:
        if kind == "single":
            return log_loss(targets, softmax(factor * logits, axis=1), labels=range(logits.shape[1]))
        columns = zip(targets.T, logits.T, strict=True)
        return float(np.mean([log_loss(having, expit(factor * column), labels=[0, 1]) for having, column in columns]))

    return min(map(at, factors))


@pytest.mark.parametrize(("kind", "labels"), [("single", 2), ("single", 5), ("multi", 3)])
def test_scores_are_those_of_scikit_learn_weighed_beside_the_encoder(kind: str, labels: int) -> None:
    both = examples_of(kind, labels)
    train, dev = both[:100], both[100:]
    targets = np.array([example.target for example in train])
    of_labels = targets if kind == "multi" else np.eye(labels)[targets]
    # An encoder that knows something, and is four times surer than it should be.
    rng = np.random.default_rng(5)
    gold = np.array([example.target for example in dev])
    logits = 4 * (rng.normal(size=(50, labels)) + 0.8 * (gold if kind == "multi" else np.eye(labels)[gold]))
    module = fitted(train, dev, logits, kind)

    counts, weighing = tf_idf(both, 100)
    features = weighing.transform(counts).toarray()
    # A token counts by the length of its n-grams' vector, each counted as often as it occurs.
    features /= np.sqrt((counts * weighing.idf_**2).sum(1, keepdims=True))
    machines = [LinearSVC(random_state=3).fit(csr_matrix(features[:100]), having) for having in of_labels.T]
    expected = np.stack([machine.decision_function(features) for machine in machines], axis=1)
    found = module.scores(pack([example.ids for example in both])).numpy()
    scale = (found * expected).sum() / (expected**2).sum()
    np.testing.assert_allclose(found, scale * expected, atol=2e-2 * np.abs(found).max())

    whole = module(torch.from_numpy(logits), pack([example.ids for example in dev])).numpy()
    weight = ((whole - found[100:]) / logits).mean()
    assert 0 < weight < 0.6
    best = entropy(whole, dev, kind, [1.0])
    assert best < min(entropy(logits, dev, kind), entropy(expected[100:], dev, kind))
    for own, other in itertools.product((0.8, 1, 1.25), repeat=2):
        assert best <= entropy(own * weight * logits + other * scale * expected[100:], dev, kind, [1.0]) + 1e-4


def test_an_encoder_that_knows_nothing_or_all_is_weighed_so() -> None:
    both = examples_of("single", 3)
    train, dev = both[:100], both[100:]
    gold = np.array([example.target for example in dev])
    for logits, weak in ((np.random.default_rng(1).normal(size=(50, 3)), True), (20 * np.eye(3)[gold], False)):
        module, batch = fitted(train, dev, logits, "single"), pack([example.ids for example in dev])
        both_scores = module(torch.from_numpy(logits), batch), module.scores(batch)
        right, alone = (np.mean(scores.numpy().argmax(1) == gold) for scores in both_scores)
        assert right == pytest.approx(alone, abs=0.05) if weak else right == 1


def test_few_texts_and_labels_that_none_has_are_fitted() -> None:
    train = examples_of("single", 2, count=3)
    train[0], train[1] = train[0]._replace(target=0), train[1]._replace(target=1)
    for count in (2, 3):
        module = fitted(train[:count], train[:1], np.zeros((1, 4)), "single")
        assert all(parameter.isfinite().all() for parameter in module.parameters())
        assert module.scores(pack([[1, 2]]))[0, 3] < 0


def rows(count: int) -> list[dict[str, str]]:
    """The label is told by a pair of words, of which each also occurs elsewhere."""
    rng = np.random.default_rng(1)
    words = ["river", "mountain", "lake", "forest", "meadow", "valley", "hill", "stream"]
    found = []
    for number in range(count):
        label = number % 2
        some = [str(word) for word in rng.permutation(words)]
        pair = ["red", "car"] if label else ["car", "red"]
        found.append({"text": " ".join([*some[:3], *pair, *some[3:6]]), "label": "order" if label else "reverse"})
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_models")
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_a_run_answers_by_them_and_resumes_exactly(pooling: str, tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", rows(120))
    options = ["--train", train, *SMALL, "--pooling", pooling, "--save-steps", "5"]
    run = registry.run("classification", [*options, "--out", str(tmp_path / "run")])
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["final"]["dev"]["accuracy"] == 1.0  # two epochs alone do not teach it
    answers = tmp_path / "answers.jsonl"
    texts = [{"text": row["text"]} for row in rows(40)]
    registry.run("predict", [str(run), write(tmp_path / "new.jsonl", texts), "--out", str(answers)])
    found = [json.loads(line)["label"] for line in answers.read_text(encoding="utf-8").splitlines()]
    assert found == [row["label"] for row in rows(40)]

    model = (run / "model.safetensors").read_bytes()
    newest = max(run.glob("checkpoints/step-*"), key=lambda path: path.name)
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    (run / "metrics.json").unlink()
    registry.run("classification", [*options, "--out", str(run), "--resume"])
    assert (run / "model.safetensors").read_bytes() == model

    (run / "metrics.json").unlink()  # as if it had stopped between the two
    registry.run("classification", [*options, "--out", str(run), "--resume"])
    assert (run / "model.safetensors").read_bytes() == model

    plain = registry.run("classification", ["--train", train, "--weights", str(run), "--no-ngrams", "--epochs", "1",
                         "--out", str(tmp_path / "plain")])  # fmt: skip
    assert SequenceClassifier.from_pretrained(plain).ngrams is None
    again = registry.run("classification", ["--train", train, "--weights", str(run), "--epochs", "1", "--teacher",
                         str(run), "--out", str(tmp_path / "again")])  # fmt: skip
    assert "ngrams = true" in (again / "settings.toml").read_text(encoding="utf-8")
    assert json.loads((again / "metrics.json").read_text(encoding="utf-8"))["final"]["dev"]["accuracy"] == 1.0


def test_what_has_no_scores_is_refused() -> None:
    regression: dict[str, Any] = {"kind": "regression"}
    cloze: dict[str, Any] = {"template": "{text} [MASK]", "words": ("a=b", "c=d")}
    for settings_class, given in ((ClassificationSettings, regression), (ClozeSettings, cloze)):
        assert not settings_class(**given).may_have_ngrams
        with pytest.raises(InputError, match=r"--ngrams: scores the labels of .*; give --no-ngrams"):
            settings_class(ngrams=True, **given)


def test_small_models_have_them_and_given_ones_where_it_is_asked(tmp_path: Path) -> None:
    def chosen(task: ClassificationTask, labels: int = 2) -> bool:
        items = [LabelledText("a", None, f"label {number}", number) for number in range(labels)]
        task.resolve_settings(Split(path="x", sha256="", items=items))
        assert (task.update_config(tiny_config("bert")).ngram_buckets > 0) == task.settings.ngrams
        return bool(task.settings.ngrams)

    assert chosen(ClassificationTask(ClassificationSettings()))
    assert chosen(QaTask(QaSettings()))
    assert not chosen(ClassificationTask(ClassificationSettings()), labels=1001)
    assert chosen(ClassificationTask(ClassificationSettings(ngrams=True)), labels=1001)
    assert not chosen(ClassificationTask(ClassificationSettings(ngrams=False)))
    assert not chosen(ClassificationTask(ClassificationSettings(weights="somewhere")))
    assert chosen(ClassificationTask(ClassificationSettings(weights="somewhere", ngrams=True)))
    assert not chosen(ClozeTask(ClozeSettings(template="{text} [MASK]", words=("a=b", "c=d"))))


def test_a_run_of_before_is_resumed_without_them() -> None:
    """Its settings say nothing of them."""
    before, none, some = (ClassificationSettings(ngrams=ngrams).fingerprint() for ngrams in (None, False, True))
    assert before == none != some


def test_many_labels_are_no_reason_to_refuse_a_file(tmp_path: Path) -> None:
    """What is fitted is not what the file lacks."""
    SequenceClassifier(tiny_config("bert", num_hidden_layers=1)).save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    checkpoint = dataclasses.replace(checkpoint, config=checkpoint.config.with_ngrams(BUCKETS * 100))
    model, _ = checkpoint.load(SequenceClassifier, labels={number: str(number) for number in range(600)})
    assert model.ngrams is not None


def test_training_leaves_them_as_they_are() -> None:
    model = SequenceClassifier(tiny_config("bert", num_hidden_layers=1, ngram_buckets=BUCKETS))
    assert model.ngrams is not None
    with torch.no_grad():
        for parameter in model.ngrams.parameters():
            parameter.uniform_(1, 2)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(model, lr=0.1, head_lr=None, weight_decay=0.1)
    model(pack([[3, 4], [5, 6, 7]])).square().sum().backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        if name.startswith(("ngrams.", "classifier.weight")):
            assert torch.equal(parameter, before[name]) == name.startswith("ngrams."), name


@pytest.mark.parametrize(("dtype", "int8"), [(torch.bfloat16, False), (torch.float32, True)])
def test_inference_keeps_them_in_fp32(dtype: torch.dtype, int8: bool) -> None:
    """They may be far above the weights of layers."""
    if int8 and not can_quantize():
        pytest.skip("this CPU computes nothing in 8 bits")
    model = SequenceClassifier(tiny_config("bert", num_hidden_layers=1, ngram_buckets=BUCKETS)).eval()
    assert model.ngrams is not None
    with torch.no_grad():
        model.ngrams.weight.normal_(0, 5000)
        model.ngrams.frequency.uniform_(1, 10)
    ready = for_inference(model, dtype, int8=int8)
    batch = pack([[3, 4], [5, 6, 7]])
    assert torch.equal(ready.ngrams.scores(batch), model.ngrams.scores(batch))  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_models")
def test_training_goes_on_without_those_of_the_run_before(tmp_path: Path) -> None:
    """Else the encoder would learn what the old scores leave open, and lose them at the end."""
    train = write(tmp_path / "train.jsonl", rows(60))
    run = registry.run("classification", ["--train", train, *SMALL, "--epochs", "1", "--out", str(tmp_path / "run")])
    assert SequenceClassifier.from_pretrained(run).ngrams.weight.any()  # type: ignore[union-attr]
    task = ClassificationTask(ClassificationSettings(train=train, weights=str(run), ngrams=True, baseline=False))
    assert not any(parameter.any() for parameter in prepare(task).start.model.ngrams.parameters())  # type: ignore[union-attr]
