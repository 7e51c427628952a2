"""Whether a checkpoint of a run has the form that the run can continue from: names, types, shapes, random states.

Its hashes say that it is what was written; they do not say by whom.
"""

import dataclasses
import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps for each parameter
_MOST = 2**53


def form_damage(given: Any, own: Any, name: str) -> str | None:
    """The first place at which two JSON values differ in their keys, lengths or types; None if there is none."""
    if isinstance(own, Mapping):
        if not isinstance(given, dict) or given.keys() != own.keys():
            return f"{name} has other fields"
        return next((found for key in own if (found := form_damage(given[key], own[key], f"{name}.{key}"))), None)
    if isinstance(own, (list, tuple)):
        if not isinstance(given, list) or len(given) != len(own):
            return f"{name} is no list of {len(own)}"
        return next((found for a, b in zip(given, own, strict=True) if (found := form_damage(a, b, name))), None)
    if isinstance(own, bool) or own is None or isinstance(own, str):
        return None if type(given) is type(own) else f"{name} is of another type"
    return None if is_number(given) else f"{name} is no number"


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, but no boolean."""
    return is_figure(value) and math.isfinite(value)


def is_figure(value: Any) -> bool:
    """Whether a value is a number, which may be NaN or infinite, but no boolean."""
    return type(value) is float or (type(value) is int and abs(value) < _MOST)


def _is_count(value: Any, least: int = 0) -> bool:
    return type(value) is int and least <= value < _MOST


def progress_damage(given: Any, fields: Mapping[str, Any]) -> str | None:
    """What is wrong with a saved progress; ``fields`` are the names that it should have."""
    if not isinstance(given, dict) or given.keys() != fields.keys():
        return "the progress has other fields"
    wrong = [name for name in ("micro_batch_size", "epoch") if not _is_count(given[name], 1)]
    counts = ("step", "epoch_step", "num_targets", "num_tokens", "epochs_without_best", "num_records")
    wrong += [name for name in counts if not _is_count(given[name])]
    wrong += [name for name in ("loss_sum", "seconds") if not is_number(given[name])]
    wrong += [name for name in ("best", "best_loss") if given[name] is not None and not is_figure(given[name])]
    if given["best_step"] is not None and not _is_count(given["best_step"]):
        wrong.append("best_step")
    if wrong:
        return f"its progress has no usable {wrong[0]}"
    history = given["history"]
    numbers = ("epoch", "train_loss", "train_seconds", "tokens_per_second")
    if not isinstance(history, list) or len(history) != given["epoch"] - 1:
        return "its history has another number of epochs"
    if not all(isinstance(each, dict) and all(is_figure(each.get(name)) for name in numbers) for each in history):
        return "its history has an epoch without figures"
    return None


def tensors_damage(given: Mapping[str, Tensor], own: Mapping[str, Tensor], name: str) -> str | None:
    """The first tensor that is missing, unknown, or of another shape or type."""
    if given.keys() != own.keys():
        return f"{name}.safetensors has other names"
    odd = (each for each in own if given[each].shape != own[each].shape or given[each].dtype != own[each].dtype)
    return next((f"{each} in {name}.safetensors has another shape or type" for each in odd), None)


def moments_damage(given: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> str | None:
    """What is wrong with the optimizer's moments."""
    keys: dict[str, set[str]] = {}
    for path, tensor in given.items():
        owner, _, key = path.rpartition("/")
        if owner not in parameters or key not in MOMENTS:
            return "optimizer.safetensors has other names"
        shape = () if key == "step" else parameters[owner].shape
        if tensor.shape != shape or not tensor.is_floating_point():
            return f"{path} in optimizer.safetensors has another shape or type"
        keys.setdefault(owner, set()).add(key)
    return None if all(found == {*MOMENTS} for found in keys.values()) else "optimizer.safetensors is incomplete"


def random_damage(state: Mapping[str, Tensor], device: torch.device) -> str | None:
    """Tries the random states of a process on generators of their own."""
    try:
        gauss = state["python_gauss"].tolist()
        random.Random().setstate((3, tuple(state["python"].tolist()), gauss[0] if gauss else None))
        *keys, position, has_gauss = state["numpy"].tolist()
        legacy = ("MT19937", np.array(keys, np.uint32), position, has_gauss, state["numpy_gauss"].item())
        np.random.RandomState().set_state(legacy)
        torch.Generator().set_state(state["torch"])
        if device.type == "cuda" and "cuda" in state:
            torch.Generator(device).set_state(state["cuda"])
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError, AttributeError):
        return "its random states are not those of generators"
    return None


def field_names(kind: type) -> dict[str, None]:
    return dict.fromkeys(field.name for field in dataclasses.fields(kind))
