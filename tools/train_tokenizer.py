"""Makes a tokenizer from plain text, for pre-training from random weights.

    python tools/train_tokenizer.py wordpiece --corpus FILE... --vocab-size 12000 --out FOLDER

wordpiece is BERT's kind, unigram ALBERT's (that of SentencePiece), bpe RoBERTa's (byte-level); all are cased. The
corpus has a paragraph a line, and may be .gz. The same text gives the same tokenizer. Then:

    python -m tasks.pretraining --arch bert --corpus FILE... --tokenizer FOLDER
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from minibert import Tokenizer
from minibert.errors import InputError
from tasks.pretraining.corpus import read_corpus
from tasks.run.arguments import ArgumentParser
from tasks.run.console import run_main
from tasks.run.streams import say
from tasks.settings import check_encoding

SCRIPT = "python tools/train_tokenizer.py"
KINDS = {"wordpiece": "bert", "unigram": "albert", "bpe": "roberta"}


def main(argv: Sequence[str] | None = None, *, program: str = SCRIPT) -> int:
    """Runs the command, under the name that ``program`` gives it; returns its exit status."""
    about, _, details = (__doc__ or "").replace(SCRIPT, program).partition("\n\n")
    parser = ArgumentParser(
        prog=program, description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=tuple(KINDS))
    parser.add_argument("--corpus", metavar="FILE", nargs="+", required=True, help="text files, also .gz")
    parser.add_argument("--encoding", help="of the files, such as gb18030 or big5 (default: utf-8)")
    parser.add_argument("--vocab-size", type=int, required=True, help="the most entries to make")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="a new folder")
    arguments = parser.parse_args(argv)
    try:
        if Path(arguments.out).exists():
            raise InputError(f"--out {arguments.out}: is there already; name a new folder.")
        if arguments.encoding is not None:
            check_encoding(arguments.encoding)
        tokenizer = train(arguments.kind, arguments.corpus, arguments.vocab_size, arguments.encoding)
        tokenizer.save_pretrained(arguments.out)
    except (InputError, OSError) as error:
        say(f"error: {error}", error=True)
        return 2
    say(f"{tokenizer.vocab_size:,} entries, saved to {arguments.out}")
    return 0


def train(kind: str, corpus: Sequence[str], vocab_size: int, encoding: str | None = None) -> Tokenizer:
    """A tokenizer of a kind, from files.

    Raises:
        InputError: a file cannot be used, or ``vocab_size`` is too small.
    """
    if not 0 < vocab_size < 2**31:
        raise InputError(f"--vocab-size {vocab_size}: give a positive number below 2^31, such as 12000.")
    paragraphs = [
        paragraph for document in read_corpus(corpus, encoding=encoding).items for paragraph in document.paragraphs
    ]
    if kind == "unigram":
        tokenizer = Tokenizer.train_unigram(paragraphs, vocab_size=vocab_size)
    else:
        tokenizer = Tokenizer.train([paragraphs], model_type=KINDS[kind], vocab_size=vocab_size, running_text=True)
    if tokenizer.vocab_size > vocab_size:
        raise InputError(
            f"--vocab-size {vocab_size}: special tokens and single characters alone are {tokenizer.vocab_size:,} "
            "entries; give more."
        )
    return tokenizer


if __name__ == "__main__":
    run_main(lambda: sys.exit(main()))
