"""Names on the hub: what is fetched, what its cache gives, and the message where neither helps."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import INDEX, SAFETENSORS, SHARDS, Asker, Files, Hub, Start, write_small_checkpoint

from minibert import Encoder, Tokenizer


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


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
    return write_small_checkpoint(tmp_path_factory.mktemp("checkpoint"))


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_what_another_program_left_out_of_the_cache_is_fetched_but_nothing_newer(
    hub: Hub, online: Asker, offline: Asker, name: str, files: Files
) -> None:
    """transformers does not fetch how vectors are pooled, nor the task of a run."""
    companions = {"modules.json": b"[]", "1_Pooling/config.json": b"{}", "task.json": b"{ }"}
    repository = hub.add(name, {}, points_to={"main": "first"})
    repository.revisions = {"first": files | companions, "second": files | {"config.json": b"newer"}}
    fetch = "import sys, huggingface_hub as hub; hub.snapshot_download(sys.argv[1], allow_patterns=sys.argv[2:])"
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(online.folder.parent / "home"), "NO_PROXY": "127.0.0.1"}
    subprocess.run([sys.executable, "-c", fetch, name, *files], env=os.environ | settings, check=True)
    assert contents(offline.folder_of(name)) == files

    repository.points_to = {"main": "second"}
    hub.log.clear()
    folder = online.folder_of(name)
    assert {path.name for path in folder.iterdir()} == {*files, "modules.json", "1_Pooling", "task.json"}
    assert hub.given(name) == sorted(companions)
    assert offline.folder_of(name) == online.folder_of(name) == folder
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


@pytest.mark.slow
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
    assert "no weights in a supported format" in online.error_of(name)
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
    assert "a file that the repository lists does not exist" in error
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


@pytest.mark.slow
def test_a_connection_that_is_cut_once_is_taken_up_again(hub: Hub, online: Asker, name: str, files: Files) -> None:
    hub.add(name, files, faults={SAFETENSORS: "cut"})
    assert contents(online.folder_of(name)) == files
    assert hub.given(name).count(SAFETENSORS) == 2
    assert "resume" not in online.errors.read_text()  # huggingface-hub's lines about it


@pytest.mark.slow
def test_a_busy_server_is_asked_again(hub: Hub, online: Asker, name: str, files: Files) -> None:
    hub.add(name, files, passing=[503])
    assert contents(online.folder_of(name)) == files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"),
    [("cut", "the connection was lost"), ("short", "another size than announced")],
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


@pytest.mark.slow
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
        ((404, "RepoNotFound"), "no such repository"),
        ((404, ""), "no such repository"),
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
    assert "To download by hand, put config.json, pytorch_model.bin, vocab.txt from" in error


def test_the_files_put_where_the_message_says_are_found(offline: Asker, name: str, files: Files) -> None:
    offline.error_of(name)
    (offline.folder / name).mkdir(parents=True)
    for file, content in files.items():
        (offline.folder / name / file).write_bytes(content)
    assert offline.folder_of(name) == Path(name)


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
