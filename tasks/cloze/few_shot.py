"""Methods side by side on few examples: how much each makes of k examples of every label, and of none.

Results on few examples depend on which ones they are, so each seed draws its own (Gao et al. 2021, section 3): k of
every label to train on, and k others to choose the best epoch. All methods get the same ones, and are scored on the
same held-out texts. The smaller draws of a seed are parts of its larger ones.
"""

import contextlib
import dataclasses
import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibert.errors import InputError
from minibert.files import write_atomically
from minibert.training import Metric, choose_device
from minibert.training.state import require_same_fingerprint
from tasks.classification.cleanups import parse_cleanups
from tasks.classification.data import LabelledText
from tasks.classification.examples import TextExample
from tasks.classification.task import ClassificationTask
from tasks.cloze.settings import ALL_SHOTS
from tasks.data import Encoded, Split
from tasks.report.shots import write_shots_report
from tasks.run import folder as run_folder
from tasks.run.advice import FEW_STEPS
from tasks.run.evaluate import evaluate
from tasks.run.grid import Cell, Results, new_grid_folder, run_cells, spread, write_comparison
from tasks.run.options import read_settings, write_settings
from tasks.run.prepare import AnyTask
from tasks.run.splits import hold_out
from tasks.run.start_model import StartingModel, load_starting_model
from tasks.run.streams import say
from tasks.run.task_file import save_model
from tasks.settings import SETTINGS_FILE, RunSettings

_TEST_SHARE = 0.2
_LEAST_STEPS = FEW_STEPS  # few examples make few steps an epoch
_BATCH_SIZE = 4
_METRICS = ("accuracy", "macro_f1")


def compare_shots(
    methods: Mapping[str, ClassificationTask],
    shots: Sequence[str],
    *,
    fixed_epochs: bool,
    command: str,
    resume: bool = False,
) -> Path:
    """Runs each method on each number of examples with each seed; writes ``comparison.json`` and the page.

    On k examples of each label, a run has batches of at most 4, and at least as many epochs as make 200 steps unless
    ``fixed_epochs``; the loss chooses the best epoch unless ``--metric`` is set.

    Args:
        methods: by name; their settings agree in data, seeds and ``out``. The first can answer untrained, which is its
            result for 0 examples.
        shots: numbers of examples of each label, or :data:`~tasks.cloze.settings.ALL_SHOTS`.
        fixed_epochs: every run has exactly the epochs of its settings.
        command: what to type to repeat this.
        resume: keep the runs that are complete, and continue the one that was interrupted.

    Returns:
        The folder, with a run folder for each run, and the drawn examples in ``data``.

    Raises:
        InputError: something that was given cannot be used, or there are too few examples, or ``resume`` would change
            what is in the folder.
    """
    started = run_folder.now()
    name, first = next(iter(methods.items()))
    settings: RunSettings = first.settings
    counts = list(dict.fromkeys(each if each == ALL_SHOTS else str(int(each)) for each in shots))
    pool, test = _pool_and_test(first)
    draws = _draw_all(pool, [each for each in counts if each != "0"], settings)
    untrained = _untrained(type(first)(settings), pool, test)  # before anything is written, as it may be refused
    with contextlib.ExitStack() as held:
        folder = new_grid_folder(first, "shots", option="--shots", resume=resume, held=held, mark="data/test.jsonl")
        cells = _cells(methods, draws, folder, fixed_epochs)
        _require_same_settings(folder, {f"{name}-0": untrained.task, **{cell.name: cell.task for cell in cells}})
        _write_examples(folder, test, draws)
        rows = {}
        if "0" in counts:
            metrics = _score(untrained, test, folder / f"{name}-0", command)
            rows["0"] = [_row("0", name, [metrics], runs=[f"{name}-0"])]
        results = run_cells(cells, folder, command=command, resume=resume) if cells else Results()
        for each in dict.fromkeys(each for each, _ in draws):
            rows[each] = _rows(each, methods, results, [key for key in draws if key[0] == each])
        content = {
            "task": first.name,
            "rows": [row for each in counts for row in rows[each]],
            "train": {"path": pool.source, "sha256": pool.sha256, **first.describe(pool)},
            "test": {"path": test.source, "sha256": test.sha256, **first.describe(test)},
            "seeds": list(_seeds(settings)),
        }
        comparison = write_comparison(folder, settings, results, command=command, started=started, content=content)
        report = write_shots_report(folder, comparison)
        say("\n" + table(comparison))
        say(f"saved to {folder}")
        say(f"report {report}")
        return folder


