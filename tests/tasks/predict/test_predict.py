"""Prediction: one line for each input, in order, with places in the text, however the work is cut up."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import MODELS, TEXTS, WORDS, close, make_run

from benchmarks import int8
from minibert import (
    CrfTokenClassifier,
    Encoder,
    TokenClassifier,
    cpu_linear,
)
from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.training import distributed
from tasks import registry
from tasks.ner.settings import NerSettings
from tasks.ner.task import NerTask
from tasks.predict import chunks
from tasks.predict.answerer import with_input
from tasks.predict.loading import load_predictor
from tasks.run import evaluate as inference_of_tasks
from tasks.run.predictor import Predictor


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {name: make_run(tmp_path_factory.mktemp("runs") / name, name) for name in MODELS}


@pytest.fixture(scope="module")
def taggers(runs: dict[str, str]) -> dict[str, Predictor]:
    """Loaded once for all the texts that are drawn."""
    return {name: load_predictor(runs[name], device="cpu", precision="fp32") for name in ("ner", "crf")}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "milliseconds"} for row in rows]


def answered(run: str, path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    registry.run("predict", [run, str(path), "--precision", "fp32", *options])
    return lines(capsys.readouterr().out)


@pytest.mark.parametrize("name", ["ner", "classification"])
def test_answers_come_in_order_and_do_not_depend_on_the_cut(
    name: str, runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    whole = answered(runs[name], path, capsys)
    assert [row["text"] for row in whole] == TEXTS
    assert all(row["milliseconds"] > 0 for row in whole)
    monkeypatch.setattr(chunks, "_CHUNK", 7)
    in_chunks = answered(runs[name], path, capsys)
    monkeypatch.setitem(inference_of_tasks.BATCH_TOKENS, "cpu", 1)
    one_by_one = answered(runs[name], path, capsys)
    for rows in (in_chunks, one_by_one):
        for row, expected in zip(without_times(rows), without_times(whole), strict=True):
            assert close(row, expected)


def small_chunks(folder: Path) -> Path:
    """A script that predicts in chunks of 8 inputs, so that several processes have something to share."""
    script = folder / "small_chunks.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from tasks.predict import chunks, command\n"
        "from tasks.run.console import run_main\n"
        "chunks._CHUNK = 8\n"
        "run_main(command.main)\n"
    )
    return script


@pytest.mark.slow
def test_several_processes_write_what_one_writes(
    runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(json.dumps({"id": i, "text": text}) for i, text in enumerate(TEXTS)), encoding="utf-8")
    options = [runs["ner"], str(source), "--precision", "fp32", "--out"]
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "_CHUNK", 8)
        registry.run("predict", [*options, str(tmp_path / "out1.jsonl")])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "3", str(small_chunks(tmp_path))]
    subprocess.run(
        [*command, str(ROOT), *options, str(tmp_path / "out3.jsonl")],
        check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=tmp_path,
    )  # fmt: skip
    outputs = [
        without_times(lines((tmp_path / f"out{processes}.jsonl").read_text(encoding="utf-8"))) for processes in (1, 3)
    ]
    assert [row["id"] for row in outputs[1]] == list(range(60))
    assert close(outputs[1], outputs[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.jsonl",
        "out1.jsonl",
        "out3.jsonl",
        "small_chunks.py",
    ]


@pytest.mark.slow
def test_processes_that_fail_leave_nothing(runs: dict[str, str], tmp_path: Path) -> None:
    rows = [{"text": text} for text in TEXTS]
    rows[12] = {"txt": "this one is of the second process, while the first goes on"}
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    script = small_chunks(tmp_path)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(script), str(ROOT)]
    done = subprocess.run(
        [*command, runs["ner"], str(source), "--out", str(tmp_path / "out.jsonl")],
        capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=tmp_path, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "in.jsonl, line 13: needs text" in done.stderr
    assert "RuntimeError" not in done.stderr  # of the one that waits for the other
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "small_chunks.py"]


def test_several_processes_need_files_to_share(
    runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(InputError, match="cannot share standard input"):
        registry.run("predict", [runs["ner"], "-", "--out", str(tmp_path / "out.jsonl")])
    (tmp_path / "in.txt").write_text("Ann\n")
    with pytest.raises(InputError, match="--out: needed under torchrun"):
        registry.run("predict", [runs["ner"], str(tmp_path / "in.txt")])


@pytest.mark.slow
def test_the_output_is_utf8_and_ends_quietly_where_its_reader_has_enough(runs: dict[str, str], tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("Ann saw 臺北 😀\n" * 6000, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "tasks.predict", runs["ner"], str(source)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert process.stdout
    assert process.stderr
    assert json.loads(process.stdout.readline())["text"] == "Ann saw 臺北 😀"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


BLANKS = [" ", "\t", "\n", "\u00a0", "\u3000", "\u200b", "\u200d", "\x01"]
ALPHABET = st.sampled_from(["Ann", "Rome", *BLANKS, "😀", "👩\u200d👧", "臺", "北", "e\u0301", "é", ",", "."])


@pytest.mark.skipif(not cpu_linear.can_quantize(), reason="this PyTorch or this CPU has no linear maps in 8 bits")
def test_answers_in_8_bits_are_nearly_those_in_fp32(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    exact = answered(runs["classification"], path, capsys)
    rounded = answered(runs["classification"], path, capsys, "--precision", "int8")
    for one, other in zip(exact, rounded, strict=True):
        assert other["text"] == one["text"]
        assert other["probabilities"] == pytest.approx(one["probabilities"], abs=0.05)
    assert [row["probabilities"] for row in rounded] != [row["probabilities"] for row in exact]


@pytest.mark.skipif(not cpu_linear.can_quantize(), reason="this PyTorch or this CPU has no linear maps in 8 bits")
def test_the_cost_of_8_bits_is_measured_on_a_run(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": text, "label": "good" if "Rome" in text else "bad"} for text in TEXTS]
    path = tmp_path / "dev.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    registry.run("predict", [runs["classification"], str(path), "--precision", "fp32"])
    answers = [row["label"] for row in lines(capsys.readouterr().out)]
    int8.main([runs["classification"], str(path), "--items", "50", "--rounds", "1"])
    shown = capsys.readouterr().out.splitlines()
    record = json.loads(shown[-1])
    right = [answer == row["label"] for answer, row in zip(answers, rows, strict=True)][-50:]
    assert record["items"] == 50
    for name in ("auto", "int8"):
        assert record["contenders"][name]["accuracy"] == pytest.approx(np.mean(right), abs=0.1)
        assert len(record["contenders"][name]["seconds"]) == 1
        assert any(line.startswith(f"| {name} |") for line in shown)


@pytest.mark.slow
@given(text=st.lists(ALPHABET, max_size=25).map("".join))
@settings(max_examples=150)
@pytest.mark.parametrize("name", ["ner", "crf"])
def test_an_entitys_offsets_are_characters_of_the_text(name: str, taggers: dict[str, Predictor], text: str) -> None:
    predictor = taggers[name]
    (answer,) = predictor.answer([predictor.task.parse_input({"text": text}, "here")])
    assert answer["text"] == text
    end = 0
    for entity in answer["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]
        assert entity["text"].strip() == entity["text"] != ""
        assert end <= entity["start"] < entity["end"]
        assert 0 <= entity["probability"] <= 1
        end = entity["end"]


def test_tokens_are_answered_with_places_in_the_laid_out_text(runs: dict[str, str]) -> None:
    predictor = load_predictor(runs["ner"], device="cpu", precision="fp32")
    for tokens, text in (
        (WORDS, " ".join(WORDS)),
        (["北", "京", "and", "上", "海"], "北京 and 上海"),
        (["", "Ann"], "Ann"),
    ):
        (answer,) = predictor.answer([predictor.task.parse_input({"tokens": tokens}, "here")])
        assert predictor.task.parse_input({"words": tokens}, "here").words == tokens
        assert answer["text"].strip() == text
        assert all(answer["text"][e["start"] : e["end"]] == e["text"] for e in answer["entities"])


def test_long_texts_are_read_in_windows_to_their_end(runs: dict[str, str]) -> None:
    """Far more words than positions."""
    predictor = load_predictor(runs["ner"], device="cpu", precision="fp32")
    text = " ".join(WORDS * 30)
    (answer,) = predictor.answer([predictor.task.parse_input({"text": text}, "here")])
    assert answer["entities"]
    assert answer["entities"][-1]["end"] > len(text) - 60


def test_what_was_cut_of_the_input_is_said(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 40 positions two are special tokens': each word here is one token. Counted over all chunks."""
    monkeypatch.setattr(chunks, "_CHUNK", 1)
    (tmp_path / "in.txt").write_text("\n".join([" ".join(["Rome"] * 41), " ".join(["Ann"] * 45), "Bob 好"]) + "\n")
    registry.run("predict", [runs["classification"], str(tmp_path / "in.txt")])
    said = capsys.readouterr().err
    assert said.endswith(" a second; 2 cut texts; 10 cut tokens; 1 unknown tokens\n")
    (tmp_path / "in.txt").write_text("Bob saw Ann .\n")
    registry.run("predict", [runs["classification"], str(tmp_path / "in.txt")])
    assert capsys.readouterr().err.endswith(" a second\n")


