"""Models side by side, or one model with several seeds: mean, deviation and worst of each, and a linear baseline."""

import contextlib
import dataclasses
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minibert.training import Metric
from tasks.report.comparison import write_comparison_report
from tasks.report.export import write_tables
from tasks.run import folder as run_folder
from tasks.run.grid import Cell, Results, new_grid_folder, run_cells, spread, write_comparison
from tasks.run.linear import LINEAR, of_linear
from tasks.run.significance import TEST_METHOD, Records, mean_intervals, paired_tests, read_answers
from tasks.run.streams import say
from tasks.settings import RunSettings
from tasks.statistics import METHOD
from tasks.task import Task

_IS_LOSS = re.compile(r".*(loss|mse|mae|error|distance|perplexity)").fullmatch


def compare_variants(
    task_class: type[Task[Any, Any, Any]],
    variants: Sequence[RunSettings],
    *,
    name: str,
    command: str,
    resume: bool = False,
) -> Path:
    """Runs each variant with each of its seeds; writes ``comparison.json`` and ``report.html`` next to the runs.

    Args:
        task_class: the task.
        variants: settings that differ in architecture or weights; ``out``, ``seed`` and ``seeds`` are the first's.
        name: of the folder, unless ``out`` is set.
        command: what to type to repeat this.
        resume: keep the runs that are complete, and continue the one that was interrupted.

    Returns:
        The folder, with a run folder for each run.

    Raises:
        InputError: a run cannot start, or none finished.
    """
    started = run_folder.now()
    first = task_class(variants[0])
    seeds = range(first.settings.seed, first.settings.seed + first.settings.seeds)
    names = [variant.arch or "run" for variant in variants]
    if len(set(names)) < len(names):  # several checkpoints of one architecture
        names = [f"{name}-{number}" for number, name in enumerate(names, 1)]
    with contextlib.ExitStack() as held:
        folder = new_grid_folder(first, name, option="--seeds", resume=resume, held=held)
        cells = [
            Cell(name=f"{name}-{seed}", row=name, data=seed, task=task_class(_alone(variant, seed)))
            for name, variant in zip(names, variants, strict=True)
            for seed in seeds
        ]
        results = run_cells(cells, folder, command=command, resume=resume)
        runs = [run for of_row in results.runs.values() for run in of_row]
        split = _scored_split(runs[-1])
        content = {
            "task": first.name,
            "metric": first.metric.name,
            "metric_higher_is_better": first.metric.higher_is_better,
            "baseline": _baseline_row(list(results.baselines.values()), first.metric, split),
            **_answers_compared(folder, cells, results, split, first.metric),
            "interval_method": METHOD,
            "test_method": TEST_METHOD,
            "split": split,
            "data": runs[-1]["data"],
        }
        comparison = write_comparison(
            folder, first.settings, results, command=command, started=started, content=content
        )
        write_tables(folder, comparison)
        report = write_comparison_report(folder, comparison)
        say("\n" + table(comparison))
        say(f"report {report}")
        return folder


def _alone(settings: RunSettings, seed: int) -> RunSettings:
    """The settings of one run of several."""
    return dataclasses.replace(settings, seed=seed, seeds=1, out=None)


def _scored_split(metrics: Mapping[str, Any]) -> str:
    """The split that the figures come from."""
    return list(metrics["final"])[-1]


def _answers_compared(
    folder: Path, cells: Sequence[Cell], results: Results, split: str, metric: Metric
) -> dict[str, Any]:
    """The ``rows`` of the comparison, with intervals, and the ``tests`` of each pair."""
    tasks = {cell.row: cell.task for cell in cells}
    rows: list[dict[str, Any]] = []
    answers: dict[str, dict[int, Records]] = {}
    linear: dict[int, Records] = {}
    for name, runs in results.runs.items():
        answers[str(name)] = read_answers(folder, runs, split)
        rows.append(_row(runs, metric, mean_intervals(tasks[name], runs, answers[str(name)], split)))
        linear |= {seed: lines for seed, records in answers[str(name)].items() if (lines := of_linear(records))}
    models = {**answers, LINEAR: linear} if linear else answers
    return {"rows": rows, "tests": paired_tests(next(iter(tasks.values())), models, metric.name)}


