"""A local server that speaks as much of the hub's protocol as huggingface-hub needs, and processes that ask it.

Resolving runs in processes of its own, because huggingface-hub reads its settings from the environment when it is
imported.
"""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from conftest import ROOT, scramble, tiny_config

from minibert import Encoder

SAFETENSORS = "model.safetensors"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"

Files = dict[str, bytes]


@dataclass
class Repository:
    """Its files by revision, which names stand for another one, and how it misbehaves: a status (with the hub's own
    code for it) for everything, statuses that pass, and faults by file, each for one ``GET`` or, where ``for_ever``,
    for all."""

    revisions: dict[str, Files]
    status: tuple[int, str] | None = None
    passing: list[int] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    for_ever: bool = False
    points_to: dict[str, str] = field(default_factory=dict)

    def commit(self, revision: str) -> str | None:
        commits = {
            name: hashlib.sha1(repr((name, files)).encode()).hexdigest() for name, files in self.revisions.items()
        }
        named = commits.get(self.points_to.get(revision, revision))
        return named or next((commit for commit in commits.values() if commit == revision), None)

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
            return self.refuse(404, "EntryNotFound", commit)
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

    def refuse(self, status: int, code: str = "", commit: str = "") -> None:
        self.send_response(status)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


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


def write_small_checkpoint(folder: Path) -> Path:
    """A random BERT of 90 words with its vocabulary."""
    model = Encoder(tiny_config("bert"))
    scramble(model)
    model.save_pretrained(folder)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(chr(0x4E00 + index) for index in range(85))]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")
    return folder
