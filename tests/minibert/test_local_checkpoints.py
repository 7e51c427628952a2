"""Local folders and paths are resolved without a network; known hashes, and reasons for failures."""

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from hub_server import write_small_checkpoint

from minibert.errors import InputError
from minibert.families import FAMILIES
from minibert.files import read_json_object
from minibert.hub import _MANIFEST, _failure_reason, known_sha256, resolve


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert resolve(tmp_path) == resolve(str(tmp_path)) == tmp_path


def test_a_file_is_not_a_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(InputError, match="is a file") as error:
        resolve(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "a/b/c", "../nowhere/", "name with spaces"])
def test_a_path_that_does_not_exist_is_refused_without_asking_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minibert.hub._resolve_on_hub", lambda *_: pytest.fail("the hub was asked"))
    with pytest.raises(InputError, match="no such folder"):
        resolve(name)


@pytest.mark.slow
def test_a_local_folder_is_read_without_a_network_stack(checkpoint: Path) -> None:
    code = f"""
import sys
from minibert import Encoder, Tokenizer
Encoder.from_pretrained({str(checkpoint)!r})
Tokenizer.from_pretrained({str(checkpoint)!r})
print(sorted({{"huggingface_hub", "httpx", "httpx2", "requests", "hf_xet"}} & set(sys.modules)))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == "[]"


def test_a_local_folder_has_no_revision(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="v2"):
        resolve(checkpoint, revision="v2")


def test_of_most_names_no_hash_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("minibert.hub._MANIFEST", tmp_path / "manifest.json")
    assert known_sha256("some-one/some-model") == {}
    (tmp_path / "manifest.json").write_text('{"some-one/some-model": {"licence": "MIT"}}', encoding="utf-8")
    assert known_sha256("some-one/some-model") == known_sha256("another") == {}


def test_the_shipped_manifest_describes_whole_checkpoints() -> None:
    manifest = read_json_object(_MANIFEST)
    assert {"google-bert/bert-base-chinese", "albert/albert-xxlarge-v2", "FacebookAI/roberta-large"} <= manifest.keys()
    for name, entry in manifest.items():
        assert entry["architecture"] in FAMILIES, name
        assert entry["parameters"] > 1_000_000, name
        assert "config.json" in entry["files"], name
        assert {"model.safetensors", "pytorch_model.bin"} & set(entry["files"]), name


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (socket.gaierror(-2, "Name or service not known"), "no DNS"),
        (ConnectionResetError(104, "Connection reset by peer"), "connection was lost"),
        (TimeoutError("timed out"), "connection was lost"),
        (PermissionError(errno.EACCES, "Permission denied", "/cache/blob"), "Permission denied: '/cache/blob'"),
        (KeyError("sha"), "KeyError"),
    ],
)
def test_an_error_below_is_told_by_its_cause(error: Exception, reason: str) -> None:
    outer = RuntimeError("something went wrong")
    outer.__cause__ = error
    assert reason in _failure_reason(error, downloading=True)
    if reason != "KeyError":
        assert reason in _failure_reason(outer, downloading=True)
