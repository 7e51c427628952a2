"""The figures of ``evaluate`` are those of the answers that ``predict`` gives, and of the run's own report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import scramble, tiny_config, write
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score
from sklearn.metrics import f1_score as f1_of_labels
from tiny_runs import TAGS, WORDS, close, make_run

from minibert import SequenceClassifier, TokenClassifier, Tokenizer
from minibert.errors import InputError
from tasks import registry

TEXTS = [" ".join(WORDS[start:end]) for start in range(7) for end in range(start + 1, 9)]
LABELLED = [{"text": text, "label": ("good", "bad")[len(text) % 2]} for text in TEXTS]
GOLD = ["B-PER", "O", "O", "B-LOC", "O", "O", "B-PER", "O"]
TAGGED = [{"tokens": WORDS[start:end], "tags": GOLD[start:end]} for start in range(7) for end in range(start + 1, 9)]
ASKED = [
    {"id": str(n), "question": "Ann", "context": text, "answers": {"text": [WORDS[1]], "answer_start": [4]}}
    for n, text in enumerate(TEXTS)
    if text.startswith("Ann went")
]
NEVER = {"id": "x", "question": "Bob", "context": "Ann", "is_impossible": True, "answers": []}
CHOSEN = [{"question": text, "choices": ["Ann", "Rome saw", "Bob ."], "label": len(text) % 3} for text in TEXTS]


def evaluated(run: str, rows: Sequence[Mapping[str, Any]] | str, folder: Path, *options: str) -> dict[str, Any]:
    file = rows if isinstance(rows, str) else write(folder / "new.jsonl", rows)
    out = folder / "figures.json"
    out.unlink(missing_ok=True)
    registry.run("evaluate", [run, file, "--out", str(out), "--precision", "fp32", *options])
    found: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return found


def predicted(run: str, rows: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
    inputs, answers = write(folder / "inputs.jsonl", rows), folder / "answers.jsonl"
    registry.run("predict", [run, inputs, "--precision", "fp32", "--out", str(answers)])
    return [json.loads(line) for line in answers.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("options", [[], ["--batch-tokens", "16"]])
def test_labels_are_compared_with_those_that_predict_gives(options: list[str], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "classification")
    found = evaluated(run, LABELLED, tmp_path, *options)
    gold, answers = (
        [row["label"] for row in rows]
        for rows in (LABELLED, predicted(run, [{"text": text} for text in TEXTS], tmp_path))
    )
    figures = found["figures"]
    assert figures["accuracy"] == pytest.approx(accuracy_score(gold, answers))
    assert figures["macro_f1"] == pytest.approx(f1_of_labels(gold, answers, average="macro"))
    low, high = figures["intervals"]["accuracy"]
    assert low < figures["accuracy"] < high
    assert found["data"]["labels"] == {"bad": gold.count("bad"), "good": gold.count("good")}


@pytest.mark.parametrize("name", ["ner", "crf"])
def test_entities_are_compared_with_those_that_predict_gives(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", name)
    figures = evaluated(run, TAGGED, tmp_path)["figures"]
    given = []
    for row, answer in zip(
        TAGGED, predicted(run, [{"tokens": row["tokens"]} for row in TAGGED], tmp_path), strict=True
    ):
        ends = np.cumsum([len(word) + 1 for word in row["tokens"]]) - 1
        tags = ["O"] * len(ends)
        for entity in answer["entities"]:
            inside = [place for place, end in enumerate(ends) if entity["start"] < end <= entity["end"]]
            for place in inside:
                tags[place] = f"{'I' if place > inside[0] else 'B'}-{entity['type']}"
        given.append(tags)
    expected = f1_score([row["tags"] for row in TAGGED], given, mode="strict", scheme=IOB2)
    assert 0 < expected < 1
    assert figures["strict_f1"] == pytest.approx(expected)


def test_numbers_are_compared_with_those_that_predict_gives(tmp_path: Path) -> None:
    """Of another tool's checkpoint, whose one output has any name."""
    tokenizer = Tokenizer.train([WORDS] * 2, model_type="bert", vocab_size=80)
    torch.manual_seed(3)
    config = tiny_config("bert", vocab_size=tokenizer.vocab_size, max_position_embeddings=40)
    SequenceClassifier(config.with_labels({0: "LABEL_0"})).save_pretrained(tmp_path / "run")
    tokenizer.save_pretrained(tmp_path / "run")
    rows = [{"text": text, "score": len(text) / 10} for text in TEXTS]
    figures = evaluated(str(tmp_path / "run"), rows, tmp_path)["figures"]
    answers = [row["score"] for row in predicted(str(tmp_path / "run"), [{"text": text} for text in TEXTS], tmp_path)]
    assert figures["mse"] == pytest.approx(np.mean((np.array(answers) - [row["score"] for row in rows]) ** 2), abs=1e-5)


