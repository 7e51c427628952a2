"""Chunks of inputs become lines of answers, whatever is wrong with some of them."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from minibert.errors import InputError
from tasks.data import nonzero_counts
from tasks.predict.answerer import Answer, Answerer, ParsedInput, with_input
from tasks.predict.output import ERROR, LINE, Sink
from tasks.predict.progress import Progress
from tasks.read.records import Record
from tasks.read.stream import Position
from tasks.run.streams import say


@dataclass
class Tally:
    """How many inputs were answered and how many skipped, and why the first one of these was."""

    answered: int = 0
    skipped: int = 0
    first: InputError | None = None

    @property
    def count(self) -> int:
        """All of them."""
        return self.answered + self.skipped

    @classmethod
    def of(cls, parts: Sequence["Tally"]) -> "Tally":
        """The sum of several, such as those of all processes."""
        first = next((part.first for part in parts if part.first is not None), None)
        return cls(sum(part.answered for part in parts), sum(part.skipped for part in parts), first)

    def require_answers(self) -> None:
        """Raises InputError if there were inputs, and none could be used."""
        if self.skipped and not self.answered:
            raise InputError(f"none of {self.skipped:,} inputs can be used; the first: {self.first}")


def write_answers(
    answerer: Answerer,
    numbered: Iterable[tuple[int, Sequence[Record]]],
    sink: Sink,
    *,
    skip: bool = False,
    progress: Progress | None = None,
) -> Tally:
    """Writes an answer for each input; to standard error the speed, and how much of the input was skipped, cut or
    unknown.

    Args:
        answerer: makes the answers.
        numbered: chunks of inputs with their numbers.
        sink: where they go.
        skip: write why an input cannot be used in place of its answer, and go on.
        progress: to show.

    Raises:
        InputError: an input cannot be used; the answers to those before it have been written. Not with ``skip``.
    """
    started = time.perf_counter()
    tally = Tally()
    with contextlib.closing(progress or Progress(Position(), shown=False)) as shown:
        for number, chunk in numbered:
            shown.show(tally.count)
            lines: list[Answer] = []
            unusable = None
            for record, result in zip(chunk, _results(answerer, chunk, skip=skip), strict=False):
                if not isinstance(result, InputError):
                    tally.answered += 1
                    lines.append(_without_error(result))
                elif skip:
                    tally.skipped += 1
                    tally.first = tally.first or result
                    lines.append(with_input(record.fields, {ERROR: str(result), LINE: record.line}))
                else:
                    unusable = result
                    break
            sink.write(number, lines)
            if unusable is not None:
                raise unusable
    sink.close()
    seconds = time.perf_counter() - started
    speed = f"{tally.count:,} inputs in {seconds:.1f} s, {tally.count / seconds:,.0f} a second"
    say("; ".join([speed, *nonzero_counts(answerer.notes)]), error=True)
    if tally.skipped:
        say(f"{tally.skipped:,} skipped; the first: {tally.first}", error=True)
    return tally


def _results(answerer: Answerer, chunk: Sequence[Record], *, skip: bool) -> Iterator[Answer | InputError]:
    """The answer to each input of a chunk, or why it cannot be used; without ``skip`` only up to the first such one,
    those before which are answered together."""
    parsed: list[ParsedInput | InputError] = []
    for record in chunk:
        try:
            if record.refused is not None:
                raise record.refused
            parsed.append(answerer.parse(record.fields, record.where))
        except InputError as error:
            parsed.append(error)
            if not skip:
                break
    answers = _answers(answerer, [each for each in parsed if isinstance(each, ParsedInput)])
    for each in parsed:
        yield next(answers) if isinstance(each, ParsedInput) else each


def _answers(answerer: Answerer, parsed: Sequence[ParsedInput]) -> Iterator[Answer | InputError]:
    """The answers to inputs, together if the model takes all of them; otherwise by halves, until those that it does not
    take are alone."""
    try:
        answers = answerer.answer(parsed)
    except InputError as error:
        if len(parsed) == 1:
            yield error
            return
        middle = len(parsed) // 2
        yield from _answers(answerer, parsed[:middle])
        yield from _answers(answerer, parsed[middle:])
        return
    yield from answers


def _without_error(answer: Answer) -> Answer:
    """An answer without a field ``error``, which is for inputs that are skipped: one of the input gets another name."""
    return {f"input_{name}" if name == ERROR else name: value for name, value in answer.items()}
