"""The train, dev and test data: from files, or held out from the training file."""

import random
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from minibert.errors import InputError
from tasks.data import Split
from tasks.settings import DEV_SHARE, RunSettings
from tasks.task import Task

Item = TypeVar("Item")


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
    known = {label for item in splits["train"].items for label in task.labels_of(item)}
    for split in splits.values():
        if not any(True for item in split.items for _ in task.labels_of(item)):
            raise InputError(
                f"{split.source}: has no {task.unit}, so there is nothing to learn or to score."
                + (" Give separate files (--dev, --test), or hold out a larger share." if split.part else "")
            )
        for item in split.items:
            for label in task.labels_of(item):
                if label not in known:
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
    groups: dict[Hashable, list[int]] = {}
    for index, item in enumerate(split.items):
        groups.setdefault(task.group(item), []).append(index)
    shuffled = list(groups.values())
    random.Random(f"{name} {seed}").shuffle(shuffled)
    strata: dict[Hashable, list[list[int]]] = {}
    for group in shuffled:
        strata.setdefault(task.stratum(split.items[group[0]]), []).append(group)
    left = Counter(label for item in split.items for label in task.labels_of(item))
    held: set[int] = set()
    passed = 0
    for groups_of_stratum in strata.values():
        # The quota carries over from stratum to stratum, so that many small ones add up to the share.
        passed += sum(map(len, groups_of_stratum))
        quota = count * passed / len(split.items)
        for group in groups_of_stratum:
            labels = Counter(label for index in group for label in task.labels_of(split.items[index]))
            if len(held) + len(group) / 2 <= quota and all(left[label] > n for label, n in labels.items()):
                left -= labels
                held.update(group)
    if not held:
        number = str(len(split.items))
        if len(groups) < len(split.items):
            number += f", grouped into {len(groups)}"
        larger = f", or a larger --{name}-share than {share:g}" if count < 1 else ""
        raise InputError(
            f"{split.path}: too few examples ({number}) to hold some out; give a file with --{name}{larger}."
        )

    indices = range(len(split.items)) if split.indices is None else split.indices

    def part(what: str, keep: bool, draw: Mapping[str, Any] | None) -> Split[Item]:
        kept = [index for index in range(len(split.items)) if (index in held) is keep]
        items = [split.items[index] for index in kept]
        return replace(split, part=what, items=items, indices=[indices[index] for index in kept], draw=draw)

    drawn = {"share": share, "seed": seed, "items": len(held), "of": len(split.items)}
    return part("what is not held out", False, None), part(f"{100 * share:.3g}% held out, seed {seed}", True, drawn)
