"""Names and folders: what is fetched from the hub, what its cache gives, and what is said where neither helps.

The hub is a server on this machine that speaks as much of the hub's protocol as huggingface-hub asks for. Resolving
runs in processes of its own, because huggingface-hub reads its settings from the environment when it is imported.
"""

import errno
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import torch
from conftest import ROOT, scramble, tiny_config

from minibert import Encoder, Tokenizer
from minibert.errors import InputError
from minibert.families import FAMILIES
from minibert.files import read_json_object
from minibert.hub import _MANIFEST, _why, known_sha256, resolve

SAFETENSORS = "model.safetensors"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"

Files = dict[str, bytes]


# -- a hub ------------------------------------------------------------------------------------------------------------


@dataclass
class Repository:
    """Its files by revision, and how it misbehaves: a status (with the hub's own code for it) for everything, statuses
    that pass, and faults by file, each for one ``GET`` or, where ``for_ever``, for all."""

    revisions: dict[str, Files]
    status: tuple[int, str] | None = None
    passing: list[int] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    for_ever: bool = False

    def commit(self, revision: str) -> str | None:
        commits = {
            name: hashlib.sha1(repr((name, files)).encode()).hexdigest() for name, files in self.revisions.items()
        }
        return commits.get(revision) or next((commit for commit in commits.values() if commit == revision), None)

    def files(self, commit: str) -> Files:
        return next(files for revision, files in self.revisions.items() if self.commit(revision) == commit)


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.log: list[tuple[str, str, str]] = []  # method, repository, file
        self.stalled = threading.Event()
        self.endpoint = f"http://127.0.0.1:{self.server_port}"

    def add(self, name: str, files: Files, **changes: Any) -> Repository:
        self.repositories[name] = Repository({"main": files}, **changes)
        return self.repositories[name]

    def given(self, name: str) -> list[str]:
        """The files whose contents were asked for since the last call, sorted."""
        files = sorted(file for method, repository, file in self.log if (method, repository) == ("GET", name) and file)
        self.log.clear()
        return files


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if call := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            name, kind, revision, file = call[1], call[2], call[3] or "main", ""
        elif call := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            name, kind, revision, file = call[1], "file", call[2], call[3]
        else:
            return self.refuse(404)
        self.server.log.append((self.command, name, file))
        repository = self.server.repositories.get(name)
        if repository is None:
            return self.refuse(404, "RepoNotFound")
        if repository.status is not None:
            return self.refuse(*repository.status)
        if repository.passing:
            return self.refuse(repository.passing.pop())
        commit = repository.commit(revision)
        if commit is None:
            return self.refuse(404, "RevisionNotFound")
        files = repository.files(commit)
        if kind == "tree":
            return self.give_json([
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ])  # fmt: skip
        if kind != "file":
            siblings = [{"rfilename": name} for name in files]
            return self.give_json({"id": name, "sha": commit, "private": False, "tags": [], "siblings": siblings})
        fault = repository.faults.get(file)
        if self.command == "GET" and fault and not repository.for_ever:
            del repository.faults[file]
        if file not in files or fault == "absent":
            return self.refuse(404, "EntryNotFound")
        return self.give_file(files[file], commit, fault)

    def give_file(self, content: bytes, commit: str, fault: str | None) -> None:
        start, etag = 0, hashlib.sha256(content).hexdigest()
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(wanted[1])
        rest = content[start:]
        if fault == "short" and self.command == "GET":
            rest = rest[: len(rest) // 2]
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(rest)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault in ("cut", "stall"):
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            self.close_connection = True
            if fault == "stall":
                self.server.stalled.set()
                self.connection.settimeout(60)
                self.rfile.read(1)  # until the other side is gone
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.wfile.write(rest)

    def give_json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, code: str = "") -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


# -- those who ask it -------------------------------------------------------------------------------------------------

