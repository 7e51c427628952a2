"""Methods beside each other on a few examples: how much each makes of k of every label, and of none.

Few examples say more or less by chance, so that each seed draws its own (Gao et al. 2021, section 3): k of every label
to train on and k others to choose the best epoch. All methods see the same ones, and are scored on the same texts,
which chose nothing. The smaller draws of a seed are parts of its larger ones.
"""

import dataclasses
import json
import math
import os
import random
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibert.errors import InputError
from minibert.files import read_json_object, write_json, write_whole
from minibert.training import Metric, choose_device
from tasks.classification.data import LabelledText, clean, parse_cleanups
from tasks.classification.task import ClassificationTask, TextExample
from tasks.cloze.settings import ALL_SHOTS
from tasks.data import Encoded, Split
from tasks.run import folder as run_folder
from tasks.run.evaluate import evaluate
from tasks.run.grid import spread
from tasks.run.options import write_settings
from tasks.run.splits import hold_out
from tasks.run.start_model import StartingModel, load_starting_model
from tasks.run.train import train
from tasks.settings import SETTINGS_FILE, RunSettings

_TEST_SHARE = 0.2
_LEAST_STEPS = 200  # few examples make few steps an epoch, and too few steps learn nothing (Mosbach et al. 2021)
_BATCH_SIZE = 4
_FIGURES = ("accuracy", "macro_f1")


