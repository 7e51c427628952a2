"""Vectors of texts: ``python -m tasks.embed MODEL [FILE | -] [--out vectors.npy]``.

The input is streamed, a chunk at a time, and so is the output: any number of texts fits the memory.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from minibert.files import write_atomically
from minibert.formats.sentence_transformers import MEAN
from tasks.embed.arguments import parse
from tasks.embed.embedder import Embedder, load
from tasks.embed.output import NpyFile, VectorLines
from tasks.predict.arguments import SKIP
from tasks.predict.inputs import check_given, numbered_chunks, shown_progress
from tasks.predict.output import Sink, standard_output
from tasks.predict.writing import write_answers
from tasks.read.stream import Position
from tasks.run.processors import use_threads
from tasks.run.streams import say


def main(argv: Sequence[str] | None = None) -> None:
    """Reads texts, and writes their vectors.

    Raises:
        InputError: the model or a text cannot be used, or the output cannot be written.
    """
    options = parse(argv)
    use_threads(options.threads)
    check_given(options)
    embed = load(
        options.model,
        pooling=options.pooling,
        normalize=options.normalize,
        text_column=options.text_column,
        device=options.device,
        precision=options.precision,
        batch_tokens=options.batch_tokens,
    )
    say(_summary(embed), error=True)
    if options.out is None:
        _write(embed, VectorLines(standard_output()), options)
        return

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            _write(embed, NpyFile(file, embed.width), options)

    write_atomically(Path(options.out), write)


def _write(embed: Embedder, sink: Sink, options: argparse.Namespace) -> None:
    position = Position()
    numbered, progress = numbered_chunks(options, position), shown_progress(options, position)
    tally = write_answers(embed.answerer, numbered, sink, skip=options.on_error == SKIP, progress=progress)
    tally.require_answers()


def _summary(embed: Embedder) -> str:
    """How vectors are made, in a line."""
    settings = embed.settings
    source = "the mean of all tokens" if settings.pooling == MEAN else "the first token"
    scaled = ", of length 1" if settings.normalize else ""
    return f"{embed.width} numbers a text, {source}{scaled}; at most {settings.max_length} tokens of a text are read"
