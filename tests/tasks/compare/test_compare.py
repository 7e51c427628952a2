"""Several runs: what is made of their figures, and that one failure takes nothing with it."""

import gzip
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAMILIES

from benchmarks import study
from minibert.errors import InputError
from minibert.training import Metric, check_finite
from tasks import registry
from tasks.classification.task import ClassificationTask
from tasks.run.folder import peak_memory, reset_peak_memory
from tasks.run.grid import spread

pytestmark = pytest.mark.usefixtures("narrow_models")

SMALL = ["--weights", "random", "--epochs", "1", "--batch-size", "8", "--precision", "fp32"]


def write_texts(path: Path) -> str:
    rows = [{"text": f"{'good' if i % 2 else 'bad'} thing {i}", "label": str(i % 2)} for i in range(60)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def read(folder: Path | None, name: str) -> Any:
    assert folder is not None
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_mean_deviation_and_worst_by_direction() -> None:
    values = [0.5, 0.8, 0.6]
    found = spread(values, Metric("f1"))
    assert found["mean"] == pytest.approx(sum(values) / 3)
    assert found["std"] == pytest.approx((sum((v - sum(values) / 3) ** 2 for v in values) / 2) ** 0.5)
    assert (found["worst"], spread(values, Metric("loss", higher_is_better=False))["worst"]) == (0.5, 0.8)
    assert spread([0.7], Metric("f1"))["std"] is None


@pytest.mark.slow
def test_architectures_and_seeds_beside_the_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = write_texts(tmp_path / "train.jsonl")
    options = ["--train", train, "--seeds", "2", "--seed", "5", "--out", str(tmp_path / "out"), *SMALL]
    folder = registry.run("compare", ["--task", "classification", "--arch", *FAMILIES, *options])
    comparison = read(folder, "comparison.json")
    assert [row["arch"] for row in comparison["rows"]] == list(FAMILIES)
    for row in comparison["rows"]:
        assert (row["seeds"], row["runs"]) == ([5, 6], [f"{row['arch']}-5", f"{row['arch']}-6"])
        figures = [read(folder / run, "metrics.json")["final"]["dev"]["accuracy"] for run in row["runs"]]
        assert row["values"] == figures
        for name, worst in (("loss", max), ("calibration_error", max), ("macro_f1", min)):
            assert row["figures"][name]["worst"] == worst(row["figures"][name]["values"])
        reports = [read(folder / run, "metrics.json")["final"]["dev"]["report"] for run in row["runs"]]
        for name, of_class in row["classes"].items():
            assert of_class["f1-score"]["values"] == [report[name]["f1-score"] for report in reports if name in report]
        losses = [[epoch["loss"] for epoch in read(folder / run, "metrics.json")["epochs"]] for run in row["runs"]]
        assert [[loss for _, loss in curve] for curve in row["curves"]["loss"]] == losses
        assert row["mean"] == pytest.approx(statistics.mean(figures))
        assert all((folder / run / "report.html").is_file() for run in row["runs"])
    baselines = [read(folder / f"bert-{seed}", "metrics.json")["baseline"]["dev"]["accuracy"] for seed in (5, 6)]
    assert comparison["baseline"]["values"] == baselines
    assert "albert-5/report.html" in (folder / "report.html").read_text(encoding="utf-8")
    shown = capsys.readouterr().out
    assert "linear SVM" in shown
    assert "worst" in shown


@pytest.mark.slow
def test_the_study_runs_tasks_on_the_files_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = study.Study(data={"--train": "texts/train.jsonl"}, small=SMALL[2:], given=[*SMALL[2:], "--r-drop", "0.9"])
    monkeypatch.setitem(study.STUDIES, "classification", small)
    chosen = ["--tasks", "classification", "--weights", "random", "--out", str(tmp_path / "out")]
    with pytest.raises(InputError, match=r"texts/train\.jsonl is missing"):
        study.main(["--data", str(tmp_path), *chosen])
    (tmp_path / "texts").mkdir()
    write_texts(tmp_path / "texts" / "train.jsonl")
    study.main(["--data", str(tmp_path), *chosen])
    *_, last = shown = capsys.readouterr().out.splitlines()
    comparison = read(tmp_path / "out" / "classification", "comparison.json")
    assert json.loads(last)["results"]["classification"]["rows"] == comparison["rows"]
    assert [row["arch"] for row in comparison["rows"]] == list(FAMILIES)
    tests = [test for test in comparison["tests"] if test["second"] == "linear"]
    for row, test in zip(comparison["rows"], tests, strict=True):
        linear = f"{comparison['baseline']['mean']:.4f} | {test['difference']:+.4f} | {test['p_value']:.4f}"
        low, high = row["interval"]
        (line,) = (each for each in shown if each.startswith(f"| classification | accuracy on dev | {row['arch']} |"))
        assert f"| {row['mean']:.4f} | {low:.4f} to {high:.4f} | {row['worst']:.4f} | {linear} |" in line
    runs = [str(tmp_path / "out" / "classification" / f"{arch}-42") for arch in FAMILIES[:2]]
    study.main([*["--data", str(tmp_path), *chosen[:2], "--weights", *runs], "--out", str(tmp_path / "given")])
    comparison = read(tmp_path / "given" / "classification", "comparison.json")
    assert [(row["arch"], row["weights"]) for row in comparison["rows"]] == list(zip(FAMILIES, runs, strict=False))
    assert comparison["settings"]["r_drop"] == 0.9


def test_sentences_are_drawn_from_a_file_of_words(tmp_path: Path) -> None:
    path = tmp_path / "train.txt.gz"
    blocks = [f"字 O\n{number} B-LOC" for number in range(40)]
    path.write_bytes(gzip.compress(("\n\n".join(blocks) + "\n").encode()))
    drawn = study.sample(path, tmp_path / "out", 7)
    kept = drawn.read_text(encoding="utf-8").rstrip("\n").split("\n\n")
    assert len(kept) == 7
    assert kept == [block for block in blocks if block in kept]
    assert kept != blocks[:7]
    assert study.sample(path, tmp_path / "again", 7).read_bytes() == drawn.read_bytes()
    assert study.sample(path, tmp_path / "all", 99).read_text(encoding="utf-8").count("B-LOC") == 40


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak of memory")
def test_each_run_has_a_peak_of_its_own() -> None:
    device = torch.device("cpu")
    before = peak_memory(device)
    held = bytearray(300_000_000)
    held[::4096] = b"x" * len(held[::4096])
    with_it = peak_memory(device)
    del held
    reset_peak_memory(device)
    after = peak_memory(device)
    assert before is not None
    assert with_it is not None
    assert after is not None
    assert with_it > 250_000_000
    assert after < with_it - 200_000_000


@pytest.mark.slow
def test_a_run_of_a_comparison_can_be_made_again_from_its_settings(tmp_path: Path) -> None:
    train = write_texts(tmp_path / "train.jsonl")
    options = ["--train", train, "--seeds", "2", "--out", str(tmp_path / "out"), *SMALL]
    folder = registry.run("classification", options)
    assert folder is not None
    command = read(folder / "run-43", "metrics.json")["command"].split()
    assert command[:4] == ["python", "-m", "tasks.classification", "--config"]
    again = registry.run("classification", [*command[3:], "--out", str(tmp_path / "again")])
    assert read(again, "metrics.json")["final"] == read(folder / "run-43", "metrics.json")["final"]


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ClassificationTask.compute_metrics

    def diverging(self: ClassificationTask, *arguments: Any) -> Any:
        if self.settings.seed == 43:
            raise InputError("the dev loss is nan")
        return honest(self, *arguments)

    monkeypatch.setattr(ClassificationTask, "compute_metrics", diverging)
    options = ["--train", write_texts(tmp_path / "train.jsonl"), "--seeds", "3", "--out", str(tmp_path / "out"), *SMALL]
    folder = registry.run("classification", options)
    comparison = read(folder, "comparison.json")
    assert comparison["rows"][0]["seeds"] == [42, 44]
    assert "run-43 failed: the dev loss is nan" in comparison["warnings"]
    assert not (tmp_path / "out" / "run-43").exists()


@pytest.mark.slow
def test_an_architecture_whose_runs_all_fail_leaves_the_others_their_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ClassificationTask.compute_metrics

    def diverging(self: ClassificationTask, *arguments: Any) -> Any:
        if self.settings.arch == "albert":
            raise InputError("the dev loss is nan")
        return honest(self, *arguments)

    monkeypatch.setattr(ClassificationTask, "compute_metrics", diverging)
    train = write_texts(tmp_path / "train.jsonl")
    options = ["--train", train, "--no-baseline", "--out", str(tmp_path / "out"), *SMALL]
    folder = registry.run("compare", ["--task", "classification", "--arch", "bert", "albert", "roberta", *options])
    comparison = read(folder, "comparison.json")
    assert [row["arch"] for row in comparison["rows"]] == ["bert", "roberta"]
    assert "albert-42 failed: the dev loss is nan" in comparison["warnings"]


@pytest.mark.slow
def test_two_checkpoints_of_one_architecture_are_compared(tmp_path: Path) -> None:
    train = write_texts(tmp_path / "train.jsonl")
    runs = []
    for seed in ("1", "2"):
        options = ["--train", train, "--seed", seed, "--no-baseline", *SMALL]
        runs.append(str(registry.run("classification", [*options, "--out", str(tmp_path / seed)])))
    options = ["--train", train, "--no-baseline", "--out", str(tmp_path / "out"), *SMALL, "--weights"]
    folder = registry.run("compare", ["--task", "classification", "--arch", "bert", "bert", *options, *runs])
    assert [row["weights"] for row in read(folder, "comparison.json")["rows"]] == runs
    config = tmp_path / "run.toml"
    config.write_text(f"weights = {json.dumps(runs[0])}\n", encoding="utf-8")
    with pytest.raises(InputError, match="--config: names weights for one architecture"):
        registry.run("compare", ["--task", "classification", "--config", str(config), "--train", train])


def test_runs_that_are_stopped_at_once_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(ClassificationTask, "read", stopped)
    with pytest.raises(KeyboardInterrupt):
        registry.run("classification", ["--seeds", "2", "--out", str(tmp_path / "out"), *SMALL])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_first_run_that_diverges_does_not_stop_the_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ClassificationTask.compute_metrics

    def diverging(self: ClassificationTask, *arguments: Any) -> Any:
        check_finite(float("nan") if self.settings.seed in bad_seeds else 1.0, "the dev loss")
        return honest(self, *arguments)

    monkeypatch.setattr(ClassificationTask, "compute_metrics", diverging)
    options = ["--train", write_texts(tmp_path / "train.jsonl"), "--seeds", "2", *SMALL]
    bad_seeds = {42}
    folder = registry.run("classification", [*options, "--out", str(tmp_path / "out")])
    comparison = read(folder, "comparison.json")
    assert comparison["rows"][0]["seeds"] == [43]
    assert comparison["warnings"][0].startswith("run-42 failed: the dev loss is nan: the run has diverged")
    bad_seeds = {42, 43}
    with pytest.raises(InputError, match="no run finished; run-43 failed"):
        registry.run("classification", [*options, "--out", str(tmp_path / "none")])


def test_what_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="no such file"):
        registry.run(
            "compare", ["--task", "ner", "--train", str(tmp_path / "none.txt"), "--seeds", "2", "--out", str(out)]
        )
    with pytest.raises(InputError, match="2 checkpoints for 1 architectures"):
        registry.run("compare", ["--task", "ner", "--arch", "bert", "--weights", "a", "b", "--out", str(out)])
    with pytest.raises(InputError, match="looks at one task"):
        registry.run("compare", ["--task", "ner", "--dry-run", "--out", str(out)])
    asked = ["--task", "cloze", "--template", "{text} [MASK]", "--words", "a=x", "b=y", "--shots", "0"]
    with pytest.raises(InputError, match="--shots: is a comparison by itself"):
        registry.run("compare", [*asked, "--out", str(out)])
    assert not out.exists()
