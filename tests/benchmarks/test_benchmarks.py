"""The benchmarks of speed and memory: what they count, what they compare, and what they print. No time is asserted."""

import gzip
import json
import math
import re
import subprocess
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAMILIES
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip("transformers", reason="transformers is the peer that is measured")

from benchmarks import (
    clock,
    contender,
    first_step,
    latency,
    linear_maps,
    memory,
    multiple_choice,
    ours,
    peers,
    steps,
    throughput,
)
from benchmarks.reference import transformers
from benchmarks.workload import Workload, add_options, cut, layer_weights, operations, read_lengths, read_workload
from minibert import EncoderConfig, TokenClassifier, cpu_linear, inference, pack
from minibert.attention import attention_backend
from minibert.errors import InputError

CPU = torch.device("cpu")
PEAK = 1e11
SMALL = ["--device", "cpu", "--size", "trial", "--lengths", "lognormal:9,0.6", "--sequences", "11", "--batch", "4"]


@pytest.fixture(autouse=True)
def _a_peak_without_measuring_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "matrix_peak", lambda *_: PEAK)


def workload(*arguments: str) -> Workload:
    parser = ArgumentParser()
    add_options(parser, lengths="fixed:8", sequences=4)
    return read_workload(parser.parse_args([*SMALL, *arguments]))


@pytest.mark.slow
def test_operations_are_those_of_the_formula_and_of_a_counter() -> None:
    config = EncoderConfig(
        model_type="bert", vocab_size=30, hidden_size=4, num_hidden_layers=3, num_attention_heads=2, intermediate_size=6
    )
    # By hand, one token of one layer: four 4 x 4 products, two 4 x 6; and for s tokens twice s x s x 4.
    by_hand = 3 * (2 * (4 * 16 + 2 * 24) * (5 + 2) + 2 * 2 * (5 * 5 + 2 * 2) * 4)
    assert operations(config, [5, 2]) == by_hand

    model = TokenClassifier(config).eval()
    with torch.no_grad(), attention_backend("plain"), FlopCounterMode(display=False) as counter:
        model(pack([[7] * 5, [8] * 2]))
    assert counter.get_total_flops() == by_hand + 2 * 7 * 4 * config.num_labels  # and the head


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_weights_that_layers_share_count_once(family: str) -> None:
    work = workload("--arch", family)
    encoder = transformers.AutoModel.from_config(
        transformers.AutoConfig.for_model(family, **{
            name: getattr(work.config, name)
            for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        })
    ).encoder  # fmt: skip
    linears = [module for module in encoder.modules() if isinstance(module, torch.nn.Linear)]
    if family == "albert":
        linears.remove(encoder.embedding_hidden_mapping_in)
    assert layer_weights(work.config) == sum(linear.weight.numel() for linear in linears)


def test_lengths_come_from_laws_and_files(tmp_path: Path) -> None:
    assert read_lengths("fixed:128", 3, most=512) == [128] * 3
    drawn = read_lengths("lognormal:28,0.6", 4000, most=512, seed=1)
    assert np.median(drawn) == pytest.approx(28, rel=0.05)
    assert np.log(drawn).std() == pytest.approx(0.6, rel=0.05)
    assert drawn == read_lengths("lognormal:28,0.6", 4000, most=512, seed=1)
    assert max(read_lengths("lognormal:28,0.6", 4000, most=40)) == 40

    numbers = tmp_path / "lengths.txt"
    numbers.write_text("87\n3\n2427\n5\n", encoding="utf-8")
    assert read_lengths(str(numbers), 3, most=512) == [89, 5, 512]
    sentences = tmp_path / "dev.txt.gz"
    sentences.write_bytes(gzip.compress("我 O\n在 O\n京 B-LOC\n\n好 O\n".encode()))
    assert read_lengths(str(sentences), 9, most=512) == [5, 3]


@pytest.mark.parametrize("given", ["fixed:", "fixed:0", "fixed:513", "fixed:1,2", "lognormal:28", "nothing.txt"])
def test_other_lengths_are_refused_by_name(given: str) -> None:
    with pytest.raises(InputError, match=re.escape(given)):
        read_lengths(given, 3, most=512)


