"""Everything that the next step of a run depends on, saved to a checkpoint and restored exactly."""

import dataclasses
import json
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minibert.errors import InputError
from minibert.files import without_infinities
from minibert.training import distributed
from minibert.training.checkpoints import Snapshot
from minibert.training.optimizer import AdamW, LinearSchedule
from minibert.training.regularisation import Ema
from minibert.training.schema import (
    field_names,
    form_damage,
    moments_damage,
    progress_damage,
    random_damage,
    tensors_damage,
)

logger = logging.getLogger(__name__)

_SAVED = {"fingerprint", "progress", "scaler"}
_NOT_ALWAYS_SAVED = {"threads", "schedule"}  # of all versions; the place in the schedule is that of the progress


@dataclass(kw_only=True)
class Progress:
    """How far a run has come, as plain values for JSON.

    Attributes:
        micro_batch_size: sequences computed at a time, which is halved when memory runs out.
        step: optimizer steps done in the run.
        epoch: the current one, from 1.
        epoch_step: optimizer steps done in the epoch; after the last one, evaluation comes next.
        loss_sum, num_targets: over the epoch's steps so far.
        num_tokens, seconds: of the epoch so far.
        best: the best figure so far.
        best_loss: the loss of the epoch with the best figure, which decides between equal figures; None if unknown.
        best_step: the step of the checkpoint with the best weights; None if the run saves none regularly.
        epochs_without_best: in a row, until now.
        num_records: how many records went to the log.
        history: the record of each finished epoch.
    """

    micro_batch_size: int
    step: int = 0
    epoch: int = 1
    epoch_step: int = 0
    loss_sum: float = 0.0
    num_targets: int = 0
    num_tokens: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_loss: float | None = None
    best_step: int | None = None
    epochs_without_best: int = 0
    num_records: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def mean_loss(self) -> float:
        """Of the epoch so far, per target."""
        return self.loss_sum / max(1, self.num_targets)

    @property
    def tokens_per_second(self) -> float:
        """Of the epoch so far."""
        return self.num_tokens / self.seconds

    def start_next_epoch(self) -> None:
        """Moves on, with the counts of the epoch set back to 0."""
        self.epoch += 1
        self.epoch_step = self.num_targets = self.num_tokens = 0
        self.loss_sum = self.seconds = 0.0


