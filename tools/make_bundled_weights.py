"""Makes the small pre-trained models in weights/ from a bilingual corpus.

    python -m tools.make_bundled_weights bert --corpus FOLDER --work FOLDER

The corpus folder holds zh.txt.gz and en.txt.gz (one paragraph a line, a blank line between documents) and
attribution.tsv.gz (file and source of each document, in order). The work folder receives the selected text, the
tokenizer and the runs of tasks.pretraining; what it already holds is reused, and an interrupted run is resumed. The
model in half precision, its tokenizer and its card are written to weights/ARCH-tiny.
"""

import argparse
import dataclasses
import gzip
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibert import PretrainingModel, Tokenizer
from minibert.errors import InputError
from minibert.files import read_json_object, write_atomically, write_json
from tasks import registry
from tasks.run.start_model import DROPOUT
from tools.train_tokenizer import train

WEIGHTS = Path(__file__).parents[1] / "weights"

# DRCD's development set serves as test data; the books are too old.
EXCLUDED_SOURCES = ("drcd-dev", "books")
VOCABULARY = 12_000
CONFIG = dict.fromkeys(DROPOUT, 0.0)  # so short a training does not overfit
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
        name="ALBERT", tokenizer="wordpiece", objective="masked n-grams and sentence order prediction", epochs=(1,)
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
    options = parser.parse_args(argv)
    try:
        make(options.arch, options.corpus, options.work)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def make(arch: str, corpus: Path, work: Path) -> None:
    """Selects the text, trains the tokenizer and the model, and writes the model's folder.

    Raises:
        InputError: the corpus cannot be used.
    """
    recipe = RECIPES[arch]
    work.mkdir(parents=True, exist_ok=True)
    texts = [str(select_documents(corpus, name, work)) for name in ("zh", "en")]
    tokenizer = work / f"tokenizer-{recipe.tokenizer}"
    if not tokenizer.exists():
        train(recipe.tokenizer, texts, VOCABULARY).save_pretrained(tokenizer)
    write_json(work / f"{arch}.json", CONFIG)
    for arguments in _arguments_of_runs(arch, work):
        registry.run("pretraining", [*arguments, "--resume"])
    export([work / f"run-{arch}-{number}" for number in range(1, len(recipe.epochs) + 1)], WEIGHTS / f"{arch}-tiny")


def _arguments_of_runs(arch: str, work: Path) -> list[list[str]]:
    """The arguments of each run of tasks.pretraining."""
    recipe = RECIPES[arch]
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


def export(runs: Sequence[Path], folder: Path) -> None:
    """Writes the last run's model in half precision, its tokenizer and its card, which covers all runs.

    The config gets the dropout of fine-tuning.
    """
    model, tokenizer = PretrainingModel.from_pretrained(runs[-1]), Tokenizer.from_pretrained(runs[-1])
    model.config = dataclasses.replace(model.config, **DROPOUT)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card = _card(folder.name, model, [_metrics(run) for run in runs])
    write_atomically(folder / "README.md", lambda path: path.write_text(card, encoding="utf-8"))


def _metrics(run: Path) -> dict[str, Any]:
    """A run's metrics and its number of steps."""
    records = map(json.loads, (run / "train_log.jsonl").read_text(encoding="utf-8").splitlines())
    return read_json_object(run / "metrics.json") | {"steps": max(record.get("step", 0) for record in records)}


_CORPUS_AND_LICENCE = """## Corpus and licence

Articles of the Chinese and the English Wikipedia (CC BY-SA 3.0 and 4.0, by their contributors, at
https://zh.wikipedia.org and https://en.wikipedia.org), contexts of CMRC 2018's trial set (CC BY-SA 4.0), prose of the
Chinese edition of Dive into Deep Learning (Apache-2.0), and laws of Taiwan, in Chinese and English, and of the PRC
(outside copyright). The paragraphs of DRCD's development set and the old books of the same corpus were left out. This
model may be used under CC BY-SA 4.0.
"""


def _card(name: str, model: PretrainingModel, runs: Sequence[dict[str, Any]]) -> str:
    config, last = model.config, runs[-1]
    recipe = RECIPES[config.model_type]
    figures, data = last["final"]["dev"], last["data"]
    epochs = [run["settings"]["epochs"] for run in runs]
    passes = f"{sum(epochs)} epoch{'s' if sum(epochs) > 1 else ''}"
    if len(epochs) > 1:
        passes += f" in runs of {' and '.join(map(str, epochs))}"
    minutes = sum(run["resources"]["train_seconds"] for run in runs) / 60
    layers = config.num_hidden_layers
    shape = f"one layer, used {layers} times," if config.num_hidden_groups < layers else f"{layers} layers"
    pairs = f", pair accuracy {figures['pair_accuracy']:.1%}" if "pair_accuracy" in figures else ""
    commands = "\n".join(
        shlex.join(["python", "-m", "tasks.pretraining", *arguments])
        for arguments in _arguments_of_runs(config.model_type, Path("WORK"))
    )
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
- **Objective**: {recipe.objective}.
- **Training**: {passes}, starting from corpus counts, over
  {data["train"]["documents"]:,} documents ({data["train"]["characters"]:,} characters);
  {sum(run["steps"] for run in runs):,} steps of {last["settings"]["batch_size"]} sequences, {minutes:.0f} minutes on
  {last["device"]}, {last["finished"][:10]}, torch {last["versions"]["torch"]}. Without dropout; the
  config has the dropout of fine-tuning.
- **Figures** on {data["dev"]["documents"]} documents held out: masked accuracy
  {figures["masked_accuracy"]:.1%}, perplexity {figures["perplexity"]:.1f}{pairs}.

{_CORPUS_AND_LICENCE}
## The command

```
python -m tools.make_bundled_weights {config.model_type} --corpus CORPUS --work WORK
```

which selects the text, trains the tokenizer, and runs

```
{commands}
```
"""


if __name__ == "__main__":
    sys.exit(main())