def compare_shots(
    methods: Mapping[str, ClassificationTask], shots: Sequence[str], *, command: str, resume: bool = False
) -> Path:
    """Runs each method on each number of examples with each seed, and writes ``comparison.json`` beside the runs.

    On k examples of each label, a run has batches of 4 at most, and as many epochs as make 200 steps, where its
    settings have fewer; the loss chooses the best epoch, where they name no figure.

    Args:
        methods: by name; their settings agree in data, seeds and ``out``. The first can answer untrained, and does
            where no examples are asked for.
        shots: numbers of examples of each label, or :data:`~tasks.options.ALL_SHOTS`.
        command: what to type to do this again.
        resume: take the runs that ``out`` holds whole as they are, and go on with the one that was stopped.

    Returns:
        The folder, with a run folder for each run, and the drawn examples in ``data``.

    Raises:
        InputError: something that was given cannot be used, or there are too few examples.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("--shots: several runs under torchrun would share its processes; start them one by one.")
    started = run_folder.now()
    name, first = next(iter(methods.items()))
    settings: RunSettings = first.settings
    counts = list(dict.fromkeys(None if each == ALL_SHOTS else int(each) for each in shots))
    seeds = range(settings.seed, settings.seed + settings.seeds)
    pool, test = _parts(first)
    draws = {(k, seed): draw(pool, k, seed) for k in counts if k for seed in seeds}
    untrained = _untrained(type(first)(settings), pool, test)  # before anything is written, as it may be refused
    folder = run_folder.new_run_folder(settings.out, first.name, "shots", resume=resume, mark="data/test.jsonl")
    (folder / "data").mkdir(exist_ok=True)
    test_file = _write(folder / "data" / "test.jsonl", test)
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for k in counts:
        if k == 0:
            print(f"\n== {name}-0 ==", flush=True)
            results["0", name] = [_score(untrained, test, folder / f"{name}-0", command)]
            continue
        shown = ALL_SHOTS if k is None else str(k)
        for seed in seeds:
            parts = {"train": pool} if k is None else dict(zip(("train", "dev"), draws[k, seed], strict=True))
            drawn = {part: _write(folder / "data" / f"{shown}-{seed}-{part}.jsonl", parts[part]) for part in parts}
            changes = {"seed": seed, "seeds": 1, "out": None, "test": test_file, "test_share": None, **drawn}
            if k is not None:
                changes |= _schedule(settings, len(parts["train"].items))
            for method, result in _train_all(methods, changes, folder, f"{shown}-{seed}", resume):
                results.setdefault((shown, method), []).append(result)
    comparison = {
        "task": first.name,
        "command": command,
        "rows": [_row(shown, method, runs) for (shown, method), runs in results.items()],
        "train": {"path": pool.source, "sha256": pool.sha256, **first.describe(pool)},
        "test": {"path": test.source, "sha256": test.sha256, **first.describe(test)},
        "settings": dataclasses.asdict(settings),
        "seeds": list(seeds),
        "versions": run_folder.versions(),
        "device": run_folder.device_name(choose_device(settings.device)),
        "started": started,
        "finished": run_folder.now(),
    }
    write_whole(folder / "comparison.json", lambda path: write_json(path, comparison))
    print("\n" + table(comparison))
    print(f"saved to {folder}")
    return folder


# -- data -------------------------------------------------------------------------------------------------------------


def _parts(task: ClassificationTask) -> tuple[Split[LabelledText], Split[LabelledText]]:
    """What examples are drawn from, each text once, and what is scored on; texts as they stand in their files."""
    settings = task.settings
    if settings.dev is not None:
        raise InputError(
            "--dev: of no use with --shots, which draws what chooses the epoch from --train; leave it out."
        )
    splits = type(task)(dataclasses.replace(settings, clean=())).read_given()
    pool, test = splits["train"], splits.get("test")
    if test is None:
        share = settings.test_share or _TEST_SHARE
        pool, test = hold_out(task, pool, name="test", share=share, count=share * len(pool.items), seed=settings.seed)
    known = task.labels(pool).values()
    for item in test.items:
        if item.label not in known:
            raise InputError(
                f"{test.path}, line {item.line}: {item.label} does not occur in the training data; correct the label "
                "or add examples of it."
            )
    once = {task.duplicate_key(item): item for item in pool.items}
    return dataclasses.replace(pool, items=list(once.values())), test


def draw(pool: Split[LabelledText], k: int, seed: int) -> tuple[Split[LabelledText], Split[LabelledText]]:
    """``k`` examples of each label to train on and ``k`` others to choose the epoch, in file order.

    Raises:
        InputError: a label has too few.
    """
    by_label: dict[str, list[LabelledText]] = {}
    for item in pool.items:
        by_label.setdefault(str(item.label), []).append(item)
    parts: tuple[list[LabelledText], list[LabelledText]] = [], []
    for label, items in sorted(by_label.items()):
        if len(items) < 2 * k:
            raise InputError(
                f"{pool.path}: {label} has {len(items)} examples to draw from, and --shots {k} takes {2 * k} ({k} to "
                f"train on, {k} to choose the epoch); give {len(items) // 2} at most, or more examples."
            )
        random.Random(f"{label} {seed}").shuffle(items)
        parts[0].extend(items[:k])
        parts[1].extend(items[-k:])  # from the other end, so that a smaller draw is a part of a larger one
    train, dev = (dataclasses.replace(pool, items=sorted(part, key=lambda item: item.line)) for part in parts)
    return train, dev


def _write(path: Path, split: Split[LabelledText]) -> str:
    """Writes texts as JSON lines, under their columns' own names."""
    text, label = split.notes["text_column"], split.notes["label_column"]
    lines = (json.dumps({text: item.text, label: item.label}, ensure_ascii=False) + "\n" for item in split.items)
    write_whole(path, lambda temporary: temporary.write_text("".join(lines), encoding="utf-8"))
    return str(path)


# -- runs -------------------------------------------------------------------------------------------------------------