def test_spans_and_choices_are_compared_with_those_that_predict_gives(tmp_path: Path) -> None:
    run = make_run(tmp_path / "span_qa", "span_qa")
    found = evaluated(run, ASKED, tmp_path)
    answers = predicted(run, [{"question": row["question"], "context": row["context"]} for row in ASKED], tmp_path)
    right = [answer["answer"].strip(" .").lower() == "went" for answer in answers]
    assert 0 < sum(right) < len(right)
    assert found["figures"]["exact_match"] == pytest.approx(np.mean(right))
    run = make_run(tmp_path / "multiple_choice", "multiple_choice")
    found = evaluated(run, CHOSEN, tmp_path)
    answers = predicted(run, [{"question": row["question"], "choices": row["choices"]} for row in CHOSEN], tmp_path)
    right = [answer["label"] == row["label"] for answer, row in zip(answers, CHOSEN, strict=True)]
    assert found["figures"]["accuracy"] == pytest.approx(np.mean(right))


SEVERAL = [
    {"body": f"{text} 7", "gold": ["long"] * (len(text) > 12) + ["Ann"] * ("Ann" in text)} for text in TEXTS if text
]
# What the training file shows, and every third row from the last does not: that | separates, and numbers begin at 1.
IN_CELLS = [{"text": text, "label": "a, x" if (len(TEXTS) - 1 - n) % 3 == 0 else "b|c"} for n, text in enumerate(TEXTS)]
FROM_1 = [{**row, "label": 1 + (n % 3 if (len(CHOSEN) - 1 - n) % 3 else n % 2)} for n, row in enumerate(CHOSEN)]
RUNS: dict[str, tuple[str, Sequence[Mapping[str, Any]], list[str]]] = {
    "ner": ("ner", TAGGED, []),
    "several labels, cleaned, in odd columns": (
        "classification",
        SEVERAL,
        ["--kind", "multi", "--text-column", "body", "--label-column", "gold", "--clean", "[0-9] -> x"],
    ),
    "several labels in a cell": ("classification", IN_CELLS, ["--kind", "multi", "--threshold", "each"]),
    "qa": ("qa", LABELLED, ["--prompt", "to {question}", "--no-baseline"]),
    "span_qa": ("span_qa", [{**row, "id": f"{n} {row['id']}"} for n in range(4) for row in [*ASKED, NEVER]], []),
    "multiple_choice": ("multiple_choice", FROM_1, ["--metric", "loss", "--seed", "7"]),
}


@pytest.mark.parametrize("name", RUNS)
def test_figures_of_the_test_file_are_those_of_the_report(name: str, tmp_path: Path) -> None:
    """The file is read as the run's own were: its columns, what separates labels, from where numbers count, what is
    cleaned. The model's folder alone knows."""
    task, rows, options = RUNS[name]
    start = make_run(tmp_path / "start", "fill_mask")
    files = ["--train", write(tmp_path / "a.jsonl", rows[::2]), "--dev", write(tmp_path / "b.jsonl", rows[1::2])]
    out = tmp_path / "run"
    given = ["--weights", start, "--epochs", "1", "--lr", "1e-3", "--precision", "fp32", "--out", str(out)]
    registry.run(task, [*files, "--test", write(tmp_path / "c.jsonl", rows[::-3]), *given, *options])
    report = json.loads((out / "metrics.json").read_text("utf-8"))
    (out / "settings.toml").unlink()
    found = evaluated(str(out), str(tmp_path / "c.jsonl"), tmp_path)
    expected = {key: value for key, value in report["final"]["test"].items() if key != "against_linear"}
    assert close(found["figures"], expected)
    assert found["details"]["confusion"] == report["details"]["test"]["confusion"]


@pytest.mark.parametrize("later", ["dull\ngood\nodd\n", None])
def test_numbers_keep_the_names_that_they_had_in_training(later: str | None, tmp_path: Path) -> None:
    """Whatever becomes of the file that gave them."""
    names = tmp_path / "names.txt"
    names.write_text("good\nodd\ndull\n", "utf-8")
    start = make_run(tmp_path / "start", "fill_mask")
    file = write(tmp_path / "a.jsonl", [{"text": text, "label": n % 3} for n, text in enumerate(TEXTS)])
    given = ["--weights", start, "--epochs", "1", "--precision", "fp32", "--no-baseline", "--label-names", str(names)]
    out = registry.run("classification", ["--train", file, "--dev", file, *given, "--out", str(tmp_path / "run")])
    report = json.loads((out / "metrics.json").read_text("utf-8"))
    names.unlink()
    if later:
        names.write_text(later, "utf-8")
    found = evaluated(str(out), file, tmp_path)
    assert found["details"]["confusion"] == report["details"]["dev"]["confusion"]


def test_a_file_in_another_layout_says_what_was_taken_from_the_run(tmp_path: Path) -> None:
    run = Path(make_run(tmp_path / "run", "classification"))
    (run / "task.json").write_text('{"task": "classification", "text_column": "body"}', "utf-8")
    message = r"column body is not among the columns \(text, label\)\. --text-column: as in the run, unless another is"
    with pytest.raises(InputError, match=message):
        evaluated(str(run), LABELLED, tmp_path)
    assert evaluated(str(run), LABELLED, tmp_path, "--text-column", "text")["data"]["texts"] == len(TEXTS)


