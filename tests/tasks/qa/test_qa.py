"""Answers by label: prompts and their vote, the unknown answer, and asking a trained run."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibert.errors import InputError
from tasks import registry
from tasks.classification.calibration import Calibration
from tasks.classification.data import LabelledText
from tasks.classification.prediction import TextPrediction, predictions_from_logits
from tasks.data import Split
from tasks.qa.settings import QaSettings
from tasks.qa.task import QaTask

PLACES = {"交通局": "公車路燈停車", "環保局": "垃圾回收空氣", "衛生局": "疫苗醫院食品"}
LINES = [f"{place} 請問{a}的{b}怎麼辦？" for place, words in PLACES.items() for a in words for b in words]
pytestmark = pytest.mark.usefixtures("narrow_models")

SMALL = ["--weights", "random", "--epochs", "10", "--batch-size", "8", "--lr", "2e-3"]
PROMPT = "關於{question}該問誰"


def write(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qa")
    train = write(folder / "train.txt", LINES)
    out = registry.run(
        "qa", ["--train", train, "--prompt", PROMPT, "--out", str(folder / "run"), "--top-k", "2", *SMALL]
    )
    assert out is not None
    return out


@pytest.mark.slow
def test_a_run_reports_each_prompt_their_agreement_and_the_vote(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    figures = metrics["final"]["dev"]
    assert {"accuracy", "accuracy_prompt_0", "accuracy_prompt_1", "agreement_of_all", "top_2_accuracy"} <= set(figures)
    assert figures["accuracy"] > 0.8
    assert "accuracy" in metrics["baseline"]["dev"]
    assert metrics["settings"]["prompt"] == [PROMPT]


@pytest.mark.slow
def test_a_trained_run_answers(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry.run("qa", ["--ask", "公車的停車怎麼辦？", "--ask", "疫苗", "--weights", str(run)])
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ["公車的停車怎麼辦？", "  -> 交通局"]
    assert [line.split()[-1] for line in shown if line.startswith("     ")][2] == "衛生局"
    assert len(shown) == 2 * (2 + 2)  # the question, its answer, and the two likeliest

    registry.run("qa", ["--ask", "天氣", "--weights", str(run), "--top-k", "3", "--unknown", "0.9999999"])
    shown = capsys.readouterr().out.splitlines()
    assert shown[1] == "  -> unknown"
    assert sorted(line.split()[1] for line in shown[2:]) == sorted(PLACES)


@pytest.mark.slow
def test_more_answers_are_asked_of_a_run_whose_best_epoch_went_by_its_top_k(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    with open(copy / "settings.toml", "a", encoding="utf-8") as file:
        file.write('metric = "top_2_accuracy"\n')
    registry.run("qa", ["--ask", "天氣", "--weights", str(copy), "--top-k", "3"])
    assert len(capsys.readouterr().out.splitlines()) == 2 + 3


def judged(*values: list[float]) -> TextPrediction:
    """The prediction with these probabilities of three labels in each prompt."""
    (found,) = predictions_from_logits("single", ("a", "b", "c"), np.log(np.array([values], np.float32)), Calibration())
    return found


def test_figures_of_prompts_by_hand() -> None:
    """Three questions under three templates; the labels that each template chooses are a,a,b / b,a,b / c,c,c."""
    task = QaTask(QaSettings(prompt=("x{question}", "y{question}"), top_k=2, unknown=0.5))
    items = [LabelledText("q", None, label, 1) for label in ("a", "b", "c")]
    outputs = [
        judged([0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1]),  # mean 0.4 0.5 0.1: b, and wrong
        judged([0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]),  # mean 0.3 0.6 0.1: b
        judged([0.3, 0.2, 0.5], [0.3, 0.3, 0.4], [0.3, 0.3, 0.4]),  # mean 0.3 0.267 0.433: c, but unsure
    ]
    figures = task.compute_metrics(items, outputs)
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert [figures[f"accuracy_prompt_{n}"] for n in range(3)] == pytest.approx([1.0, 2 / 3, 2 / 3])
    assert figures["top_2_accuracy"] == 1.0
    assert figures["agreement_of_all"] == pytest.approx(1 / 3)
    assert figures["agreement_of_two"] == pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3)
    assert figures["answered"] == pytest.approx(2 / 3)
    assert figures["accuracy_of_answered"] == pytest.approx(1 / 2)
    table = task.details(Split(path="q.txt", sha256="", items=items), outputs, [0.0] * 3).table
    assert "with --unknown 0.5, 66.7% are answered, 0.5000 of them correctly" in table
    answers = [task.format_answer(item, output) for item, output in zip(items, outputs, strict=True)]
    assert [answer["label"] for answer in answers] == ["b", "b", "unknown"]
    assert [answer["answers"][0]["label"] for answer in answers] == ["b", "b", "c"]


def test_nothing_answered_is_said() -> None:
    task = QaTask(QaSettings(unknown=0.9))
    items, outputs = [LabelledText("q", None, "a", 1)], [judged([0.4, 0.3, 0.3])]
    figures = task.compute_metrics(items, outputs)
    assert figures["answered"] == 0
    assert "accuracy_of_answered" not in figures
    table = task.details(Split(path="q.txt", sha256="", items=items), outputs, [0.0]).table
    assert table.endswith("with --unknown 0.9, none is answered")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompt", "no place"], "must hold {question} once"),
        (["--prompt", "{question}{question}"], "must hold {question} once"),
        (["--prompt", "{question}"], "is the bare question, which is always asked"),
        (["--unknown", "1.5"], "--unknown 1.5: must be from 0 to below 1"),
        (["--top-k", "0"], "--top-k 0: must be 1 or more"),
        (["--kind", "multi"], "--kind multi: a question has one answer"),
        (["--ask", "x"], "--ask: needs --weights RUN"),
        (["--ask", "x", "--weights", "nowhere"], "nowhere/task.json: no such file. Every run folder has one."),
    ],
)
def test_bad_options_are_one_sentence(options: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        registry.run("qa", options)
    assert message in str(error.value)


@pytest.mark.slow
def test_saved_settings_hold_the_prompts_for_prediction(run: Path) -> None:
    from tasks.predict.loading import load_predictor

    predictor: Any = load_predictor(str(run), device="cpu", precision="auto")
    assert predictor.task.prompts == ("{question}", PROMPT)


def test_answers_are_kept_as_far_as_they_are_scored() -> None:
    """So that the figure has an interval; of fewer, 20 are kept."""
    names = tuple(f"label {number}" for number in range(40))
    logits = np.linspace(0, 4, 40, dtype=np.float32)[None, None]
    (output,) = predictions_from_logits("single", names, logits, Calibration())
    for top_k, kept in ((25, 25), (5, 20)):
        task = QaTask(QaSettings(top_k=top_k))
        record = task.prediction_record(LabelledText("?", None, "label 16", 1), output)
        assert tuple(record["probabilities"]) == names[: -kept - 1 : -1]
        assert task.weighted_metrics([record])(np.ones(1, np.int64))[f"top_{top_k}_accuracy"] == (top_k == 25)
