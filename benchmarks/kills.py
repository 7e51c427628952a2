"""Checks that a run that is killed repeatedly ends with the same bits as an uninterrupted one.

Trains a small model on random data (dropout, accumulation, bf16, moving average) with checkpoints, in processes that
are killed by SIGKILL: in every third trial during a save, in the others at a random time. Each is restarted with
``resume`` until it ends. Its last weights, best weights, epoch figures and log must then equal those of an
uninterrupted run. Prints a table, then one JSON line; exits with status 1 if a trial differs. POSIX only, since the
training processes are forks.

    python -m benchmarks.kills                       # 200 trials, at least 50 of them killed during a save
    python -m benchmarks.kills --trials 8            # a short test
    python -m benchmarks.kills --device cuda         # the same on a GPU
"""

import argparse
import hashlib
import json
import os
import platform
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo  # every optimizer needs it: imported once, before the forks
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from minibert import EncoderConfig, TokenClassifier, pack
from minibert.files import read_json_lines, write_atomically
from minibert.training import (
    Callbacks,
    Examples,
    LabelledBatch,
    Metric,
    Progress,
    Trainer,
    TrainingSettings,
    choose_device,
    distributed,
    predict,
)
from minibert.training.checkpoints import Checkpoints

Item = tuple[list[int], list[int]]
SETTINGS = TrainingSettings(
    epochs=3, batch_size=8, micro_batch_size=3, lr=1e-3, precision="bf16", ema=0.9, save_steps=4, deterministic=True
)
MOST_KILLS = 4  # per trial; then it runs to the end
SAVING, SAVED = b"S", b"E"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="seed of the random times")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, default=None, help="folder for the runs (default: the system's)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        untouched = Path(temporary) / "untouched"
        started = time.monotonic()
        save_seconds = run_once(untouched, arguments.device).save_seconds
        seconds = time.monotonic() - started
        assert save_seconds is not None
        expected = outcome(untouched)
        trials = []
        for number in range(arguments.trials):
            chance = random.Random(arguments.seed * 1_000_003 + number)
            trials.append(
                trial(
                    Path(temporary) / f"trial-{number}",
                    arguments.device,
                    aims_at_saves=number % 3 == 0,
                    chance=chance,
                    seconds=seconds,
                    save_seconds=save_seconds,
                    expected=expected,
                )
            )
    result = {
        "trials": len(trials),
        "trials_killed_inside_a_save": sum(done.kills_in_saves > 0 for done in trials),
        "kills_inside_a_save": sum(done.kills_in_saves for done in trials),
        "kills_elsewhere": sum(done.kills_elsewhere for done in trials),
        "bit_identical": sum(done.same for done in trials),
    }
    for name, value in result.items():
        print(f"{name.replace('_', ' '):30} {value:6}")
    settings = {
        "benchmark": "kills", "seconds_untouched": round(seconds, 2), "device": arguments.device,
        "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip
    print(json.dumps({**settings, **result}))
    sys.exit(0 if result["bit_identical"] == len(trials) else 1)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How often a trial's run was killed, and whether it ended like the uninterrupted one."""

    kills_in_saves: int
    kills_elsewhere: int
    same: bool


def trial(
    folder: Path,
    device: str,
    *,
    aims_at_saves: bool,
    chance: random.Random,
    seconds: float,
    save_seconds: float,
    expected: Mapping[str, Any],
) -> Trial:
    """Kills a run up to ``MOST_KILLS`` times, lets it finish, and compares the outcome.

    Args:
        folder: of the run; removed afterwards.
        device: its name.
        aims_at_saves: whether to kill during saves, instead of at any time.
        chance: chooses the times.
        seconds, save_seconds: the duration of the uninterrupted run and of its shortest save.
        expected: the uninterrupted run's outcome.
    """
    kills_in_saves = kills_elsewhere = 0
    for attempt in range(MOST_KILLS + 1):
        if attempt == MOST_KILLS:
            ending = run_once(folder, device)
        elif aims_at_saves:
            ending = run_once(folder, device, in_save=(chance.randint(1, 4), chance.uniform(0, save_seconds)))
        else:
            ending = run_once(folder, device, kill_after=chance.uniform(0, seconds))
        if ending.by_itself:
            break
        kills_in_saves += ending.in_save
        kills_elsewhere += not ending.in_save
    found = outcome(folder)
    if different := [name for name in expected if found[name] != expected[name]]:
        print(f"{folder.name} differs in: {', '.join(different)}", flush=True)
    shutil.rmtree(folder)
    return Trial(kills_in_saves=kills_in_saves, kills_elsewhere=kills_elsewhere, same=not different)


# -- the run that is killed -------------------------------------------------------------------------------------------


def collate(items: Sequence[Item]) -> LabelledBatch:
    targets = torch.tensor([target for _, row in items for target in row])
    return LabelledBatch(inputs=pack([ids for ids, _ in items]), targets=targets, num_targets=int((targets >= 0).sum()))


def loss(model: nn.Module, batch: LabelledBatch) -> Tensor:
    return F.cross_entropy(model(batch.inputs).float(), batch.targets, reduction="sum")


def random_items(count: int, seed: int) -> list[Item]:
    rng = np.random.default_rng(seed)
    rows = [rng.integers(5, 90, length) for length in rng.integers(2, 15, count)]
    return [(ids.tolist(), np.where(rng.random(len(ids)) < 0.8, ids % 3, -100).tolist()) for ids in rows]


def train(folder: Path, device_name: str, mark: Callable[[bytes], object]) -> None:
    """Starts or resumes the run in ``folder``; calls ``mark`` when a save begins and ends."""
    folder.mkdir(exist_ok=True)
    device = choose_device(device_name)
    torch.manual_seed(0)
    config = EncoderConfig(
        model_type="albert", vocab_size=90, embedding_size=16, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=64, max_position_embeddings=16, hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
    ).with_labels({0: "A", 1: "B", 2: "C"})  # fmt: skip
    model = TokenClassifier(config).to(device)
    dev = Examples(random_items(16, seed=1), collate)
    log = folder / "log.jsonl"

    def evaluate() -> dict[str, float]:
        outputs = predict(model, dev.batches(range(len(dev.items)), 8), precision="bf16", device=device)
        right = [(logits.argmax(-1) == batch.targets)[batch.targets >= 0] for batch, logits in outputs]
        return {"accuracy": torch.cat(right).double().mean().item()}

    def record(entry: Mapping[str, Any]) -> None:
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def cut_log(progress: Progress) -> None:
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []
        shorter = "".join(lines[: progress.num_records])
        write_atomically(log, lambda path: path.write_text(shorter, encoding="utf-8"))  # it may be killed here, too

    save = Checkpoints.save

    def marked_save(self: Checkpoints, *args: Any, **kwargs: Any) -> bool:
        mark(SAVING)
        saved = save(self, *args, **kwargs)
        mark(SAVED)
        return saved

    Checkpoints.save = marked_save  # type: ignore[method-assign]
    history = Trainer(
        model=model, data=Examples(random_items(60, seed=2), collate), loss=loss, evaluate=evaluate,
        metric=Metric("accuracy"), settings=SETTINGS, device=device, checkpoints=folder / "checkpoints", resume=True,
        callbacks=Callbacks(on_best=lambda: model.save_pretrained(folder), on_record=record, on_resume=cut_log),
    ).fit()  # fmt: skip
    if distributed.is_rank0():
        save_file({name: tensor.cpu() for name, tensor in model.state_dict().items()}, folder / "last.safetensors")
        (folder / "history.json").write_text(json.dumps(history), encoding="utf-8")


def outcome(folder: Path) -> dict[str, Any]:
    """All of a run's results that must not differ, which excludes times."""
    files = ("model.safetensors", "config.json", "last.safetensors")
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    log = read_json_lines(folder / "log.jsonl")
    return {
        **{name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files},
        "history": [_without_times(record) for record in history],
        "log": [_without_times(record) for record in log],
    }


def _without_times(record: Mapping[str, Any]) -> dict[str, Any]:
    times = ("tokens_per_second", "train_seconds", "seconds_left", "deterministic_slowdown")
    return {name: value for name, value in record.items() if name not in times}


# -- killing it -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a process ended.

    Attributes:
        by_itself: whether it finished without being killed.
        in_save: whether it was killed during a save.
        save_seconds: the duration of its shortest completed save, if any.
    """

    by_itself: bool
    in_save: bool
    save_seconds: float | None


def run_once(
    folder: Path, device: str, *, kill_after: float | None = None, in_save: tuple[int, float] | None = None
) -> Ending:
    """Starts or resumes the run in a process of its own, until it ends or is killed.

    Args:
        folder: of the run.
        device: its name.
        kill_after: kill this many seconds after the start.
        in_save: kill during this save (counted from 1), this many seconds after it began.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            train(folder, device, partial(os.write, writer))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writer)
    kill_at = None if kill_after is None else time.monotonic() + kill_after
    mark, began, num_saves = b"", 0.0, 0
    save_seconds: list[float] = []
    while True:
        left = None if kill_at is None else max(0.0, kill_at - time.monotonic())
        if not select.select([reader], [], [], left)[0]:
            os.kill(pid, signal.SIGKILL)
            kill_at = None
        elif byte := os.read(reader, 1):
            mark = byte
            if mark == SAVED:
                save_seconds.append(time.monotonic() - began)
            else:
                began, num_saves = time.monotonic(), num_saves + 1
                if in_save is not None and num_saves == in_save[0]:
                    kill_at = began + in_save[1]
        else:
            break
    os.close(reader)
    status = os.waitpid(pid, 0)[1]
    killed = os.WIFSIGNALED(status)
    if not killed and os.WEXITSTATUS(status):
        raise RuntimeError(f"the run in {folder} failed")
    return Ending(by_itself=not killed, in_save=killed and mark == SAVING, save_seconds=min(save_seconds, default=None))


if __name__ == "__main__":
    main()