def _seeds(settings: RunSettings) -> range:
    return range(settings.seed, settings.seed + settings.seeds)


# -- data -------------------------------------------------------------------------------------------------------------


def _pool_and_test(task: ClassificationTask) -> tuple[Split[LabelledText], Split[LabelledText]]:
    """What examples are drawn from, each text once, and what is scored; texts as in their files, not cleaned."""
    settings = task.settings
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


def _draw_all(
    pool: Split[LabelledText], shots: Sequence[str], settings: RunSettings
) -> dict[tuple[str, int], dict[str, Split[LabelledText]]]:
    """The training data, and dev data unless all examples are taken, by number of examples and seed."""
    draws: dict[tuple[str, int], dict[str, Split[LabelledText]]] = {}
    for each in shots:
        for seed in _seeds(settings):
            if each == ALL_SHOTS:
                draws[each, seed] = {"train": pool}
            else:
                train, dev = draw(pool, int(each), seed)
                draws[each, seed] = {"train": train, "dev": dev}
    return draws


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


def _file(folder: Path, *named: object) -> Path:
    """The file of drawn examples, or of the test texts."""
    return folder / "data" / f"{'-'.join(map(str, named))}.jsonl"


def _lines(split: Split[LabelledText]) -> bytes:
    """Texts as JSON lines, under their columns' own names."""
    text, label = split.notes["text_column"], split.notes["label_column"]
    lines = (json.dumps({text: item.text, label: item.label}, ensure_ascii=False) + "\n" for item in split.items)
    return "".join(lines).encode()


def _require_same_settings(folder: Path, runs: Mapping[str, AnyTask]) -> None:
    """Raises InputError if a run that is there was started with other settings, apart from those that only its data or
    its model decide."""
    for name, task in runs.items():
        saved, kind = folder / name / SETTINGS_FILE, type(task.settings)
        if saved.exists():
            now = {option: value for option, value in task.settings.fingerprint().items() if value is not None}
            before = kind(**read_settings(saved, kind, task.name)).fingerprint()
            require_same_fingerprint({option: before[option] for option in now}, now)


def _write_examples(
    folder: Path, test: Split[LabelledText], draws: Mapping[tuple[str, int], Mapping[str, Split[LabelledText]]]
) -> None:
    """Writes the test texts and the drawn examples, unless a file that is there has others: then InputError."""
    files = {_file(folder, "test"): test}
    files |= {_file(folder, *key, part): split for key, parts in draws.items() for part, split in parts.items()}
    for path, split in files.items():
        if path.exists() and path.read_bytes() != _lines(split):
            raise InputError(
                f"--resume: {path} has other examples than are drawn now. Give the --train, --test and other options "
                "that the comparison was started with, or start a new one without --resume."
            )
    (folder / "data").mkdir(exist_ok=True)
    for path, split in files.items():
        _write(path, split)


def _write(path: Path, split: Split[LabelledText]) -> None:
    write_atomically(path, lambda temporary: temporary.write_bytes(_lines(split)))


# -- runs -------------------------------------------------------------------------------------------------------------


