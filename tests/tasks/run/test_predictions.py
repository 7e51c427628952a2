"""The files of a run from which its figures can be computed again, without minibert's own scorers."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import rows, write
from ner_files import DEV, TRAIN
from ner_files import write as write_sentences

from minibert.errors import InputError
from tasks import registry
from tasks.data import Split
from tasks.run import predictions, train
from tasks.run.predictions import write_splits

pytestmark = [pytest.mark.usefixtures("narrow_models"), pytest.mark.slow]

SMALL = ["--weights", "random", "--batch-size", "8", "--precision", "fp32"]


def lines_of(run: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / f"predictions-{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def final(run: Path, split: str) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = metrics["final"][split]
    return found


def assert_intervals(run: Path, split: str, *names: str) -> None:
    """The intervals are those of the figures named, and lie around them."""
    figures = final(run, split)
    assert set(figures["intervals"]) == set(names)
    for name, (low, high) in figures["intervals"].items():
        assert low <= figures[name] <= high


def character_tags(record: dict[str, Any], key: str) -> list[str]:
    """A tag for each character of the text: an entity is the same whether its unit is a word or a character."""
    tags = ["O"] * len(record["text"])
    for entity in record[key]:
        assert record["text"][entity["start"] : entity["end"]] == entity["text"]
        tags[entity["start"]] = f"B-{entity['type']}"
        tags[entity["start"] + 1 : entity["end"]] = [f"I-{entity['type']}"] * (entity["end"] - entity["start"] - 1)
    return tags


@pytest.mark.parametrize("head", ["linear", "crf"])
def test_entities(head: str, tmp_path: Path) -> None:
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    files = [f"--{name}={write_sentences(tmp_path / f'{name}.txt', TRAIN)}" for name in ("train", "test")]
    files.append(f"--dev={write_sentences(tmp_path / 'dev.txt', DEV)}")
    options = ["--head", head, "--epochs", "12", *SMALL]
    run = registry.run("ner", [*files, "--out", str(tmp_path / "run"), *options])
    for split, count in (("dev", len(DEV)), ("test", len(TRAIN))):
        records = lines_of(run, split)
        assert len(records) == count
        gold, predicted = ([character_tags(record, key) for record in records] for key in ("gold", "predicted"))
        figure = final(run, split)["strict_f1"]
        assert f1_score(gold, predicted, mode="strict", scheme=IOB2) == pytest.approx(figure, abs=1e-12)
    assert figure > 0
    assert_intervals(run, "test", "strict_f1", "default_f1")
    assert [record["line"] for record in lines_of(run, "dev")] == [1, 7]
    assert not (run / "splits.json").exists()  # all parts were given


def test_labels_and_the_items_held_out(tmp_path: Path) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    data = rows(80)
    train_file = write(tmp_path / "train.jsonl", data)
    options = ["--train", train_file, "--test-share", "0.3", "--dev-share", "0.1", "--seed", "7", "--lr", "1e-4"]
    run = registry.run("classification", [*options, "--epochs", "1", "--out", str(tmp_path / "run"), *SMALL])
    records = lines_of(run, "test")
    gold, predicted = ([record[key] for record in records] for key in ("gold", "predicted"))
    figures = final(run, "test")
    assert accuracy_score(gold, predicted) == pytest.approx(figures["accuracy"], abs=1e-12)
    assert f1_score(gold, predicted, average="macro") == pytest.approx(figures["macro_f1"], abs=1e-12)
    names = ["accuracy", *(f"{kind}_{name}" for kind in ("macro", "binary") for name in ("precision", "recall", "f1"))]
    assert_intervals(run, "test", *names, "weighted_f1", "calibration_error")
    for record in records:
        assert record["probability"] == max(record["probabilities"].values())
        assert record["probabilities"][record["predicted"]] == record["probability"]
        assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-6)

    splits = json.loads((run / "splits.json").read_text(encoding="utf-8"))
    assert set(splits) == {"dev", "test"}
    assert {key: splits["test"][key] for key in ("path", "share", "seed", "items", "of")} == {
        "path": train_file, "share": 0.3, "seed": 7, "items": 24, "of": 80,
    }  # fmt: skip
    assert not set(splits["dev"]["indices"]) & set(splits["test"]["indices"])
    for name, part in splits.items():
        assert part["lines"] == [index + 1 for index in part["indices"]]  # a line for each row
        assert part["lines"] == [record["line"] for record in lines_of(run, name)]
        assert [str(data[index]["is_good"]) for index in part["indices"]] == [r["gold"] for r in lines_of(run, name)]


@pytest.mark.parametrize("kind", ["multi", "regression"])
def test_several_labels_and_numbers(kind: str, tmp_path: Path) -> None:
    from scipy.stats import pearsonr
    from sklearn.metrics import f1_score
    from sklearn.preprocessing import MultiLabelBinarizer

    labels = [i % 5 / 2 if kind == "regression" else [["a"], [], ["a", "b"]][i % 3] for i in range(60)]
    data = write(
        tmp_path / "data.jsonl", [{"text": f"thing {i % 7}{i}", "label": label} for i, label in enumerate(labels)]
    )
    options = ["--kind", kind, "--train", data, "--dev-share", "0.5", "--epochs", "2", "--out", str(tmp_path / "run")]
    run = registry.run("classification", [*options, *SMALL])
    gold, predicted = ([record[key] for record in lines_of(run, "dev")] for key in ("gold", "predicted"))
    if kind == "regression":
        assert_intervals(run, "dev", "mse", "mae", "pearson", "spearman")
        assert pearsonr(gold, predicted).statistic == pytest.approx(final(run, "dev")["pearson"], abs=1e-9)
        return
    of_probabilities = ("calibration_error", "macro_average_precision", "macro_auc")
    assert_intervals(run, "dev", "micro_f1", "macro_f1", "subset_accuracy", *of_probabilities)
    binary = MultiLabelBinarizer(classes=["a", "b"])
    found = f1_score(binary.fit_transform(gold), binary.transform(predicted), average="micro")
    assert found == pytest.approx(final(run, "dev")["micro_f1"], abs=1e-12)
    least = json.loads((run / "task.json").read_text(encoding="utf-8"))["calibration"]["thresholds"]
    for record in lines_of(run, "dev"):
        assert record["predicted"] == sorted(name for name, p in record["probabilities"].items() if p >= least[name])


def test_a_rare_label_among_several_costs_no_run_its_record(tmp_path: Path) -> None:
    """Most samples of its three texts in dev have none, and another seed's dev may have none itself."""
    labels = [["rare"] if i % 10 == 3 else [] for i in range(60)]
    data = write(
        tmp_path / "data.jsonl", [{"text": f"thing {i % 7}{i}", "label": label} for i, label in enumerate(labels)]
    )
    options = [
        "--kind",
        "multi",
        "--train",
        data,
        "--dev-share",
        "0.3",
        "--epochs",
        "1",
        "--out",
        str(tmp_path / "runs"),
    ]
    grid = registry.run("classification", [*options, "--seeds", "3", *SMALL])
    comparison = json.loads((grid / "comparison.json").read_text(encoding="utf-8"))
    (row,) = comparison["rows"]
    assert len(row["runs"]) == 3
    for name in row["runs"]:
        positives = sum(bool(record["gold"]) for record in lines_of(grid / name, "dev"))
        assert ("macro_auc" in final(grid / name, "dev")["intervals"]) == (positives > 0)