def test_batches_are_cut_by_sequences_or_by_tokens() -> None:
    sequences = [np.zeros(length, np.int64) for length in (3, 4, 2, 9, 1, 1)]

    def lengths(batches: list[list[Any]]) -> list[list[int]]:
        return [[len(sequence) for sequence in batch] for batch in batches]

    assert lengths(cut(sequences, size=4)) == [[3, 4, 2, 9], [1, 1]]
    assert lengths(cut(sequences, size=4, tokens=7)) == [[3, 4], [2], [9], [1, 1]]


def test_a_sorted_peer_reads_the_same_sequences() -> None:
    work = workload()
    assert [len(batch) for batch in work.sorted_batches()] == [len(batch) for batch in work.batches] == [4, 4, 3]
    ordered = [sequence for batch in work.sorted_batches() for sequence in batch]
    assert {id(sequence) for sequence in ordered} == {id(sequence) for sequence in work.sequences}
    assert [len(sequence) for sequence in ordered] == sorted(work.lengths)
    assert work.padding == sum(len(b) * max(len(s) for s in b) for b in work.batches) / sum(work.lengths)


def test_every_work_takes_its_turn_in_every_round() -> None:
    turns: list[str] = []
    works: dict[str, Callable[[], object]] = {name: lambda name=name: turns.append(name) for name in "abc"}  # type: ignore[misc]
    seconds = clock.in_turns(works, rounds=2, device=CPU)
    assert turns == [*"abc", *"bca", *"cab"]
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2, "c": 2}


def test_the_peak_is_the_rate_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_SHAPES", ((2, 3, 5), (4, 6, 10)))
    seconds = iter([1.0] * 10 + [4.0, 3.0, 2.0, 3.0, 4.0] + [8.0] * 5)
    monkeypatch.setattr(clock, "timed", lambda work, device: (work(), next(seconds))[1])
    assert clock.matrix_peak(CPU, torch.float32) == 2 * 4 * 6 * 10 / 2.0