def _row(runs: Sequence[Mapping[str, Any]], metric: Metric, intervals: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    def mean(name: str) -> float | None:
        values = [run["resources"][name] for run in runs if run["resources"][name] is not None]
        return statistics.mean(values) if values else None

    final = [run["final"][_scored_split(run)] for run in runs]
    # Some figures are known only where a label occurs in the held-out data, which each seed draws anew.
    known = [name for name in final[0] if all(name in each for each in final)]
    figures = [name for name in known if isinstance(final[0][name], (int, float))]
    spreads = {name: spread([each[name] for each in final], _metric_named(name, metric)) for name in figures}
    return {
        "name": runs[0]["run"].rpartition("-")[0],
        "arch": runs[0]["arch"],
        "weights": runs[0]["weights"],
        "origin": runs[0]["origin"],
        **spreads[metric.name],
        "interval": intervals.get(metric.name),
        "figures": {name: {**spreads[name], "interval": intervals.get(name)} for name in figures},
        "classes": _classes([each["report"] for each in final]),
        "curves": {name: _curves(runs, name) for name in dict.fromkeys(("loss", metric.name))},
        "seeds": [run["seed"] for run in runs],
        "runs": [run["run"] for run in runs],
        "collapsed": sum(run["collapsed"] for run in runs),
        **{name: mean(name) for name in ("train_seconds", "tokens_per_second", "peak_memory_bytes", "parameters")},
    }


def _classes(reports: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Any]]:
    """Each figure of each class, over the runs that have it: in whose data the class occurs."""
    values: dict[str, dict[str, list[float]]] = {}
    for report in reports:
        for name, of_class in report.items():
            for column, value in of_class.items():
                values.setdefault(name, {}).setdefault(column, []).append(value)
    return {
        name: {column: spread(of_runs, _metric_named(column)) for column, of_runs in of_class.items()}
        for name, of_class in values.items()
    }


def _curves(runs: Sequence[Mapping[str, Any]], figure: str) -> list[list[tuple[int, float]]]:
    """A dev figure of each run by epoch."""
    return [[(epoch["epoch"], epoch[figure]) for epoch in run["epochs"] if figure in epoch] for run in runs]


def _metric_named(name: str, metric: Metric | None = None) -> Metric:
    """``metric`` if it has the name, else one of that name; errors, losses and distances are better when lower."""
    return metric if metric and name == metric.name else Metric(name, higher_is_better=not _IS_LOSS(name))


def _baseline_row(baselines: Sequence[Mapping[str, Any] | None], metric: Metric, split: str) -> dict[str, Any] | None:
    given = [baseline for baseline in baselines if baseline is not None and metric.name in baseline[split]]
    if not given:
        return None
    return {"name": given[0]["name"], **spread([baseline[split][metric.name] for baseline in given], metric)}


def table(comparison: Mapping[str, Any]) -> str:
    """A comparison for the terminal."""
    named = [(row["arch"] + (f" ({row['weights']})" if row["weights"] else ""), row) for row in comparison["rows"]]
    if comparison["baseline"]:
        named.append((comparison["baseline"]["name"], comparison["baseline"]))
    width = max(len(name) for name, _ in named)
    lines = [f"{comparison['metric'].replace('_', ' ')} on {comparison['split']}"]
    lines.append(f"{'':{width}}  {'mean':>7}  {'std':>7}  {'95 % interval':>16}  {'worst':>7}  runs")
    for name, row in named:
        values = " ".join(f"{value:.4f}" for value in row["values"])
        std = "" if row["std"] is None else f"{row['std']:.4f}"
        interval = row.get("interval")
        shown = f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else ""
        lines.append(f"{name:{width}}  {row['mean']:7.4f}  {std:>7}  {shown:>16}  {row['worst']:7.4f}  {values}")
    for test in comparison.get("tests") or []:
        pair = f"{test['first']} - {test['second']}"
        lines.append(f"{pair}: difference {test['difference']:+.4f}, p = {test['p_value']:.4f} ({test['metric']})")
    return "\n".join(lines)
