"""Time and memory to convert a checkpoint of BERT-large's size, compared with loading and saving it in transformers.

Writes a Hugging Face folder with random weights (1.3 GB) and runs the conversions in turn, each in a process of its
own, which reports its seconds and its peak resident memory, mapped files included (Linux). Prints the shortest time and
the highest peak of each, and finally one JSON line.

    python -m benchmarks.conversion
    python -m benchmarks.conversion --layers 2 --repeats 1       # a small trial
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from minibert import EncoderConfig
from minibert.files import write_json
from minibert.formats.conversion import convert
from minibert.formats.huggingface import name_table
from minibert.formats.names import from_parameters
from minibert.formats.source import FORMATS, open_source
from minibert.heads import PretrainingModel

CASES = ("huggingface -> huggingface", "huggingface -> google", "google -> huggingface", "transformers, load and save")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, default=None, help="folder for 5 GB of temporary files (default: the system's)"
    )
    parser.add_argument("--case", nargs=3, metavar=("CASE", "SRC", "DST"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        _run_case(arguments.case[0], Path(arguments.case[1]), Path(arguments.case[2]))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        size = make_checkpoint(folder / "huggingface", arguments.layers)
        convert(open_source(folder / "huggingface"), folder / "google", to="google")
        runs = [{case: _measured(case, folder) for case in CASES} for _ in range(arguments.repeats)]
    rows = {case: (min(run[case][0] for run in runs), max(run[case][1] for run in runs)) for case in CASES}
    print(f"{'conversion':30} {'seconds':>8} {'peak MB':>8} {'peak / file':>12}")
    for case, (seconds, peak) in rows.items():
        print(f"{case:30} {seconds:8.2f} {peak / 1e6:8.0f} {peak / size:12.2f}")
    result = {
        "benchmark": "conversion",
        "file_bytes": size,
        "repeats": arguments.repeats,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "cases": {case: {"seconds": seconds, "peak_bytes": peak} for case, (seconds, peak) in rows.items()},
    }
    print(json.dumps(result))


def make_checkpoint(folder: Path, layers: int) -> int:
    """Writes a random BERT-large; returns the size of its file in bytes."""
    config = EncoderConfig(
        model_type="bert",
        vocab_size=30522,
        hidden_size=1024,
        num_hidden_layers=layers,
        num_attention_heads=16,
        intermediate_size=4096,
    )
    model = PretrainingModel(config)
    tensors = name_table(config, model.head).export(from_parameters(dict(model.named_parameters())))
    folder.mkdir()
    path = folder / "model.safetensors"
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})
    write_json(folder / "config.json", {"architectures": [config.family.class_of(model.head)], **config.to_dict()})
    return path.stat().st_size


def _measured(case: str, folder: Path) -> tuple[float, int]:
    """The seconds and the peak memory of one run."""
    source = folder / ("google" if case.startswith("google") else "huggingface")
    command = [sys.executable, "-m", "benchmarks.conversion", "--case", case, str(source), str(folder / "out")]
    os.sync()  # otherwise a run waits until the output of the previous one is on disk
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    shutil.rmtree(folder / "out")
    seconds, peak = json.loads(output.splitlines()[-1])
    return seconds, peak


def _run_case(case: str, source: Path, destination: Path) -> None:
    work = _with_transformers() if case.startswith("transformers") else _with_minibert(case)
    start = time.perf_counter()  # without imports, for both
    work(source, destination)
    seconds = time.perf_counter() - start
    # Not getrusage, which includes the memory of the parent at the fork.
    status = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert status
    print(json.dumps([seconds, 1024 * int(status[1])]))


def _with_minibert(case: str) -> Callable[[Path, Path], None]:
    to = next(name for name in FORMATS if case.endswith(f"-> {name}"))

    def work(source: Path, destination: Path) -> None:
        convert(open_source(source), destination, to=to)

    return work


def _with_transformers() -> Callable[[Path, Path], None]:
    # Imported here because it is an extra.
    from transformers import BertForPreTraining

    def work(source: Path, destination: Path) -> None:
        BertForPreTraining.from_pretrained(source).save_pretrained(destination)

    return work


if __name__ == "__main__":
    main()
