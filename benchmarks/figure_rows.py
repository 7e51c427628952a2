"""The figures that have a target: the command of each, where the figure is in its record, and the target."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ours import OURS, OURS_INT8
from benchmarks.peers import BASELINE

Record = Mapping[str, Any]  # a benchmark's JSON line

_SORTED = f"{BASELINE}-sorted"
_ONNX = ("onnx-fp32", "onnx-optimised-fp32")
_ONNX_INT8 = ("onnx-int8", "onnx-optimised-int8")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure with a target.

    Attributes:
        work: a description.
        run: the benchmark and its arguments; rows with equal ones share a run.
        unit: what the figure is.
        figure: finds it in the run's record; None if the run left out what it needs.
        wanted: the target: a minimum, or a maximum if ``is_limit``.
        is_limit: see above.
    """

    work: str
    run: str
    unit: str
    figure: Callable[[Record], float | None]
    wanted: float
    is_limit: bool = False

    @property
    def needs_bf16(self) -> bool:
        return "--precision bf16" in self.run

    @property
    def target(self) -> str:
        return f"at {'most' if self.is_limit else 'least'} {self.wanted:g}"

    def is_reached(self, figure: float) -> bool:
        return figure <= self.wanted if self.is_limit else figure >= self.wanted


def _speedup(work: str, run: str, wanted: float, *, peers: Sequence[str] = (BASELINE,), ours: str = OURS) -> Row:
    """The speed of ``ours`` relative to the fastest of ``peers``."""

    def figure(record: Record) -> float | None:
        times = {name: found["speedup_of_ours"] for name, found in record["contenders"].items()}
        theirs = [times[name] for name in peers if name in times]
        return min(theirs) / times[ours] if theirs and ours in times else None

    return Row(work=work, run=run, unit="times the speed", figure=figure, wanted=wanted)


def _column(work: str, run: str, contender: str, column: str, wanted: float, *, is_limit: bool = True) -> Row:
    """A column of the run's table."""

    def figure(record: Record) -> float | None:
        found: float | None = record["contenders"].get(contender, {}).get(column)
        return found

    return Row(work=work, run=run, unit=column.replace("_", " "), figure=figure, wanted=wanted, is_limit=is_limit)


def rows(device: str, data: Path, corpus: Sequence[str] = ()) -> list[Row]:
    """All rows.

    Args:
        data: the folder with the data files.
        corpus: text files to pre-train on; without them, the rows of pre-training are missing.
    """
    ner = shlex.quote(str(data / "ner"))
    files = {"uncut lengths": f"{ner}/msra_uncut_test_lengths.txt", "dev lengths": f"{ner}/msra/dev.txt.gz"}
    if device == "cuda":
        return _cuda_rows(files)
    return [
        *_transformers_rows(files, train=f"{ner}/msra/train.txt.gz"),
        *_peer_rows(files["uncut lengths"]),
        *_process_rows(files["uncut lengths"]),
        *_labelled_rows(data),
        *_corpus_rows(corpus),
    ]


def _transformers_rows(files: Mapping[str, str], *, train: str) -> list[Row]:
    """Speed in bf16 against transformers."""
    found = []
    for arch, name in (("bert", "BERT-base"), ("albert", "ALBERT-base")):
        common = f"--device cpu --precision bf16 --arch {arch} --rounds 3"
        for lengths, predicting, training in (("uncut lengths", 4.0, 4.0), ("dev lengths", 2.6, 2.5)):
            run = f"throughput inference {common} --lengths {files[lengths]} --sequences 640 --peers {_SORTED}"
            what = f"{name} inference, {lengths}, batch 32"
            found.append(_speedup(what, run, predicting))
            found.append(_speedup(f"{what}, peer sorted", run, 1.2, peers=(_SORTED,)))
            found.append(_column(what, run, OURS, "utilisation", 0.75, is_limit=False))
            run = f"throughput training {common} --lengths {files[lengths]} --sequences 192"
            found.append(_speedup(f"{name} training, {lengths}, batch 32", run, training))
    run = "latency --device cpu --precision bf16 --lengths fixed:20 --rounds 30"
    found.append(_speedup("BERT-base inference, one text of 20 tokens", run, 1.3))
    for size in ("tiny", "minilm"):
        run = f"throughput training --device cpu --size {size} --lengths {files['dev lengths']} --sequences 640"
        found.append(_speedup(f"BERT-{size} training, dev lengths, batch 32", run, 3.0))
    run = f"first_step --train {train} --dev {files['dev lengths']}"
    found.append(_speedup("command to first training step", run, 2.0, peers=("transformers",)))
    return found