def _train_all(
    methods: Mapping[str, ClassificationTask], changes: Mapping[str, Any], folder: Path, draw: str, resume: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Trains every method on the same files; gives each one's name and result, and the linear model's at the end."""
    baseline = None
    for name, method in methods.items():
        target = folder / f"{name}-{draw}"
        print(f"\n== {target.name} ==", flush=True)
        target.mkdir(exist_ok=resume)
        run_folder.remove_unfinished_files(target)
        again = f"python -m tasks.{method.name} --config {shlex.quote(str(target / SETTINGS_FILE))}"
        task = type(method)(dataclasses.replace(method.settings, **changes))
        train(task, command=again, folder=target, baseline=baseline, resume=resume)
        metrics = read_json_object(target / run_folder.METRICS_FILE)
        baseline = metrics["baseline"]
        yield name, _result(target.name, metrics["final"]["test"])
    if baseline is not None:
        yield baseline["name"], _result(None, baseline["test"])


def _schedule(settings: RunSettings, count: int) -> dict[str, Any]:
    """What is set otherwise for a run on a few examples, ``count`` in all."""
    batch_size = min(settings.batch_size or _BATCH_SIZE, _BATCH_SIZE)
    epochs = max(settings.epochs, math.ceil(_LEAST_STEPS / math.ceil(count / batch_size)))
    # Of accuracies on a few texts many are equal, and the first of them would be the best.
    changed = {"batch_size": batch_size, "batch_tokens": None, "epochs": epochs, "metric": settings.metric or "loss"}
    return {**changed, "dev_share": None}


@dataclass(frozen=True, kw_only=True)
class _Untrained:
    """A method as it is before training, and the test texts as it sees them."""

    task: ClassificationTask
    start: StartingModel
    encoded: Encoded[TextExample]


def _untrained(task: ClassificationTask, pool: Split[LabelledText], test: Split[LabelledText]) -> _Untrained:
    task.resolve_settings(pool)
    cleanups = parse_cleanups(task.settings.clean)
    items = [item._replace(text=clean(item.text, cleanups)) for item in test.items]
    start = load_starting_model(task, pool)
    return _Untrained(task=task, start=start, encoded=task.encode(items, start.tokenizer, start.model.config))


def _score(untrained: _Untrained, test: Split[LabelledText], folder: Path, command: str) -> dict[str, Any]:
    """Scores a model as it is, and leaves it as a run that answers."""
    task, start = untrained.task, untrained.start
    print(f"model {start.origin}")
    model = start.model.to(choose_device(task.settings.device))
    given = evaluate(task, model, test.items, untrained.encoded, precision=task.settings.precision)
    figures = task.compute_metrics(test.items, given.outputs)
    details = task.details(test, given.outputs, given.losses)
    print(f"\ntest: {test.source}, {details.title}\n\n{details.table}")
    folder.mkdir(exist_ok=True)
    model.save_pretrained(folder)
    start.tokenizer.save_pretrained(folder, token_types=start.model.config.type_vocab_size > 1)
    write_settings(folder / SETTINGS_FILE, task.settings, task.name)
    notes = {"data": {"test": dict(untrained.encoded.notes)}, "final": {"test": {**figures, "report": details.rows}}}
    run_folder.write_metrics(folder, {"task": task.name, "command": command, "origin": start.origin, **notes})
    return _result(folder.name, figures)


# -- results ----------------------------------------------------------------------------------------------------------


def _result(run: str | None, figures: Mapping[str, float]) -> dict[str, Any]:
    return {"run": run, **{name: figures[name] for name in _FIGURES}}


def _row(shots: str, method: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "shots": shots,
        "method": method,
        "runs": [run["run"] for run in runs if run["run"] is not None],
        **{name: spread([run[name] for run in runs], Metric(name)) for name in _FIGURES},
    }


def table(comparison: Mapping[str, Any]) -> str:
    """A comparison for the terminal: a line for each number of examples, a column for each method."""
    cells = {(row["shots"], row["method"]): _cell(row) for row in comparison["rows"]}
    methods = list(dict.fromkeys(method for _, method in cells))
    widths = [max(len(method), *(len(cell) for (_, of), cell in cells.items() if of == method)) for method in methods]

    def line(first: str, rest: Iterable[str]) -> str:
        columns = (f"{cell:>{width}}" for cell, width in zip(rest, widths, strict=True))
        return "  ".join([f"{first:>8}", *columns]).rstrip()

    shots = dict.fromkeys(shots for shots, _ in cells)
    seeds = len(comparison["seeds"])
    what = f"mean \u00b1 deviation of {seeds} seeds" if seeds > 1 else "one seed"
    return "\n".join([
        f"accuracy (macro F1) on {comparison['test']['path']}, {what}",
        line("a label", methods),
        *(line(each, (cells.get((each, method), "-") for method in methods)) for each in shots),
    ])  # fmt: skip


def _cell(row: Mapping[str, Any]) -> str:
    accuracy = row["accuracy"]
    deviation = "" if accuracy["std"] is None else f" \u00b1 {accuracy['std']:.4f}"
    return f"{accuracy['mean']:.4f}{deviation} ({row['macro_f1']['mean']:.4f})"
