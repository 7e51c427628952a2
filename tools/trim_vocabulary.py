"""Cuts a model's vocabulary to the pieces of a corpus: a smaller file, and the same states for texts of these pieces.

    python tools/trim_vocabulary.py MODEL OUT --corpus FILE... --scripts Han Latin

The pieces that occur in the corpus are kept (in running text, or where its words are tokenized one by one, as for named
entities), special tokens, and single characters of the scripts that are named. Nothing else of the model changes:
states and answers for texts of these pieces are the same to the bit; scores of words, a product that is now narrower,
up to rounding. Other pieces of a text are cut smaller than before, or are unknown: give a corpus that is like what the
model will read. It has a paragraph a line, and may be .gz. All of it is tokenized by both: where the result differs,
nothing is written.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Regex, normalizers
from torch import Tensor

from minibert import EncoderConfig, Tokenizer
from minibert.checkpoint import Checkpoint, open_checkpoint
from minibert.errors import InputError
from minibert.files import new_folder, read_json_object, write_atomically, write_json
from minibert.formats import companions
from minibert.formats.companions import TASK_FILE
from minibert.formats.huggingface import name_table
from minibert.formats.names import shorten
from minibert.tokenizer.tokenizer import split_words
from tasks.pretraining.corpus import read_corpus
from tasks.run.arguments import ArgumentParser
from tasks.run.console import run_main
from tasks.run.streams import say
from tasks.settings import check_encoding

SCRIPT = "python tools/trim_vocabulary.py"

_LINES = 2000  # tokenized at a time
# In the file of a run's task: what stands around each text, and the words for a gap. And what separates texts in these.
_OWN_TEXTS = ("prompt", "template", "words")
_SEPARATORS = [re.compile(r"\{\w+\}|\[MASK\]|<mask>"), re.compile("[=,]")]
_WORDS = "embeddings.word_embeddings.weight"
_BIAS = "mlm.bias"


def main(argv: Sequence[str] | None = None, *, program: str = SCRIPT) -> int:
    """Runs the command, under the name that ``program`` gives it; returns its exit status."""
    about, _, details = (__doc__ or "").replace(SCRIPT, program).partition("\n\n")
    parser = ArgumentParser(
        prog=program, description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="a checkpoint's folder, a run, or a name on the hub")
    parser.add_argument("out", metavar="OUT", help="a new folder")
    parser.add_argument("--corpus", metavar="FILE", nargs="+", required=True, help="text files, also .gz")
    parser.add_argument("--encoding", help="of the files, such as gb18030 or big5 (default: utf-8)")
    parser.add_argument(
        "--scripts", metavar="NAME", nargs="+", default=[],
        help="keep single characters of these scripts or other Unicode properties, such as Han Latin Nd P",
    )  # fmt: skip
    options = parser.parse_args(argv)
    try:
        if Path(options.out).exists():
            raise InputError(f"OUT {options.out}: is there already; name a new folder.")
        if options.encoding is not None:
            check_encoding(options.encoding)
        checkpoint = open_checkpoint(options.model)
        corpus = Corpus.read(options.corpus, options.encoding)
        trimmed, old_ids = trim(checkpoint, corpus, options.scripts)
        save(checkpoint, trimmed, old_ids, Path(options.out))
    except (InputError, OSError) as error:
        say(f"error: {error}", error=True)
        return 2
    if checkpoint.foreign:
        say(f"left out, since no head of minibert has them: {shorten(checkpoint.foreign)}")
    say(f"{len(old_ids):,} of {checkpoint.tokenizer.vocab_size:,} entries kept, saved to {options.out}")
    return 0


@dataclass(frozen=True)
class Corpus:
    """Texts, and their distinct words."""

    lines: Sequence[str]
    words: Sequence[str]

    @classmethod
    def read(cls, paths: Sequence[str], encoding: str | None = None) -> "Corpus":
        """The paragraphs of files.

        Raises:
            InputError: a file cannot be used.
        """
        documents = read_corpus(paths, encoding=encoding).items
        return cls.of([paragraph for document in documents for paragraph in document.paragraphs])

    @classmethod
    def of(cls, lines: Sequence[str]) -> "Corpus":
        """Paragraphs, with their words."""
        words = {line[start:end] for line in lines for start, end in split_words(line)}
        return cls(lines, sorted(words))

    def ids(self, tokenizer: Tokenizer) -> Iterator[tuple[str, list[int]]]:
        """The ids of each line, and of each word by itself."""
        for start in range(0, len(self.lines), _LINES):
            lines = self.lines[start : start + _LINES]
            yield from zip(lines, tokenizer.encode_batch(lines), strict=True)
        for start in range(0, len(self.words), _LINES):
            words = self.words[start : start + _LINES]
            yield from zip(
                words, (each.ids for each in tokenizer.encode_words([[word] for word in words])), strict=True
            )


def trim(checkpoint: Checkpoint, corpus: Corpus, scripts: Sequence[str] = ()) -> tuple[Tokenizer, list[int]]:
    """The tokenizer for a corpus, and the old id of each new one.

    Raises:
        InputError: a script is unknown, the new tokenizer would cut the corpus otherwise, or the model depends on the
            numbers of tokens.
    """
    tokenizer, config = checkpoint.tokenizer, checkpoint.config
    if config.ngram_buckets:
        raise InputError(
            f"{checkpoint.folder}: has scores of n-grams, which are found by the numbers of tokens; cut that "
            "of the model that it was trained from, and train that one."
        )
    own = Corpus.of(own_texts(checkpoint))
    corpus = Corpus([*corpus.lines, *own.lines], sorted({*corpus.words, *own.words}))
    keep = set(_special_ids(read_json_object(checkpoint.folder / "config.json")).values())
    if config.family.positions_after_padding:  # positions are counted from the padding token's id
        keep.update(range(config.pad_token_id))
    unknown = []
    for text, ids in corpus.ids(tokenizer):
        keep.update(ids)
        if tokenizer.unk_token_id in ids:
            unknown.append(text)
    keep |= tokenizer.pieces_before_unknown(unknown)
    keep |= single_characters(tokenizer, scripts)
    trimmed, old_ids = tokenizer.trimmed(keep)
    if config.family.positions_after_padding and old_ids[config.pad_token_id] != config.pad_token_id:
        raise InputError(
            f"{checkpoint.folder}: positions are counted from the padding token's id, {config.pad_token_id}, which "
            "would change, since the tokenizer leaves out ids before it."
        )
    check_same(corpus, tokenizer, trimmed, old_ids)
    return trimmed, old_ids


def own_texts(checkpoint: Checkpoint) -> list[str]:
    """What the model reads beside its inputs: its run's prompts and words, and the prompt of sentence-transformers.

    Raises:
        InputError: a file that has them cannot be read.
    """
    vectors, file = checkpoint.sentence_settings, checkpoint.folder / TASK_FILE
    texts = [] if vectors is None else [vectors.prompt]
    settings = read_json_object(file) if file.is_file() else {}
    for name in _OWN_TEXTS:
        value = settings.get(name, [])
        texts += [value] if isinstance(value, str) else value
    parts = (part.strip() for text in texts for separator in _SEPARATORS for part in separator.split(text))
    return [part for part in parts if part]


def single_characters(tokenizer: Tokenizer, scripts: Sequence[str]) -> set[int]:
    """The ids of pieces that are one character of some scripts, with or without a space before it.

    Raises:
        InputError: there is no such script.
    """
    if not scripts:
        return set()
    for script in scripts:
        try:
            if not re.fullmatch(r"\w+", script):
                raise ValueError(script)
            Regex(rf"\p{{{script}}}")
        except Exception:  # the tokenizers library raises bare Exception
            raise InputError(
                f"--scripts {script}: no script or other Unicode property, such as Han, Latin, Nd or P."
            ) from None
    erase = normalizers.Replace(Regex("[" + "".join(rf"\p{{{script}}}" for script in scripts) + "]"), "")
    found = set()
    for index in range(tokenizer.vocab_size):
        text = tokenizer.decode([index]).removeprefix("##").strip()
        if len(text) == 1 and not erase.normalize_str(text):
            found.add(index)
    return found


def check_same(corpus: Corpus, tokenizer: Tokenizer, trimmed: Tokenizer, old_ids: Sequence[int]) -> None:
    """Raises InputError if two tokenizers cut a line or a word of a corpus otherwise."""
    back = np.array(old_ids)
    for (text, expected), (_, found) in zip(corpus.ids(tokenizer), corpus.ids(trimmed), strict=True):
        if not np.array_equal(back[found], expected):
            raise InputError(
                f"the trimmed tokenizer cuts {text[:60]!r} otherwise than the model's own; nothing is written. Leave "
                "the line out of the corpus."
            )


def save(checkpoint: Checkpoint, trimmed: Tokenizer, old_ids: Sequence[int], folder: Path) -> None:
    """Writes the model with the rows of some tokens alone, with all of its heads. The folder appears whole or not at
    all.

    Raises:
        InputError: the disk is full, or a tensor cannot be read.
        OSError: the folder cannot be written.
    """
    with new_folder(folder) as staging:
        tensors = dict(_cut_tensors(checkpoint, torch.tensor(old_ids)))
        write_atomically(
            staging / "model.safetensors", lambda path: save_file(tensors, path, metadata={"format": "pt"})
        )
        settings = read_json_object(checkpoint.folder / "config.json")
        new_ids = {old: new for new, old in enumerate(old_ids)}
        special = {name: new_ids.get(old) for name, old in _special_ids(settings).items()}
        write_json(staging / "config.json", {**settings, **special, "vocab_size": len(old_ids)})
        trimmed.save_pretrained(staging, config=checkpoint.config, shipped=checkpoint.folder)
        companions.copy(checkpoint.folder, staging)


def _special_ids(settings: Mapping[str, Any]) -> dict[str, int]:
    """The ids of tokens in ``config.json``, such as ``pad_token_id``."""
    return {name: value for name, value in settings.items() if name.endswith("_token_id") and type(value) is int}


def _cut_tensors(checkpoint: Checkpoint, rows: Tensor) -> Iterable[tuple[str, Tensor]]:
    """The tensors of a checkpoint, those with a row for each token cut, and without those that repeat another.

    Raises:
        InputError: a tensor has not as many rows as there are tokens.
    """
    cut, tied = _names_by_token(checkpoint.config)
    canonical = name_table(checkpoint.config, "Model").canonical
    held = {spelling for name in checkpoint.tensors for spelling in (name, canonical(name))}
    for name, read in checkpoint.tensors.items():
        if tied.get(name) in held:
            continue
        tensor = read()
        if {name, canonical(name), tied.get(name)} & cut:
            if len(tensor) != checkpoint.config.vocab_size:
                raise InputError(
                    f"{checkpoint.folder}: {name} has {len(tensor):,} rows, and config.json a vocabulary of "
                    f"{checkpoint.config.vocab_size:,}; they are not from the same model."
                )
            tensor = tensor[rows]
        yield name, tensor.contiguous()


def _names_by_token(config: EncoderConfig) -> tuple[set[str], dict[str, str]]:
    """The names of the tensors with a row for each token; and names that repeat the tensor of another, with that."""
    tables = [name_table(config, head) for head in ("Model", *config.family.heads)]
    cut = {name for table in tables for name, slot in table.slots.items() if slot.name.endswith((_WORDS, _BIAS))}
    return cut, {name: target for table in tables for name, target in table.tied.items()}


if __name__ == "__main__":
    run_main(lambda: sys.exit(main()))
