"""Commands begin quickly: help and refusals need none of the packages that take seconds to import."""

import gzip
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import minibert
import minibert.training
from tasks.registry import COMMANDS, TASKS

NAMES = tuple({**TASKS, **COMMANDS})
COMPILER = "torch._dynamo.convert_frame"
SYMBOLS = "sympy"  # a part of the compiler that other parts of PyTorch need, too
HEAVY = {"torch", COMPILER, SYMBOLS, "numpy", "sklearn", "matplotlib", "seqeval", "tokenizers", "transformers"}


def run(*arguments: str) -> tuple[int, str, set[str]]:
    """Exit status, what was said, and the heavy packages that were imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    lines = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    said = "\n".join(line for line in lines if not line.startswith("import time:"))
    assert "argparse" in imported, "the imports are not listed as expected"
    return done.returncode, done.stdout + said, imported & HEAVY


@pytest.mark.parametrize("task", NAMES)
def test_help_needs_nothing_heavy(task: str) -> None:
    status, said, heavy = run("-m", f"tasks.{task}", "--help")
    assert (status, heavy) == (0, set())
    assert f"python -m tasks.{task}" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("ner --epoch 3", "unrecognized arguments: --epoch 3; did you mean --epochs?"),
        ("predict run --fromat=csv", "unrecognized arguments: --fromat=csv; did you mean --format?"),
        ("classification --text-colum x", "did you mean --text-column?"),
        ("ner --encoding utf-9", "--encoding utf-9: not an encoding that Python knows"),
        ("span_qa --columns a,a", "--columns a,a: give each column a name of its own"),
        ("ner --head tree", "--head tree: use one of crf, linear."),
        ("classification --kind none", "--kind none: use one of single, multi, regression."),
        ("qa --ask why --top-k many", "invalid int value: 'many'"),
        ("qa --prompt what", "must hold {question} once"),
        ("span_qa --resume", "--resume: needs --out"),
        ("pretraining", "--corpus: needed"),
        ("compare --task ner --lr 0", "--lr 0.0: must be a number above 0."),
        ("search --task ner --budget 9 --lr 1e-3..1e-4", "the first end of a range must be below the second"),
        ("search --task ner --budget 9 --head crf linear --epochs 0", "--epochs 0: must be 1 or more."),
        ("predict", "the following arguments are required: RUN"),
        ("fill_mask run", "the following arguments are required: TEXT"),
        ("ner --metric f2", "--metric f2: use one of strict_f1, default_f1, loss."),
        ("qa --top-k 3 --metric top_5_accuracy", "use one of accuracy, macro_f1, top_3_accuracy, loss."),
        ("classification --kind multi --metric accuracy", "use one of micro_f1, macro_f1, subset_accuracy, loss."),
        ("compare --task span_qa --metric accuracy", "use one of f1, exact_match, loss."),
        ("classification --clean [a", "--clean '[a': write it as"),
        ("ner --train README.md --dev-share 0.6 --test-share 0.5", "1.1 in all leaves nothing of --train"),
        ("ner --train README.md --dev none.txt", "none.txt: no such file."),
        ("pretraining --corpus README.md none.txt", "none.txt: no such file."),
    ],
)
def test_wrong_options_are_refused_before_anything_heavy_is_imported(arguments: str, message: str) -> None:
    task, *options = arguments.split()
    status, said, heavy = run("-m", f"tasks.{task}", *options)
    assert (status, heavy) == (2, set())
    assert message in said


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.csv", "text,label\n", "--label-column mood", "--label-column mood is not among the columns (text"),
        ("a.tsv", "text\tlabel\n", "--pair-column b", "--pair-column b is not among the columns"),
        ("a.jsonl", '\n{"text": "a", "label": 1}\n', "--text-column b", "--text-column b is not among the columns"),
        ("a.csv.gz", "text,label\n", "--text-column b", "--text-column b is not among the columns"),
        ("a.csv", "words,label\n", "", "no column (words, label) is recognised as the text"),
    ],
)
@pytest.mark.parametrize("task", ["classification", "qa"])
def test_wrong_columns_are_refused_by_the_first_line(
    task: str, name: str, content: str, options: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    status, said, heavy = run("-m", f"tasks.{task}", "--train", str(path), *options.split())
    assert (status, heavy) == (2, set())
    assert f"{name}, line " in said
    assert message in said


@pytest.mark.slow
def test_a_settings_file_may_be_a_pipe(tmp_path: Path) -> None:
    """It can be read only once."""
    done = subprocess.run(
        [sys.executable, "-m", "tasks.ner", "--config", "/dev/stdin", "--dry-run"],
        cwd=ROOT, input="epochs = 7", capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert "epochs = 7" in done.stdout


@pytest.mark.slow
def test_answers_need_no_compiler() -> None:
    status, said, heavy = run("-m", "tasks.fill_mask", "weights/bert-tiny", "臺北是[MASK]灣的首都")
    assert (status, {COMPILER, SYMBOLS} & heavy) == (0, set()), said


@pytest.mark.parametrize("package", [minibert, minibert.training])
def test_public_names_are_there(package: object) -> None:
    for name in package.__all__:  # type: ignore[attr-defined]
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_a_command_does_not_get_the_same_memory_from_the_system_again_and_again() -> None:
    script = """
import resource
import numpy as np
from tasks.run.console import run_main

def work():
    for _ in range(11):
        blocks = [np.ones(2_000_000) for _ in range(4)]
        del blocks
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)

faults = []
run_main(work)
print(faults[-1] - faults[0])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    pages_of_a_round = 4 * 16_000_000 / 4096
    assert int(done.stdout) < pages_of_a_round  # in ten rounds


def test_an_argument_that_is_no_text_is_refused() -> None:
    program = [sys.executable, "-m", "tasks.qa", "--ask", b"caf\xe9"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "the argument 'caf\\udce9' is not utf-8" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "allocation",
    [
        "import torch; torch.empty(2**60)",
        "b'x' * 2**50",
        "import torch; raise torch.OutOfMemoryError('CUDA out of memory')",
    ],
)
def test_no_memory_is_one_sentence(allocation: str) -> None:
    program = f"from tasks.run.console import run_main\ndef work():\n    {allocation}\nrun_main(work)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 2
    assert done.stderr.startswith("error: out of memory; lower --max-length")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_benchmarks_without_their_peer_end_in_one_sentence() -> None:
    program = "import sys; sys.modules['transformers'] = None; import benchmarks.throughput"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 2
    assert (
        done.stderr == "error: this benchmark compares with transformers, which is missing: pip install -e '.[bench]'\n"
    )
