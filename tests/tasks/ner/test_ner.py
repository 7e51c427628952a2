"""The named-entity task from the command line: what a run leaves, and what a person sees when something is wrong."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ENVIRONMENT, ROOT, tiny_config
from ner_files import DEV, TRAIN, write
from safetensors.torch import load_file

from minibert import Encoder, EncoderConfig, TokenClassifier, Tokenizer
from minibert.files import read_json_object
from tasks import registry
from tasks.ner import task as ner
from tasks.run import local_weights
from tasks.run.console import run_main

pytestmark = pytest.mark.usefixtures("narrow_models")

SMALL = ["--weights", "random", "--epochs", "2", "--precision", "fp32", "--batch-size", "8"]
STILL = ["--lr", "1e-12", "--head-lr", "1e-12"]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return ["--train", write(tmp_path / "train.txt", TRAIN), "--dev", write(tmp_path / "dev.txt", DEV)]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A tiny BERT with its tokenizer, as a person would download it."""
    words = [text.split() for text, _ in TRAIN + DEV]
    tokenizer = Tokenizer.train(words, model_type="bert", vocab_size=200)
    model = TokenClassifier(tiny_config("bert", vocab_size=tokenizer.vocab_size).with_labels({0: "A", 1: "B"}))
    model.save_pretrained(tmp_path / "checkpoint")
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def read_metrics(folder: Path) -> Any:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


