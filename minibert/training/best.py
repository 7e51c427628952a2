"""Writing the best model, also when the disk is full for a while."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor, nn

from minibert.errors import InputError
from minibert.training import distributed
from minibert.training.regularisation import swapped_weights

logger = logging.getLogger(__name__)


class BestModel:
    """Writes the best model, in process 0. While that fails, its weights are kept in memory.

    Args:
        model: the model under training.
        save: saves the model with the weights that it has at the time.
        unwritten: where they are kept, on the host; empty while there are none. A run's checkpoints have them, too.
    """

    def __init__(self, model: nn.Module, save: Callable[[], None], unwritten: dict[str, Tensor]) -> None:
        self._model = model
        self._save = save
        self._unwritten = unwritten

    def write(self) -> None:
        """Writes the model with its present weights. If that fails, warns and keeps them for :meth:`retry`."""
        if not distributed.is_rank0():
            return
        try:
            self._save()
            self._unwritten.clear()
        except (InputError, OSError) as error:
            logger.warning("the best model could not be written (%s); the run goes on and tries again later.", error)
            for name, parameter in self._model.named_parameters():
                self._unwritten[name] = parameter.detach().to("cpu", copy=True)

    def retry(self) -> None:
        """Tries again to write what could not be written."""
        if self._unwritten:
            with self._with_weights(self._unwritten):
                self.write()

    def finish(self, make_room: Callable[[], Path | None]) -> None:
        """The last attempt to write what could not be written.

        Args:
            make_room: removes checkpoints, which may be what fills the disk, and returns the one that is left.

        Raises:
            InputError: it failed again.
        """
        if not self._unwritten:
            return
        newest = make_room()
        try:
            with self._with_weights(self._unwritten):
                self._save()
            self._unwritten.clear()
        except (InputError, OSError) as error:
            goes_on = "start again" if newest is None else f"--resume goes on from {newest.name}"
            raise InputError(f"{str(error).removesuffix('.')}; make room, and {goes_on}.") from None

    @contextmanager
    def _with_weights(self, weights: dict[str, Tensor]) -> Iterator[None]:
        device = next(self._model.parameters()).device
        with swapped_weights(self._model, {name: tensor.to(device) for name, tensor in weights.items()}):
            yield
