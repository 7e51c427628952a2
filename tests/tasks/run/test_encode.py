"""Examples of large files: stored, they are those of texts in memory, to the bit, and made again only when needed."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from conftest import ENVIRONMENT, ROOT

from tasks import registry
from tasks.classification.settings import ClassificationSettings
from tasks.classification.stored import Texts
from tasks.classification.task import ClassificationTask
from tasks.qa.settings import QaSettings
from tasks.qa.task import QaTask
from tasks.run import encode as module
from tasks.run import store
from tasks.run.encode import EncodedRows
from tasks.run.prepare import Prepared, prepare
from tasks.run.rows import Rows, RowWriter
from tasks.run.score import training_sample
from tasks.task import SAMPLES, Task

STORING = [name for name in registry.TASKS if registry.task_class(name).example_class is not None]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "corpora"


def large(patch: pytest.MonkeyPatch) -> None:
    """Every file is a large one, and read in many blocks."""
    patch.setattr(store, "LARGE", 1)
    patch.setattr(module, "_BLOCK", 7)


def task(name: str, **settings: Any) -> Task[Any, Any, Any]:
    (train,) = SAMPLES.glob(f"{registry.task_class(name).sample or name}/train.*")
    given = {"arch": "bert", "train": str(train), "max_length": 48, "test_share": 0.1, **settings}
    return registry.task_class(name)(registry.settings_class(name)(**given))


def exactly(value: Any) -> Any:
    """A value with the types of all its parts."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tolist()
    if isinstance(value, (tuple, list)):
        return type(value), [exactly(part) for part in value]
    return type(value), value


def contents(prepared: Prepared) -> dict[str, Any]:
    """All that a run sees of its data."""
    sample, of_sample = training_sample(prepared, seed=3)
    return {
        "described": prepared.described,
        "sample": exactly([[*sample], [*of_sample.examples], np.asarray(of_sample.counts).tolist()]),
        **{name: exactly([*split.items]) for name, split in prepared.splits.items()},
        **{f"{name} indices": np.asarray(split.indices).tolist() for name, split in prepared.splits.items()},
        **{
            f"{name} examples": (
                exactly([*encoded.examples]),
                np.asarray(encoded.counts).tolist(),
                np.asarray(encoded.lengths).tolist(),
            )
            for name, encoded in prepared.encoded.items()
        },
    }


def test_all_tasks_with_labels_are_tested() -> None:
    assert {"classification", "qa", "ner", "span_qa", "multiple_choice"} <= set(STORING)


@pytest.mark.parametrize("name", STORING)
@pytest.mark.usefixtures("cache")
def test_stored_examples_are_those_in_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = prepare(task(name))
    assert not isinstance(expected.encoded["train"], EncodedRows)
    large(monkeypatch)
    stored = prepare(task(name))
    assert isinstance(stored.encoded["train"], EncodedRows)
    assert contents(stored) == contents(expected)


@pytest.mark.usefixtures("cache")
def test_several_examples_of_an_item_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions in three prompts, and sentences in several windows."""
    for name, settings in (("qa", {"prompt": ("Q: {question}", "{question}?")}), ("ner", {"max_length": 8})):
        with monkeypatch.context() as patch:
            expected = contents(prepare(task(name, **settings)))
            large(patch)
            assert contents(prepare(task(name, **settings))) == expected


def test_a_small_file_leaves_nothing_in_the_cache(cache: Path) -> None:
    prepare(task("classification"))
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_a_second_start_neither_reads_nor_tokenises(monkeypatch: pytest.MonkeyPatch) -> None:
    large(monkeypatch)
    first = contents(prepare(task("classification")))
    monkeypatch.setattr("tasks.classification.stored.read_texts", None)
    monkeypatch.setattr(ClassificationTask, "encode", None)
    assert contents(prepare(task("classification", lr=0.5, epochs=3))) == first


@pytest.mark.parametrize("setting", [{"max_length": 9}, {"seed": 7}, {"clean": ("[aeiou] -> x",)}, {"arch": "roberta"}])
@pytest.mark.usefixtures("cache")
def test_what_examples_depend_on_makes_others(setting: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = contents(prepare(task("classification", **setting)))
    large(monkeypatch)
    prepare(task("classification"))
    assert contents(prepare(task("classification", **setting))) == expected


@pytest.mark.usefixtures("cache")
def test_labels_in_another_order_make_other_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    large(monkeypatch)
    tested = task("classification")
    prepared = prepare(tested)
    tokenizer, config, train = prepared.start.tokenizer, prepared.start.model.config, prepared.splits["train"]
    reversed_labels = dict(enumerate(reversed([*config.id2label.values()])))
    for labels in (config.id2label, reversed_labels):
        encoded = module.encode(tested, train.items, train.path, tokenizer, config.with_labels(labels))
        assert [labels[example.target] for example in encoded.examples] == [item.label for item in train.items]


def test_damaged_stores_are_made_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large(monkeypatch)
    first = contents(prepare(task("classification")))
    for name in ("ids.bin", "text.bin"):
        for path in cache.rglob(name):
            path.write_bytes(path.read_bytes()[:-1])
    assert contents(prepare(task("classification"))) == first


def test_a_run_goes_on_in_memory_where_nothing_can_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = contents(prepare(task("classification")))
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "file"))
    large(monkeypatch)
    assert contents(prepare(task("classification"))) == expected
    assert "cannot be written (Not a directory)" in caplog.text
    assert "Going on in memory." in caplog.text


_OWN_TASK = """
from tasks.classification.task import ClassificationTask