ASKING = """
import json, sys
from pathlib import Path
from minibert import hub
from minibert.errors import InputError
for line in sys.stdin:
    name, revision, manifest = json.loads(line)
    hub._MANIFEST = Path(manifest)
    try:
        answer = {"folder": str(hub.resolve(name, revision=revision))}
    except InputError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""


class Asker:
    """A process that resolves names, with an environment of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        folder.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
        self.errors = folder / "stderr"
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", ASKING], cwd=folder,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env={**kept, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", **environment},
            )  # fmt: skip

    def send(self, name: str, revision: str | None = None, manifest: Path = Path("none")) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([name, revision, str(manifest)]).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, name: str, revision: str | None = None, **more: Any) -> dict[str, str]:
        self.send(name, revision, **more)
        assert self.process.stdout is not None
        too_long = threading.Timer(120, self.process.kill)
        too_long.start()
        line = self.process.stdout.readline()
        too_long.cancel()
        assert line, self.errors.read_text()
        answer: dict[str, str] = json.loads(line)
        return answer

    def folder_of(self, name: str, revision: str | None = None, **more: Any) -> Path:
        answer = self.ask(name, revision, **more)
        assert "folder" in answer, answer
        return Path(answer["folder"])

    def error_of(self, name: str, revision: str | None = None, **more: Any) -> str:
        answer = self.ask(name, revision, **more)
        assert "error" in answer, answer
        return answer["error"]

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


Start = Callable[..., Asker]


