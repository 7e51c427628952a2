"""Makes the small pre-trained models in weights/ from a bilingual corpus.

    python -m tools.make_bundled_weights bert --corpus FOLDER --work FOLDER

The corpus folder holds zh.txt.gz, en.txt.gz (a paragraph a line, a blank line between documents) and attribution.tsv.gz
(file and source of each document, in order). In the work folder appear the chosen text, the tokenizer and the runs of
tasks.pretraining; what is there already is used again, and a run that was stopped goes on. In weights/ARCH-tiny: the
model in half precision, its tokenizer, and its card.
"""

import argparse
import dataclasses
import gzip
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minibert import PretrainingModel, Tokenizer
from minibert.errors import InputError
from minibert.files import read_json_object, write_json, write_whole
from tasks import registry
from tasks.run.start_model import DROPOUT
from tools.train_tokenizer import train

WEIGHTS = Path(__file__).parents[1] / "weights"

# DRCD's paragraphs serve as test data; the books are of another age.
LEFT_OUT = ("drcd-dev", "books")
VOCABULARY = 12_000
# Chinese ALBERTs have WordPiece, as BERT.
TOKENIZERS = {"bert": "wordpiece", "albert": "wordpiece", "roberta": "bpe"}

# So little training does not overfit.
CONFIG = dict.fromkeys(DROPOUT, 0.0)
TRAINING = [
    *("--dev-share", "0.005", "--batch-size", "8", "--lr", "1e-3"),
    *("--precision", "bf16", "--save-minutes", "10"),
]
# The epochs of each run: the first starts from counts of the text, each other one from the one before it.
EPOCHS = {"bert": (1, 2), "albert": (1,), "roberta": (1, 2)}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    about, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("arch", choices=tuple(TOKENIZERS))
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
    """Chooses the text, trains the tokenizer and the model, and writes the model's folder.

    Raises:
        InputError: the corpus cannot be used.
    """
    work.mkdir(parents=True, exist_ok=True)
    texts = [str(choose(corpus, name, work)) for name in ("zh", "en")]
    tokenizer = work / f"tokenizer-{TOKENIZERS[arch]}"
    if not tokenizer.exists():
        train(TOKENIZERS[arch], texts, VOCABULARY).save_pretrained(tokenizer)
    write_json(work / f"{arch}.json", CONFIG)
    for arguments in _runs(arch, work):
        registry.run("pretraining", [*arguments, "--resume"])
    export([work / f"run-{arch}-{number}" for number in range(1, len(EPOCHS[arch]) + 1)], WEIGHTS / f"{arch}-tiny")


def _runs(arch: str, work: Path) -> list[list[str]]:
    """The arguments of each run of tasks.pretraining."""
    new = ["--tokenizer", f"{work}/tokenizer-{TOKENIZERS[arch]}", "--model-config", f"{work}/{arch}.json"]
    return [
        [
            *("--arch", arch, "--corpus", f"{work}/zh.txt", f"{work}/en.txt"),
            *(new if number == 1 else ["--weights", f"{work}/run-{arch}-{number - 1}"]),
            *("--epochs", str(epochs), *TRAINING, "--out", f"{work}/run-{arch}-{number}"),
        ]
        for number, epochs in enumerate(EPOCHS[arch], start=1)
    ]


def choose(corpus: Path, name: str, work: Path) -> Path:
    """The documents of a file of the corpus without those of the sources that are left out.

    Raises:
        InputError: the list of sources does not fit the file.
    """
    chosen = work / f"{name}.txt"
    if not chosen.exists():
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
        kept = [text for text, source in zip(documents, sources, strict=True) if source not in LEFT_OUT]
        write_whole(chosen, lambda path: path.write_text("\n\n".join(kept) + "\n", encoding="utf-8"))
    return chosen