class OwnTask(ClassificationTask):
    def _target(self, item, label2id):
        return SUPER(item, label2id) + SHIFT
""".replace("SUPER", "super()._target")


@pytest.mark.usefixtures("cache")
def test_examples_are_made_again_when_the_code_of_their_task_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(monkeypatch)
    settings = task("classification").settings
    for shift in (0, 5):
        file = tmp_path / f"own_{shift}" / "own_task.py"
        file.parent.mkdir()
        file.write_text(_OWN_TASK.replace("SHIFT", str(shift)), encoding="utf-8")
        spec = importlib.util.spec_from_file_location("own_task", file)
        assert spec is not None
        assert spec.loader is not None
        own = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "own_task", own)
        spec.loader.exec_module(own)
        examples = prepare(own.OwnTask(settings)).encoded["train"].examples
        assert min(example.target for example in examples) == shift


@pytest.mark.slow
def test_processes_that_start_at_one_time_make_one_store(cache: Path, tmp_path: Path) -> None:
    rows = [{"text": f"text {n} is {'good' if n % 3 else 'bad'}", "label": n % 3 > 0} for n in range(90)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    code = (
        "from tasks.run import store; store.LARGE = 1\n"
        f"from tasks import registry; registry.run('classification', ['--train', {str(path)!r}, '--dry-run'])"
    )
    environment = {**os.environ, **ENVIRONMENT, "MINIBERT_CACHE": str(cache.parent)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    one, other = (process.communicate()[0] for process in processes)
    assert one == other
    assert "the first example" in one
    assert len([folder for folder in cache.iterdir() if folder.is_dir()]) == 3, "the texts, and both splits' tokens"


@pytest.mark.slow
@pytest.mark.usefixtures("cache", "narrow_models")
def test_a_run_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = []
    for name in ("in-memory", "stored"):
        if name == "stored":
            large(monkeypatch)
        settings = {"weights": "random", "epochs": 1, "baseline": False, "out": str(tmp_path / name)}
        folder = registry.run("classification", arguments(task("classification", **settings).settings))
        weights.append((folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def arguments(settings: ClassificationSettings) -> list[str]:
    given = ["--arch", settings.arch, "--train", settings.train, "--weights", settings.weights, "--out", settings.out]
    return [*map(str, given), "--epochs", "1", "--max-length", "24", "--no-baseline"]


class Everything(NamedTuple):
    ids: npt.NDArray[np.int32]
    plain: int
    scalar: np.float32
    pair: tuple[int, int]
    numbers: list[int]
    table: npt.NDArray[np.int16]


def rows(count: int) -> list[Everything]:
    rng = np.random.default_rng(1)
    return [
        Everything(
            ids=rng.integers(0, 9, rng.integers(1, 6)).astype(np.int32),
            plain=-number,
            scalar=np.float32(number / 7),
            pair=(number, 2),
            numbers=[1] * (number % 3),
            table=rng.integers(0, 9, (number % 4, 2)).astype(np.int16),
        )
        for number in range(count)
    ]


def stored_rows(given: Sequence[Everything]) -> Rows[Everything]:
    def make(writer: store.Writer) -> None:
        to = RowWriter(writer)
        for start in range(0, len(given), 4):
            to.append(given[start : start + 4])

    return Rows.of_store(store.stored({"rows": len(given)}, make, "rows"), Everything)


@pytest.mark.usefixtures("cache")
def test_rows_of_all_kinds_come_back_as_they_were() -> None:
    given = rows(30)
    found = stored_rows(given)
    assert exactly([*found]) == exactly(given)
    assert exactly([found[-1], *found[3:9:2]]) == exactly([given[-1], *given[3:9:2]])
    chosen = [7, 0, 29, 7]
    assert exactly([*found.take(chosen)]) == exactly([given[index] for index in chosen])
    assert exactly([*found.take(chosen).take([2, 1])]) == exactly([given[29], given[0]])
    assert found.take(chosen).lengths.tolist() == [len(given[index].ids) for index in chosen]
    with pytest.raises(IndexError):
        found[30]


@pytest.mark.usefixtures("cache")
def test_questions_are_texts_in_a_store_too(monkeypatch: pytest.MonkeyPatch) -> None:
    large(monkeypatch)
    (train,) = SAMPLES.glob("qa/train.*")
    assert isinstance(QaTask(QaSettings()).read(str(train)).items, Texts)


class Soft(NamedTuple):
    ids: npt.NDArray[np.int32]
    target: tuple[Any, ...]


@pytest.mark.parametrize("target", [(0.7, 0.3), ((1, 2), (3, 4)), ("a", "b")])
@pytest.mark.usefixtures("cache")
def test_what_cannot_be_stored_as_it_is_is_refused(target: tuple[Any, ...]) -> None:
    given = [Soft(np.zeros(2, np.int32), target)]
    with pytest.raises(TypeError, match="target has a tuple that does not hold whole numbers alone"):
        store.stored({"soft": 1}, lambda writer: RowWriter(writer).append(given), "rows")


@pytest.mark.usefixtures("cache")
def test_arrays_keep_their_type() -> None:
    def make(writer: store.Writer) -> None:
        writer.append("a", np.zeros(2, np.int32))
        writer.append("a", np.full(2, 0.5))

    with pytest.raises(TypeError, match="a has values of float64 behind others of <i4"):
        store.stored({"types": 1}, make, "arrays")
