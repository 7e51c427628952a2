"""The models that a server answers from: their names, and what the page says of them."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.predict.answerer import Answerer, load
from tasks.serve.huggingface import CHOICES, MASKS, SPANS, kind_of
from tasks.settings import TORCH

logger = logging.getLogger(__name__)

_MOST_EXAMPLES = 8
_LONGEST_EXAMPLE = 2000


def load_models(
    runs: Sequence[str], *, device: str, precision: str, engine: str = TORCH, cuda_graphs: bool = False
) -> dict[str, Answerer]:
    """Loads the models of runs, by :func:`names`. The options are those of :func:`~tasks.predict.answerer.load`.

    Raises:
        InputError: one cannot be used.
    """
    return {
        name: load(run, device=device, precision=precision, engine=engine, cuda_graphs=cuda_graphs)
        for name, run in zip(names(runs), runs, strict=True)
    }


def names(runs: Sequence[str]) -> list[str]:
    """A name for each run: its folder's, or the whole path where others have the same."""
    short = [Path(run).resolve().name for run in runs]
    return [name if name and short.count(name) == 1 else run.strip("/") for name, run in zip(short, runs, strict=True)]


def describe(name: str, run: str, answerer: Answerer) -> dict[str, Any]:
    """What the page needs to know of a model: the ``kind`` of its answers, the ``fields`` of an input, and
    ``examples`` of inputs."""
    task = answerer.predictor.task
    kind = kind_of(task.name)
    fields = {SPANS: ["question", "context"], CHOICES: ["context", "question", "choices"]}.get(kind, ["text"])
    found = [example for example in examples(run, kind) if all(field in example for field in fields)]
    if getattr(task.settings, "pair_column", None) or any("pair" in example for example in found):
        fields = ["text", "pair"]
    mask = answerer.predictor.tokenizer.special_tokens["mask"] if kind == MASKS else None
    return {"name": name, "task": task.name, "kind": kind, "fields": fields, "mask": mask, "examples": found}


def examples(run: str, kind: str) -> list[dict[str, str]]:
    """Inputs of the run's evaluation that it got wrong, the worst first; none for a checkpoint of another tool."""
    return list(_examples(run, kind))[:_MOST_EXAMPLES]


def _examples(run: str, kind: str) -> Iterator[dict[str, str]]:
    file = Path(run) / "metrics.json"
    record: Any = {}
    with suppress(OSError, ValueError, RecursionError):  # a page without examples is no reason not to serve
        record = json.loads(file.read_text(encoding="utf-8"))
    with suppress(AttributeError, KeyError, TypeError):
        details = record.get("details", {})
        for error in (details.get("dev") or details.get("test") or {"errors": []})["errors"]:
            text = error["text"]
            if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST_EXAMPLE:
                continue
            if kind == SPANS:
                question, _, context = text.partition("\n")
                yield {"question": question, "context": context}
            else:
                first, separator, second = text.partition(" \u2016 ")
                yield {"text": first, "pair": second} if separator else {"text": text}
