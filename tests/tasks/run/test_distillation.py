"""Learning from a teacher: what it says of each item and word, whatever its tokenizer, and runs that learn from it."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import BAD, ENVIRONMENT, GOOD, scramble, write
from ner_files import DEV, TRAIN
from ner_files import write as write_sentences
from safetensors.torch import load_file
from teachers import SMALL, TAGS, TEXTS, lines_file, make_teacher, prepared, texts_file

from minibert import (
    CrfTokenClassifier,
    MultipleChoiceClassifier,
    SequenceClassifier,
    TokenClassifier,
    pack,
)
from minibert.errors import InputError
from minibert.training import Paused
from tasks import registry
from tasks.ner.settings import NerSettings
from tasks.ner.task import NerTask
from tasks.run.distillation import distillation_loss
from tasks.run.options import parse
from tasks.run.train import train

pytestmark = pytest.mark.usefixtures("narrow_models")


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_text_gets_what_its_teacher_says_with_its_own_tokenizer_and_order_of_labels(
    family: str, tmp_path: Path
) -> None:
    model, tokenizer = make_teacher(
        tmp_path / "teacher", SequenceClassifier, {0: "good", 1: "bad"}, family, [[text] for text in TEXTS]
    )
    unlabelled = lines_file(tmp_path / "more.txt", ["a fine day", "", "   ", "an awful long day at home"])
    options = ["--train", texts_file(tmp_path / "train.jsonl"), "--teacher", str(tmp_path / "teacher"), *SMALL]
    task, found = prepared("classification", [*options, "--unlabelled", unlabelled])
    assert found.start.model.config.id2label == {0: "bad", 1: "good"}
    items = found.splits["train"].items
    texts = [item.text for item in items] + ["a fine day", "an awful long day at home"]
    examples = found.training.items
    assert [example.labelled for example in examples] == [True] * len(items) + [False] * 2
    for text, example in zip(texts, examples, strict=True):
        ids, _ = tokenizer.with_special_tokens(tokenizer.encode(text).ids)
        expected = model(pack([ids]))[0].flip(0)
        torch.testing.assert_close(torch.from_numpy(example.logits)[0], expected, atol=1e-5, rtol=1e-4)
        own, _ = found.start.tokenizer.with_special_tokens(found.start.tokenizer.encode(text).ids)
        assert example.example.ids.tolist() == own
    assert found.described["unlabelled"]["items"] == 2
    assert task.name == "classification"


def test_a_word_gets_what_its_teacher_says_of_it_across_tokenizers_and_windows(tmp_path: Path) -> None:
    """The teacher cuts words into characters and reads the sentence in windows of 40 tokens, the student in windows of
    12; each word's row is that of the teacher's window in which the word counts."""
    model, tokenizer = make_teacher(tmp_path / "teacher", TokenClassifier, TAGS, "roberta", [["a", "b"]])
    long = [(" ".join(text for text, _ in TRAIN[:4]), " ".join(tags for _, tags in TRAIN[:4]))]
    data = ["--train", write_sentences(tmp_path / "train.txt", [*TRAIN, *long])]
    data += ["--dev", write_sentences(tmp_path / "dev.txt", DEV), "--max-length", "12", "--overlap", "4"]
    unlabelled = lines_file(tmp_path / "more.txt", ["Ann saw Rome.", ""])
    task, found = prepared("ner", [*data, *SMALL, "--teacher", str(tmp_path / "teacher"), "--unlabelled", unlabelled])
    names = [found.start.model.config.id2label[index] for index in range(5)]
    order = [next(index for index, tag in TAGS.items() if tag == name) for name in names]
    items = [*found.splits["train"].items, task.parse_input({"text": "Ann saw Rome."}, "")]
    of_teacher = NerTask(NerSettings()).encode(items, tokenizer, model.config)
    own = task.encode(items, found.start.tokenizer, found.start.model.config)
    assert max(own.counts) > 1
    assert max(of_teacher.counts) > 1
    assert own.counts != of_teacher.counts
    windows, examples = iter(of_teacher.examples), iter(found.training.items)
    for item, theirs, ours in zip(items, of_teacher.counts, own.counts, strict=True):
        expected = []
        for _ in range(theirs):
            window = next(windows)
            expected += [
                row for row, target in zip(model(pack([window.ids])), window.targets, strict=True) if target >= 0
            ]
        mine = [next(examples) for _ in range(ours)]
        assert [len(example.logits) for example in mine] == [int((each.example.targets >= 0).sum()) for each in mine]
        rows = torch.from_numpy(np.concatenate([example.logits for example in mine]))
        assert len(rows) == len(item.words)
        torch.testing.assert_close(rows, torch.stack(expected)[:, order], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("head", ["crf", "linear"])
def test_a_crf_teaches_its_marginals_and_one_that_learns_compares_its_own(head: str, tmp_path: Path) -> None:
    """Against marginals as the gradient of log Z, by which they are defined; with unlabelled sentences."""
    model, tokenizer = make_teacher(tmp_path / "teacher", CrfTokenClassifier, TAGS, "bert", [["a", "b"]])
    for parameter in model.crf.parameters():
        torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path / "teacher")
    data = ["--train", write_sentences(tmp_path / "train.txt", TRAIN), "--head", head]
    data += ["--dev", write_sentences(tmp_path / "dev.txt", DEV), "--teacher", str(tmp_path / "teacher")]
    task, found = prepared("ner", [*data, *SMALL, "--unlabelled", lines_file(tmp_path / "more.txt", ["Ann saw Rome."])])
    student = found.start.model.eval()
    order = [next(i for i, tag in TAGS.items() if tag == name) for name in student.config.id2label.values()]
    windows = NerTask(NerSettings()).encode(
        [*found.splits["train"].items, task.parse_input({"text": "Ann saw Rome."}, "")], tokenizer, model.config
    )
    for window, soft in zip(windows.examples, found.training.items, strict=True):
        emissions = model(pack([window.ids]))[torch.from_numpy(window.targets >= 0)]
        expected = marginals_as_gradients(model.crf, emissions)[:, order]
        torch.testing.assert_close(torch.from_numpy(soft.logits).exp(), expected, atol=1e-5, rtol=1e-4)

    batch = found.training.collate(found.training.items)
    logits = student(batch.inputs).detach().requires_grad_()
    own = [logits[row] for row in batch.target_positions.split(batch.target_counts)]
    if head == "crf":
        for parameter in student.crf.parameters():
            torch.nn.init.normal_(parameter)
        own = [marginals_as_gradients(student.crf, rows).log() for rows in own]
    loss, soft = distillation_loss(task, student, logits, batch), batch.soft_targets / 2
    kl = 4 * F.kl_div((torch.cat(own) / 2).log_softmax(-1), soft.softmax(-1), reduction="sum")
    expected = (kl + (task.losses(student, logits, batch) * batch.labelled).sum()) / 2
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)
    of = (logits, *([student.crf.transitions, student.crf.start, student.crf.end] if head == "crf" else []))
    gradients = [torch.autograd.grad(value, of, retain_graph=True) for value in (loss, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def marginals_as_gradients(crf: Any, emissions: torch.Tensor) -> torch.Tensor:
    """The probability of each tag at each word: the gradient of log Z with respect to its emission, itself with a
    gradient. log Z is that of a path less its logarithmic likelihood."""
    again = emissions if emissions.requires_grad else emissions.detach().requires_grad_()
    anywhere = int((~crf.forbidden.any(0)).nonzero()[0])  # may follow all tags, itself too
    path = torch.full((len(again),), anywhere)
    score = again[range(len(again)), path].sum() + crf.start[path[0]] + crf.end[path[-1]]
    score = score + crf.transitions[path[:-1], path[1:]].sum()
    log_z = score - crf.log_likelihood(again, path, (len(again),)).sum()
    (marginals,) = torch.autograd.grad(log_z, again, create_graph=True)
    return marginals


def test_choices_are_compared_within_their_question(tmp_path: Path) -> None:
    questions = [
        {"question": f"Is {i} even?", "choices": ["yes", "no", "who knows"][: 2 + i % 2], "label": i % 2}
        for i in range(8)
    ]
    words = [[f"Is {i} even?", "yes", "no", "who knows"] for i in range(8)]
    make_teacher(tmp_path / "teacher", MultipleChoiceClassifier, None, "bert", words)
    options = ["--train", write(tmp_path / "train.jsonl", questions), "--teacher", str(tmp_path / "teacher"), *SMALL]
    task, found = prepared("multiple_choice", options)
    batch = found.training.collate(found.training.items)
    model = found.start.model.eval()
    logits = batch.output_of(model)
    (gradient,) = torch.autograd.grad(distillation_loss(task, model, logits, batch), logits)
    assert gradient.isfinite().all()
    scores = logits.split(batch.sequences_per_example)
    expected = 0.5 * sum(
        4 * F.kl_div((own / 2).log_softmax(-1), torch.from_numpy(soft.logits[0] / 2).softmax(-1), reduction="sum")
        + F.cross_entropy(own, torch.tensor(soft.example.target))
        for own, soft in zip(scores, found.training.items, strict=True)
    )
    torch.testing.assert_close(distillation_loss(task, model, logits, batch), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_the_loss_and_its_gradient_are_those_of_the_formula(weight: float, tmp_path: Path) -> None:
    """On a batch in which some texts have no label; written as Hinton et al. 2015 do, in plain PyTorch."""
    make_teacher(tmp_path / "teacher", SequenceClassifier, {0: "good", 1: "bad"}, "bert", [[text] for text in TEXTS])
    (tmp_path / "settings.toml").write_text(f"teacher_weight = {weight}\nteacher_temperature = 3.0\n")
    task, found = prepared("classification", [
        "--train", texts_file(tmp_path / "train.jsonl"), "--teacher", str(tmp_path / "teacher"), *SMALL, "--unlabelled",
        lines_file(tmp_path / "more.txt", ["a fine day", "an awful day"]), "--config", str(tmp_path / "settings.toml"),
    ])  # fmt: skip
    batch = found.training.collate(found.training.items[-5:])
    logits = torch.randn(5, 2, requires_grad=True)
    loss = distillation_loss(task, found.start.model, logits, batch)
    teacher = torch.from_numpy(np.concatenate([soft.logits for soft in found.training.items[-5:]]))
    soft, own = (teacher / 3).softmax(-1), (logits / 3).softmax(-1)
    kl = (soft * (soft.log() - own.log())).sum()
    expected = weight * 9 * kl + (1 - weight) * F.cross_entropy(logits[:3], batch.targets[:3], reduction="sum")
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients)


def test_a_number_is_compared_by_its_square(tmp_path: Path) -> None:
    """Tools name a number's only label differently."""
    make_teacher(tmp_path / "teacher", SequenceClassifier, {0: "LABEL_0"}, "bert", [[text] for text in TEXTS])
    rows = [{"text": text, "label": i / 10} for i, text in enumerate(TEXTS)]
    options = ["--train", write(tmp_path / "train.jsonl", rows), "--teacher", str(tmp_path / "teacher"), *SMALL]
    task, found = prepared("classification", [*options, "--kind", "regression", "--r-drop", "0"])
    batch = found.training.collate(found.training.items[:4])
    logits = torch.randn(4, 1)
    teacher = torch.tensor([soft.logits.item() for soft in found.training.items[:4]])
    expected = ((logits[:, 0] - teacher) ** 2 + (logits[:, 0] - batch.targets) ** 2).sum() / 2
    torch.testing.assert_close(distillation_loss(task, found.start.model, logits, batch), expected)


