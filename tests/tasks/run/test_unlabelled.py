"""Texts without labels for a teacher: from any file, read before it answers, and never with labels in them."""

import gzip
import os
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import write
from ner_files import options as ner_options
from teachers import SMALL, TAGS, TEXTS, lines_file, make_teacher, prepared, texts_file

from minibert import SequenceClassifier, TokenClassifier
from minibert.errors import InputError
from tasks import registry
from tasks.run.distillation import collate
from tasks.run.prepare import data_lines

pytestmark = pytest.mark.usefixtures("narrow_models")

TABLE = "\n".join(f"{'good' if i % 2 else 'bad'},{text}" for i, text in enumerate(TEXTS))


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    make_teacher(tmp_path / "teacher", SequenceClassifier, {0: "good", 1: "bad"}, "bert", [[text] for text in TEXTS])
    return ["--train", texts_file(tmp_path / "train.jsonl"), "--teacher", str(tmp_path / "teacher"), *SMALL]


def lengths(options: list[str], unlabelled: str, task: str = "classification") -> list[int]:
    """The tokens of each text that was read."""
    made, found = prepared(task, [*options, "--unlabelled", unlabelled])
    assert found.described["unlabelled"]["items"] == sum(not soft.labelled for soft in found.training.items)
    assert data_lines(made, found)
    return [len(soft.example.ids) for soft in found.training.items if not soft.labelled]


def test_every_file_gives_the_same_texts(options: list[str], tmp_path: Path) -> None:
    """Also beside a table without a header, whose columns are of tables alone."""
    (tmp_path / "folder").mkdir()
    texts = ["a fine, fine day", "bad food"]
    for number, text in enumerate(texts):
        lines_file(tmp_path / "folder" / f"{number}.txt", [text])
    lines_file(tmp_path / "columns.csv", [f'good,"{text}"' for text in texts])
    (tmp_path / "more.txt.gz").write_bytes(gzip.compress("\r\n".join(texts).encode("utf-8-sig")))
    files = [
        lines_file(tmp_path / "more.txt", texts),
        str(tmp_path / "more.txt.gz"),
        write(tmp_path / "more.jsonl", [{"id": 1, "text": text, "label": "good"} for text in texts]),
        str(tmp_path / "folder"),
    ]
    expected = lengths(options, files[0])
    assert [lengths(options, file) for file in files[1:]] == [expected] * 3
    table = ["--train", lines_file(tmp_path / "train.csv", TABLE.split("\n")), "--columns", "label,text", *options[2:]]
    assert [lengths(table, file) for file in [*files, str(tmp_path / "columns.csv")]] == [lengths(table, files[0])] * 5
    assert len(set(expected)) == 2


def test_bad_files_are_refused_before_the_teacher_answers(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad = lines_file(tmp_path / "bad.jsonl", ['{"text": "a day"}', "no json", '{"text": 3}', '{"text": "a night"}'])
    os.mkfifo(tmp_path / "pipe")
    with monkeypatch.context() as patch:
        patch.setattr("tasks.run.distillation.answers", None)
        for path, message in [
            (lines_file(tmp_path / "blank.txt", [" "]), r"--unlabelled .*blank\.txt: has no texts"),
            (bad, r"bad\.jsonl, line 2: .*--skip-invalid leaves out rows like this one"),
            (str(tmp_path / "pipe"), r"pipe: is not a regular file, but is read more than once"),
        ]:
            with pytest.raises(InputError, match=message):
                lengths(options, path)
    assert len(lengths([*options, "--skip-invalid"], bad)) == 2
    assert "left out: 2 invalid rows (first in line 2)" in caplog.text


def test_lines_of_training_files_are_refused(options: list[str], tmp_path: Path) -> None:
    """They would be learnt with their labels; a text that happens to begin with one is none."""
    labelled = lines_file(
        tmp_path / "labelled.txt", [f"{'good' if i % 2 else 'bad'} {text}" for i, text in enumerate(TEXTS)]
    )
    with pytest.raises(InputError, match=re.escape("seem to have labels in them, as in 'bad a ")):
        lengths(options, labelled)
    assert len(lengths(options, lines_file(tmp_path / "more.txt", ["bad food", "a good day", "no"]))) == 3
    make_teacher(tmp_path / "words", TokenClassifier, TAGS, "bert", [["a", "b"]])
    words = [*ner_options(tmp_path), *SMALL, "--teacher", str(tmp_path / "words")]
    with pytest.raises(InputError, match=re.escape("seem to have labels in them, as in 'Ann B-PER'")):
        lengths(words, str(tmp_path / "train.txt"), "ner")
    assert (
        len(lengths(words, write(tmp_path / "words.jsonl", [{"tokens": ["Ann", "left"]}, {"tokens": []}]), "ner")) == 1
    )


def test_texts_that_are_held_out_are_counted(options: list[str], tmp_path: Path) -> None:
    more = lines_file(tmp_path / "more.txt", TEXTS)
    run = registry.run(
        "classification", [*options, "--unlabelled", more, "--epochs", "1", "--out", str(tmp_path / "run")]
    )
    record = (run / "metrics.json").read_text(encoding="utf-8")
    assert "2 of the 24 unlabelled texts are also held out." in record


def test_messages_name_lines_of_the_training_file_alone(options: list[str], tmp_path: Path) -> None:
    task, found = prepared("classification", [*options, "--unlabelled", lines_file(tmp_path / "more.txt", ["a day"])])
    batch: Any = collate(task, found.training.items[-2:])
    assert len(batch.lines) == 1
    assert batch.lines[0] > 0