@pytest.mark.parametrize(
    ("run", "rows", "options", "message"),
    [
        ("classification", [*LABELLED, {"text": "Ann", "label": "fine"}], [], r"new\.jsonl, line 36: fine is none of "
         r"the labels that .*run gives \(bad, good\); correct the label, or remove the line"),
        ("ner", [{"tokens": ["Ann"], "tags": ["B-ORG"]}], [], r"line 1: ORG is none of .*\(LOC, PER\)"),
        ("ner", [{"tokens": ["Ann"], "tags": ["O"]}], [], "has no entity, so there is nothing to compare answers with"),
        ("classification", LABELLED, ["--scheme", "io"], "--scheme: files of classification are read without it"),
        ("classification", LABELLED, ["--text-column", "body"], "--text-column body is not among the columns"),
        ("fill_mask", LABELLED, [], "is a pre-trained model, whose answers have no labels; name a run of a task"),
        ("classification", "absent.jsonl", [], r"absent\.jsonl: no such file"),
        ("classification", LABELLED, ["--out", "figures.csv"], r"--out figures\.csv: must end in \.json"),
        ("classification", LABELLED, ["--out", "absent/figures.json"], "its folder does not exist; make it"),
        ("classification", LABELLED, ["--threshold", "0.5"], "only models of several labels have one"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(
    run: str, rows: Any, options: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        evaluated(make_run(tmp_path / "run", run), rows, tmp_path, *options)
    assert not (tmp_path / "figures.json").exists()


FOREIGN = {
    "BIOES": ["O", *(f"{letter}-{type_}" for type_ in ("LOC", "PER") for letter in "BIES")],
    "BMES": ["O", *(f"{letter}-{type_}" for type_ in ("LOC", "PER") for letter in "BMES")],
    "IOB1": ["O", "B-LOC", "I-LOC", "I-PER"],
    "B alone": ["O", "B-LOC", "B-PER"],
}


@pytest.mark.parametrize("scheme", FOREIGN)
def test_models_of_other_tools_are_scored_by_the_entities_that_predict_gives(scheme: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.train([WORDS] * 2, model_type="bert", vocab_size=80)
    torch.manual_seed(3)
    config = tiny_config("bert", vocab_size=tokenizer.vocab_size, max_position_embeddings=40)
    model = TokenClassifier(config.with_labels(dict(enumerate(FOREIGN[scheme]))))
    scramble(model)
    model.save_pretrained(tmp_path / "run")
    tokenizer.save_pretrained(tmp_path / "run", for_words=True)
    rows = [{"text": " ".join(row["tokens"])} for row in TAGGED]
    answers = predicted(str(tmp_path / "run"), [{"tokens": row["tokens"]} for row in TAGGED], tmp_path)
    spans = [[[e["start"], e["end"], e["type"]] for e in answer["entities"]] for answer in answers]
    assert any(spans)
    gold = [{**row, "entities": of_row} for row, of_row in zip(rows, spans, strict=True)]
    figures = evaluated(str(tmp_path / "run"), gold, tmp_path)["figures"]
    assert (figures["strict_f1"], figures["report"]["micro avg"]["recall"]) == (1, 1)
    others = [{**row, "entities": []} for row in rows[1:]]
    assert evaluated(str(tmp_path / "run"), [gold[0], *others], tmp_path)["figures"]["strict_f1"] < 1


def test_what_8_bits_give_is_called_so(tmp_path: Path) -> None:
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("this CPU has no FBGEMM")
    run = make_run(tmp_path / "run", "classification")
    found = evaluated(run, LABELLED, tmp_path, "--precision", "int8")
    assert (found["precision"], found["engine"]) == ("int8", "torch")


def test_impossible_questions_alone_have_figures(tmp_path: Path) -> None:
    found = evaluated(make_run(tmp_path / "run", "span_qa"), [NEVER], tmp_path)
    assert found["figures"]["exact_match"] == 0  # a model that was not trained on any answers always


def test_nothing_is_written_over(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "classification")
    file = write(tmp_path / "labelled.json", LABELLED)
    with pytest.raises(InputError, match=r"labelled\.json: exists; remove it, or name a new file"):
        registry.run("evaluate", [run, file, "--out", file])


def test_a_file_of_one_label_alone_has_figures(tmp_path: Path) -> None:
    """Which training would refuse; and a table is read by the columns that are named."""
    run = make_run(tmp_path / "run", "classification")
    path = tmp_path / "new.csv"
    path.write_text("body,gold\n" + "".join(f"{text},good\n" for text in TEXTS), "utf-8")
    found = evaluated(run, str(path), tmp_path, "--text-column", "body", "--label-column", "gold")
    answers = predicted(run, [{"text": text} for text in TEXTS], tmp_path)
    assert found["figures"]["accuracy"] == pytest.approx(np.mean([row["label"] == "good" for row in answers]))


def test_the_terminal_has_the_table_and_the_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", "ner")
    evaluated(run, TAGGED, tmp_path)
    printed = capsys.readouterr().out
    assert "new.jsonl: read as JSON lines; 35 rows" in printed
    assert all(f"{type_} " in printed for type_ in {name[2:] for name in TAGS.values()} - {""})
    assert "strict f1: 95 % interval" in printed
