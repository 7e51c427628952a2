"""Lists the tensors of a checkpoint of any format, or compares two checkpoints name by name.

    python tools/inspect_weights.py PATH             # names, dtypes, shapes, statistics; NaN and infinity flagged
    python tools/inspect_weights.py PATH OTHER       # what only one of them has, and what differs

PATH is a folder or a hub name. The exit status is 0, or 1 where two checkpoints differ, or 2 where one cannot be read.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from minibert.errors import InputError
from minibert.formats.source import open_any_tensors
from minibert.hub import resolve
from tasks.run.arguments import ArgumentParser
from tasks.run.console import run_main
from tasks.run.streams import say

SCRIPT = "python tools/inspect_weights.py"


def main(argv: Sequence[str] | None = None, *, program: str = SCRIPT) -> int:
    """Runs the command, under the name that ``program`` gives it; returns its exit status."""
    about, _, details = (__doc__ or "").replace(SCRIPT, program).partition("\n\n")
    parser = ArgumentParser(
        prog=program, description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", metavar="PATH", help="a folder, or a name on the hub")
    parser.add_argument("other", metavar="OTHER", nargs="?", help="another, to compare with")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    arguments = parser.parse_args(argv)
    try:
        if arguments.other is None:
            return _list(arguments.path, as_json=arguments.json)
        return _compare(arguments.path, arguments.other, as_json=arguments.json)
    except (InputError, OSError) as error:
        say(f"error: {error}", error=True)
        return 2


def _list(path: str, *, as_json: bool) -> int:
    facts = {name: facts_of(read()) for name, read in sorted(open_any_tensors(resolve(path)).items())}
    if as_json:
        print(json.dumps(facts))
        return 0
    width = max((len(name) for name in facts), default=0)
    for name, fact in facts.items():
        say(f"{name:{width}}  {_line(fact)}")
    count = sum(fact["count"] for fact in facts.values())
    flagged = [name for name, fact in facts.items() if fact["nan"] or fact["inf"]]
    say(f"{len(facts)} tensors, {count:,} numbers; NaN or infinity in {', '.join(flagged) or 'none'}")
    return 0


def facts_of(tensor: Tensor) -> dict[str, Any]:
    """Dtype, shape, and statistics over the finite numbers of a tensor (None where there are none)."""
    finite = tensor[tensor.isfinite()].double()
    some = finite.numel() > 0
    return {
        "dtype": _dtype(tensor),
        "shape": list(tensor.shape),
        "count": tensor.numel(),
        "min": finite.min().item() if some else None,
        "max": finite.max().item() if some else None,
        "mean": finite.mean().item() if some else None,
        "std": finite.std(correction=0).item() if some else None,
        "nan": int(tensor.isnan().sum()),
        "inf": int(tensor.isinf().sum()),
    }


def _line(fact: dict[str, Any]) -> str:
    numbers = [f"{key} {fact[key]:.4g}" for key in ("min", "max", "mean", "std") if fact[key] is not None]
    flags = [f"{fact[key]} {word}!" for key, word in (("nan", "NaN"), ("inf", "INFINITE")) if fact[key]]
    return " ".join([f"{fact['dtype']} {tuple(fact['shape'])}", *numbers, *flags])


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _compare(path: str, other: str, *, as_json: bool) -> int:
    first, second = open_any_tensors(resolve(path)), open_any_tensors(resolve(other))
    differing = {
        name: difference
        for name in sorted(first.keys() & second.keys())
        if (difference := _difference(first[name], second[name])) is not None
    }
    only_first, only_second = sorted(first.keys() - second.keys()), sorted(second.keys() - first.keys())
    equal = len(first) - len(only_first) - len(differing)
    if as_json:
        print(json.dumps({"only": [only_first, only_second], "differing": differing, "equal": equal}))
    else:
        for folder, names in ((path, only_first), (other, only_second)):
            for name in names:
                say(f"only in {folder}: {name}")
        for name, difference in differing.items():
            say(f"differs: {name}: {difference}")
        say(f"{equal} tensors equal bit by bit")
    return int(bool(differing or only_first or only_second))


def _difference(read: Callable[[], Tensor], read_other: Callable[[], Tensor]) -> str | None:
    """How two tensors differ, or None where they are equal bit by bit."""
    first, second = read(), read_other()
    kinds = [f"{_dtype(tensor)} {tuple(tensor.shape)}" for tensor in (first, second)]
    if kinds[0] != kinds[1]:
        return " against ".join(kinds)
    if _bytes(first) == _bytes(second):
        return None
    return f"by {(first.double() - second.double()).abs().max().item():.4g} at most"


def _bytes(tensor: Tensor) -> bytes:
    # By way of plain bytes, because numpy has no bfloat16.
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


if __name__ == "__main__":
    run_main(lambda: sys.exit(main()))