def _cells(
    methods: Mapping[str, ClassificationTask],
    draws: Mapping[tuple[str, int], Mapping[str, Split[LabelledText]]],
    folder: Path,
    fixed_epochs: bool,
) -> list[Cell]:
    """A run for each draw and method."""
    cells = []
    for (shots, seed), parts in draws.items():
        files = {part: str(_file(folder, shots, seed, part)) for part in parts}
        for name, method in methods.items():
            changes: dict[str, Any] = {
                "seed": seed,
                "seeds": 1,
                "out": None,
                "test": str(_file(folder, "test")),
                "test_share": None,
                "encoding": None,  # of the given file; the examples are JSON lines in UTF-8
                "columns": (),
                **files,
            }
            if shots != ALL_SHOTS:
                changes |= _schedule(method.settings, len(parts["train"].items), fixed_epochs)
            task = type(method)(dataclasses.replace(method.settings, **changes))
            cells.append(Cell(name=f"{name}-{shots}-{seed}", row=(shots, name), data=(shots, seed), task=task))
    return cells


def _schedule(settings: RunSettings, count: int, fixed_epochs: bool) -> dict[str, Any]:
    """What changes in the settings for a run on few examples, ``count`` in all."""
    batch_size = min(settings.batch_size or _BATCH_SIZE, _BATCH_SIZE)
    least = 1 if fixed_epochs else math.ceil(_LEAST_STEPS / math.ceil(count / batch_size))
    epochs = max(settings.epochs, least)
    # On few texts many epochs have the same accuracy, so the loss compares them better.
    changed = {"batch_size": batch_size, "batch_tokens": None, "epochs": epochs, "metric": settings.metric or "loss"}
    return {**changed, "dev_share": None}


@dataclass(frozen=True, kw_only=True)
class _Untrained:
    """A method before training, and the test texts as it sees them."""

    task: ClassificationTask
    start: StartingModel
    encoded: Encoded[TextExample]


def _untrained(task: ClassificationTask, pool: Split[LabelledText], test: Split[LabelledText]) -> _Untrained:
    task.resolve_settings(pool)
    cleanups = parse_cleanups(task.settings.clean)
    items = [item.cleaned(cleanups) for item in test.items]
    start = load_starting_model(task, pool)
    return _Untrained(task=task, start=start, encoded=task.encode(items, start.tokenizer, start.model.config))


def _score(untrained: _Untrained, test: Split[LabelledText], folder: Path, command: str) -> dict[str, float]:
    """Scores a model as it is, and saves it as a run that can predict; returns its metrics."""
    task, start = untrained.task, untrained.start
    say(f"\n== {folder.name} ==\nmodel {start.line}")
    model = start.model.to(choose_device(task.settings.device))
    evaluation = evaluate(task, model, test.items, untrained.encoded, precision=task.settings.precision)
    metrics = task.compute_metrics(test.items, evaluation.outputs)
    details = task.details(test, evaluation.outputs, evaluation.losses)
    say(f"\ntest: {test.source}, {details.title}\n\n{details.table}")
    folder.mkdir(exist_ok=True)
    save_model(folder, task, model)
    start.tokenizer.save_pretrained(folder, config=start.model.config)
    write_settings(folder / SETTINGS_FILE, task.settings, task.name)
    notes = {"data": {"test": dict(untrained.encoded.notes)}, "final": {"test": {**metrics, "report": details.rows}}}
    run_folder.write_metrics(folder, {"task": task.name, "command": command, "origin": start.origin, **notes})
    return metrics


# -- results ----------------------------------------------------------------------------------------------------------


def _rows(shots: str, methods: Iterable[str], results: Results, draws: Iterable[Any]) -> list[dict[str, Any]]:
    """A row for each method, and one for the linear model on the same draws."""
    rows = []
    for method in methods:
        if runs := results.runs.get((shots, method)):
            metrics = [run["final"]["test"] for run in runs]
            rows.append(_row(shots, method, metrics, runs=[run["run"] for run in runs]))
    if baselines := [baseline for key in draws if (baseline := results.baselines.get(key))]:
        rows.append(_row(shots, baselines[0]["name"], [baseline["test"] for baseline in baselines], runs=[]))
    return rows


def _row(shots: str, method: str, metrics: Sequence[Mapping[str, float]], *, runs: Sequence[str]) -> dict[str, Any]:
    spreads = {name: spread([of_run[name] for of_run in metrics], Metric(name)) for name in _METRICS}
    return {"shots": shots, "method": method, "runs": runs, **spreads}


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
