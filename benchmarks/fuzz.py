"""Reads many damaged checkpoints, or data files of every format: a longer version of what the tests do.

    PYTHONPATH=.:tests python -m benchmarks.fuzz --inputs 1000000 --seed 0
    PYTHONPATH=.:tests python -m benchmarks.fuzz --of data --inputs 20000 --seed 0

Each input is a good file with seeded damage, half of the checkpoints with repaired checksums. Any exception but
InputError is a failure, and so are a crash, an input that takes more than 5 s, and a row of data that is lost without a
count. For each reader, prints how many inputs were read and refused, the slowest input and the growth of memory; then
one JSON line.
"""

import argparse
import json
import logging
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import FrameType

import torch
from bundle_files import DATA, GOOD, MUTATIONS, block_of, mangled, place, table_of
from conftest import GOLDEN

from benchmarks.attack.damage import mutate
from benchmarks.data_files import READERS as DATA_READERS
from benchmarks.data_files import read_damaged
from minibert.errors import InputError
from minibert.formats import huggingface
from minibert.formats.fairseq import checkpoint as fairseq
from minibert.formats.google.tensor_bundle import TensorBundle
from tasks.run.folder import device_name, now, versions

# Percentage of inputs: the bundle's reader is entirely our own, the others use libraries.
SHARES = {
    "checkpoints": {"tensor_bundle": 55, "safetensors": 25, "torch_bin": 10, "fairseq": 10},
    "data": {"ner": 35, "classification": 35, "span_qa": 25, "corpus": 5},
}
BLOCK = 1000
LONGEST = 5  # seconds of computing for an input, so that other programs on the machine do not count


def read_bundle(folder: Path, chance: random.Random) -> None:
    kind = chance.choice([*MUTATIONS, "data"])
    index = table_of([block_of(GOOD)]) if kind == "data" else MUTATIONS[kind](chance)
    bundle = TensorBundle(place(folder, index, mangled(DATA, chance) if kind == "data" else DATA))
    for name in bundle.names():
        bundle.read(name)


def read_safetensors(folder: Path, chance: random.Random) -> None:
    good = (GOLDEN / "bert_gelu" / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    # Mostly damage the header, the part that is parsed.
    damaged = mutate(good[:header], chance) + good[header:] if chance.random() < 0.8 else mutate(good, chance)
    (folder / "model.safetensors").write_bytes(damaged)
    for read in huggingface.open_weights(folder).tensors.values():
        read()


def read_bin(folder: Path, chance: random.Random) -> None:
    state = folder.parent / "good.bin"
    if not state.exists():
        torch.save({f"bert.{i}.weight": torch.full((i + 1, 4), float(i)) for i in range(6)}, state)
    (folder / "pytorch_model.bin").write_bytes(mutate(state.read_bytes(), chance))
    for read in huggingface.open_weights(folder).tensors.values():
        read()


def read_fairseq(folder: Path, chance: random.Random) -> None:
    source = GOLDEN / chance.choice(("fairseq_args", "fairseq_cfg"))
    for name in ("dict.txt", "encoder.json", "vocab.bpe"):
        shutil.copyfile(source / name, folder / name)
    (folder / "model.pt").write_bytes(mutate((source / "model.pt").read_bytes(), chance))
    for read in fairseq.open_fairseq_checkpoint(folder).tensors.values():
        read()


READERS: dict[str, Callable[[Path, random.Random], None]] = {
    "tensor_bundle": read_bundle,
    "safetensors": read_safetensors,
    "torch_bin": read_bin,
    "fairseq": read_fairseq,
    **{name: partial(read_damaged, name) for name in DATA_READERS},
}


def stop(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {LONGEST} s")


def run_block(reader: str, seed: int, inputs: int) -> dict[str, float]:
    """Reads ``inputs`` damaged files; returns counts, the seconds of the slowest, and the growth of memory."""
    torch.set_num_threads(1)
    logging.disable()  # the readers' warnings
    signal.signal(signal.SIGPROF, stop)
    counts = {"read": 0, "refused": 0, "slowest": 0.0}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as parent:
        folder = Path(parent, "checkpoint")
        folder.mkdir()
        for number in range(inputs):
            chance = random.Random(f"{reader} {seed} {number}")
            started = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, LONGEST)
            try:
                READERS[reader](folder, chance)
                counts["read"] += 1
            except InputError:
                counts["refused"] += 1
            except BaseException as error:
                raise RuntimeError(f"{reader}, seed {seed}, input {number}: {error!r}") from error
            signal.setitimer(signal.ITIMER_PROF, 0)
            counts["slowest"] = max(counts["slowest"], time.process_time() - started)
    counts["grown_mb"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description="Reads many damaged files.")
    parser.add_argument("--of", choices=tuple(SHARES), default="checkpoints")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.perf_counter()
    results = {}
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for reader, share in SHARES[arguments.of].items():
            blocks = -(-arguments.inputs * share // 100 // BLOCK)
            seeds = range(arguments.seed * 1_000_000, arguments.seed * 1_000_000 + blocks)
            done = list(pool.map(run_block, [reader] * blocks, seeds, [BLOCK] * blocks))
            results[reader] = {
                "inputs": blocks * BLOCK,
                "read": sum(block["read"] for block in done),
                "refused": sum(block["refused"] for block in done),
                "slowest_seconds": round(max(block["slowest"] for block in done), 3),
                "most_grown_mb": round(max(block["grown_mb"] for block in done), 1),
            }
            print(reader, results[reader], flush=True)
    result = {
        "benchmark": "fuzz",
        "of": arguments.of,
        "seed": arguments.seed,
        "results": results,
        "seconds": round(time.perf_counter() - started),
        "finished": now(),
        "device": device_name(torch.device("cpu")),
        "versions": versions(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