def test_the_read_rate_is_that_of_the_fastest_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_READ_SHAPE", (5, 7))
    seconds = iter([3.0] * 5 + [4.0, 3.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr(clock, "timed", lambda work, device: (work(), next(seconds))[1])
    assert clock.read_rate(CPU) == 4 * 5 * 7 / 2.0


def test_integers_are_multiplied_as_integers() -> None:
    for product in clock._products(3, 8, 5, CPU, torch.int8):
        found = product()
        assert isinstance(found, torch.Tensor)
        assert (found.shape, found.dtype) == ((3, 5), torch.int32)


def record(text: str) -> dict[str, Any]:
    """The JSON line that must be the last one, and must have one number for each cell of the table."""
    *_, last = text.splitlines()
    found: dict[str, Any] = json.loads(last)
    assert {"benchmark", "command", "device", "versions", "finished"} <= found.keys()
    for name, figures_ in found["contenders"].items():
        assert f"| {name} |" in text
        for value in figures_.values():
            assert all(math.isfinite(number) for number in (value if isinstance(value, list) else [value]))
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("family", "precision"), [("bert", "fp32"), ("bert", "bf16"), ("albert", "bf16"), ("roberta", "fp32")]
)
def test_inference_is_measured(family: str, precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["transformers-sdpa-sorted", "torch-encoder", "transformers-compiled"]
    throughput.main(
        ["inference", *SMALL, "--arch", family, "--precision", precision, "--rounds", "2", "--peers", *names]
    )
    text = capsys.readouterr().out
    found = record(text)
    expected = ["minibert", "transformers-sdpa", "transformers-sdpa-sorted"]
    assert list(found["contenders"]) == (expected if family != "bert" else [*expected, "torch-encoder"])
    assert "transformers-compiled is left out" in text
    assert found["precision"] == precision
    assert found["sequences"] == 11
    for figures_ in found["contenders"].values():
        seconds = np.median(figures_["seconds"])
        assert figures_["tokens_per_second"] == pytest.approx(found["tokens"] / seconds)
        assert figures_["utilisation"] == pytest.approx(found["forward_operations"] / seconds / PEAK)
    assert found["contenders"]["minibert"]["speedup_of_ours"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_training_is_measured(family: str, capsys: pytest.CaptureFixture[str]) -> None:
    throughput.main(["training", *SMALL, "--arch", family, "--precision", "fp32", "--rounds", "1"])
    found = record(capsys.readouterr().out)
    assert list(found["contenders"]) == ["minibert", "transformers-sdpa"]
    ours_ = found["contenders"]["minibert"]
    assert 0 < ours_["error"] < 1e-5
    assert ours_["utilisation"] == pytest.approx(3 * found["forward_operations"] / ours_["seconds"][0] / PEAK)


@pytest.mark.slow
def test_multiple_choice_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--sequences", "12", "--batch", "6", "--choices", "3", "--rounds", "1", "--precision", "fp32"]
    multiple_choice.main([*SMALL, *sizes])
    found = record(capsys.readouterr().out)
    ours_, theirs = found["contenders"]["minibert"], found["contenders"]["transformers-sdpa"]
    assert 0 < ours_["error"] < 1e-5
    assert ours_["questions_per_second"] == pytest.approx(4 / ours_["seconds"][0])
    assert theirs["speedup_of_ours"] == pytest.approx(theirs["seconds"][0] / ours_["seconds"][0])
    with pytest.raises(InputError, match="--choices 4: must be 2 or more and divide the sequences of each batch"):
        multiple_choice.main([*SMALL, *sizes, "--choices", "4"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_latency_is_measured_beside_what_the_machine_allows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(latency, "read_rate", lambda _: 1e9)
    monkeypatch.setattr(latency, "matrix_peak", lambda _, dtype: {torch.float32: PEAK, torch.int8: 4 * PEAK}[dtype])
    latency.main([*SMALL, "--precision", "fp32", "--batch", "1", "--rounds", "2", "--peers", "onnx-int8"])
    text = capsys.readouterr().out
    found = record(text)
    weights = 2 * (4 * 32**2 + 2 * 32 * 128)
    assert [found["bounds"][name]["weights_milliseconds"] for name in ("fp32", "int8")] == [
        pytest.approx(1000 * size * weights / 1e9) for size in (4, 1)
    ]
    assert [found["bounds"][name]["operations_milliseconds"] for name in ("fp32", "int8")] == [
        pytest.approx(1000 * found["forward_operations"] / 11 / peak) for peak in (PEAK, 4 * PEAK)
    ]
    assert f"bound in int8: {1000 * weights / 1e9:.2f} ms" in text
    assert found["batches"] == found["sequences"] == 11
    for figures_ in found["contenders"].values():
        assert figures_["milliseconds"] == pytest.approx(1000 * np.median(figures_["seconds"]) / 11)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("work", ["inference", "training"])
def test_memory_is_measured(work: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def here(arguments: list[str]) -> tuple[int, int]:
        """In this process: a new one would need seconds for its imports."""
        memory.main(arguments)
        peak, imports = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert imports > 1e8  # of torch alone
        return 1 + peak, imports

    monkeypatch.setattr(memory, "in_own_process", here)
    memory.main([work, *SMALL])
    found = record(capsys.readouterr().out)
    checkpointed = {"minibert checkpointed", "transformers-sdpa checkpointed"} if work == "training" else set()
    assert found["contenders"].keys() == {"minibert", "transformers-sdpa"} | checkpointed
    assert found["contenders"]["transformers-sdpa"]["part_of_transformers"] == 1


@pytest.mark.slow
def test_peak_memory_is_that_of_a_new_process_and_has_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    memory.main(["inference", *SMALL, "--size", "minilm", "--precision", "fp32", "--contenders", "minibert"])
    ours_ = record(capsys.readouterr().out)["contenders"]["minibert"]
    weights = sum(parameter.nbytes for parameter in workload("--size", "minilm").random_model().parameters())
    assert 0.9 * weights < 1e6 * ours_["peak_megabytes"] < 6 * weights
    assert "part_of_transformers" not in ours_


def test_a_contender_whose_process_is_killed_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(arguments: list[str]) -> tuple[int, int]:
        if "transformers-sdpa" in arguments[-2]:
            raise subprocess.CalledProcessError(-9, "python")
        return 5_000_000, 7_000_000

    monkeypatch.setattr(memory, "in_own_process", killed)
    memory.main(["training", *SMALL])
    text = capsys.readouterr().out
    assert "transformers-sdpa is left out: Command 'python' died with <Signals.SIGKILL: 9>." in text
    assert record(text)["contenders"]["minibert"] == {"peak_megabytes": 5.0, "imports_megabytes": 7.0}


@pytest.mark.parametrize("can", [True, False])
def test_ours_in_8_bits_takes_part_or_is_left_out(
    can: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not can:
        monkeypatch.setattr(inference, "can_quantize", lambda: False)
    elif not cpu_linear.can_quantize():
        pytest.skip("this PyTorch or this CPU has no linear maps in 8 bits")
    work = workload("--precision", "fp32")
    work.random_model().save_pretrained(tmp_path)
    works, errors = throughput.inference([peers.BASELINE, "minibert-int8"], tmp_path, work)
    assert ("minibert-int8" in works) is can
    assert ("minibert-int8 is left out" in capsys.readouterr().out) is not can
    if can:
        assert errors["minibert"] < 1e-5 < errors["minibert-int8"] < 0.5


def test_peers_that_do_not_train_are_refused() -> None:
    with pytest.raises(InputError, match="--peers onnx-fp32: does not train"):
        throughput.main(["training", "--size", "trial", "--peers", "onnx-fp32"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("work", ["inference", "training"])
def test_nothing_is_timed_where_one_computes_something_else(
    work: str, precision: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = TokenClassifier.from_pretrained

    def wrong(folder: Path) -> TokenClassifier:
        model = right(folder)
        with torch.no_grad():
            model.encoder.layers()[1].attention.qkv.bias[5] += 2.0
        return model

    monkeypatch.setattr(ours.TokenClassifier, "from_pretrained", wrong)
    monkeypatch.setattr(throughput, "in_turns", lambda *_, **__: pytest.fail("something was timed"))
    with pytest.raises(SystemExit) as stop:
        throughput.main([work, *SMALL, "--precision", precision, "--peers"])
    assert str(stop.value).startswith("minibert does not compute the same")  # a text: status 1
    assert "{" not in capsys.readouterr().out


def test_what_is_no_number_agrees_with_nothing() -> None:
    with pytest.raises(SystemExit, match="minibert does not"):
        contender.require_agreement(
            {"minibert": math.nan, "peer": 0.1}, yardstick="peer", precision="bf16", inexact=["int8"]
        )
    with pytest.raises(SystemExit, match="minibert does not"):
        contender.require_agreement({"minibert": 0.31, "peer": 0.1}, yardstick="peer", precision="bf16", inexact=[])
    contender.require_agreement(
        {"minibert": 0.29, "int8": 9.0, "peer": 0.1}, yardstick="peer", precision="bf16", inexact=["int8"]
    )


@pytest.mark.slow
def test_training_moves_both_models_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dropout, a pass over the batches changes our weights as it changes theirs, but for the rate's warm-up."""
    work = workload("--arch", "albert", "--precision", "fp32")
    work.random_model().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    dropouts = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "classifier_dropout_prob")
    (tmp_path / "config.json").write_text(json.dumps(config | dict.fromkeys(dropouts, 0.0)), encoding="utf-8")
    monkeypatch.setattr(ours.LinearSchedule, "factor", lambda self, step: 1.0)
    mine, theirs = ours.our_trainer(tmp_path, work), peers.trainer(peers.BASELINE, tmp_path, work)
    before = mine.gradients()
    for trainer in (mine, theirs):
        trainer.train()
    assert contender.gradient_errors(theirs, [mine])["minibert"] < 1e-3
    moved = mine.gradients()
    assert max(float((moved[name] - before[name]).norm() / before[name].norm()) for name in before) > 0.01


@pytest.mark.slow
def test_the_first_step_of_both_commands_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = tmp_path / "train.txt"
    train.write_text("中 B-ORG\n国 I-ORG\n人 O\n\n我 O\n在 O\n京 B-LOC\n\n" * 8, encoding="utf-8")
    first_step.main(["--train", str(train), "--dev", str(train), "--size", "trial", "--rounds", "1"])
    found = record(capsys.readouterr().out)
    assert found["contenders"].keys() == {"minibert", "transformers"}
    assert found["sentences"] == 16
    with pytest.raises(SystemExit, match="No module named"):
        steps.measured(["benchmarks.nothing"], 1)


def test_linear_maps_are_measured_by_each_library(capsys: pytest.CaptureFixture[str]) -> None:
    linear_maps.main(["--size", "trial", "--rows", "1", "5", "--rounds", "2"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["seconds"].keys() == {"1", "5"}
    assert all(len(seconds) == 2 for of_rows in found["seconds"].values() for seconds in of_rows.values())
    assert ("MKL" in found["seconds"]["5"]) is cpu_linear.can_use_mkl()
