"""A trained model as a Python function: ``answer = load("runs/x"); answer("text")``."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, overload

from minibert.errors import InputError
from tasks.predict.chunks import chunks
from tasks.predict.loading import load_predictor
from tasks.run.predictor import Predictor
from tasks.settings import TORCH

Input: TypeAlias = str | Mapping[str, Any]
"""A text, or the fields of an input by name, such as ``question`` and ``context``."""
Answer: TypeAlias = dict[str, Any]
"""What a JSON line of ``python -m tasks.predict`` holds."""


class ParsedInput(NamedTuple):
    """An input that can be answered: its fields, and the task's item."""

    fields: Mapping[str, Any]
    item: Any


class Answerer:
    """Answers inputs from a trained model, as ``python -m tasks.predict`` does.

    Threads may share one: it computes one call at a time, with all of PyTorch's threads. Many inputs in one call are
    much faster than many calls, because they share batches.

    Attributes:
        predictor: the task, its model and its tokenizer.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._lock = threading.Lock()

    @property
    def notes(self) -> Counter[str]:
        """Counts over all inputs so far, such as ``cut_texts``."""
        return self.predictor.notes

    @overload
    def __call__(self, inputs: Input) -> Answer: ...  # type: ignore[overload-overlap]  # a str is an Iterable of str

    @overload
    def __call__(self, inputs: Iterable[Input]) -> list[Answer]: ...

    def __call__(self, inputs: Input | Iterable[Input]) -> Answer | list[Answer]:
        """The answer to one input, or the answers to several, in order.

        Each is the input's fields, those of the answer (labels, character offsets, probabilities), and the time it took
        in ``milliseconds``: the mean of those that were answered together.

        Raises:
            InputError: an input cannot be used, such as a question without a context.
        """
        if isinstance(inputs, (str, Mapping)):
            return self.answer([self.parse(inputs, "the input")])[0]
        if not isinstance(inputs, Iterable) or isinstance(inputs, (bytes, bytearray)):
            raise InputError(f"the input is a {type(inputs).__name__}; give a text, a mapping of fields, or several.")
        return self.answer([self.parse(given, f"input {number}") for number, given in enumerate(inputs, 1)])

    def stream(self, inputs: Iterable[Input]) -> Iterator[Answer]:
        """The answers to any number of inputs, in order; reads up to 2,048 inputs (or a million characters) ahead.

        Raises:
            InputError: an input cannot be used; those before it have been answered.
        """
        for chunk in chunks(self.parse(given, f"input {number}") for number, given in enumerate(inputs, 1)):
            yield from self.answer(chunk)

    def parse(self, given: Input, place: str) -> ParsedInput:
        """Checks an input.

        Raises:
            InputError: it cannot be used; the message begins with ``place``.
        """
        if isinstance(given, str):
            given = {"text": given}
        if not isinstance(given, Mapping):
            raise InputError(f"{place}: is a {type(given).__name__}; give a text or a mapping of fields.")
        for name, value in given.items():
            if isinstance(value, (str, list)):
                _check_characters(value, f"{place}: {name}")
        return ParsedInput(given, self.predictor.task.parse_input(given, place))

    def answer(self, parsed: Sequence[ParsedInput]) -> list[Answer]:
        """The answers to inputs that :meth:`parse` has checked."""
        if not parsed:
            return []
        with self._lock:
            answers = self.predictor.answer([each.item for each in parsed])
        return [with_input(each.fields, answer) for each, answer in zip(parsed, answers, strict=True)]


def load(
    run: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    threshold: str | float | None = None,
    engine: str = TORCH,
) -> Answerer:
    """Loads what answers: the folder of a run, or a checkpoint that another tool has fine-tuned, whose head then
    decides on the task. A pre-trained model answers with words for ``[MASK]``.

    Args:
        run: the folder, or a name on the hub.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16``, or ``int8`` (on a CPU).
        threshold: of several labels, give those with this probability, in place of the run's own threshold.
        engine: ``torch``, or ``onnx`` for ONNX Runtime on the CPU and a folder that ``tools/export.py`` has written.

    Raises:
        InputError: it is neither, or cannot be used.
    """
    given = None if threshold is None else str(threshold)
    return Answerer(load_predictor(str(run), device=device, precision=precision, threshold=given, engine=engine))


def with_input(fields: Mapping[str, Any], answer: Mapping[str, Any]) -> Answer:
    """The fields of an input, then those of its answer.

    A field that has the name of one of the answer's, but another value, is called ``input_NAME``.
    """
    taken = {*fields, *answer}
    passed: Answer = {}
    for name, value in fields.items():
        if name not in answer:
            passed[name] = value
        elif answer[name] != value:
            new = f"input_{name}"
            while new in taken:
                new = f"input_{new}"
            taken.add(new)
            passed[new] = value
    return {**passed, **answer}


def _check_characters(value: str | list[Any], place: str) -> None:
    """Raises InputError for a text with half of a surrogate pair, which no tokenizer can read."""
    for text in [value] if isinstance(value, str) else value:
        if isinstance(text, str) and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InputError(
                    f"{place} has {text[error.start]!a} at character {error.start}, half of a surrogate pair and no "
                    "character; decode the text again."
                ) from None