def export(runs: Sequence[Path], folder: Path) -> None:
    """Writes the model of the last of some runs in half precision, with the dropout of fine-tuning, its tokenizer, and
    its card."""
    model, tokenizer = PretrainingModel.from_pretrained(runs[-1]), Tokenizer.from_pretrained(runs[-1])
    model.config = dataclasses.replace(model.config, **DROPOUT)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card = _card(folder.name, model, [_metrics(run) for run in runs])
    write_whole(folder / "README.md", lambda path: path.write_text(card, encoding="utf-8"))


def _metrics(run: Path) -> dict[str, Any]:
    """A run's metrics, with its steps."""
    records = map(json.loads, (run / "train_log.jsonl").read_text(encoding="utf-8").splitlines())
    return read_json_object(run / "metrics.json") | {"steps": max(record.get("step", 0) for record in records)}


_NAMES = {"bert": "BERT", "albert": "ALBERT", "roberta": "RoBERTa"}


def _card(name: str, model: PretrainingModel, runs: Sequence[dict[str, Any]]) -> str:
    config, last = model.config, runs[-1]
    figures, data = last["final"]["dev"], last["data"]
    epochs = [run["settings"]["epochs"] for run in runs]
    passes = f"{sum(epochs)} epochs in runs of {' and '.join(map(str, epochs))}" if runs[1:] else f"epochs: {epochs[0]}"
    minutes = sum(run["resources"]["train_seconds"] for run in runs) / 60
    objective = {
        "bert": "masked words and next sentence",
        "albert": "masked n-grams and sentence order",
        "roberta": "masked words of text without a break",
    }[config.model_type]
    layers = config.num_hidden_layers
    shape = f"one layer, used {layers} times," if config.model_type == "albert" else f"{layers} layers"
    pairs = f"; pairs told right: {figures['pair_accuracy']:.1%}" if "pair_accuracy" in figures else ""
    commands = "\n".join(
        shlex.join(["python", "-m", "tasks.pretraining", *arguments])
        for arguments in _runs(config.model_type, Path("WORK"))
    )
    return f"""---
license: cc-by-sa-4.0
language: [zh, en]
pipeline_tag: fill-mask
---

# {name}

A very small {_NAMES[config.model_type]} for Simplified and Traditional Chinese and English, which minibert's tasks
start from where no `--weights` are named. For real use take an official checkpoint.

- **Shape**: {shape} of width {config.hidden_size}, {config.num_attention_heads} heads,
  embeddings of width {config.embedding_size}, {config.vocab_size:,} tokens, {config.max_length} positions;
  {sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M parameters in half precision.
- **Objective**: {objective}.
- **Training**: {passes}, from counts of the text on, over
  {data["train"]["documents"]:,} documents ({data["train"]["characters"]:,} characters);
  {sum(run["steps"] for run in runs):,} steps of {last["settings"]["batch_size"]} sequences, {minutes:.0f} minutes on
  {last["device"]}, {last["finished"][:10]}, torch {last["versions"]["torch"]}. Without dropout; the config has that of
  fine-tuning.
- **Figures** on {data["dev"]["documents"]} documents held out: masked words told right
  {figures["masked_accuracy"]:.1%}, perplexity {figures["perplexity"]:.1f}{pairs}.

## Corpus and licence

Articles of the Chinese and the English Wikipedia (CC BY-SA 3.0 and 4.0, by their contributors, at
https://zh.wikipedia.org and https://en.wikipedia.org), contexts of CMRC 2018's trial set (CC BY-SA 4.0), prose of the
Chinese edition of Dive into Deep Learning (Apache-2.0), and laws of Taiwan, in Chinese and English, and of the PRC
(outside copyright). The paragraphs of DRCD's development set and the old books of the same corpus were left out. This
model may be used under CC BY-SA 4.0.

## The command

```
python -m tools.make_bundled_weights {config.model_type} --corpus CORPUS --work WORK
```

which chooses the text, trains the tokenizer, and runs

```
{commands}
```
"""


if __name__ == "__main__":
    sys.exit(main())