@pytest.fixture(scope="module")
def start(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts askers that share one cache."""
    home, askers = tmp_path_factory.mktemp("hub"), []

    def start_one(name: str, **environment: str) -> Asker:
        settings = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home / "home"), **environment}
        askers.append(Asker(home / name, **settings))
        return askers[-1]

    yield start_one
    for asker in askers:
        asker.end()


@pytest.fixture(scope="module")
def online(start: Start) -> Asker:
    return start("online")


@pytest.fixture(scope="module")
def offline(start: Start) -> Asker:
    return start("offline", HF_HUB_OFFLINE="1")


@pytest.fixture(scope="module")
def unreachable(start: Start) -> Asker:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return start("unreachable", HF_ENDPOINT=f"http://127.0.0.1:{port}")


@pytest.fixture
def name(hub: Hub, request: pytest.FixtureRequest) -> str:
    """A repository's name of this test's own, and an empty log."""
    hub.log.clear()
    return f"test/{re.sub('[^a-z0-9]+', '-', request.node.name.removeprefix('test_').lower()).strip('-')[:60]}"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    model = Encoder(tiny_config("bert"))
    scramble(model)
    model.save_pretrained(folder)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(chr(0x4E00 + index) for index in range(85))]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")
    return folder


@pytest.fixture
def files(checkpoint: Path) -> Files:
    return {path.name: path.read_bytes() for path in checkpoint.iterdir()}


def sharded(files: Files) -> Files:
    index = json.dumps({"weight_map": {"one": SHARDS[0], "two": SHARDS[1]}}).encode()
    rest = {file: content for file, content in files.items() if file != SAFETENSORS}
    return {**rest, INDEX: index, SHARDS[0]: b"first" * 50, SHARDS[1]: b"second" * 50}


def contents(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# -- what is fetched --------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_fetched_once_without_what_it_does_not_need(
    hub: Hub, online: Asker, offline: Asker, unreachable: Asker, name: str, files: Files, checkpoint: Path
) -> None:
    others = (
        ".gitattributes",
        "README.md",
        "pytorch_model.bin",
        "tf_model.h5",
        "onnx/model.onnx",
        "model.fp16.safetensors",
    )
    hub.add(name, files | dict.fromkeys(others, b"not needed"))
    folder = online.folder_of(name)
    assert contents(folder) == files
    assert hub.given(name) == sorted(files)
    assert "Fetching" in online.errors.read_text()  # the progress bar

    ours, theirs = Encoder.from_pretrained(folder).state_dict(), Encoder.from_pretrained(checkpoint).state_dict()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())
    assert Tokenizer.from_pretrained(folder).vocab_size == 90

    for asker in (online, offline, unreachable):
        assert asker.folder_of(name) == folder
    assert not hub.log


FORMS = {
    "bin": (["pytorch_model.bin"], ["flax_model.msgpack"]),
    "shards": ([INDEX, *SHARDS], ["pytorch_model.bin", "pytorch_model.bin.index.json"]),
    "whole before shards": ([SAFETENSORS], [INDEX, *SHARDS]),
    "bin in shards": (["pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"], ["rust_model.ot"]),
    "google": (["bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"], ["bert_model.ckpt.meta", "graph.pb"]),
    "google best": (["model.ckpt-best.index", "model.ckpt-best.data-00000-of-00001"], ["model.ckpt-best.meta"]),
    "safetensors before google": ([SAFETENSORS], ["model.ckpt.index", "model.ckpt.data-00000-of-00001"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_form_of_the_weights_is_fetched(
    form: str, hub: Hub, online: Asker, offline: Asker, name: str, files: Files
) -> None:
    wanted, unwanted = FORMS[form]
    map_of = {INDEX: SHARDS, "pytorch_model.bin.index.json": ["pytorch_model-00001-of-00001.bin"]}
    body = {file: content for file, content in files.items() if file != SAFETENSORS}
    if "google" in form and SAFETENSORS not in wanted:
        body["bert_config.json"] = body.pop("config.json")
    weights = {
        file: json.dumps({"weight_map": dict(enumerate(map_of[file]))}).encode() if file in map_of else file.encode()
        for file in (*wanted, *unwanted)
    }
    hub.add(name, body | weights)
    folder = online.folder_of(name)
    assert hub.given(name) == sorted([*body, *wanted])
    assert offline.folder_of(name) == folder


def test_fairseq_needs_no_config(hub: Hub, online: Asker, offline: Asker, name: str) -> None:
    files = {"model.pt": b"weights", "dict.txt": b"50 1", "encoder.json": b"{}", "vocab.bpe": b""}
    hub.add(name, {**files, "NOTE": b"not needed"})
    assert contents(online.folder_of(name)) == files
    assert offline.ask(name).keys() == {"folder"}


def test_a_repository_without_weights_is_refused(hub: Hub, online: Asker, name: str, files: Files) -> None:
    del files[SAFETENSORS]
    hub.add(name, {**files, "tf_model.h5": b"not read"})
    assert "no weights of a form that can be read" in online.error_of(name)
    assert not hub.given(name)


def test_a_revision_is_a_folder_of_its_own(hub: Hub, online: Asker, offline: Asker, name: str, files: Files) -> None:
    repository = hub.add(name, files)
    repository.revisions["v2"] = files | {"vocab.txt": files["vocab.txt"].replace(b"[MASK]", b"[BLANK]")}
    main, second = online.folder_of(name), online.folder_of(name, "v2")
    assert contents(main) == repository.revisions["main"]
    assert contents(second) == repository.revisions["v2"]
    assert hub.given(name).count(SAFETENSORS) == 1  # the same bytes are not fetched again
    for revision, folder in ((None, main), ("main", main), ("v2", second), (repository.commit("v2"), second)):
        assert offline.folder_of(name, revision) == folder
    assert "no such revision" in online.error_of(name, "v3")


# -- what breaks off --------------------------------------------------------------------------------------------------


def test_a_checkpoint_in_part_is_completed(
    hub: Hub, online: Asker, offline: Asker, unreachable: Asker, name: str, files: Files
) -> None:
    repository = hub.add(name, sharded(files), faults={SHARDS[1]: "absent"}, for_ever=True)
    error = online.error_of(name)
    assert "a file that the repository lists is not there" in error
    for file in repository.revisions["main"]:
        assert file in error
    for asker, reason in ((offline, "HF_HUB_OFFLINE is set"), (unreachable, "no connection")):
        error = asker.error_of(name)
        assert reason in error
        assert f"without {SHARDS[1]}." in error
    hub.given(name)
    repository.faults.clear()
    folder = online.folder_of(name)
    assert hub.given(name) == [SHARDS[1]]
    assert contents(folder) == repository.revisions["main"]
    assert offline.folder_of(name) == folder


def test_a_config_alone_is_no_checkpoint(hub: Hub, online: Asker, offline: Asker, name: str, files: Files) -> None:
    repository = hub.add(name, files, faults={SAFETENSORS: "absent"}, for_ever=True)
    online.error_of(name)
    assert "without model.safetensors." in offline.error_of(name)
    repository.faults.clear()
    assert contents(online.folder_of(name)) == files


def test_the_weights_come_last(hub: Hub, online: Asker, offline: Asker, name: str, files: Files) -> None:
    """So that a cache with weights is known to have the tokenizer's settings too."""
    repository = hub.add(name, files, faults={"tokenizer_config.json": "absent"}, for_ever=True)
    online.error_of(name)
    assert SAFETENSORS not in hub.given(name)
    assert "without" in offline.error_of(name)
    repository.faults.clear()
    assert contents(online.folder_of(name)) == files


def test_a_checkpoint_without_tokenizer_is_used_where_the_hub_has_none(
    hub: Hub, online: Asker, offline: Asker, unreachable: Asker, name: str, files: Files
) -> None:
    hub.add(name, {file: files[file] for file in ("config.json", SAFETENSORS)})
    folder = online.folder_of(name)
    hub.given(name)
    for asker in (online, offline, unreachable):
        assert asker.folder_of(name) == folder
    assert not hub.given(name)
    hub.add(name, files)  # a tokenizer came with a later commit
    assert contents(online.folder_of(name)) == files


def test_a_connection_that_is_cut_once_is_taken_up_again(hub: Hub, online: Asker, name: str, files: Files) -> None:
    hub.add(name, files, faults={SAFETENSORS: "cut"})
    assert contents(online.folder_of(name)) == files
    assert hub.given(name).count(SAFETENSORS) == 2
    assert "resume" not in online.errors.read_text()  # huggingface-hub's lines about it


def test_a_busy_server_is_asked_again(hub: Hub, online: Asker, name: str, files: Files) -> None:
    hub.add(name, files, passing=[503])
    assert contents(online.folder_of(name)) == files


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("cut", "the connection broke off"), ("short", "did not come with the size")],
)
def test_a_truncated_file_never_counts(
    fault: str, reason: str, hub: Hub, online: Asker, offline: Asker, name: str, files: Files
) -> None:
    repository = hub.add(name, files, faults={SAFETENSORS: fault}, for_ever=True)
    error = online.error_of(name)
    assert reason in error
    assert f"{hub.endpoint}/{name}/tree/main" in error
    assert str(online.folder / name) in error
    assert "without model.safetensors." in offline.error_of(name)
    repository.faults.clear()
    assert contents(online.folder_of(name)) == files


