"""Makes the small pre-trained models in weights/ from a bilingual corpus.

    python tools/make_bundled_weights.py bert --corpus FOLDER --work FOLDER

The corpus folder holds zh.txt.gz, en.txt.gz (a paragraph a line, a blank line between documents) and attribution.tsv.gz
(file and source of each document, in order). In the work folder appear the chosen text, the tokenizer, the model to
start from (see counted_start.py) and the run of tasks.pretraining; what is there already is used again, and a run that
was stopped goes on. In weights/ARCH-tiny: the model in half precision, its tokenizer, and its card.
"""

import argparse
import dataclasses
import gzip
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from minibert import EncoderConfig, PretrainingModel, Tokenizer
from minibert.errors import InputError
from minibert.files import read_json_object, write_whole
from tasks import pretraining
from tasks.corpus import read_corpus, tokenise
from tasks.model import SMALL_SHAPES
from tools.counted_start import start_from_counts
from tools.train_tokenizer import train

WEIGHTS = Path(__file__).parents[1] / "weights"

# DRCD's paragraphs serve as test data; the books are of another age.
LEFT_OUT = ("drcd-dev", "books")
VOCABULARY = 12_000
# Chinese ALBERTs have WordPiece, as BERT.
TOKENIZERS = {"bert": "wordpiece", "albert": "wordpiece", "roberta": "bpe"}

# So little training does not overfit.
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SEED = 42
TRAINING = [
    *("--dev-share", "0.005", "--epochs", "1", "--batch-size", "8", "--lr", "1e-3"),
    *("--precision", "bf16", "--save-minutes", "10"),
]


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
    start = work / f"start-{arch}"
    if not start.exists():
        make_start(arch, Tokenizer.from_pretrained(tokenizer), texts, start)
    run = pretraining.main([*_arguments(arch, work), "--resume"])
    assert run is not None
    export(run, WEIGHTS / f"{arch}-tiny")


def make_start(arch: str, tokenizer: Tokenizer, texts: Sequence[str], folder: Path) -> None:
    """Writes the model that pre-training starts from, and its tokenizer."""
    torch.manual_seed(SEED)
    model = PretrainingModel(
        EncoderConfig.from_dict({
            **SMALL_SHAPES[arch],
            **NO_DROPOUT,
            "model_type": arch,
            "vocab_size": tokenizer.vocab_size,
            "pad_token_id": tokenizer.pad_token_id,
        })
    )  # fmt: skip
    stream = tokenise(read_corpus(texts).items, tokenizer, separator=tokenizer.sep_token_id)
    start_from_counts(model, stream.ids, SEED)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def _arguments(arch: str, work: Path) -> list[str]:
    return [
        *("--arch", arch, "--corpus", f"{work}/zh.txt", f"{work}/en.txt"),
        *("--weights", f"{work}/start-{arch}", "--out", f"{work}/run-{arch}", *TRAINING),
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


def export(run: Path, folder: Path) -> None:
    """Writes the model of a run in half precision, with the dropout of fine-tuning, its tokenizer, and its card."""
    model, tokenizer = PretrainingModel.from_pretrained(run), Tokenizer.from_pretrained(run)
    if model.config.model_type != "albert":  # ALBERT's later versions are fine-tuned without dropout, too
        model.config = dataclasses.replace(model.config, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card = _card(folder.name, model, read_json_object(run / "metrics.json"))
    write_whole(folder / "README.md", lambda path: path.write_text(card, encoding="utf-8"))


def _card(name: str, model: PretrainingModel, metrics: dict[str, Any]) -> str:
    config, figures, data = model.config, metrics["final"]["dev"], metrics["data"]
    objective = {
        "bert": "masked words and next sentence",
        "albert": "masked n-grams and sentence order",
        "roberta": "masked words of text without a break",
    }[config.model_type]
    shared = "one shared layer, applied" if config.model_type == "albert" else "layers:"
    pairs = f"; pairs told right: {figures['pair_accuracy']:.1%}" if "pair_accuracy" in figures else ""
    return f"""---
license: cc-by-sa-4.0
language: [zh, en]
pipeline_tag: fill-mask
---

# {name}

A very small {config.model_type.upper()} for Simplified and Traditional Chinese and English, which minibert's tasks
start from where no `--weights` are named. For real use take an official checkpoint.

- **Shape**: {shared} {config.num_hidden_layers} of width {config.hidden_size}, {config.num_attention_heads} heads,
  embeddings of width {config.embedding_size}, {config.vocab_size:,} tokens, {config.max_length} positions;
  {sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M parameters in half precision.
- **Objective**: {objective}.
- **Training**: passes: {metrics["settings"]["epochs"]}, over {data["train"]["documents"]:,} documents
  ({data["train"]["characters"]:,} characters), {metrics["settings"]["batch_size"]} sequences a step, on
  {metrics["device"]}, {metrics["resources"]["train_seconds"] / 60:.0f} minutes, {metrics["finished"][:10]}, torch
  {metrics["versions"]["torch"]}. Without dropout; the config has that of fine-tuning.
- **Figures** on {data["dev"]["documents"]} documents held out: masked words told right
  {figures["masked_accuracy"]:.1%}, perplexity {figures["perplexity"]:.1f}{pairs}.

## Corpus and licence

Articles of the Chinese and the English Wikipedia (CC BY-SA 3.0 and 4.0, by their contributors, at
https://zh.wikipedia.org and https://en.wikipedia.org), contexts of CMRC 2018's trial set (CC BY-SA 4.0), prose of the
Chinese edition of Dive into Deep Learning (Apache-2.0), and laws of Taiwan, in Chinese and English, and of the PRC
(outside copyright). The paragraphs of DRCD's development set, which the same corpus holds, were left out. This model
may be used under CC BY-SA 4.0.

## The command

```
python tools/make_bundled_weights.py {config.model_type} --corpus CORPUS --work WORK
```

which chooses the text, trains the tokenizer, makes the model to start from out of counts, and runs

```
{shlex.join(["python", "-m", "tasks.pretraining", *_arguments(config.model_type, Path("WORK"))])}
```
"""


if __name__ == "__main__":
    sys.exit(main())
