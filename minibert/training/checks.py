"""Runs that went wrong, said in words: losses that are no number, and models that learnt nothing."""

import math
import operator
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from minibert.errors import Diverged

_MOST_LINES = 40
_STUCK = 0.97  # of ln(classes): the loss of a model that knows nothing


def check_finite(loss: float, what: str, lines: Sequence[int] = ()) -> None:
    """Raises Diverged, with advice, for a loss that is infinite or no number.

    Args:
        loss: the figure.
        what: it is, to begin the message with.
        lines: where the examples it was computed from stand, as far as known.
    """
    if not math.isfinite(loss):
        where = ""
        if lines:
            shown = ", ".join(map(str, sorted(set(lines))[:_MOST_LINES]))
            where = f" It comes from the examples at lines {shown}{', …' if len(set(lines)) > _MOST_LINES else ''}."
        raise Diverged(f"{what} is {loss}: the run has diverged.{where} Lower --lr, or try --precision fp32.")


def collapse_warning(
    *, train_loss: float, num_classes: int, predicted: Iterable[Hashable], gold: Iterable[Hashable]
) -> str | None:
    """Whether a run has learnt nothing, in one sentence with advice; None where it has.

    Args:
        train_loss: mean cross-entropy over an epoch's targets.
        num_classes: the head chooses among.
        predicted: classes, on data that holds several.
        gold: the right ones, in the same order.
    """
    answers, right = list(predicted), list(gold)
    advice = (
        "such a run has collapsed: try another --seed, a lower --lr or a longer warm-up (--warmup-ratio), and look "
        "at the labels."
    )
    # The loss is a mean over the whole epoch, so that a short run may end far below it.
    told, most_frequent = sum(map(operator.eq, answers, right)), max(Counter(right).values(), default=0)
    if num_classes > 1 and train_loss >= _STUCK * math.log(num_classes) and told <= most_frequent:
        return f"the training loss {train_loss:.4f} is still that of guessing, ln {num_classes}; {advice}"
    if len(set(answers)) == 1 and len(set(right)) > 1:
        return f"every prediction is {answers[0]}, though the data hold {len(set(right))} classes; {advice}"
    return None
