"""Runs on files as they come: what they say about them, what they record, and answers for the same files."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks import registry
from tasks.predict import command as predict
from tasks.pretraining.corpus import read_corpus

pytestmark = pytest.mark.usefixtures("narrow_models")

SMALL = ["--weights", "random", "--epochs", "1", "--precision", "fp32"]
TEXTS = [f"{('market', 'match')[n % 2]} report number {n}" for n in range(24)]
GOLD = ("entailment", "-", "contradiction")


def mnli(n: int) -> str:
    return json.dumps({"gold_label": GOLD[n % 3], "pairID": f"{n}", "sentence1": TEXTS[n], "sentence2": "A report."})


# The file, more options, the labels in the answers, and how the run says that it read the file.
SOURCES: dict[str, tuple[str, list[str], set[str], str]] = {
    "train.txt": (
        "".join(f"{text}\t{n % 2}\n" for n, text in enumerate(TEXTS)),
        ["--label-names", "finance", "sports"],
        {"finance", "sports"},
        "a table with tabs between its cells, without a header; 24 rows",
    ),
    "mnli.jsonl": ("\n".join(map(mnli, range(24))), [], {"entailment", "contradiction"}, "JSON lines; 24 rows"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train.txt", "mnli.jsonl"])
def test_the_studys_sources_train_and_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    content, options, labels, understood = SOURCES[name]
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    run = registry.run(
        "classification", ["--train", str(path), "--out", str(tmp_path / "run"), "--no-baseline", *SMALL, *options]
    )
    assert f"{path}: read as {understood}" in capsys.readouterr().out
    data = json.loads((run / "metrics.json").read_text("utf-8"))["data"]["train"]  # type: ignore[operator]
    assert data["rows"] == 24
    assert data.get("left_out", {}) == ({'rows with the gold_label "-"': 8} if name == "mnli.jsonl" else {})
    predict.main([str(run), str(path)])
    answers: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["text"] for answer in answers] == TEXTS
    assert {answer["label"] for answer in answers} <= labels
    assert set(answers[0]["probabilities"]) == labels
    assert all(("pair" in answer) == (name == "mnli.jsonl") for answer in answers)


def test_a_dry_run_shows_how_the_files_were_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": f"Mia saw Lima, day {n}.", "label": [[0, 4, "PER"]]} for n in range(20)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, [*rows, {"text": "nobody asked"}])), encoding="utf-8")
    registry.run("ner", ["--train", str(path), "--skip-invalid", "--dry-run", "--weights", "random"])
    said = capsys.readouterr().out
    for line in (
        "read as JSON lines; 21 rows, encoding utf-8, layout texts with spans, scheme spans",
        "repaired: 20 spans trimmed of white space (first in line 1)",
        "left out: 1 invalid rows (first in line 21)",
        f"left out: {path}, line 21: text without a list of spans",
    ):
        assert f"{path}: {line}" in said
        assert said.count(line) == 1
    assert "the first example: Sentence(words=['Mia', 'saw', 'Lima'" in said


def test_documents_of_wikitext_and_of_poems(tmp_path: Path) -> None:
    wiki = tmp_path / "wiki.train.tokens"
    wiki.write_text(
        " \n = Lima = \n \n A city . \n \n = = Past = = \n \n Old . \n \n = Mia = \n \n A name . \n", "utf-8"
    )
    split = read_corpus([str(wiki)])
    assert [document.paragraphs for document in split.items] == [
        ("= Lima =", "A city .", "= = Past = =", "Old ."),
        ("= Mia =", "A name ."),
    ]
    assert [document.line for document in split.items] == [2, 10]
    assert split.understood == ["2 documents, each from a heading such as = Title = on"]
    assert len(read_corpus([str(wiki)], documents="blank").items) == 6
    poems = tmp_path / "poems.txt"
    poems.write_text("山高月小\n水落石出\n\n风清\n", "utf-8")
    assert [d.paragraphs for d in read_corpus([str(poems)], documents="lines").items] == [
        ("山高月小",),
        ("水落石出",),
        ("风清",),
    ]
    assert len(read_corpus([str(poems)]).items) == 2