def test_a_process_that_is_killed_while_downloading_leaves_nothing_that_counts(
    hub: Hub, start: Start, online: Asker, offline: Asker, name: str, files: Files
) -> None:
    hub.add(name, files, faults={SAFETENSORS: "stall"})
    killed = start("killed")
    killed.send(name)
    assert hub.stalled.wait(60)
    killed.end()
    assert "without model.safetensors." in offline.error_of(name)
    assert contents(online.folder_of(name)) == files


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ((404, "RepoNotFound"), "no repository of this name"),
        ((404, ""), "no repository of this name"),
        ((401, ""), "or it is private"),
        ((401, "RepoNotFound"), "or it is private"),
        ((401, "GatedRepo"), "gated"),
        ((403, "GatedRepo"), "gated"),
        ((403, ""), "access is forbidden"),
        ((418, ""), "HTTP status 418"),
    ],
)
def test_a_refusal_is_told_in_words_with_the_files_to_fetch(
    status: tuple[int, str], reason: str, hub: Hub, online: Asker, name: str, files: Files
) -> None:
    hub.add(name, files, status=status)
    error = online.error_of(name)
    assert error.startswith(name)
    for part in (reason, hub.endpoint, "config.json", "model.safetensors", "vocab.txt", str(online.folder / name)):
        assert part in error
    assert "\n" not in error