# -- runs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def taught(tmp_path: Path) -> list[str]:
    """The options of runs that learn from a teacher, with unlabelled texts and R-Drop."""
    make_teacher(tmp_path / "teacher", SequenceClassifier, {0: "good", 1: "bad"}, "bert", [[text] for text in TEXTS])
    unlabelled = lines_file(tmp_path / "more.txt", [f"a fine day, number {i}" for i in range(10)])
    return [
        "--train", texts_file(tmp_path / "train.jsonl"), "--teacher", str(tmp_path / "teacher"), "--unlabelled",
        unlabelled, *SMALL, "--no-baseline",
    ]  # fmt: skip


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits_and_wants_the_same_teacher(taught: list[str], tmp_path: Path) -> None:
    whole = registry.run("classification", [*taught, "--out", str(tmp_path / "whole")])
    metrics = json.loads((whole / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["data"]["unlabelled"]["items"] == 10
    settings = parse(registry.settings_class("classification"), taught, task="classification").settings
    task_class, out = registry.task_class("classification"), tmp_path / "out"
    out.mkdir()
    with pytest.raises(Paused):
        train(task_class(settings), command="x", folder=out, stop_after=1)
    teacher, more = tmp_path / "teacher", tmp_path / "more.txt"
    for path, change, message in [
        (teacher / "model.safetensors", lambda: scrambled(teacher), "the teacher file changed"),
        (more, lambda: more.write_text("a day", encoding="utf-8"), "the unlabelled file changed|number of training"),
    ]:
        kept = path.read_bytes()
        change()
        with pytest.raises(InputError, match=f"--resume: .*({message})"):
            train(task_class(settings), command="x", folder=out, resume=True)
        path.write_bytes(kept)
    train(task_class(settings), command="x", folder=out, resume=True)
    assert weights(out) == weights(whole)


def scrambled(folder: Path) -> None:
    model = SequenceClassifier.from_pretrained(folder)
    scramble(model, seed=7)
    model.save_pretrained(folder)


@pytest.mark.slow
def test_micro_batches_and_processes_share_a_step_and_token_budgets_count_unlabelled_texts(
    taught: list[str], tmp_path: Path
) -> None:
    """Without dropout, which differs between micro-batches and between processes."""
    make_teacher(tmp_path / "start", SequenceClassifier, {0: "bad", 1: "good"}, "bert", [[text] for text in TEXTS])
    config = json.loads((tmp_path / "start" / "config.json").read_text(encoding="utf-8"))
    config |= dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"), 0.0)
    (tmp_path / "start" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    start = ["--weights", str(tmp_path / "start"), "--lr", "1e-4"]

    def options(name: str, line: str = "") -> list[str]:
        (tmp_path / f"{name}.toml").write_text(line, encoding="utf-8")
        return [*taught, *start, "--config", str(tmp_path / f"{name}.toml"), "--out", str(tmp_path / name)]

    whole = registry.run("classification", options("whole"))
    parts = registry.run("classification", options("parts", "micro_batch_size = 3"))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "tasks.classification"]
    subprocess.run([*command, *options("two")], env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    expected = load_file(whole / "model.safetensors")
    for other in (parts, tmp_path / "two"):
        found = load_file(other / "model.safetensors")
        assert all((found[name] - tensor).abs().max() < 1e-5 for name, tensor in expected.items())
    budget = options("tokens", "batch_tokens = 60")
    del budget[budget.index("--batch-size") : budget.index("--batch-size") + 2]
    steps = []
    for run in (whole, registry.run("classification", budget)):
        log = [json.loads(line) for line in (run / "train_log.jsonl").read_text(encoding="utf-8").splitlines()]
        steps.append(max(record["step"] for record in log if "step" in record))
    assert steps[0] == 2 * math.ceil((22 + 10) / 8)
    assert steps[1] > steps[0]


@pytest.mark.slow
def test_a_student_learns_from_its_teacher_what_its_own_labels_do_not_say(tmp_path: Path) -> None:
    """Eight labelled texts with two of the words, and a teacher who knows all six of them and labels other texts."""
    rows = [{"text": f"a {word} thing number {i}", "label": label} for i in range(20)
            for label, words in (("good", GOOD), ("bad", BAD)) for word in words]  # fmt: skip
    dev = ["--dev", write(tmp_path / "dev.jsonl", [{**row, "text": row["text"] + " here"} for row in rows])]
    common = ["--precision", "fp32", "--no-baseline", "--batch-size", "8", "--epochs", "4", *dev]
    teacher = registry.run("classification", [
        "--train", write(tmp_path / "all.jsonl", rows), *common, "--out", str(tmp_path / "teacher"),
    ])  # fmt: skip
    few = [row for row in rows if GOOD[0] in row["text"] or BAD[0] in row["text"]][:8]
    options = ["--train", write(tmp_path / "few.jsonl", few), *common]
    unlabelled = lines_file(tmp_path / "more.txt", [row["text"] for row in rows])
    alone = registry.run("classification", [*options, "--out", str(tmp_path / "alone")])
    taught = registry.run("classification", [
        *options, "--teacher", str(teacher), "--unlabelled", unlabelled, "--out", str(tmp_path / "taught"),
    ])  # fmt: skip
    figures = [
        json.loads((run / "metrics.json").read_text(encoding="utf-8"))["final"]["dev"] for run in (alone, taught)
    ]
    assert figures[0]["accuracy"] < 0.9 < 0.99 < figures[1]["accuracy"]


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--unlabelled more.txt", "--unlabelled: needs --teacher"),
        ("--teacher x --unlabelled none.txt", "none.txt: no such file"),
        ("--teacher=", "--teacher: is empty"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(registry.settings_class("classification"), options.split(), task="classification")


def test_what_has_no_measure_of_distance_is_refused() -> None:
    cloze = ["--template", "{text} It was [MASK].", "--words", "a=x", "b=y", "--teacher", "x"]
    with pytest.raises(InputError, match="--teacher: a prompt learns from its own examples"):
        parse(registry.settings_class("cloze"), cloze, task="cloze")


def test_a_teacher_of_something_else_is_refused(tmp_path: Path) -> None:
    words = [[text] for text in TEXTS]
    options = ["--train", texts_file(tmp_path / "train.jsonl"), *SMALL]

    def refused(name: str, given: list[str], message: str) -> None:
        with pytest.raises(InputError, match=message):
            prepared(name, given)

    make_teacher(tmp_path / "labels", SequenceClassifier, {0: "good", 1: "poor"}, "bert", words)
    other = [*options, "--teacher", str(tmp_path / "labels")]
    refused("classification", other, r"labels: has other labels than the training data \(bad, poor only in one")
    make_teacher(tmp_path / "number", SequenceClassifier, {0: "score"}, "bert", words)
    number = [*options, "--teacher", str(tmp_path / "number")]
    refused("classification", number, "was trained with --kind regression, not single")
    make_teacher(tmp_path / "one", SequenceClassifier, {0: "spam"}, "bert", words)
    one = [
        "--train",
        write(tmp_path / "one.jsonl", [{"text": text, "label": ["eggs"][: i % 2]} for i, text in enumerate(TEXTS)]),
    ]
    (tmp_path / "one" / "task.json").write_text('{"task": "classification", "kind": "multi"}', encoding="utf-8")
    several = [*one, *SMALL, "--kind", "multi", "--teacher", str(tmp_path / "one")]
    refused("classification", several, r"has other labels than the training data \(eggs, spam only in one")
    (tmp_path / "number" / "task.json").write_text('{"task": "qa"}', encoding="utf-8")
    refused("classification", number, "is a run of qa; name one of classification")
    make_teacher(tmp_path / "headless", TokenClassifier, TAGS, "bert", words)
    refused("classification", [*options, "--teacher", str(tmp_path / "headless")], "has no trained head")
    make_teacher(tmp_path / "good", SequenceClassifier, {0: "good", 1: "bad"}, "bert", words)
    blank = ["--unlabelled", write(tmp_path / "blank.jsonl", [{"text": " "}]), "--teacher", str(tmp_path / "good")]
    refused("classification", [*options, *blank], r"--unlabelled .*blank.jsonl: has no texts")
