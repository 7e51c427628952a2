"""Failed runs are named, with advice."""

import math
import re

import pytest

from minibert.errors import InputError
from minibert.training import (
    check_finite,
    collapse_warning,
)


def test_a_long_list_of_lines_is_shortened() -> None:
    with pytest.raises(InputError, match=r"at lines 1, 2, .*, 40, …\. Lower"):
        check_finite(math.nan, "the loss", range(1, 100))


def test_a_collapsed_run_gets_a_warning() -> None:
    several = ["A", "B", "C", "A"]
    stuck = collapse_warning(
        train_loss=math.log(3) - 0.01, num_classes=3, predicted=several[1:] + several[:1], gold=several
    )
    assert stuck is not None
    assert re.match(r"the training loss 1\.0886 is still that of guessing, ln 3; such a run has collapsed: try", stuck)
    one = collapse_warning(train_loss=0.3, num_classes=3, predicted=["A"] * 4, gold=several)
    assert one is not None
    assert one.startswith("every prediction is A, though the data hold 3 classes; such a run has collapsed")
    assert collapse_warning(train_loss=0.3, num_classes=3, predicted=several, gold=several) is None
    # A short run's mean loss is high, and yet it may have learnt all.
    assert collapse_warning(train_loss=math.log(3) - 0.01, num_classes=3, predicted=several, gold=several) is None
    assert collapse_warning(train_loss=0.3, num_classes=3, predicted=["A"], gold=["A"]) is None
    assert collapse_warning(train_loss=0.0, num_classes=1, predicted=["A"], gold=["A"]) is None
