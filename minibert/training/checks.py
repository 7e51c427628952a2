"""Checks that a run has not failed: losses that are not finite, and models that learnt nothing."""

import math
import operator
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from minibert.errors import Diverged

_MAX_LINES = 40
_STUCK = 0.97  # of ln(classes), the loss of guessing


def check_finite(loss: float, what: str, lines: Sequence[int] = ()) -> None:
    """Raises Diverged, with advice, if a loss is NaN or infinite.

    Args:
        loss: the value.
        what: its name, which begins the message.
        lines: the line numbers of the examples that it was computed from, if known.
    """
    if not math.isfinite(loss):
        where = ""
        if lines:
            shown = ", ".join(map(str, sorted(set(lines))[:_MAX_LINES]))
            where = f" It comes from the examples at lines {shown}{', …' if len(set(lines)) > _MAX_LINES else ''}."
        raise Diverged(
            f"{what} is {loss}: the run has diverged.{where} Lower --lr; in half precision, try --precision fp32."
        )


def collapse_warning(
    *,
    train_loss: float,
    num_classes: int,
    predicted: Iterable[Hashable],
    gold: Iterable[Hashable],
    few_steps: int | None = None,
) -> str | None:
    """One sentence with advice if a run has learnt nothing; None otherwise.

    Args:
        train_loss: mean cross-entropy over an epoch's targets.
        num_classes: how many classes the head chooses among.
        predicted: classes, on data with several of them.
        gold: the true classes, in the same order.
        few_steps: the number of optimizer steps, if it may have been too small to learn anything.
    """
    predictions, targets = list(predicted), list(gold)
    steps = "" if few_steps is None else f"more --epochs or a smaller --batch-size (it took only {few_steps} steps), "
    advice = (
        f"such a run has collapsed: try {steps}another --seed, a lower --lr or a longer warm-up (warmup_ratio in a "
        "settings file), and look at the labels."
    )
    # The loss alone proves nothing: it is a mean over the epoch, and a short run may end far below it.
    num_correct = sum(map(operator.eq, predictions, targets))
    num_most_frequent = max(Counter(targets).values(), default=0)
    if num_classes > 1 and train_loss >= _STUCK * math.log(num_classes) and num_correct <= num_most_frequent:
        return f"the training loss {train_loss:.4f} is still that of guessing, ln {num_classes}; {advice}"
    if len(set(predictions)) == 1 and len(set(targets)) > 1:
        return f"every prediction is {predictions[0]}, though the data hold {len(set(targets))} classes; {advice}"
    return None
