"""Several runs of a task, with several seeds and perhaps architectures: mean, deviation and worst, beside a baseline.

Fine-tuning swings with its seed, and some runs collapse (Devlin et al. 2019, section 4.1; Mosbach et al. 2021), so that
one run says little about a model.
"""

import contextlib
import dataclasses
import os
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minibert.errors import Diverged, InputError
from minibert.files import read_json_object, write_json, write_whole
from minibert.training import Metric
from tasks.report.page import write_comparison_report
from tasks.run import folder as run_folder
from tasks.run.interrupts import resume_hint
from tasks.run.train import train
from tasks.settings import SETTINGS_FILE, RunSettings
from tasks.task import Task


def repeat(
    task_class: type[Task[Any, Any, Any]],
    variants: Sequence[RunSettings],
    *,
    name: str,
    command: str,
    resume: bool = False,
) -> Path:
    """Runs each variant with each of its seeds, and writes ``comparison.json`` and ``report.html`` beside the runs.

    A run that fails does not take the others with it; it is named in the results.

    Args:
        task_class: the task.
        variants: settings that differ in architecture or weights; ``out`` and ``seeds`` are those of the first.
        name: of the run folder, where ``out`` gives none.
        command: what to type to do this again.
        resume: take the runs that ``out`` holds whole as they are, and go on with the one that was stopped.

    Returns:
        The folder, with a run folder for each run.

    Raises:
        InputError: a run cannot be started, or none came to its end.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("--seeds: several runs under torchrun would share its processes; start them one by one.")
    started = run_folder.now()
    first = variants[0]
    names = [variant.arch or "run" for variant in variants]
    if len(set(names)) < len(names):  # several checkpoints of one architecture
        names = [f"{name}-{number}" for number, name in enumerate(names, 1)]
    metric = task_class(first).metric
    folder = run_folder.new_run_folder(first.out, task_class.name, name, resume=resume, mark=f"*/{SETTINGS_FILE}")
    baselines: dict[int, Any] = {}
    rows: list[dict[str, Any]] = []
    warnings: list[str] = []
    metrics: dict[str, Any] = {}
    for number, variant in enumerate(variants):
        runs: list[dict[str, Any]] = []
        for seed in range(first.seed, first.seed + first.seeds):
            settings = dataclasses.replace(variant, seed=seed, seeds=1, out=None)
            label = f"{names[number]}-{seed}"
            print(f"\n== {label} ==", flush=True)
            target = folder / label
            target.mkdir(exist_ok=resume)
            again = f"python -m tasks.{task_class.name} --config {shlex.quote(str(target / SETTINGS_FILE))}"
            try:
                run_folder.remove_unfinished_files(target)
                train(task_class(settings), command=again, folder=target, baseline=baselines.get(seed), resume=resume)
            except BaseException as error:
                with contextlib.suppress(OSError):  # folders that hold something stay
                    target.rmdir()
                    if not _may_go_on(error, metrics):
                        folder.rmdir()
                if isinstance(error, KeyboardInterrupt) and metrics:
                    print(resume_hint(command, folder), file=sys.stderr)
                if not _may_go_on(error, metrics):
                    raise
                print(f"failed: {error}")
                warnings.append(f"{label} failed: {error}")
                continue
            metrics = read_json_object(target / run_folder.METRICS_FILE)
            baselines[seed] = metrics["baseline"]
            runs.append({**metrics, "run": label})
        if runs:
            rows.append(_row(runs, metric))
            warnings += [warning for run in runs for warning in run["warnings"]]
    if not rows:
        raise Diverged(f"no run came to its end; {warnings[-1]}")
    comparison = {
        "task": task_class.name,
        "command": command,
        "metric": metric.name,
        "metric_higher_is_better": metric.higher_is_better,
        "baseline": _baseline_row(list(baselines.values()), metric, _scored(metrics)),
        "rows": rows,
        "split": _scored(metrics),
        "data": metrics["data"],
        "settings": dataclasses.asdict(first),
        "versions": metrics["versions"],
        "device": metrics["device"],
        "started": started,
        "finished": run_folder.now(),
        "warnings": list(dict.fromkeys(warnings)),
    }
    write_whole(folder / "comparison.json", lambda path: write_json(path, comparison))
    report = write_comparison_report(folder, comparison)
    print("\n" + table(comparison))
    print(f"report {report}")
    return folder


def _may_go_on(error: BaseException, metrics: Mapping[str, Any]) -> bool:
    """Whether the other runs have a chance where one failed: it diverged, or another has come to its end."""
    return isinstance(error, InputError if metrics else Diverged)


def spread(values: Sequence[float], metric: Metric) -> dict[str, Any]:
    """Mean, sample standard deviation (None for a single value) and the worst of some runs' figures."""
    return {
        "mean": statistics.mean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "worst": min(values) if metric.higher_is_better else max(values),
        "values": list(values),
    }


def _scored(metrics: Mapping[str, Any]) -> str:
    """The split that the figures are of."""
    return list(metrics["final"])[-1]


def _row(runs: Sequence[Mapping[str, Any]], metric: Metric) -> dict[str, Any]:
    def mean(name: str) -> float | None:
        values = [run["resources"][name] for run in runs if run["resources"][name] is not None]
        return statistics.mean(values) if values else None

    return {
        "arch": runs[0]["arch"],
        "weights": runs[0]["weights"],
        "origin": runs[0]["origin"],
        **spread([run["final"][_scored(run)][metric.name] for run in runs], metric),
        "seeds": [run["seed"] for run in runs],
        "runs": [run["run"] for run in runs],
        "collapsed": sum(run["collapsed"] for run in runs),
        **{name: mean(name) for name in ("train_seconds", "tokens_per_second", "peak_memory_bytes", "parameters")},
    }


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
    lines.append(f"{'':{width}}  {'mean':>7}  {'std':>7}  {'worst':>7}  runs")
    for name, row in named:
        values = " ".join(f"{value:.4f}" for value in row["values"])
        std = "" if row["std"] is None else f"{row['std']:.4f}"
        lines.append(f"{name:{width}}  {row['mean']:7.4f}  {std:>7}  {row['worst']:7.4f}  {values}")
    return "\n".join(lines)
