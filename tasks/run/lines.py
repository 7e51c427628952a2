"""Figures in lines for the terminal."""

from collections.abc import Mapping, Sequence

from tasks.run.prepare import AnyTask
from tasks.statistics import METHOD, Interval


def figure_lines(task: AnyTask, metrics: Mapping[str, float], intervals: Mapping[str, Interval]) -> list[str]:
    """The metrics and the loss; and the interval of the first metric that has one, the main one before others."""
    lines = [metrics_line(metrics, (*task.metric_names, "loss"))]
    for name in [name for name in (task.metric.name, *task.metric_names) if name in intervals][:1]:
        low, high = intervals[name]
        lines.append(f"{name.replace('_', ' ')}: 95 % interval {low:.4f} to {high:.4f} ({METHOD})")
    return lines


def metrics_line(metrics: Mapping[str, float], names: Sequence[str]) -> str:
    """Some metrics with four digits, such as ``strict f1 0.8500, loss 0.2000``."""
    return ", ".join(f"{name.replace('_', ' ')} {metrics[name]:.4f}" for name in names if name in metrics)