def test_characters_that_end_lines_elsewhere_are_kept(tmp_path: Path) -> None:
    records = [{"text": "a\u2028b\u2029c\x85d\x0be"}, {"text": "one more"}]
    predictions.write_predictions(tmp_path, "dev", records)
    assert predictions.read_predictions(tmp_path, "dev") == records


def test_the_samples_questions(tmp_path: Path) -> None:
    run = registry.run("qa", ["--out", str(tmp_path / "run"), "--precision", "fp32", "--epochs", "1", "--no-baseline"])
    split = list(json.loads((run / "metrics.json").read_text(encoding="utf-8"))["final"])[-1]
    assert {"accuracy", "macro_f1", "top_5_accuracy"} <= set(final(run, split)["intervals"])
    right = [record["gold"] == record["predicted"] for record in lines_of(run, split)]
    assert sum(right) / len(right) == pytest.approx(final(run, split)["accuracy"], abs=1e-12)


def test_prompts(tmp_path: Path) -> None:
    options = ["--template", "[MASK]: {text}", "--words", "0=0", "--words", "1=1", "--epochs", "1", *SMALL[2:]]
    data = write(tmp_path / "train.jsonl", [{"text": f"{i % 2} is number {i}", "label": str(i % 2)} for i in range(60)])
    run = registry.run("cloze", ["--train", data, "--out", str(tmp_path / "run"), *options])
    right = [record["gold"] == record["predicted"] for record in lines_of(run, "dev")]
    assert sum(right) / len(right) == pytest.approx(final(run, "dev")["accuracy"], abs=1e-12)


