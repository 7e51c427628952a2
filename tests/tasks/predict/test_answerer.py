"""A run as a Python function: the objects of the command's JSON lines, in order, from any number of threads."""

import itertools
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from tiny_runs import MODELS, TEXTS, close, make_run

from minibert.errors import InputError
from tasks import registry
from tasks.predict import Answerer, chunks, load
from tasks.predict.loading import load_predictor

INPUTS: dict[str, list[Any]] = {
    "ner": [*TEXTS[:20], {"tokens": ["Ann", "saw", "Bob"], "id": 7}],
    "crf": [*TEXTS[:20]],
    "classification": [*TEXTS[:20], {"text": "Ann", "pair": "went to Rome", "label": "x"}],
    "span_qa": [{"question": "Who?", "context": text, "id": number} for number, text in enumerate(TEXTS[:20])],
    "fill_mask": ["Ann saw [MASK] .", {"text": "[MASK] and [MASK]", "top_k": 2, "id": 1}],
}


@pytest.fixture(scope="module")
def answerers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answerer]:
    """Of checkpoints as another tool might have left them."""
    folder = tmp_path_factory.mktemp("runs")
    return {name: load(make_run(folder / name, name), device="cpu", precision="fp32") for name in MODELS}


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "milliseconds"} for row in rows]


@pytest.mark.parametrize("name", INPUTS)
def test_the_answers_are_the_lines_of_the_command(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], answerers: dict[str, Answerer]
) -> None:
    answer, inputs = answerers[name], INPUTS[name]
    run = make_run(tmp_path / "run", name)
    as_fields = [{"text": given} if isinstance(given, str) else given for given in inputs]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, as_fields)), encoding="utf-8")
    registry.run("predict", [run, str(tmp_path / "in.jsonl"), "--precision", "fp32", "--device", "cpu"])
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    answers = answer(inputs)
    assert without_times(answers) == without_times(expected)
    assert all(each["milliseconds"] > 0 for each in answers)
    assert close(without_times([answer(given) for given in inputs]), without_times(expected))
    assert without_times(list(answer.stream(iter(inputs)))) == without_times(expected)
    assert answer([]) == list(answer.stream([])) == []


def test_the_runs_columns_and_clean_ups_are_used(answerers: dict[str, Answerer], tmp_path: Path) -> None:
    run = Path(make_run(tmp_path / "run", "classification"))
    settings = {"task": "classification", "text_column": "body", "clean": ["went -> saw"]}
    (run / "task.json").write_text(json.dumps(settings))
    (answer,) = load(str(run), device="cpu", precision="fp32")([{"body": "Ann went", "text": "no"}])
    assert (answer["body"], answer["text"], answer["input_text"]) == ("Ann went", "Ann went", "no")
    assert answer["probabilities"] == answerers["classification"]("Ann saw")["probabilities"]


def test_a_stream_is_read_as_it_is_answered(answerers: dict[str, Answerer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_CHUNK", 4)
    read = []

    def endless() -> Iterator[str]:
        for number in itertools.count():
            read.append(number)
            yield TEXTS[number % len(TEXTS)]

    found = list(itertools.islice(answerers["ner"].stream(endless()), 6))
    assert [each["text"] for each in found] == TEXTS[:6]
    assert len(read) == 8


def test_inputs_before_a_bad_one_are_answered(answerers: dict[str, Answerer]) -> None:
    stream = answerers["ner"].stream(["Ann", "Bob", {"txt": "Rome"}, "Ann"])
    assert [next(stream)["text"], next(stream)["text"]] == ["Ann", "Bob"]
    with pytest.raises(InputError, match="input 3: needs text"):
        next(stream)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "the input is a int; give a text, a mapping of fields, or several"),
        (b"Ann", "the input is a bytes"),
        (["Ann", None], "input 2: is a NoneType; give a text or a mapping of fields"),
        ({"text": None}, "the input: needs text"),
        ("Ann \ud83d", r"the input: text has '\\ud83d' at character 4, half of a surrogate pair"),
        ([{"tokens": ["Ann", "\udc00"]}], r"input 1: tokens has '\\udc00' at character 0"),
    ],
)
def test_what_is_no_input_is_refused(given: Any, message: str, answerers: dict[str, Answerer]) -> None:
    with pytest.raises(InputError, match=message):
        answerers["ner"](given)


def test_threads_share_a_model(answerers: dict[str, Answerer]) -> None:
    answer = answerers["ner"]
    alone = without_times(answer(TEXTS[:20]))
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(answer, TEXTS[:20]))
    assert close(without_times(rows), alone)
    before = answer.notes["unknown_tokens"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(answer, ["qzx qzx"] * 10))
    expected = answerers["crf"].predictor.tokenizer.encode_words([["qzx", "qzx"]])[0].ids
    unknown = expected.count(answer.predictor.tokenizer.unk_token_id)
    assert answer.notes["unknown_tokens"] - before == 10 * unknown > 0


def test_a_threshold_is_a_number_or_a_text(tmp_path: Path) -> None:
    run = Path(make_run(tmp_path / "run", "classification"))
    (run / "task.json").write_text(json.dumps({"task": "classification", "kind": "multi"}))
    assert load(str(run), threshold=0, device="cpu")("Ann")["labels"] == ["bad", "good"]
    assert load(str(run), threshold="1.0", device="cpu")("Ann")["labels"] == []
    with pytest.raises(InputError, match=r"--threshold 0\.5: only models of several labels have one"):
        load_predictor(make_run(tmp_path / "fill", "fill_mask"), device="cpu", precision="auto", threshold="0.5")


def test_the_readme_shows_what_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answerers: dict[str, Answerer]
) -> None:
    page = (ROOT / "tasks" / "predict" / "README.md").read_text(encoding="utf-8")
    example = page.partition("```python\n")[2].partition("```")[0]
    make_run(tmp_path / "runs" / "my-ner", "ner")
    make_run(tmp_path / "runs" / "my-span-qa", "span_qa")
    (tmp_path / "texts.txt").write_text("Ann\nBob\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)
    assert isinstance(names["answer"], Answerer)


@pytest.mark.slow
def test_the_readmes_actor_of_ray_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    page = (ROOT / "tasks" / "predict" / "README.md").read_text(encoding="utf-8")
    example = page.partition("In Ray Data:\n\n```python\n")[2].partition("```")[0]
    run = make_run(tmp_path / "runs" / "my-ner", "ner")
    rows = [{"id": number, "text": text} for number, text in enumerate(TEXTS)]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    ray.init(num_cpus=4, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}})
    try:
        exec(example.replace("runs/my-ner", run).replace('"answers"', repr(str(tmp_path / "answers"))), {})
    finally:
        ray.shutdown()
    found = sorted(parquet.read_table(tmp_path / "answers").to_pylist(), key=lambda row: row["id"])
    expected = load(run, device="cpu")(TEXTS)
    assert [row["text"] for row in found] == TEXTS
    assert all(close(json.loads(row["entities"]), each["entities"]) for row, each in zip(found, expected, strict=True))
