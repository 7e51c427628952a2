"""When a run saves a checkpoint, and when it stops: all processes decide together."""

import time
from pathlib import Path
from typing import NoReturn

from torch import Tensor

from minibert.training import distributed
from minibert.training.checkpoints import Checkpoints
from minibert.training.settings import TrainingSettings
from minibert.training.signals import WATCHED, Interrupted, SignalWatch
from minibert.training.state import RunState, best_weights

# Between two checkpoints of a run whose settings ask for none: a power cut costs no more than that.
DEFAULT_SAVE_MINUTES = 15.0


class CheckpointSaver:
    """Saves and restores a run's state in the folder of its checkpoints.

    Args:
        state: of the run.
        folder: without it, nothing is saved, and signals are left alone.
        settings: say how often to save, and how many checkpoints to keep.

    Attributes:
        signals: watches for SIGTERM and SIGINT while it is entered.
        saves_regularly: whether the settings ask for checkpoints. If so, there is one after each epoch, too.
    """

    def __init__(self, state: RunState, folder: Path | None, settings: TrainingSettings) -> None:
        self._state = state
        keep = settings.keep_checkpoints
        self._checkpoints = None if folder is None else Checkpoints(folder, keep=keep, find_damage=state.find_damage)
        self._save_steps = settings.save_steps
        self._save_minutes = settings.save_minutes if settings.saves_regularly else DEFAULT_SAVE_MINUTES
        self._saved_at = time.monotonic()
        self.signals = SignalWatch(active=folder is not None)
        self.saves_regularly = folder is not None and settings.saves_regularly

    def poll(self) -> tuple[int, bool]:
        """The signal to stop for, or 0, and whether to save now; all processes get the same answer."""
        steps, minutes = self._save_steps, self._save_minutes
        overdue = minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes
        *received, overdue_on_rank0 = distributed.all_reduce_sum([
            *(self.signals.received == number for number in WATCHED),
            overdue and distributed.is_rank0(),
        ])  # fmt: skip
        signal = next((int(number) for number, count in zip(WATCHED, received, strict=True) if count), 0)
        due = bool(signal or overdue_on_rank0 or (steps is not None and self._state.progress.step % steps == 0))
        return signal, due and self._checkpoints is not None

    def save(self) -> None:
        """Saves a checkpoint; all processes must call this. A disk that refuses is a warning, not an error."""
        if self._checkpoints is None:
            return
        snapshot = self._state.snapshot()
        if snapshot is not None:
            self._checkpoints.save(self._state.progress.step, snapshot, best_step=self._state.progress.best_step)
        self._saved_at = time.monotonic()

    def stop(self, signal: int) -> NoReturn:
        """Raises Interrupted, with the newest checkpoint."""
        checkpoints = self._checkpoints
        # Waits until process 0 has saved: if another process ended sooner, torchrun would end process 0 as well.
        newest = None if checkpoints is None else distributed.broadcast_from_rank0(checkpoints.newest_path)
        raise Interrupted(signal, self._state.progress.step, newest)

    def restore_newest(self) -> bool:
        """Puts the state back to the newest intact checkpoint.

        Returns:
            Whether there is one.

        Raises:
            InputError: it is the checkpoint of a run with other settings.
        """
        snapshot = (
            None if self._checkpoints is None else distributed.broadcast_from_rank0(self._checkpoints.read_newest)
        )
        if snapshot is not None:
            self._state.restore(snapshot)
        return snapshot is not None

    def best_weights(self) -> dict[str, Tensor] | None:
        """The weights of the best epoch so far, from its checkpoint; None if there is none."""
        best_step = self._state.progress.best_step
        if self._checkpoints is None or best_step is None:
            return None
        snapshot = self._checkpoints.read(best_step)
        return None if snapshot is None else best_weights(snapshot, self._state.device)

    def keep_only_newest(self) -> Path | None:
        """Removes all checkpoints but the newest intact one, and returns it."""
        return None if self._checkpoints is None else self._checkpoints.keep_only_newest()
