"""What pre-training stores of a corpus: the same examples as from texts in memory, and made again only when needed."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ENVIRONMENT, FAMILIES, ROOT
from corpus_texts import texts

from minibert.errors import InputError
from tasks.data import Split
from tasks.pretraining.corpus import Corpus, listed, read_corpus
from tasks.pretraining.settings import PretrainingSettings
from tasks.pretraining.task import PretrainingTask
from tasks.run.local_weights import bundled
from tasks.run.prepare import Prepared, prepare
from tasks.run.splits import hold_out


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "corpora"


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Two files, the second of which repeats some documents of the first."""
    documents = texts(120)
    parts = documents[:80], [*documents[80:], *documents[:9]]
    files = [tmp_path / name for name in ("a.txt", "b.txt")]
    for file, part in zip(files, parts, strict=True):
        file.write_text("\n\n".join(map("\n".join, part)), encoding="utf-8")
    return [str(file) for file in files]


def task(*paths: str, family: str = "bert", **settings: Any) -> PretrainingTask:
    given = {"weights": bundled(family), "max_length": 40, "test_share": 0.1, **settings}
    return PretrainingTask(PretrainingSettings(arch=family, corpus=paths, **given))


def seen(task: PretrainingTask, prepared: Prepared) -> dict[str, list[Any]]:
    """Every example of each split, as it is in two epochs and in evaluation."""
    found: dict[str, list[Any]] = {}
    for name, encoded in prepared.encoded.items():
        found[name] = [(np.asarray(encoded.counts).tolist(), list(encoded.lengths), encoded.notes)]
        for epoch in range(3):
            for example in encoded.examples:
                drawn = task.at_epoch(example, epoch).draw()
                arrays = (example.ids, drawn.ids, drawn.types, drawn.positions, drawn.words)
                found[name].append((example.line, drawn.label, *(np.asarray(each).tolist() for each in arrays)))
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.usefixtures("cache")
def test_the_examples_are_those_of_texts_in_memory(paths: list[str], family: str) -> None:
    tested = task(*paths, family=family, seed=5)
    prepared = prepare(tested)
    documents = read_corpus(paths).items
    rest = Split(path="", sha256="", items=[listed(document) for document in documents])
    total = len(documents)
    for name, share in (("test", 0.1), ("dev", 0.1)):
        rest, held = hold_out(tested, rest, name=name, share=share, count=share * total, seed=5)
        assert held.indices is not None
        assert np.array_equal(prepared.splits[name].indices, held.indices)
        assert list(prepared.splits[name].items) == held.items
    tokenizer, config = prepared.start.tokenizer, prepared.start.model.config
    in_memory = {
        name: tested.encode([documents[index] for index in split.indices], tokenizer, config)
        for name, split in prepared.splits.items()
        if split.indices is not None
    }
    assert in_memory.keys() == {"train", "dev", "test"}
    other = dataclasses.replace(prepared, encoded=in_memory)
    assert seen(tested, prepared) == seen(tested, other)


@pytest.mark.usefixtures("cache")
def test_a_second_run_does_not_read_the_text(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(task(*paths))
    with monkeypatch.context() as patch:
        patch.setattr(Corpus, "read", None)
        again = prepare(task(*paths))
    assert seen(task(*paths), first) == seen(task(*paths), again)
    assert first.described == again.described
    documents = [document.paragraphs for document in read_corpus(paths).items]
    described = again.described.values()
    assert sum(each["documents"] for each in described) == len(documents)
    assert sum(each["paragraphs"] for each in described) == sum(map(len, documents))
    assert sum(each["characters"] for each in described) == sum(len(line) for each in documents for line in each)
    assert sum(each["duplicates"] for each in described) == len(documents) - len(set(documents))
    assert [each.get("also_in_train") for each in described] == [None, 0, 0]


def test_what_the_tokens_depend_on_gives_other_stores(paths: list[str], cache: Path) -> None:
    def new_stores(*paths: str, **settings: Any) -> int:
        before = set(cache.glob("*/manifest.json"))
        prepare(task(*paths, **settings))
        return len({*cache.glob("*/manifest.json")} - before)

    assert new_stores(*paths) == 4, "the list of documents, and the tokens of three parts"
    assert new_stores(*paths) == 0
    assert new_stores(*paths, lr=1e-4, epochs=2, static_masks=True, masking="word") == 0
    assert new_stores(*paths, seed=3) == 4
    assert new_stores(*paths, documents="lines") == 4
    assert new_stores(*paths, max_length=41) == 3
    assert new_stores(*paths, family="roberta") == 3
    assert new_stores(*paths[::-1]) == 4
    assert new_stores(paths[0], dev=paths[1], test_share=None) == 3
    assert new_stores(paths[0], dev=paths[1], test_share=None, seed=3) == 0, "nothing is drawn"
    moved = str(shutil.copy(paths[1], f"{paths[1]}.moved"))
    assert new_stores(paths[0], moved) == 0
    understood = prepare(task(paths[0], moved)).splits["train"].understood
    assert [line.partition(": ")[0] for line in understood] == [paths[0], moved]
    with open(paths[0], "a", encoding="utf-8") as file:
        file.write(" more")
    assert new_stores(*paths) == 4


def test_a_part_that_was_given_is_compared_with_the_training_data(
    paths: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(task(paths[0], dev=paths[1], test_share=None))
    first, second = ({d.paragraphs for d in read_corpus([path]).items} for path in paths)
    described = prepared.described["dev"]
    repeated = [d for d in read_corpus([paths[1]]).items if d.paragraphs in first]
    assert described["also_in_train"] == len(repeated)
    assert described["documents"] - described["duplicates"] == len(second)
    assert prepared.splits["dev"].source == paths[1]
    monkeypatch.setattr(Corpus, "read", None)
    assert prepare(task(paths[0], dev=paths[1], test_share=None)).described == prepared.described


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match=r"pipe: is not a regular file, .*; save it as a file"):
        prepare(task(str(pipe)))


PEAK = """
import re, sys
from tasks.pretraining import encode
from tasks.pretraining.settings import PretrainingSettings
from tasks.pretraining.task import PretrainingTask
from tasks.run.prepare import prepare
encode._BLOCK = 1 << 16  # so that what waits for processes is small
prepare(PretrainingTask(PretrainingSettings(corpus=sys.argv[1:2], weights=sys.argv[2], max_length=64)))
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])  # getrusage knows the parent's, too
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_memory_does_not_grow_with_the_text(tmp_path: Path, cache: Path) -> None:
    """When the tokens are made, and when they are found: by less than half of the text."""
    documents = ["\n".join(line for paragraphs in texts(10 * n)[-10:] for line in paragraphs) for n in range(1, 40)]
    peaks = {}
    for times in (2, 100):
        path = tmp_path / f"{times}.txt"
        path.write_text("\n\n".join(documents * times), encoding="utf-8")
        for start in ("first", "second"):
            command = [sys.executable, "-c", PEAK, str(path), str(bundled("bert"))]
            environment = {**ENVIRONMENT, "MINIBERT_CACHE": str(cache)}
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            peaks[times, start] = int(done.stdout) << 10
    bound = path.stat().st_size / 2
    assert peaks[100, "first"] - peaks[2, "first"] < bound, peaks
    assert peaks[100, "second"] - peaks[2, "second"] < bound, peaks