def test_without_a_connection_the_files_to_fetch_are_listed(unreachable: Asker, offline: Asker, name: str) -> None:
    for asker, reason in ((unreachable, "no connection"), (offline, "HF_HUB_OFFLINE is set")):
        error = asker.error_of(name)
        for part in (reason, "config.json", "model.safetensors", "vocab.txt", str(asker.folder / name)):
            assert part in error
        assert "Retrying" not in asker.errors.read_text()


def test_of_a_known_checkpoint_just_its_own_files_are_listed(offline: Asker, name: str, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({name: {"files": ["config.json", "pytorch_model.bin", "vocab.txt"]}}))
    error = offline.error_of(name, manifest=manifest)
    assert "By hand: put config.json, pytorch_model.bin, vocab.txt from" in error


def test_the_files_put_where_the_message_says_are_found(offline: Asker, name: str, files: Files) -> None:
    offline.error_of(name)
    (offline.folder / name).mkdir(parents=True)
    for file, content in files.items():
        (offline.folder / name / file).write_bytes(content)
    assert offline.folder_of(name) == Path(name)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (socket.gaierror(-2, "Name or service not known"), "no DNS"),
        (ConnectionResetError(104, "Connection reset by peer"), "broke off"),
        (TimeoutError("timed out"), "broke off"),
        (PermissionError(errno.EACCES, "Permission denied", "/cache/blob"), "Permission denied: '/cache/blob'"),
        (KeyError("sha"), "KeyError"),
    ],
)
def test_an_error_below_is_told_by_its_cause(error: Exception, reason: str) -> None:
    outer = RuntimeError("something went wrong")
    outer.__cause__ = error
    assert reason in _why(error, downloading=True)
    if reason != "KeyError":
        assert reason in _why(outer, downloading=True)


# -- what is known ----------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_the_known_one_is_refused_and_can_be_fetched_again(
    hub: Hub, online: Asker, offline: Asker, name: str, files: Files, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.json"
    hashes = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    manifest.write_text(json.dumps({name: {"licence": "Apache-2.0", "sha256": {**hashes, "absent": "0" * 64}}}))
    hub.add(name, files)
    folder = online.folder_of(name, manifest=manifest)

    damaged = (folder / SAFETENSORS).resolve()
    content = bytearray(files[SAFETENSORS])
    content[-1] ^= 1
    damaged.write_bytes(content)
    for asker in (online, offline):
        error = asker.error_of(name, manifest=manifest)
        assert str(damaged) in error
        assert hashes[SAFETENSORS] in error
        assert hashlib.sha256(content).hexdigest() in error
        assert damaged.read_bytes() == content
        assert asker.folder_of(name, "main", manifest=manifest) == folder

    damaged.unlink()
    assert contents(online.folder_of(name, manifest=manifest)) == files


def test_of_most_names_no_hash_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("minibert.hub._MANIFEST", tmp_path / "manifest.json")
    assert known_sha256("some-one/some-model") == {}
    (tmp_path / "manifest.json").write_text('{"some-one/some-model": {"licence": "MIT"}}', encoding="utf-8")
    assert known_sha256("some-one/some-model") == known_sha256("another") == {}


# -- what is here -----------------------------------------------------------------------------------------------------


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


# -- the manifest ------------------------------------------------------------------------------------------------------


def test_the_shipped_manifest_describes_whole_checkpoints_and_knows_no_false_hash() -> None:
    manifest = read_json_object(_MANIFEST)
    assert {"google-bert/bert-base-chinese", "albert/albert-xxlarge-v2", "FacebookAI/roberta-large"} <= manifest.keys()
    for name, entry in manifest.items():
        assert entry["architecture"] in FAMILIES, name
        assert entry["parameters"] > 1_000_000, name
        assert "config.json" in entry["files"], name
        assert {"model.safetensors", "pytorch_model.bin"} & set(entry["files"]), name
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in known_sha256(name).values()), name
