"""``python -m tasks.report``: the page of a run or a comparison, drawn again from its figures."""

from pathlib import Path
from typing import Any

import pytest
from conftest import rows, write
from ner_files import DEV, TRAIN
from ner_files import write as write_sentences

from minibert.errors import InputError
from minibert.files import read_json_object, write_json
from tasks import registry
from tasks.data import Details, ErrorCase, Mark

pytestmark = pytest.mark.usefixtures("narrow_models")

SMALL = ["--weights", "random", "--epochs", "2", "--batch-size", "8", "--precision", "fp32"]


def contents(folder: Path) -> dict[str, bytes]:
    """The page, the plots and the tables."""
    files = [folder / "report.html", *folder.glob("plots/*"), *folder.glob("comparison*.[ct]*")]
    return {path.name: path.read_bytes() for path in files}


def redrawn(folder: Path) -> dict[str, bytes]:
    for path in [folder / "report.html", *folder.glob("plots/*")]:
        path.unlink()
    registry.run("report", [str(folder)])
    return contents(folder)


@pytest.mark.slow
def test_a_runs_page_is_drawn_again(tmp_path: Path) -> None:
    files = ["--train", write_sentences(tmp_path / "a.txt", TRAIN), "--dev", write_sentences(tmp_path / "b.txt", DEV)]
    run = registry.run("ner", [*files, "--out", str(tmp_path / "run"), *SMALL])
    before = contents(run)
    assert b"Worst errors" in before["report.html"]
    assert redrawn(run) == before


@pytest.mark.slow
def test_a_comparisons_page_is_drawn_again(tmp_path: Path) -> None:
    options = ["--train", write(tmp_path / "train.jsonl", rows(40)), "--out", str(tmp_path / "out"), *SMALL]
    folder = registry.run("compare", ["--task", "classification", "--arch", "bert", "--seeds", "2", *options])
    before = contents(folder)
    tables = {f"comparison{part}.{ending}" for part in ("", "-classes") for ending in ("csv", "tex")}
    assert {"report.html", *tables} <= set(before)
    assert redrawn(folder) == before
    assert redrawn(folder / "bert-42")["report.html"]


def test_details_survive_json() -> None:
    case = ErrorCase(place="a", text="b", gold="c", predicted="d", loss=1.5,
                     marks=[Mark(start=0, end=1, kind="gold", label="x")])  # fmt: skip
    details = Details(title="t", rows={"a": {"f1": 0.5}}, table="u", confusion={"a": {"a": 3}}, errors=[case],
                      by_label={"a": {"true_positives": 3}}, confusion_note="n", loss="squared error")  # fmt: skip
    assert Details.from_json(details.to_json()) == details


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (None, {}, "has none of metrics.json, comparison.json and search.json"),
        ("metrics.json", {"task": "cloze"}, "was not trained, so it has no page"),
        ("search.json", {"trials": []}, "the search is not over, so it has no page"),
    ],
)
def test_a_folder_without_a_page_is_refused(
    file: str | None, content: dict[str, Any], message: str, tmp_path: Path
) -> None:
    if file is not None:
        write_json(tmp_path / file, content)
    with pytest.raises(InputError, match=message):
        registry.run("report", [str(tmp_path)])


@pytest.mark.slow
def test_the_confusion_of_entities_says_that_it_counts_words(tmp_path: Path) -> None:
    files = ["--train", write_sentences(tmp_path / "a.txt", TRAIN), "--dev", write_sentences(tmp_path / "b.txt", DEV)]
    run = registry.run("ner", [*files, "--out", str(tmp_path / "run"), *SMALL])
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "What is counted: words, not entities" in page
    counts = read_json_object(run / "metrics.json")["details"]["dev"]["confusion"]
    assert sum(sum(row.values()) for row in counts.values()) == sum(len(text.split()) for text, _ in DEV)
