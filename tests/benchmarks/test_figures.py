"""The table of all figures that have a target: which commands are run, and what is made of their records."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="transformers is the peer that is measured")

from benchmarks import crowd, figure_rows, figures, latency, loading, memory, throughput
from minibert.errors import InputError

SPEEDS = {
    "minibert": 1.0, "minibert-int8": 0.5, "transformers-sdpa": 4.0, "transformers-sdpa-sorted": 3.0,
    "transformers-eager-sorted": 5.0, "onnx-fp32": 1.2, "onnx-optimised-fp32": 1.05, "onnx-int8": 0.8,
    "onnx-optimised-int8": 0.9, "openvino-fp32": 1.4, "openvino-bf16": 0.9,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _has_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "choose_precision", lambda *_: "bf16")


def record_of_speeds(run: str, threads: int) -> dict[str, Any]:
    return {"contenders": {name: {"speedup_of_ours": speed, "utilisation": 0.8} for name, speed in SPEEDS.items()}}


def run_figures(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record_of: Callable[[str, int], Any],
    *options: str,
) -> list[dict[str, Any]]:
    monkeypatch.setattr(figures, "record_of", record_of)
    figures.main(["--data", "/somewhere/data", *options])
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    return found


def test_ours_is_compared_with_the_fastest_of_the_peers_that_took_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run_figures(
        monkeypatch, capsys, record_of_speeds, "--rows", "1", "2", "21", "22", "23", "24", "--threads", "1"
    )
    assert [(row["reached"], row["verdict"]) for row in found] == [
        (4.0, "yes"),  # at least 4
        (3.0, "yes"),
        (1.05, "no"),  # at least 1.1, of ONNX Runtime's two graphs
        (0.8 / 0.5, "yes"),  # our 8 bits against its 8 bits
        (0.9, "no"),
        (3.0, "yes"),
    ]


def test_limits_are_upper_ones(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ("times_alone", "part_of_transformers", "part_of_transformers_after_imports")

    def record_of(run: str, threads: int) -> dict[str, Any]:
        ours, theirs = {"contender": "minibert"}, {"contender": "transformers and datasets"}
        starts = [
            {**ours, "start": "first", "seconds_to_first_step": 40.0, "peak_bytes": 9e8},
            {**ours, "start": "second", "seconds_to_first_step": 9.0, "peak_bytes": 1.6e9},
            {**theirs, "start": "first", "seconds_to_first_step": 90.0, "peak_bytes": 1e9},
            {**theirs, "start": "second", "seconds_to_first_step": 1.0, "peak_bytes": 1.0},
        ]
        names = ("beside 1", "beside 8", "minibert", "minibert-modules")
        return {"contenders": {name: dict.fromkeys(columns, 1.2) for name in names}, "rows": starts}

    numbers = [str(number) for number in range(26, 36)]
    found = run_figures(monkeypatch, capsys, record_of, "--corpus", "zh.txt", "--rows", *numbers)
    assert [row["verdict"] for row in found] == ["yes", "yes", "no", "no", "no", "no", "yes", "no", "yes", "no"]


def test_rows_share_runs_which_are_repeated_for_each_number_of_threads_and_make_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: list[tuple[str, int]] = []

    def record_of(run: str, threads: int) -> dict[str, Any]:
        runs.append((run, threads))
        return {**record_of_speeds(run, threads), "command": run}

    page = tmp_path / "2026-01-01-cpu-x.md"
    found = run_figures(
        monkeypatch, capsys, record_of, "--rows", "1", "2", "3", "4", "--threads", "1", "2", "--out", str(page)
    )
    assert [threads for _, threads in runs] == [1, 1, 2, 2]
    assert len(found) == 8
    text, records = page.read_text(encoding="utf-8"), page.with_suffix(".json").read_text(encoding="utf-8")
    assert "| 1 | BERT-base inference, uncut lengths, batch 32 | 2 | times the speed | at least 4 | 4 | yes |" in text
    assert "OMP_NUM_THREADS=2 python -m benchmarks.throughput training" in text
    assert "data/ner/msra_uncut_test_lengths.txt" in text
    assert "/somewhere" not in text + records
    assert [record["threads"] for record in json.loads(records)["records"]] == [1, 1, 2, 2]


def test_what_cannot_be_measured_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(figures, "choose_precision", lambda *_: "fp32")
    monkeypatch.setattr(
        figures, "record_of", lambda run, _: None if "crowd" in run else {"contenders": {"minibert": {}}}
    )
    with pytest.raises(SystemExit) as stop:
        figures.main(["--data", "data", "--rows", "1", "26", "28"])
    assert stop.value.code == 1
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [row["verdict"] for row in rows] == ["not measured", "failed", "a contender is missing"]
    with pytest.raises(InputError, match="--rows 99"):
        figures.main(["--data", "data", "--rows", "99"])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_all_rows_are_commands_with_options_that_exist(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is parsed by its script, which gets no further."""
    modules = {module.__name__.rpartition(".")[2]: module for module in (crowd, latency, loading, memory, throughput)}

    class Parsed(Exception):
        pass

    def stop(*_: object, **__: object) -> None:
        raise Parsed

    for module, name in ((throughput, "read_workload"), (latency, "read_workload"), (memory, "read_workload"),
                         (crowd, "measured"), (loading, "write_classifier")):  # fmt: skip
        monkeypatch.setattr(module, name, stop)
    for row in figure_rows.rows(device, Path("data")):
        script, *arguments = row.run.split()
        if script in modules:
            if "--contenders" in arguments:
                assert set(arguments[arguments.index("--contenders") + 1 :]) == {"minibert", "transformers-sdpa"}
            with pytest.raises(Parsed):
                modules[script].main(arguments)