def test_spans(tmp_path: Path) -> None:
    questions = [
        {"id": f"q{i}", "question": f"number {i}?", "is_impossible": i % 3 == 0,
         "answers": [] if i % 3 == 0 else [{"text": f"thing {i % 2}", "answer_start": 2}]}
        for i in range(24)
    ]  # fmt: skip
    paragraphs = [{"context": f"a thing {q} b", "qas": [question]} for q, question in enumerate(questions)]
    for paragraph in paragraphs:
        paragraph["context"] = f"a thing 0 b thing 1 c {paragraph['qas'][0]['id']}"
        for answer in paragraph["qas"][0]["answers"]:
            answer["answer_start"] = paragraph["context"].index(answer["text"])
    file = tmp_path / "train.json"
    file.write_text(json.dumps({"version": "v2.0", "data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    options = ["--train", str(file), "--dev-share", "0.4", "--epochs", "3", "--out", str(tmp_path / "run"), *SMALL]
    run = registry.run("span_qa", options)
    records = lines_of(run, "dev")
    exact = [record["predicted"] in (record["gold"] or [""]) for record in records]
    assert sum(exact) / len(exact) == pytest.approx(final(run, "dev")["exact_match"], abs=1e-12)
    assert_intervals(run, "dev", "exact_match", "f1")
    indices = json.loads((run / "splits.json").read_text(encoding="utf-8"))["dev"]["indices"]
    assert [f"q{index}" for index in indices] == [record["id"] for record in records]  # one line has all questions


def test_pretraining_has_no_answers_to_keep(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n\n".join(f"a short line of text, number {i}" for i in range(60)), encoding="utf-8")
    run = registry.run(
        "pretraining", ["--corpus", str(corpus), "--epochs", "1", "--out", str(tmp_path / "run"), *SMALL]
    )
    assert not list(run.glob("predictions*"))
    assert "indices" in json.loads((run / "splits.json").read_text(encoding="utf-8"))["dev"]


def test_a_full_disk_does_not_cost_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise InputError(f"the disk is full ({errno.ENOSPC}).")

    options = ["--train", write(tmp_path / "train.jsonl", rows(40)), "--out", str(tmp_path / "run"), "--epochs", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(train, "write_predictions", full)
        with pytest.raises(InputError, match="disk is full"):
            registry.run("classification", [*options, *SMALL])
    assert "accuracy" in final(tmp_path / "run", "dev")
    assert "accuracy" in capsys.readouterr().out
    registry.run("classification", [*options, *SMALL, "--resume"])
    assert lines_of(tmp_path / "run", "dev")


def test_a_part_that_was_given_needs_no_record(tmp_path: Path) -> None:
    write_splits(tmp_path, {"train": Split(path="a", sha256="", items=[])})
    assert not (tmp_path / predictions.SPLITS_FILE).exists()
