"""The train, dev and test data: from files, or held out from the training file."""

import random
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from minibert.errors import InputError
from tasks.data import Split, taken
from tasks.settings import DEV_SHARE, RunSettings
from tasks.task import Task

Item = TypeVar("Item")

_BLOCK = 5000
"""Groups whose items are looked at together."""


def read_splits(task: Task[Item, Any, Any]) -> dict[str, Split[Item]]:
    """Reads ``train``, ``dev`` and perhaps ``test``, and checks their labels.

    Raises:
        InputError: a file cannot be used, or has a label that the training data lacks.
    """
    settings: RunSettings = task.settings
    splits = task.read_given()
    total = len(splits["train"].items)
    shares = {"test": settings.test_share, "dev": None if "dev" in splits else settings.dev_share or DEV_SHARE}
    for name, share in shares.items():
        if share is not None:
            splits["train"], splits[name] = hold_out(
                task, splits["train"], name=name, share=share, count=share * total, seed=settings.seed
            )
    known = task.count_labels(splits["train"])
    for split in splits.values():
        labels = task.count_labels(split)
        if not labels:
            raise InputError(
                f"{split.source}: has no {task.unit}, so there is nothing to learn or to score."
                + (" Give separate files (--dev, --test), or hold out a larger share." if split.part else "")
            )
        if labels.keys() - known.keys():
            item, label = next(
                (item, label) for item in split.items for label in task.labels_of(item) if label not in known
            )
            some = ", ".join(sorted(known)[:10]) + (" ..." if len(known) > 10 else "")
            raise InputError(
                f"{split.path}, line {item.line}: {label} does not occur in the training data "  # type: ignore[attr-defined]
                f"(it has {some}); correct the label or add examples of it."
            )
    return {name: splits[name] for name in ("train", "dev", "test") if name in splits}


def hold_out(
    task: Task[Item, Any, Any], split: Split[Item], *, name: str, share: float, count: float, seed: int
) -> tuple[Split[Item], Split[Item]]:
    """Splits the data in two at random, stratified.

    Groups stay together, and no label is lost from training.

    Args:
        task: gives the items' groups, labels and strata.
        split: to divide.
        name: of the held-out part.
        share: of the file, for messages.
        count: how many items to hold out.
        seed: the same seed gives the same parts.

    Returns:
        The remaining items, and the held-out ones.

    Raises:
        InputError: there are too few items.
    """
    group_of = task.group_numbers(split.items)
    by_group = np.argsort(group_of, kind="stable")
    sizes = np.bincount(group_of)
    ends = np.cumsum(sizes)
    left = task.count_labels(split)
    is_held = np.zeros(len(split.items), bool)
    num_held = passed = 0
    for groups in _shuffled_by_stratum(task, split, by_group[ends - sizes], random.Random(f"{name} {seed}")):
        # The quota carries over from stratum to stratum, so that many small ones add up to the share.
        passed += int(sizes[groups].sum())
        quota = count * passed / len(split.items)
        for start in range(0, len(groups), _BLOCK):
            some = groups[start : start + _BLOCK]
            fitting = some[num_held + sizes[some] / 2 <= quota]
            members = [by_group[end - size : end] for end, size in zip(ends[fitting], sizes[fitting], strict=True)]
            items = iter(taken(split.items, np.concatenate([np.empty(0, np.int64), *members])))
            for indices in members:
                labels = Counter(label for item in islice(items, len(indices)) for label in task.labels_of(item))
                if num_held + len(indices) / 2 <= quota and all(left[label] > n for label, n in labels.items()):
                    for label, n in labels.items():
                        left[label] -= n
                    is_held[indices] = True
                    num_held += len(indices)
    if not num_held:
        number = str(len(split.items))
        if len(sizes) < len(split.items):
            number += f", grouped into {len(sizes)}"
        larger = f", or a larger --{name}-share than {share:g}" if count < 1 else ""
        raise InputError(
            f"{split.path}: too few examples ({number}) to hold some out; give a file with --{name}{larger}."
        )

    def part(what: str, keep: bool, draw: Mapping[str, Any] | None) -> Split[Item]:
        kept = np.flatnonzero(is_held == keep)
        indices = kept if split.indices is None else np.asarray(split.indices)[kept]
        return replace(split, part=what, items=taken(split.items, kept), indices=indices, draw=draw)

    drawn = {"share": share, "seed": seed, "items": num_held, "of": len(split.items)}
    return part("what is not held out", False, None), part(f"{100 * share:.3g}% held out, seed {seed}", True, drawn)


def _shuffled_by_stratum(
    task: Task[Item, Any, Any], split: Split[Item], first_items: npt.NDArray[np.int64], generator: random.Random
) -> Iterator[npt.NDArray[np.int64]]:
    """The numbers of the groups of each stratum, all in random order.

    Args:
        task: gives the strata.
        split: the items.
        first_items: the index of the first item of each group, whose stratum is the group's.
        generator: draws the order.
    """
    shuffled = array("q", range(len(first_items)))
    generator.shuffle(shuffled)
    order = np.array(shuffled, np.int64)
    strata = task.stratum_numbers(split.items)[first_items][order]
    _, first, numbers, counts = np.unique(strata, return_index=True, return_inverse=True, return_counts=True)
    by_stratum = order[np.argsort(numbers, kind="stable")]
    parts = np.split(by_stratum, np.cumsum(counts)[:-1])
    for number in np.argsort(first):
        yield parts[number]
