"""A resumed run goes on from the same inputs, or is refused."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from teachers import make_teacher, texts_file

from minibert import SequenceClassifier
from minibert.errors import InputError
from minibert.training import Paused
from tasks import registry
from tasks.run import train as training
from tasks.run.folder import RunLog
from tasks.run.options import parse

pytestmark = pytest.mark.usefixtures("narrow_models")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def paused(tmp_path: Path) -> list[str]:
    """The options of a run that has stopped after its first epoch, with ``names.txt`` and ``start``."""
    (tmp_path / "names.txt").write_text("bad\ngood\n", encoding="utf-8")
    make_teacher(tmp_path / "start", SequenceClassifier, None, "bert", [["a fine thing number", "an awful one"]])
    options = ["--train", texts_file(tmp_path / "train.jsonl"), "--weights", str(tmp_path / "start"), "--epochs", "3"]
    options += ["--batch-size", "8", "--no-baseline", "--label-names", str(tmp_path / "names.txt")]
    options += ["--precision", "fp32", "--out", str(tmp_path / "out")]
    pause("classification", options)
    return [*options, "--resume"]


def pause(name: str, options: Sequence[str]) -> None:
    """Stops a run after its first epoch."""
    task = registry.task_class(name)
    with pytest.raises(Paused):
        training.train(task(parse(task.settings_class, options, task=name).settings), command="", stop_after=1)


def test_other_names_of_labels_are_refused(paused: list[str], tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("good\nbad\n", encoding="utf-8")
    kept = contents(tmp_path / "out")
    with pytest.raises(InputError, match=r"--resume: --label-names changed: was ..bad., .good.., is now"):
        registry.run("classification", paused)
    assert contents(tmp_path / "out") == kept


def test_names_changed_while_a_run_trains_are_not_taken_up(
    paused: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = RunLog.write

    def edited(log: RunLog, record: dict[str, object]) -> None:
        (tmp_path / "names.txt").write_text("good\nbad\n", encoding="utf-8")
        write(log, record)

    monkeypatch.setattr(RunLog, "write", edited)
    run = registry.run("classification", paused)
    assert (tmp_path / "names.txt").read_text(encoding="utf-8") == "good\nbad\n"
    assert json.loads((run / "task.json").read_text(encoding="utf-8"))["label_names"] == ["bad", "good"]


def test_another_shape_of_a_new_model_is_refused(tmp_path: Path) -> None:
    """The weights of both would have the same sizes."""
    shape, corpus = tmp_path / "shape.json", tmp_path / "corpus.txt"
    shape.write_text('{"num_attention_heads": 2}', encoding="utf-8")
    corpus.write_text("".join(f"The {n}th line has {n + 3} words.\n\n" for n in range(40)), encoding="utf-8")
    options = ["--corpus", str(corpus), "--model-config", str(shape), "--max-length", "40", "--epochs", "2"]
    options += ["--weights", "random", "--out", str(tmp_path / "out")]
    pause("pretraining", options)
    shape.write_text('{"num_attention_heads": 4}', encoding="utf-8")
    kept = contents(tmp_path / "out")
    with pytest.raises(InputError, match=r"--resume: the model config file changed"):
        registry.run("pretraining", [*options, "--resume"])
    assert contents(tmp_path / "out") == kept


def change_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file({name: 2 * tensor for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


@pytest.mark.slow
@pytest.mark.parametrize("command", [["search", "--task", "classification", "--budget", "2"], ["classification"]])
def test_several_runs_do_not_go_on_from_other_weights(command: list[str], tmp_path: Path) -> None:
    """Those that are done have started from the weights of before, and all are compared."""
    make_teacher(tmp_path / "start", SequenceClassifier, None, "bert", [["a fine thing number", "an awful one"]])
    options = ["--train", texts_file(tmp_path / "train.jsonl"), "--weights", str(tmp_path / "start"), "--epochs", "1"]
    options += ["--no-baseline", "--precision", "fp32", "--out", str(tmp_path / "out")]
    name, *given = command
    options += [*given, *(["--lr", "1e-4", "1e-3"] if given else ["--seeds", "2"])]
    registry.run(name, options)
    (tmp_path / "start" / "notes.txt").touch()
    registry.run(name, [*options, "--resume"])
    change_weights(tmp_path / "start")
    kept = contents(tmp_path / "out")
    with pytest.raises(InputError, match=r"--resume: the files of --weights changed\. Give what the run was started"):
        registry.run(name, [*options, "--resume"])
    assert contents(tmp_path / "out") == kept


def test_another_tokenizer_is_refused(paused: list[str], tmp_path: Path) -> None:
    path = tmp_path / "start" / "tokenizer.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    vocab = description["model"]["vocab"]
    last, other = list(vocab)[-2:]
    vocab[last], vocab[other] = vocab[other], vocab[last]
    path.write_text(json.dumps(description), encoding="utf-8")
    kept = contents(tmp_path / "out")
    with pytest.raises(InputError, match=r"--resume: the tokenizer of .*start changed\. Give what the run was started"):
        registry.run("classification", paused)
    assert contents(tmp_path / "out") == kept


@pytest.mark.slow
def test_a_damaged_log_does_not_keep_a_run_from_going_on(paused: list[str], tmp_path: Path) -> None:
    log = tmp_path / "out" / "train_log.jsonl"
    log.write_bytes(log.read_bytes()[:-20] + b"\0" * 20)
    run = registry.run("classification", paused)
    epochs = [json.loads(line).get("epoch") for line in log.read_text(encoding="utf-8").splitlines()]
    assert {2, 3} <= set(epochs)
    assert len(json.loads((run / "metrics.json").read_text(encoding="utf-8"))["epochs"]) == 3


@pytest.mark.parametrize("damage", [b'{"step": 2, "sec', b"\0\0\0\0\n", b"[1]\n", b'{"seconds": null}\n'])
def test_records_are_kept_up_to_the_first_that_is_damaged(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "train_log.jsonl").write_bytes(b'{"step": 1, "seconds": 7.5}\n' + damage)
    log = RunLog(tmp_path)
    log.truncate(2)
    log.write({"step": 2})
    first, second = map(json.loads, (tmp_path / "train_log.jsonl").read_text(encoding="utf-8").splitlines())
    assert first == {"step": 1, "seconds": 7.5}
    assert second["step"] == 2
    assert 7.5 <= second["seconds"] < 60