@dataclass(frozen=True, kw_only=True)
class RunState:
    """The parts of a run that a checkpoint holds.

    Attributes:
        fingerprint: what a resumed run must have in common with this one, by name.
        unwritten: the best weights, in process 0, for as long as no model can be written with them.
    """

    model: nn.Module
    optimizer: AdamW
    schedule: LinearSchedule
    scaler: torch.amp.GradScaler
    ema: Ema | None
    progress: Progress
    fingerprint: Mapping[str, Any]
    device: torch.device
    unwritten: dict[str, Tensor] = field(default_factory=dict)

    def snapshot(self) -> Snapshot | None:
        """A copy on the host, in process 0. All processes must call this, since each has its own random state."""
        states = distributed.all_gather([random_state(self.device)])
        if not distributed.is_rank0():
            return None
        moments = {
            f"{name}/{key}": value
            for name, parameter in self.model.named_parameters()
            for key, value in self.optimizer.state.get(parameter, {}).items()
        }
        files: dict[str, Mapping[str, Tensor]] = {
            "model": dict(self.model.named_parameters()),
            "optimizer": moments,
            "random": {f"{rank}/{key}": value for rank, state in enumerate(states) for key, value in state.items()},
        }
        if self.ema is not None:
            files["ema"] = self.ema.weights
        if self.unwritten:
            files["best"] = self.unwritten
        return Snapshot(
            tensors={
                file: {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
                for file, tensors in files.items()
            },
            values={
                "fingerprint": self.fingerprint,
                "progress": dataclasses.asdict(self.progress),
                "scaler": self.scaler.state_dict(),
                "threads": torch.get_num_threads(),
            },
        )

    def find_damage(self, snapshot: Snapshot) -> str | None:
        """Why this run cannot take over a snapshot of its own, in a few words; None if it can, or if the snapshot is of
        a run with another fingerprint."""
        values, tensors = snapshot.values, snapshot.tensors
        if not isinstance(values, dict) or values.keys() - _NOT_ALWAYS_SAVED != _SAVED:
            return "state.json has other fields"
        if not isinstance(values["fingerprint"], dict):
            return "state.json has no fingerprint"
        if values["fingerprint"] != self.fingerprint:
            return None
        parameters = dict(self.model.named_parameters())
        own: dict[str, Mapping[str, Tensor]] = {"model": parameters}
        if self.ema is not None:
            own["ema"] = self.ema.weights
        if "best" in tensors:
            own["best"] = parameters
        if tensors.keys() != {*own, "optimizer", "random"}:
            return "its files are others"
        damage = (
            progress_damage(values["progress"], field_names(Progress))
            or form_damage(values["scaler"], self.scaler.state_dict(), "scaler")
            or next((found for name in own if (found := tensors_damage(tensors[name], own[name], name))), None)
            or moments_damage(tensors["optimizer"], parameters)
        )
        if damage is None and values["progress"]["step"] > self.schedule.num_steps:
            return "its step is behind the last one"
        ranks = {name.partition("/")[0] for name in tensors["random"]}
        states = (random_damage(_of_rank(tensors["random"], rank), self.device) for rank in sorted(ranks))
        return damage or next((found for found in states if found), None)

    def restore(self, snapshot: Snapshot) -> None:
        """Takes over a snapshot in which :meth:`find_damage` finds none.

        Raises:
            InputError: it is of a run with another fingerprint; the message names the difference and both values.
        """
        require_same_fingerprint(snapshot.values["fingerprint"], self.fingerprint)
        moments: dict[str, dict[str, Tensor]] = {}
        for path, tensor in snapshot.tensors["optimizer"].items():
            owner, _, key = path.rpartition("/")
            moments.setdefault(owner, {})[key] = tensor.to(self.device)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(snapshot.tensors["model"][name])
                if name in moments:
                    self.optimizer.state[parameter] = moments[name]
            if self.ema is not None:
                for key, average in self.ema.weights.items():
                    average.copy_(snapshot.tensors["ema"][key])
        if distributed.is_rank0():
            self.unwritten.update(snapshot.tensors.get("best", {}))
        threads = snapshot.values.get("threads")  # older versions did not save it
        if threads not in (None, torch.get_num_threads()) and self.device.type == "cpu":
            logger.warning(
                "the run was saved with %s threads and goes on with %d, which sum in another order: its figures may "
                "differ in the last digits. OMP_NUM_THREADS sets the number.",
                threads, torch.get_num_threads(),
            )  # fmt: skip
        self.scaler.load_state_dict(snapshot.values["scaler"])
        micro_batch_size = self.progress.micro_batch_size
        for name, value in snapshot.values["progress"].items():
            setattr(self.progress, name, value)
        self.progress.micro_batch_size = min(micro_batch_size, self.progress.micro_batch_size)
        own = _of_rank(snapshot.tensors["random"], distributed.rank())
        if own:  # otherwise there are more processes than before, and this one continues from its seed
            set_random_state(own, self.device)


def _of_rank(states: Mapping[str, Tensor], rank: object) -> dict[str, Tensor]:
    prefix = f"{rank}/"
    return {name.removeprefix(prefix): state for name, state in states.items() if name.startswith(prefix)}


def best_weights(snapshot: Snapshot, device: torch.device) -> dict[str, Tensor]:
    """The weights that the run of a snapshot evaluates and saves."""
    weights = snapshot.tensors.get("ema") or snapshot.tensors["model"]
    return {name: tensor.to(device) for name, tensor in weights.items()}


def fingerprint(model: nn.Module, settings: Mapping[str, Any], num_examples: int) -> dict[str, Any]:
    """Settings, and what identifies the model and the data: all that a resumed run must share."""
    shapes = {name: list(parameter.shape) for name, parameter in model.named_parameters()}
    values = {**settings, "the number of training examples": num_examples, "the model's shapes": shapes}
    as_saved: dict[str, Any] = json.loads(json.dumps(values))
    return as_saved


def require_same_fingerprint(saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises InputError for the first difference between a run and the one that saved a checkpoint."""
    for name in dict.fromkeys([*given, *saved]):
        before, now = (without_infinities(values.get(name)) for values in (saved, given))
        if isinstance(before, str) and isinstance(now, str):
            before, now = before.rstrip("/"), now.rstrip("/")  # a folder is the same with a slash behind it
        if before != now:
            values = "" if isinstance(now, dict) else f": was {before}, is now {now}"
            raise InputError(
                f"--resume: {name} changed{values}. Give what the run was started with, or start a new run without "
                "--resume."
            )


def require_same_on_all_ranks(given: Mapping[str, Any]) -> None:
    """Raises InputError if processes were given different values: they would wait for each other forever."""
    first, *others = distributed.all_gather([given])
    for number, other in enumerate(others, start=1):
        for name in first:
            if other.get(name) != first[name]:
                raise InputError(f"{name} differs between processes 0 and {number}: give all of them the same.")


def seed_everything(seed: int) -> None:
    """Seeds Python, numpy and torch, each process differently, so that dropout differs."""
    seed = (seed + distributed.rank() * 1_000_003) % 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of all random generators of this process, as tensors on the host."""
    version, internal, gauss = random.getstate()
    mersenne: Any = np.random.get_state(legacy=False)
    assert version == 3
    assert mersenne["bit_generator"] == "MT19937"
    inner = mersenne["state"]
    state = {
        "python": torch.tensor(internal),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.tensor([*inner["key"].tolist(), inner["pos"], mersenne["has_gauss"]]),
        "numpy_gauss": torch.tensor([mersenne["gauss"]], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Restores what :func:`random_state` returned."""
    gauss = state["python_gauss"].tolist()
    random.setstate((3, tuple(state["python"].tolist()), gauss[0] if gauss else None))
    *keys, position, has_gauss = state["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, has_gauss, state["numpy_gauss"].item()))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
