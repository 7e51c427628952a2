"""A run's log for TensorBoard (the extra ``tensorboard``)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minibert.errors import InputError


class TensorBoardWriter:
    """Writes the numbers in log records as curves by step; an epoch's are at its last step.

    Args:
        folder: for TensorBoard's files.

    Raises:
        InputError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            # Imported here because it is an extra and takes a second.
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InputError(
                "--tensorboard: needs one more package: pip install -e '.[tensorboard]' in minibert's folder."
            ) from None
        self._make: Any = SummaryWriter
        self._folder = str(folder)
        self._writer: Any = None
        self._step = 0

    def resume(self, step: int) -> None:
        """Starts after ``step``; hides later records of an interrupted run."""
        self._step = step
        self._writer = self._make(self._folder, purge_step=step + 1)

    def write(self, record: Mapping[str, Any]) -> None:
        if self._writer is None:
            self.resume(0)
        self._step = record.get("step", self._step)
        of_epoch = "train_loss" in record
        for name, value in record.items():
            if isinstance(value, (int, float)) and name not in ("step", "epoch", "best"):
                self._writer.add_scalar(f"{'epoch' if of_epoch else 'step'}/{name}", value, self._step)
        self._writer.flush()