# -- a run ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["bert", "albert", "roberta"])
def test_a_run_leaves_a_model_its_tokenizer_and_an_honest_record(
    arch: str, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = registry.run("ner", ["--arch", arch, "--out", str(tmp_path / "run"), *files, *SMALL])
    printed = capsys.readouterr().out
    assert "small and random" in printed
    assert "strict mode" in printed
    assert ", default 0." in printed

    metrics = read_metrics(out)
    assert (metrics["task"], metrics["arch"], metrics["weights"], metrics["seed"]) == ("ner", arch, "random", 42)
    assert {"torch", "python", "tokenizers"} <= set(metrics["versions"])
    train, dev = metrics["data"]["train"], metrics["data"]["dev"]
    assert (train["sentences"], train["entities"]) == (16, {"LOC": 16, "PER": 12})
    assert (dev["sentences"], dev["entities"], dev["also_in_train"]) == (2, {"LOC": 2, "PER": 2}, 0)
    assert len(metrics["epochs"]) == 2
    assert metrics["final"]["dev"]["report"]["micro avg"]["support"] == 4
    log = [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log if "strict_f1" in entry] == [1, 2]

    model, tokenizer = TokenClassifier.from_pretrained(out), Tokenizer.from_pretrained(out)
    assert list(model.config.id2label.values()) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert tokenizer.vocab_size == model.config.vocab_size


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["bert", "albert", "roberta"])
def test_transformers_reads_the_run_and_gives_the_same_logits(arch: str, files: list[str], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    out = registry.run("ner", ["--arch", arch, "--head", "linear", "--out", str(tmp_path / "run"), *files, *SMALL])
    theirs, info = transformers.AutoModelForTokenClassification.from_pretrained(out, output_loading_info=True)
    assert not any(info.values())
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    ours, tokenizer = TokenClassifier.from_pretrained(out), Tokenizer.from_pretrained(out)
    assert theirs.config.id2label == ours.config.id2label

    from minibert import pack

    words = ["Ann", "saw", "York", "in", "Rome", "."]
    ids, _ = tokenizer.with_special_tokens(tokenizer.encode_words([words])[0].ids)
    encoded = their_tokenizer(words, is_split_into_words=True, return_tensors="pt")
    assert encoded["input_ids"][0].tolist() == ids
    with torch.inference_mode():
        torch.testing.assert_close(ours(pack([ids])), theirs.eval()(encoded["input_ids"]).logits[0], rtol=0, atol=1e-5)


TWO_RUNS = """
import sys

from tasks import registry

for arch in ("bert", "roberta"):
    registry.run("ner", ["--arch", arch, "--out", f"{sys.argv[1]}/{arch}", *sys.argv[2:]])
"""


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(files: list[str], tmp_path: Path) -> None:
    """In processes of their own, with two threads: hash tables and thread pools must not show."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        command = [sys.executable, "-c", TWO_RUNS, str(folder), *files, *SMALL]
        # Threads that wait sleep: with more of them than cores, they would only be in each other's way.
        threads = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
        environment = {**ENVIRONMENT, **threads, "PYTHONHASHSEED": "random"}
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment)
    for arch in ("bert", "roberta"):
        one, other = (folder / arch for folder in folders)
        for name in ("model.safetensors", "tokenizer.json", "config.json"):
            assert (one / name).read_bytes() == (other / name).read_bytes()
        assert read_metrics(one)["final"] == read_metrics(other)["final"]


@pytest.mark.slow
def test_it_learns_a_small_language(files: list[str], tmp_path: Path) -> None:
    options = ["--epochs", "20", "--precision", "fp32", "--batch-size", "4"]
    out = registry.run("ner", ["--out", str(tmp_path / "run"), *files, *options])
    assert read_metrics(out)["final"]["dev"]["strict_f1"] == 1.0


@pytest.mark.slow
def test_starting_from_a_checkpoint_and_from_a_run_of_the_same_labels(
    checkpoint: Path, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = registry.run("ner", [*SMALL, "--weights", str(checkpoint), "--out", str(tmp_path / "first"), *files])
    printed = capsys.readouterr().out
    assert "newly initialised: 5 parameters" in printed  # its labels were others, and it had no CRF
    second = registry.run("ner", [*SMALL, "--weights", str(first), "--out", str(tmp_path / "second"), *STILL, *files])
    assert "newly initialised" not in capsys.readouterr().out
    before, after = (load_file(run / "model.safetensors") for run in (first, second))
    torch.testing.assert_close(after["classifier.weight"], before["classifier.weight"])


@pytest.mark.slow
def test_a_bert_called_roberta_is_read_as_bert_and_says_why(
    checkpoint: Path, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = registry.run(
        "ner", [*SMALL, "--arch", "roberta", "--weights", str(checkpoint), "--out", str(tmp_path / "run"), *files]
    )
    assert "is a bert, so --arch roberta is not used (most Chinese RoBERTas" in capsys.readouterr().out
    assert read_metrics(out)["arch"] == "bert"


@pytest.mark.slow
def test_tensors_tell_the_architecture_where_the_config_is_wrong(
    checkpoint: Path, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "model_type": "roberta", "pad_token_id": 0}))
    out = registry.run("ner", [*SMALL, "--weights", str(checkpoint), "--out", str(tmp_path / "run"), *files])
    assert read_metrics(out)["arch"] == "bert"


@pytest.mark.slow
def test_a_checkpoint_keeps_the_order_of_its_labels(checkpoint: Path, files: list[str], tmp_path: Path) -> None:
    labels = dict(enumerate(["I-PER", "B-LOC", "O", "B-PER", "I-LOC"]))
    model = TokenClassifier.from_pretrained(checkpoint, id2label=labels)
    model.save_pretrained(checkpoint)
    options = ["--weights", str(checkpoint), "--epochs", "1", "--precision", "fp32"]
    out = registry.run("ner", [*options, *STILL, "--out", str(tmp_path / "run"), *files])
    after = TokenClassifier.from_pretrained(out)
    assert after.config.id2label == labels
    torch.testing.assert_close(after.classifier.weight, model.classifier.weight)


@pytest.mark.slow
def test_the_best_epoch_is_what_is_scored_and_kept(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second epoch is made worse than the first."""
    honest = ner.NerTask.compute_metrics
    calls = []

    def worse_later(*arguments: Any) -> Any:
        figures = honest(*arguments)
        calls.append(figures)
        return {**figures, "strict_f1": -len(calls)}

    monkeypatch.setattr(ner.NerTask, "compute_metrics", worse_later)
    metrics = read_metrics(registry.run("ner", ["--out", str(tmp_path / "run"), *files, *SMALL]))
    assert [epoch["best"] for epoch in metrics["epochs"]] == [True, False]
    assert metrics["final"]["dev"]["loss"] == pytest.approx(metrics["epochs"][0]["loss"], rel=1e-6)
    assert metrics["epochs"][0]["loss"] != pytest.approx(metrics["epochs"][1]["loss"], rel=1e-3)


def test_a_disk_that_fills_up_gives_one_sentence_and_no_folder(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("minibert.checkpoint.save_file", full)
    error = fails(["--out", "run", *files, *SMALL], monkeypatch, capsys, tmp_path)
    assert "model.safetensors: cannot be written" in error
    assert "No space left" in error


@pytest.mark.slow
def test_a_word_longer_than_a_window_is_counted(tmp_path: Path) -> None:
    train = write(tmp_path / "train.txt", TRAIN)
    dev = write(tmp_path / "dev.txt", [*DEV, ("0123456789" * 9 + " is long", "O O O")])
    options = ["--arch", "roberta", "--max-length", "20", "--out", str(tmp_path / "run"), *SMALL]
    data = read_metrics(registry.run("ner", ["--train", train, "--dev", dev, *options]))["data"]
    assert (data["train"]["cut_tokens"], data["dev"]["cut_tokens"]) == (0, 90 + 1 - 18)  # with the leading space


@pytest.mark.slow
def test_without_dev_a_tenth_is_held_out_and_named(tmp_path: Path) -> None:
    train = write(tmp_path / "train.txt", [(f"{text} {i}", f"{tags} O") for i, (text, tags) in enumerate(TRAIN * 2)])
    out = registry.run("ner", ["--train", train, "--out", str(tmp_path / "run"), *SMALL])
    data = read_metrics(out)["data"]
    assert "10% held out" in data["dev"]["path"]
    assert (data["train"]["sentences"], data["dev"]["sentences"]) == (29, 3)
    assert data["dev"]["also_in_train"] == 0


@pytest.mark.slow
def test_the_sample_is_what_runs_without_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From another folder, as an installed package would, and into the default run folder.

    From weights of the bundled model's shape but narrow: the sample is long, and learning it is not looked at.
    """
    bundled = shutil.copytree(ROOT / "weights" / "bert-tiny", tmp_path / "weights" / "bert-tiny")
    narrow = {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40}
    config = EncoderConfig.from_dict(read_json_object(bundled / "config.json") | narrow)
    Encoder(config).save_pretrained(bundled)
    monkeypatch.setattr(local_weights, "_BUNDLED", bundled.parent)
    monkeypatch.chdir(tmp_path)
    out = registry.run("ner", ["--epochs", "1", "--precision", "fp32"])
    assert out == Path("runs/ner-bert-1")
    data = read_metrics(out)["data"]
    assert [data[name]["sentences"] for name in ("train", "dev", "test")] == [1200, 300, 300]
    assert "test: " in capsys.readouterr().out


@pytest.mark.slow
def test_characters_that_vanish_do_not_shift_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dev = tmp_path / "dev.txt"
    dev.write_text("\u200b O\nAnn B-PER\n\u0001 O\nin O\nRome B-LOC\n", encoding="utf-8")
    train = write(tmp_path / "train.txt", TRAIN)
    out = registry.run("ner", ["--train", train, "--dev", str(dev), "--out", str(tmp_path / "run"), *SMALL])
    data = read_metrics(out)["data"]["dev"]
    assert (data["words"], data["lost_words"]) == (5, 2)


# -- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_short_windows_score_all_gold(files: list[str], tmp_path: Path) -> None:
    out = registry.run("ner", ["--out", str(tmp_path / "run"), "--max-length", "6", "--overlap", "2", *files, *SMALL])
    metrics = read_metrics(out)
    assert metrics["data"]["dev"]["windows_added"] > 0
    assert metrics["final"]["dev"]["report"]["micro avg"]["support"] == 4


# -- figures ----------------------------------------------------------------------------------------------------------


def test_strict_and_default_mode_differ_in_both_directions() -> None:
    """Worked by hand: strict mode wants a B- first; the default reads a stray I- as a start (seqeval's README)."""
    stray, _, _ = ner.score([["B-X", "I-X", "O"]], [["I-X", "I-X", "O"]])
    assert (stray["strict_f1"], stray["default_f1"]) == (0.0, 1.0)
    figures, report, table = ner.score([["B-X", "O", "B-Y"], ["B-X", "I-X"]], [["B-X", "O", "O"], ["B-X", "O"]])
    assert figures["strict_f1"] == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert report["X"]["support"] == 2
    assert report["Y"]["recall"] == 0.0
    assert all(word in table for word in ("precision", "micro avg", "macro avg", "weighted avg"))


# -- bad input --------------------------------------------------------------------------------------------------------


def fails(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> str:
    """Runs the command as ``python -m`` does, in ``folder``, and gives its one line on standard error."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["ner", *arguments])
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit) as exit_:
        run_main(lambda: registry.run("ner"))
    assert exit_.value.code == 2
    assert sorted(folder.rglob("*")) == before, "something was written"
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--train", "none.txt"], "none.txt: no such file"),
        (["--dev", "dev.txt"], "--dev: needs --train"),
        (["--weights", "random", "--max-length", "257"], "--max-length 257: this model has positions for 256 tokens"),
        (["--weights", "random", "--max-length", "2"], "leaves no room beside special tokens; give 3 or more"),
        (["--metric", "f2"], "--metric f2: use one of strict_f1, default_f1, loss"),
        (["--head", "mlp"], "--head mlp: use one of crf, linear."),
        (["--seeds", "0"], "--seeds 0: must be 1 or more"),
        (["--config", "none.toml"], "none.toml: no such file"),
        (["--arch", "gpt"], "--arch gpt: use one of bert, albert, roberta"),
        (["--scheme", "iob9"], "--scheme iob9: use one of"),
        (["--overlap", "-5"], "--overlap -5: must be 0 or more"),
        (["--weights", "模型/中文"], "模型/中文"),
        (["--weights", "my..model"], "my..model"),
        (["--weights", "x" * 300], "xxx"),
        (["--out", "x" * 300], "cannot be written"),
        (["--lr", "1e30", "--precision", "fp32", "--out", "run"], "the run has diverged. Lower --lr"),
        (["--epochs", "0"], "--epochs 0: must be 1 or more"),
        (["--device", "cuda:99"], "--device cuda:99: no such CUDA device"),
        (["--weights", "./none"], "none: no such folder"),
        (["--weights", "empty"], "empty: no weights found"),
        (["--out", "full"], "--out full: is not empty; name a new folder"),
        (["--out", "train.txt/run"], "--out train.txt/run: cannot be written"),
    ],
)
def test_bad_options_give_one_sentence_and_leave_nothing(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path / "train.txt", TRAIN)
    write(tmp_path / "dev.txt", DEV)
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").touch()
    if "--train" not in options and "--dev" not in options:
        options = ["--train", "train.txt", "--dev", "dev.txt", *options]
    assert message in fails(options, monkeypatch, capsys, tmp_path)


def test_a_type_that_training_lacks_is_refused_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "train.txt", TRAIN)
    write(tmp_path / "dev.txt", [*DEV, ("Acme sued .", "B-ORG O O")])
    error = fails(["--train", "train.txt", "--dev", "dev.txt"], monkeypatch, capsys, tmp_path)
    assert "dev.txt, line 14: ORG does not occur in the training data (it has LOC, PER)" in error


def test_a_split_without_entities_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "train.txt", TRAIN)
    write(tmp_path / "dev.txt", [("Nobody left .", "O O O")])
    assert "has no entity" in fails(["--train", "train.txt", "--dev", "dev.txt"], monkeypatch, capsys, tmp_path)


def test_a_vocabulary_larger_than_the_embedding_is_refused(
    checkpoint: Path,
    files: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = EncoderConfig.from_dict(read_json_object(checkpoint / "config.json"))
    smaller = {**config.to_dict(), "vocab_size": 20}
    TokenClassifier(EncoderConfig.from_dict(smaller)).save_pretrained(checkpoint)
    error = fails([*files, "--weights", str(checkpoint)], monkeypatch, capsys, tmp_path)
    assert f"the tokenizer has {config.vocab_size} entries, but the word embedding has 20 rows" in error


# -- the CRF ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_crf_learns_and_answers_well_formed_tags(files: list[str], tmp_path: Path) -> None:
    options = ["--head", "crf", "--epochs", "30", "--precision", "fp32", "--batch-size", "4", "--max-length", "7"]
    out = registry.run("ner", ["--out", str(tmp_path / "run"), *files, *options])
    metrics = read_metrics(out)
    assert metrics["data"]["train"]["windows_added"] > 0
    assert metrics["final"]["dev"]["strict_f1"] == metrics["final"]["dev"]["default_f1"] == 1.0
    assert metrics["settings"]["head_lr"] == 1e-3
    assert "crf.transitions" in load_file(out / "model.safetensors")
