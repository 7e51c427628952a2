"""Peak memory of training or inference, compared with other tools.

Each contender runs in a process of its own and reports its peak memory above what it uses after imports, which is in a
column of its own: weights, optimizer, gradients and activations. On CUDA this is the memory allocated by torch, on a
CPU that of the process. The second pass over the batches is measured, so loading the model does not count. A contender
whose process fails, as where memory does not suffice, is left out. Prints one JSON line last.

    python -m benchmarks.memory training --device cpu --lengths msra_uncut_test_lengths.txt
    python -m benchmarks.memory training --device cpu --arch albert --size xxlarge --lengths fixed:512 --batch 2 \\
        --sequences 2 --contenders "minibert checkpointed"    # less than 20 GB, where transformers needs more
    python -m benchmarks.memory training --arch albert --size xxlarge --lengths fixed:512 --batch 16 --sequences 16
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import peers
from benchmarks.clock import Work
from benchmarks.ours import OURS, our_predictor, our_trainer
from benchmarks.record import print_record
from benchmarks.workload import Workload, add_options, read_workload
from minibert.errors import InputError
from tasks.run.console import run_main
from tasks.run.folder import peak_memory, reset_peak_memory
from tasks.run.interrupts import command_line

_CHECKPOINTED = " checkpointed"  # suffix of a name: activation checkpointing, which computes layers twice
_CONTENDERS = {
    "inference": (OURS, peers.BASELINE),
    "training": (OURS, OURS + _CHECKPOINTED, peers.BASELINE, peers.BASELINE + _CHECKPOINTED),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", choices=tuple(_CONTENDERS))
    add_options(parser, lengths="fixed:128", sequences=32)
    parser.add_argument("--contenders", nargs="+", metavar="NAME", choices=_CONTENDERS["training"], help="default: all")
    parser.add_argument("--case", nargs=2, metavar=("CONTENDER", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    work = read_workload(options)
    if options.case:
        print(json.dumps(rise(options.case[0], Path(options.case[1]), work)))
        return
    arguments = list(sys.argv[1:] if argv is None else argv)
    names = list(_CONTENDERS[options.work])
    if work.config.model_type == "albert" and options.work == "training":
        names.remove(peers.BASELINE + _CHECKPOINTED)  # transformers does not support it for ALBERT
    names = [name for name in names if options.contenders is None or name in options.contenders]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        work.random_model().save_pretrained(folder)
        for name in names:
            try:
                found[name] = in_own_process([*arguments, "--case", name, folder])
            except subprocess.CalledProcessError as failure:
                print(f"{name} is left out: {failure}.")
    if not found:
        raise InputError("no contender could be measured; give --batch and --lengths that fit in memory.")
    theirs = found.get(peers.BASELINE)
    print_record(
        f"memory {options.work}",
        command_line("benchmarks.memory", argv),
        work,
        contenders={
            name: {
                "peak_megabytes": peak / 1e6,
                "imports_megabytes": imports / 1e6,
                **({} if theirs is None else {"part_of_transformers": peak / theirs[0]}),
            }
            for name, (peak, imports) in found.items()
        },
    )


def in_own_process(arguments: Sequence[str]) -> tuple[int, int]:
    """Runs :func:`rise` in a new process.

    Raises:
        CalledProcessError: it failed, or was killed.
    """
    command_line = [sys.executable, "-m", "benchmarks.memory", *arguments]
    output = subprocess.run(command_line, check=True, stdout=subprocess.PIPE, text=True).stdout
    peak, imports = json.loads(output.splitlines()[-1])
    return peak, imports


def rise(name: str, folder: Path, work: Workload) -> tuple[int, int]:
    """The peak memory of a contender's work above that of this process before it, and the latter, in bytes."""
    reset_peak_memory(work.device)
    before = peak_memory(work.device)
    run = one_pass(name, folder, work)
    run()  # the optimizer creates its state in the first step
    reset_peak_memory(work.device)
    run()
    after = peak_memory(work.device)
    assert before is not None
    assert after is not None
    return after - before, before


def one_pass(name: str, folder: Path, work: Workload) -> Work:
    """One pass of a contender over the workload's batches."""
    base = name.removesuffix(_CHECKPOINTED)
    if work.options["work"] == "training":
        checkpointing = base != name
        if base == OURS:
            return our_trainer(folder, work, checkpointing=checkpointing).train
        return peers.trainer(base, folder, work, checkpointing=checkpointing).train
    predictor = our_predictor(folder, work) if base == OURS else peers.predictor(base, folder, work)
    return predictor.one_pass(work.batches)


if __name__ == "__main__":
    run_main(main)
