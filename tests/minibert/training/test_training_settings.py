"""The ranges that training settings declare, and how they are checked."""

import dataclasses
import math
from typing import Any

import pytest

from minibert.errors import InputError
from minibert.training import (
    TrainingSettings,
)
from minibert.training.settings import check_settings, setting


def test_steps_are_of_sequences_or_of_tokens() -> None:
    assert TrainingSettings().batch_size == 32
    assert TrainingSettings(batch_tokens=100).batch_size is None
    with pytest.raises(InputError, match="batch_tokens: cannot be combined with --batch-size"):
        TrainingSettings(batch_tokens=100, batch_size=32)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("batch_size", 0), ("batch_tokens", 0), ("lr", 0.0), ("warmup_ratio", 1.5), ("precision", "fp8"),
     ("seed", -1), ("micro_batch_size", 0), ("layer_decay", 0.0), ("layer_decay", 1.1), ("early_stopping", 0),
     ("ema", 1.0), ("fgm", 0.0), ("r_drop", -1.0), ("save_steps", 0), ("save_minutes", 0.0), ("keep_checkpoints", 1),
     ("max_grad_norm", 0.0), ("weight_decay", -0.1), ("head_lr", math.nan), ("lr", math.inf)],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_the_options_name(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^--{name.replace('_', '-')} "):
        TrainingSettings(**{name: value})


@pytest.mark.parametrize(
    ("limits", "accepted", "refused", "advice"),
    [
        ({"at_least": 1}, [1, 9], [0, -1], "must be 1 or more"),
        ({"above": 0}, [1e-9, 5.0], [0.0, math.nan, math.inf], "must be a number above 0"),
        ({"above": 0, "infinity": True}, [math.inf], [0.0, math.nan], "must be a number above 0"),
        ({"at_most": 5}, [5, -1], [6], "must be 5 or less"),
        ({"below": 5}, [4.9], [5.0], "must be a number below 5"),
        ({"at_least": 0, "at_most": 1}, [0.0, 1.0], [-0.1, 1.1], "must be from 0 to 1"),
        ({"above": 0, "below": 1}, [0.5], [0.0, 1.0], "must be between 0 and 1"),
        ({"at_least": 0, "below": 1}, [0.0], [1.0], "must be from 0 to below 1"),
        ({"above": 0, "at_most": 1}, [1.0], [0.0], "must be above 0 and at most 1"),
        ({}, [-3.5], [math.nan, -math.inf], "must be a finite number"),
        ({"choices": ("a", "b")}, ["a", "b"], ["c"], "use one of a, b"),
    ],
)
def test_a_field_declares_what_it_accepts(
    limits: dict[str, Any], accepted: list[Any], refused: list[Any], advice: str
) -> None:
    settings_class = dataclasses.make_dataclass("Settings", [("a_b", Any, setting(None, "help", **limits))])
    for value in (None, *accepted):
        check_settings(settings_class(value))
    for value in refused:
        with pytest.raises(InputError, match=f"^--a-b {value}: {advice}\\.$"):
            check_settings(settings_class(value))