def _peer_rows(uncut: str) -> list[Row]:
    """Speed against ONNX Runtime and OpenVINO."""
    found = []
    one = "BERT-base, one text of 20 tokens"
    run = "latency --device cpu --precision fp32 --lengths fixed:20 --rounds 30"
    found.append(_speedup(f"{one}, fp32, against ONNX Runtime", run, 1.1, peers=_ONNX))
    found.append(_speedup(f"{one}, int8, against ONNX Runtime", run, 1.1, peers=_ONNX_INT8, ours=OURS_INT8))
    fastest = (*_ONNX, "openvino-fp32", "openvino-bf16")
    run = "latency --device cpu --precision bf16 --lengths fixed:20 --rounds 30"
    found.append(_speedup(f"{one}, bf16, against ONNX Runtime and OpenVINO", run, 1.1, peers=fastest))
    for precision in ("fp32", "bf16"):
        peers = [BASELINE, "transformers-eager", "torch-encoder", *_ONNX, "openvino-fp32"]
        if precision == "bf16":
            peers.append("openvino-bf16")
        peers = [f"{peer}-sorted" for peer in peers]
        run = f"throughput inference --device cpu --precision {precision} --lengths {uncut} --sequences 320 --rounds 3"
        what = f"BERT-base inference, uncut lengths, batch 32, {precision}, against all peers sorted"
        found.append(_speedup(what, f"{run} --peers {' '.join(peers)}", 1.3, peers=peers))
    return found


def _process_rows(uncut: str) -> list[Row]:
    """What whole processes need: time on a busy machine and at the start, and memory."""
    crowd = "an epoch of named entities beside"
    memory = f"memory training --device cpu --lengths {uncut} --sequences 64 --contenders {BASELINE} {OURS}"
    first = "start of the process to the first answer of BERT-base"
    return [
        _column(f"{crowd} one busy process", "crowd", "beside 1", "times_alone", 1.5),
        _column(f"{crowd} eight busy processes", "crowd", "beside 8", "times_alone", 8),
        _column("BERT-base training, uncut lengths, batch 32, memory", memory, OURS, "part_of_transformers", 0.5),
        _column(f"{first}, model and tokenizer", "loading", "minibert-modules", "part_of_transformers", 0.5),
        _column(f"{first}, tasks.predict.load", "loading", OURS, "part_of_transformers", 0.5),
        _column("the same after the imports", "loading", OURS, "part_of_transformers_after_imports", 0.5),
    ]


def _labelled_rows(data: Path) -> list[Row]:
    """The first start on many labelled texts."""
    texts = shlex.quote(str(data / "sarcasm" / "sarcasm.jsonl.gz"))
    run = f"labelled_growth --data {texts} --texts 1000000 --times 1"

    def part_of_theirs(column: str) -> Callable[[Record], float]:
        def figure(record: Record) -> float:
            ours, theirs = (
                next(row[column] for row in record["rows"] if (row["contender"], row["start"]) == (name, "first"))
                for name in (OURS, "transformers and datasets")
            )
            return float(ours / theirs)

        return figure

    what, unit = "classification of 1,000,000 texts, first start", "part of transformers and datasets"
    seconds, memory = part_of_theirs("seconds_to_first_step"), part_of_theirs("peak_bytes")
    return [
        Row(work=f"{what}, time to the first step", run=run, unit=unit, figure=seconds, wanted=0.5, is_limit=True),
        Row(work=f"{what}, peak memory", run=run, unit=unit, figure=memory, wanted=0.5, is_limit=True),
    ]


def _corpus_rows(corpus: Sequence[str]) -> list[Row]:
    """The second start of pre-training."""
    if not corpus:
        return []
    run = f"corpus_growth --corpus {shlex.join(corpus)} --megabytes 1000 --times 1"

    def of_second_start(column: str) -> Callable[[Record], float]:
        return lambda record: float(next(row[column] for row in record["rows"] if row["start"] == "second"))

    what = "pre-training on 1 GB, second start"
    seconds, memory = of_second_start("seconds_to_first_step"), of_second_start("peak_bytes")
    return [
        Row(work=what, run=run, unit="seconds to the first step", figure=seconds, wanted=10, is_limit=True),
        Row(work=what, run=run, unit="bytes of memory", figure=memory, wanted=1.5e9, is_limit=True),
    ]


def _cuda_rows(files: Mapping[str, str]) -> list[Row]:
    uncut = files["uncut lengths"]
    train = "throughput training --device cuda --precision bf16 --sequences 3200 --peers"
    large = "throughput inference --device cuda --precision bf16 --size large --lengths fixed:384 --batch 64"
    memory = "memory training --device cuda --precision bf16 --arch albert --size xxlarge --lengths fixed:512"
    what = "ALBERT-xxlarge training, s512, batch 16, layers computed twice"
    return [
        _speedup("BERT-base training, uncut lengths, batch 32", f"{train} --lengths {uncut}", 3.0),
        *(
            _column(
                f"BERT-base training, {name}, 16 k tokens a step",
                f"{train} --lengths {lengths} --batch-tokens 16384",
                OURS,
                "utilisation",
                0.45,
                is_limit=False,
            )
            for name, lengths in (("s128", "fixed:128"), ("uncut lengths", uncut))
        ),
        _column(
            "BERT-large inference, s384",
            f"{large} --sequences 1280 --peers",
            OURS,
            "utilisation",
            0.55,
            is_limit=False,
        ),
        _column(what, f"{memory} --batch 16 --sequences 16", f"{OURS} checkpointed", "part_of_transformers", 0.3),
    ]
