"""The wheel, installed in an environment of its own: every command runs from any folder, whatever lies there."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import GOLDEN, ROOT, rows, write

from tasks.__main__ import TOOLS, descriptions
from tasks.registry import COMMANDS, TASKS
from tasks.run.interrupts import command_line

PACKAGES = ("minibert", "tasks", "tools")
PARTS = (*PACKAGES, "weights", "pyproject.toml", "README.md", "LICENSE")
LEFT_OUT = {"tools/samples"}  # what wrote the samples, with its material


def test_help_lists_every_command_in_a_line() -> None:
    listed = descriptions()
    assert listed.keys() == TASKS.keys() | COMMANDS.keys() | TOOLS.keys()
    for name, about in listed.items():
        assert about.endswith("."), name
        assert "\n" not in about, name
        assert 0 < len(about) < 100, name


def test_a_run_of_the_console_script_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/some/bin/minibert", "--out", "a b", "--resume"])
    assert command_line("tasks.span_qa", None) == "minibert span-qa --out 'a b'"
    torchrun = {"TORCHELASTIC_RUN_ID": "none", "GROUP_WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "2"}
    for name, value in torchrun.items():
        monkeypatch.setenv(name, value)
    assert command_line("tasks.ner", []) == "torchrun --nproc-per-node 2 --no-python minibert ner"


class Installed(NamedTuple):
    """An environment with the wheel in it, and a folder whose names are those of the packages."""

    wheel: Path
    bin: Path
    site_packages: Path
    elsewhere: Path

    def run(self, *command: str, status: int = 0, **variables: str) -> str:
        """What a program of the environment says, started in the other folder."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.elsewhere, env={**environment, **variables}, capture_output=True, text=True, encoding="utf-8",
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


def _run(command: Sequence[str | os.PathLike[str]], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Builds and installs the wheel without a network; what it depends on is taken from the tests' environment."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    source.mkdir()
    for part in PARTS:  # a copy, because setuptools builds inside the source
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = _run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source], folder)
    if built.returncode != 0:
        reason = (built.stderr.strip() or built.stdout.strip()).splitlines()[-1]
        if "No module named pip" in built.stderr or "Cannot import 'setuptools" in built.stderr:
            pytest.skip(f"the wheel cannot be built: {reason}")
        pytest.fail(built.stdout + built.stderr)
    (wheel,) = folder.glob("*.whl")

    venv.create(folder / "venv", with_pip=False)
    paths = sysconfig.get_paths("venv", vars={"base": str(folder / "venv"), "platbase": str(folder / "venv")})
    site_packages = Path(paths["purelib"])
    # A .pth file adds folders to the path and does not read their own .pth files, so an editable install is not seen.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    python = next(Path(paths["scripts"]).glob("python*"))
    done = _run([*pip, "--python", python, "install", "--no-deps", "--no-index", wheel], folder)
    assert done.returncode == 0, done.stdout + done.stderr

    elsewhere = folder / "elsewhere"
    for name in PACKAGES:
        (elsewhere / name).mkdir(parents=True)
        (elsewhere / name / "__init__.py").write_text(f"raise SystemExit('{name} of the working directory')")
    return Installed(wheel, Path(paths["scripts"]), site_packages, elsewhere)


@pytest.mark.slow
def test_the_packages_are_those_of_the_wheel(installed: Installed) -> None:
    files = installed.run(
        "python", "-P", "-c", "import minibert, tasks, tools\nfor p in minibert, tasks, tools: print(p.__file__)"
    )
    assert [Path(line) for line in files.split()] == [
        installed.site_packages / name / "__init__.py" for name in PACKAGES
    ]


@pytest.mark.slow
def test_every_file_of_the_packages_is_in_the_wheel(installed: Installed) -> None:
    """Modules, samples, small models and the style sheet; not the READMEs."""
    expected = {
        path.relative_to(ROOT).as_posix()
        for part in (*PACKAGES, "weights")
        for path in (ROOT / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "README.md"
    }
    expected = {path for path in expected if not any(path.startswith(f"{folder}/") for folder in LEFT_OUT)}
    found = {path.relative_to(installed.site_packages).as_posix() for path in installed.site_packages.rglob("*")}
    assert expected - found == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*TASKS, *COMMANDS, *TOOLS}))
def test_each_command_shows_its_help_under_the_name_it_was_called_by(installed: Installed, name: str) -> None:
    typed = name.replace("_", "-")
    assert installed.run("minibert", typed, "--help").startswith(f"usage: minibert {typed} ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables", [{}, {"PYTHONSAFEPATH": "1"}, {"PYTHONPATH": "."}, {"PYTHONPATH": os.pathsep}], ids=str
)
def test_the_list_of_commands_does_not_depend_on_the_search_path(
    installed: Installed, variables: dict[str, str]
) -> None:
    """Plain folders of the same names do no harm anywhere on the path; packages would, if ``PYTHONPATH`` named them."""
    inits = [installed.elsewhere / name / "__init__.py" for name in PACKAGES] if "PYTHONPATH" in variables else []
    for path in inits:
        path.rename(path.with_suffix(".txt"))
    try:
        said = installed.run("minibert", "--help", **variables)
    finally:
        for path in inits:
            path.with_suffix(".txt").rename(path)
    for name in descriptions():
        assert f"\n  {name.replace('_', '-')} " in said


@pytest.mark.slow
def test_the_list_of_commands_needs_no_torch(installed: Installed) -> None:
    said = installed.run("python", "-P", "-X", "importtime", "-m", "tasks", "--help")
    imported = {line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:")}
    assert "argparse" in imported
    assert not imported & {"torch", "numpy", "sklearn"}


@pytest.mark.slow
def test_an_unknown_command_is_refused(installed: Installed) -> None:
    assert installed.run("minibert", "sner", status=2) == "error: sner: no such command; did you mean ner?\n"
    assert "usage: minibert COMMAND" in installed.run("minibert", status=2)


@pytest.mark.slow
def test_train_predict_and_convert(installed: Installed) -> None:
    train = write(installed.elsewhere / "train.jsonl", rows(12))
    dev = write(installed.elsewhere / "dev.jsonl", rows(4))
    options = ["--train", train, "--dev", dev, "--text-column", "headline", "--label-column", "is_good"]
    installed.run("minibert", "classification", *options, "--epochs", "1", "--out", "run")
    run = installed.elsewhere / "run"
    assert json.loads((run / "metrics.json").read_text("utf-8"))["command"].startswith(
        "minibert classification --train "
    )

    (installed.elsewhere / "texts.txt").write_text("a fine thing\nan awful thing\n")
    installed.run("minibert", "predict", "run", "texts.txt", "--out", "answers.jsonl")
    answers = [json.loads(line) for line in (installed.elsewhere / "answers.jsonl").read_text("utf-8").splitlines()]
    assert [answer["label"] in ("0", "1") for answer in answers] == [True, True]

    installed.run("minibert", "convert", str(GOLDEN / "google_bert"), "converted")
    assert (installed.elsewhere / "converted" / "model.safetensors").is_file()
    assert "NaN or infinity in none" in installed.run("minibert", "inspect", "converted")
