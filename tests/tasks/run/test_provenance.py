"""Where a run came from: the version and commit of the program, the files of its starting weights, the draw."""

import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import ENVIRONMENT, ROOT, rows, write
from hub_server import Hub, write_small_checkpoint

from minibert.errors import InputError
from tasks import registry
from tasks.run.options import parse
from tasks.run.provenance import code_version
from tasks.settings import RunSettings

SMALL = ["--epochs", "1", "--batch-size", "8", "--precision", "fp32", "--no-baseline"]


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def record_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return found


def test_the_commit_of_a_checkout_and_none_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "minibert"\nversion = "7.8.9"\n', encoding="utf-8")
    assert code_version(tmp_path) == {"version": "7.8.9", "commit": None, "modified": None}

    git(tmp_path, "init", "-q")
    assert code_version(tmp_path)["commit"] is None  # nothing is committed yet
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    (tmp_path / "notes.txt").write_text("not tracked", encoding="utf-8")
    commit = git(tmp_path, "log", "-1", "--format=%H")
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))  # as in a hook of another repository
    assert code_version(tmp_path) == {"version": "7.8.9", "commit": commit, "modified": False}
    project.write_text(project.read_text(encoding="utf-8").replace("7.8.9", "8.0.0"), encoding="utf-8")
    assert code_version(tmp_path) == {"version": "8.0.0", "commit": commit, "modified": True}

    (tmp_path / "inside").mkdir()  # an environment within the checkout of something else
    assert code_version(tmp_path / "inside")["commit"] is None
    monkeypatch.setenv("PATH", "")
    assert code_version(tmp_path) == {"version": "8.0.0", "commit": None, "modified": None}


@pytest.mark.slow
def test_the_files_of_the_starting_weights_and_the_draw_are_recorded(tmp_path: Path) -> None:
    weights = write_small_checkpoint(tmp_path / "weights")
    (weights / "README.md").write_text("not read", encoding="utf-8")
    options = ["--train", write(tmp_path / "train.jsonl", rows(40)), "--test-share", "0.25", "--seed", "3", *SMALL]
    run = registry.run("classification", [*options, "--weights", str(weights), "--out", str(tmp_path / "run")])
    record = record_of(run)
    expected = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in weights.iterdir()
        if path.name != "README.md"
    }
    loading = record["starting_weights"].pop("loading")
    assert "tensors loaded" in loading
    assert record["starting_weights"] == {
        "folder": str(weights), "revision": None, "commit": None, "sha256": expected,
    }  # fmt: skip
    assert record["data"]["test"]["draw"] == {"share": 0.25, "seed": 3, "items": 10, "of": 40}
    assert record["data"]["dev"]["draw"] == {"share": 0.1, "seed": 3, "items": 4, "of": 30}
    assert "draw" not in record["data"]["train"]
    assert record["minibert"]["version"] is not None
    page = (run / "report.html").read_text(encoding="utf-8")
    assert expected["model.safetensors"] in page

    run = registry.run("classification", [*options, "--weights", "random", "--out", str(tmp_path / "new")])
    assert record_of(run)["starting_weights"] is None


@pytest.mark.slow
def test_a_revision_of_the_hub_is_loaded_and_recorded(tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in write_small_checkpoint(tmp_path / "weights").iterdir()}
    hub = Hub()
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    repository = hub.add("test/revised", files)
    repository.revisions["v2"] = files | {"vocab.txt": files["vocab.txt"].replace("一".encode(), "龍".encode())}
    data, out = write(tmp_path / "train.jsonl", rows(20)), tmp_path / "run"
    environment = {**ENVIRONMENT, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "tasks.classification", "--train", data, "--out", str(out), *SMALL]
    done = subprocess.run(
        [*command, "--weights", "test/revised", "--revision", "v2"],
        cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    hub.shutdown()
    hub.server_close()
    assert done.returncode == 0, done.stderr
    start = record_of(out)["starting_weights"]
    assert (start["revision"], start["commit"]) == ("v2", repository.commit("v2"))
    assert start["sha256"]["vocab.txt"] == hashlib.sha256(repository.revisions["v2"]["vocab.txt"]).hexdigest()
    assert "from test/revised, revision v2 (" in done.stdout
    assert 'revision = "v2"' in (out / "settings.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("options", [["--revision", "v2"], ["--revision", "v2", "--weights", "random"]])
def test_a_revision_needs_a_checkpoint_of_the_hub(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--revision v2: needs --weights, the name of a checkpoint on the hub"):
        parse(registry.settings_class("classification"), options, task="classification")
    with pytest.raises(InputError, match="is a local folder, which has no revision 'v2'"):
        registry.run("classification", ["--weights", str(tmp_path), "--revision", "v2"])


def test_another_revision_is_another_run() -> None:
    first, second = (
        parse(registry.settings_class("ner"), ["--weights", "x", *more], task="ner").settings
        for more in ((), ("--revision", "v2"))
    )
    assert isinstance(first, RunSettings)
    assert first.fingerprint() != second.fingerprint()


@pytest.mark.slow
def test_names_of_tensors_do_not_head_the_page_or_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are in the record, and at the end of the page."""
    options = ["--train", write(tmp_path / "train.jsonl", rows(40)), *SMALL]
    run = registry.run("classification", [*options, "--out", str(tmp_path / "run")])  # its weights predict masked words
    record = record_of(run)
    unused = "cls.predictions.transform.dense.weight"
    assert unused in record["starting_weights"]["loading"]
    printed = capsys.readouterr().out
    assert "tensors loaded" in printed
    assert unused not in printed
    for detail in ("tensors loaded", "not used", "newly initialised"):
        assert detail not in record["origin"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.index(unused) > page.index('id="versions"')
