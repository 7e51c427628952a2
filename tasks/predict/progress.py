"""How far a prediction is: a line on a terminal that is written over."""

import time
from typing import Any

from tqdm import tqdm

from tasks.read.stream import Position


class Progress:
    """Inputs, inputs a second and, in a file that is read piece by piece, the share of its bytes and the time left.

    Args:
        position: in the input.
        shown: whether to show it on standard error, if that is a terminal.
    """

    def __init__(self, position: Position, *, shown: bool) -> None:
        self._position = position
        self._start = (0.0, 0.0)
        # None: shown on a terminal only.
        self._bar: Any = tqdm(disable=None if shown else True, bar_format="{desc}", leave=False)

    def show(self, count: int) -> None:
        """Shows that ``count`` inputs are done; 0 where the first ones have been read."""
        if self._bar.disable:
            return
        share = self._position.share()
        if not count:
            self._start = (time.perf_counter(), share or 0.0)
            return
        began, first = self._start
        seconds = time.perf_counter() - began
        text = f"{count:,} inputs, {count / seconds:,.0f} a second"
        if share is not None:
            text += f", {share:.0%}"
            if share > first:
                text += f", {tqdm.format_interval(seconds * (1 - share) / (share - first))} left"
        self._bar.set_description_str(text)

    def close(self) -> None:
        """Takes the line away."""
        self._bar.close()
