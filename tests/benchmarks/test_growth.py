"""The benchmarks of starts on more and more data: what they start, and the data that they make."""

import importlib.util
import json
import os
from pathlib import Path

import pytest
from conftest import ROOT

pytest.importorskip("transformers", reason="transformers is the peer that is measured")

from benchmarks import corpus_growth, labelled_growth, steps


@pytest.mark.slow
def test_both_starts_on_a_growing_corpus_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"The cat number {n} sat. It slept.\n貓在這裡。牠睡了。" for n in range(99)), "utf-8")
    options = ["--megabytes", "0.05", "--times", "1", "2", "--max-length", "16"]
    corpus_growth.main(["--corpus", str(text), *options])
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [(round(row["bytes"], -3), row["start"]) for row in rows] == [
        (50_000, "first"), (50_000, "second"), (100_000, "first"), (100_000, "second")
    ]  # fmt: skip
    assert all(row["seconds_to_first_step"] > 0 and row["tokens_per_second"] > 0 for row in rows)


@pytest.mark.slow
def test_starts_on_more_and_more_texts_are_measured_beside_datasets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contenders = [labelled_growth.OURS]
    if importlib.util.find_spec("datasets"):
        contenders.append(labelled_growth.THEIRS)
    data = tmp_path / "a.tsv"
    data.write_text("text\tlabel\n" + "".join(f"a text number {n}\t{'xy'[n % 2]}\n" for n in range(50)))
    options = ["--texts", "120", "--times", "1", "2", "--max-length", "16", "--steps", "2"]
    labelled_growth.main(["--data", str(data), *options, "--contenders", *contenders])
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [(row["texts"], row["contender"], row["start"]) for row in rows] == [
        (texts, name, start) for texts in (120, 240) for name in contenders for start in ("first", "second")
    ]
    assert all(row["seconds_to_first_step"] > 0 and row["peak_bytes"] > 0 for row in rows)


def test_written_texts_are_those_of_the_file_then_others(tmp_path: Path) -> None:
    data = tmp_path / "a.tsv"
    data.write_text("text\tlabel\n" + "".join(f"text {n}\t{n % 2}\n" for n in range(50)))
    labelled_growth.write_labelled(str(data), tmp_path / "b.jsonl", 120)
    rows = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows[:50]] == [f"text {n}" for n in range(50)]
    assert [row["label"] for row in rows] == [str(n % 50 % 2) for n in range(120)]
    assert all(row["text"].startswith(f"text {n % 50}") for n, row in enumerate(rows))
    assert len({row["text"] for row in rows}) > 100


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc")
def test_the_memory_of_processes_that_a_command_starts_counts(tmp_path: Path) -> None:
    (tmp_path / "parent_of_much.py").write_text(
        "import subprocess, sys\n"
        "from benchmarks.steps import report\n"
        "report(1)\n"
        "code = 'import time; x = bytearray(200 * 2**20); time.sleep(1)'\n"
        "subprocess.run([sys.executable, '-c', code])\n"
        "report(2)\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    assert steps.measured(["parent_of_much"], 2, environment)["peak_bytes"] > 200 * 2**20
