"""A trained model as a Python function: ``answer = load("runs/x"); answer("text")``."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, overload

import numpy as np

from minibert.errors import InputError
from tasks.predict.arguments import require_positive
from tasks.predict.chunks import chunks
from tasks.predict.loading import load_predictor
from tasks.predict.unknown import UNKNOWN, unknown_parts
from tasks.read.columns import near
from tasks.read.tables import find
from tasks.run.predictor import Predictor
from tasks.settings import TORCH

Input: TypeAlias = str | Mapping[str, Any]
"""A text, or the fields of an input by name, such as ``question`` and ``context``."""
Answer: TypeAlias = dict[str, Any]
"""What a JSON line of ``python -m tasks.predict`` holds."""
_TEXT_NAMES = ("text", "question")
"""Under which an answer repeats the text that it is about."""


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

    Args:
        predictor: see above.
        text_column: the field that must have the text, in upper or lower case; its answer has it under this name alone.
        unknown: answers also say what the tokenizer does not know; see :func:`~tasks.predict.unknown.unknown_parts`.
    """

    def __init__(self, predictor: Predictor, *, text_column: str | None = None, unknown: bool = False) -> None:
        self.predictor = predictor
        self._text_column = text_column
        self._unknown = unknown
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
            given = {self._text_column or "text": given}
        if not isinstance(given, Mapping):
            raise InputError(f"{place}: is a {type(given).__name__}; give a text or a mapping of fields.")
        for name, value in given.items():
            if isinstance(value, (str, list)):
                _check_characters(value, f"{place}: {name}")
        if self._text_column is not None and self._text_name(given) is None:
            hint = near(self._text_column, given) or "."
            raise InputError(f"{place}: has no --text-column {self._text_column[:40]}{hint}")
        return ParsedInput(given, self.predictor.task.parse_input(given, place))

    def answer(self, parsed: Sequence[ParsedInput]) -> list[Answer]:
        """The answers to inputs that :meth:`parse` has checked."""
        if not parsed:
            return []
        with self._lock:
            answers = self.predictor.answer([each.item for each in parsed])
        return [self._completed(each, answer) for each, answer in zip(parsed, answers, strict=True)]

    def _completed(self, parsed: ParsedInput, answer: dict[str, Any]) -> Answer:
        """An answer with the fields of its input, and what the tokenizer does not know."""
        if self._unknown:
            predictor = self.predictor
            if parts := unknown_parts(predictor.task, predictor.tokenizer, parsed.item, parsed.fields, answer):
                answer = {**answer, UNKNOWN: parts}
        own = None if self._text_column is None else self._text_name(parsed.fields)
        if own is not None:
            again = {name for name in _TEXT_NAMES if name != own and answer.get(name) == parsed.fields[own]}
            answer = {name: value for name, value in answer.items() if name not in again}
        return with_input(parsed.fields, answer)

    def _text_name(self, fields: Mapping[str, Any]) -> str | None:
        """The name of the ``text_column`` as an input has it; None if it has none."""
        assert self._text_column is not None
        return self._text_column if self._text_column in fields else find(list(fields), [self._text_column.lower()])


def load(
    run: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    threshold: str | float | None = None,
    text_column: str | None = None,
    top_k: int | None = None,
    unknown: bool = False,
    batch_tokens: int | None = None,
    engine: str = TORCH,
    cuda_graphs: bool = False,
) -> Answerer:
    """Loads what answers: the folder of a run, or a checkpoint that another tool has fine-tuned, whose head then
    decides on the task. A pre-trained model answers with words for ``[MASK]``.

    Args:
        run: the folder, or a name on the hub.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16``, or ``int8`` (on a CPU).
        threshold: of several labels, give those with this probability, in place of the run's own threshold.
        text_column: the field of an input that has the text, if it is called otherwise; the answer keeps this name.
        top_k: give this many labels, spans, choices or words, likeliest first.
        unknown: also give the parts of a text that the tokenizer does not know, by character, as ``unknown``.
        batch_tokens: in a batch at most: fewer take less memory. None for what is fastest on the device.
        engine: ``torch``, or ``onnx`` for ONNX Runtime on the CPU and a folder that ``tools/export.py`` has written.
        cuda_graphs: launch the encoder's kernels all at once, for few texts at a time on a GPU.

    Raises:
        InputError: it is neither, or cannot be used.
    """
    require_positive("--top-k", top_k)
    require_positive("--batch-tokens", batch_tokens)
    predictor = load_predictor(
        str(run),
        device=device,
        precision=precision,
        threshold=None if threshold is None else str(threshold),
        text_column=text_column,
        top_k=top_k,
        batch_tokens=batch_tokens,
        engine=engine,
        cuda_graphs=cuda_graphs,
    )
    return Answerer(predictor, text_column=text_column, unknown=unknown)


def with_input(fields: Mapping[str, Any], answer: Mapping[str, Any]) -> Answer:
    """The fields of an input, then those of its answer.

    A field that has the name of one of the answer's, but another value, is called ``input_NAME``.
    """
    taken = {*fields, *answer}
    passed: Answer = {}
    for name, value in fields.items():
        if name not in answer:
            passed[name] = value
        elif isinstance(answer[name], np.ndarray) or answer[name] != value:  # no input is an array
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
