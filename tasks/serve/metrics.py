"""Counts and times of the server, in the text format of Prometheus (version 0.0.4)."""

import bisect
import threading
from collections.abc import Iterable, Mapping

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_ABOUT = {
    "minibert_requests_total": ("counter", "Requests, by path and status."),
    "minibert_request_seconds": ("histogram", "From a request's arrival to its response, by path."),
    "minibert_answers_total": ("counter", "Inputs answered, by model."),
    "minibert_batch_size": ("histogram", "Inputs computed together, by model."),
    "minibert_batch_seconds": ("histogram", "Time of a batch, by model."),
    "minibert_expired_total": ("counter", "Inputs of requests whose deadline was over, by model."),
    "minibert_waiting": ("gauge", "Inputs that wait, by model."),
}

_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Thread-safe counters and histograms of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[tuple[str, _Labels], float] = {}
        self._histograms: dict[tuple[str, _Labels], tuple[tuple[float, ...], list[int], list[float]]] = {}

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Adds to a counter."""
        key = name, tuple(labels.items())
        with self._lock:
            self._counters[key] = self._counters.get(key, 0) + value

    def observe(self, name: str, value: float, bounds: tuple[float, ...] = _SECONDS, **labels: str) -> None:
        """Adds a value to a histogram."""
        key = name, tuple(labels.items())
        with self._lock:
            _, counts, total = self._histograms.setdefault(key, (bounds, [0] * (len(bounds) + 1), [0.0]))
            counts[bisect.bisect_left(bounds, value)] += 1
            total[0] += value

    def observe_request(self, path: str, status: int, seconds: float) -> None:
        self.count("minibert_requests_total", path=path, status=str(status))
        self.observe("minibert_request_seconds", seconds, path=path)

    def observe_batch(self, model: str, size: int, seconds: float) -> None:
        self.count("minibert_answers_total", size, model=model)
        self.observe("minibert_batch_size", size, _SIZES, model=model)
        self.observe("minibert_batch_seconds", seconds, model=model)

    def text(self, waiting: Mapping[str, int]) -> str:
        """All of them.

        Args:
            waiting: how many inputs wait for each model.
        """
        with self._lock:
            samples = [(name, _sample(name, labels, value)) for (name, labels), value in self._counters.items()]
            for (name, labels), (bounds, counts, total) in self._histograms.items():
                samples += [(name, line) for line in _histogram(name, labels, bounds, counts, total[0])]
        samples += [
            ("minibert_waiting", _sample("minibert_waiting", (("model", name),), value))
            for name, value in waiting.items()
        ]
        lines = []
        for name, (kind, about) in _ABOUT.items():
            if found := [line for of_name, line in samples if of_name == name]:
                lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *found]
        return "\n".join(lines) + "\n"


def _histogram(name: str, labels: _Labels, bounds: tuple[float, ...], counts: list[int], total: float) -> Iterable[str]:
    so_far = 0
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        so_far += count
        yield _sample(f"{name}_bucket", (*labels, ("le", bound)), so_far)
    yield _sample(f"{name}_sum", labels, total)
    yield _sample(f"{name}_count", labels, so_far)


def _sample(name: str, labels: _Labels, value: float) -> str:
    listed = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    return f"{name}{{{listed}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