def test_another_tools_crf_is_used(runs: dict[str, str]) -> None:
    assert isinstance(load_predictor(runs["crf"], device="cpu", precision="fp32").model, CrfTokenClassifier)
    assert not isinstance(load_predictor(runs["ner"], device="cpu", precision="fp32").model, CrfTokenClassifier)


def test_a_model_that_is_read_without_its_crf_is_warned_of(
    runs: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    CrfTokenClassifier.from_pretrained(runs["crf"])
    Encoder.from_pretrained(runs["crf"])
    assert [message for message in caplog.messages if "pooler" not in message] == []
    caplog.clear()
    TokenClassifier.from_pretrained(runs["crf"])
    (message,) = caplog.messages
    assert "not used" in message
    assert "crf.transitions" in message


def test_span_answers_and_other_tools_checkpoints(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.csv"
    path.write_text('id,question,context\n7,Who saw Bob?,"Ann went to Rome, and saw Bob."\n', encoding="utf-8")
    (row,) = answered(runs["span_qa"], path, capsys)
    assert row["id"] == "7"
    assert "Ann went to Rome, and saw Bob."[row["start"] : row["end"]] == row["answer"] == row["n_best"][0]["text"]


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"text": 7}', "in.jsonl, line 1: "), ('{"text": "a"}\n{"txt": "a"}', "in.jsonl, line 2: "), ("{", "not JSON")],
)
def test_a_bad_input_is_one_sentence_and_leaves_no_file(
    content: str, message: str, runs: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text(content, encoding="utf-8")
    for name in ("ner", "classification"):
        with pytest.raises(InputError) as error:
            registry.run("predict", [runs[name], str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.jsonl")])
        assert message in str(error.value)
    assert not (tmp_path / "out.jsonl").exists()


def test_the_folder_of_the_output_must_be_there(runs: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--out .*: there is no folder .*none; make it first"):
        registry.run("predict", [runs["ner"], str(tmp_path / "in.txt"), "--out", str(tmp_path / "none" / "out.jsonl")])
    with pytest.raises(InputError, match=r"--out .*: is a folder; name a file in it"):
        registry.run("predict", [runs["ner"], str(tmp_path / "in.txt"), "--out", str(tmp_path)])


def test_the_input_is_not_replaced_by_the_output(runs: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("Ann went to Rome", encoding="utf-8")
    (tmp_path / "link.txt").symlink_to("in.txt")
    with pytest.raises(InputError, match=r"--out .*link\.txt: is the input itself"):
        registry.run("predict", [runs["ner"], str(tmp_path / "in.txt"), "--out", str(tmp_path / "link.txt")])
    assert (tmp_path / "in.txt").read_text(encoding="utf-8") == "Ann went to Rome"


def test_folders_that_hold_no_run_are_refused(runs: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load_predictor(str(tmp_path / "none"), device="cpu", precision="auto")
    (tmp_path / "several" / "bert-42").mkdir(parents=True)
    (tmp_path / "several" / "bert-42" / "settings.toml").write_text('task = "ner"\n')
    with pytest.raises(InputError, match=r"holds several runs; name one of them, such as .*bert-42"):
        load_predictor(str(tmp_path / "several"), device="cpu", precision="auto")
    (tmp_path / "settings.toml").write_text('task = "poetry"\n')
    with pytest.raises(InputError, match=r"the task 'poetry' is not one of ner, classification, qa, span_qa"):
        load_predictor(str(tmp_path), device="cpu", precision="auto")
    task = NerTask(NerSettings(head="crf"))
    with pytest.raises(InputError, match=r"has no trained head for ner \(crf"):
        Predictor.load(task, open_checkpoint(runs["ner"]), device="cpu")


@pytest.mark.parametrize(
    ("fields", "answer", "expected"),
    [
        ({"id": 7, "n": None}, {"text": "a"}, {"id": 7, "n": None, "text": "a"}),
        ({"text": "a", "label": "x"}, {"text": "a", "label": "y"}, {"input_label": "x", "text": "a", "label": "y"}),
        ({"a": 1, "input_a": 2}, {"a": 3}, {"input_input_a": 1, "input_a": 2, "a": 3}),
        ({"input_a": 1, "a": 2}, {"a": 3}, {"input_a": 1, "input_input_a": 2, "a": 3}),
    ],
)
def test_what_an_input_holds_is_passed_through(
    fields: dict[str, Any], answer: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert with_input(fields, answer) == expected
