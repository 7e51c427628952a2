"""Converts checkpoints between Hugging Face's format, Google's (BERT and ALBERT) and fairseq's (RoBERTa).

    python tools/convert_weights.py SRC DST                        # a folder for this project and for Hugging Face
    python tools/convert_weights.py SRC DST --to google            # and back
    python tools/convert_weights.py SRC DST --verify               # and compare the logits with transformers

SRC is a folder or a hub name; format and architecture are detected from its files and tensors, never from its name.
DST must be new or empty. The exit status is 0 if every tensor is accounted for; otherwise it is 2, with one sentence
that says why, and nothing is written.
"""

import argparse
import inspect
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minibert.batch import from_padded
from minibert.checkpoint import open_checkpoint
from minibert.config import HIDDEN_ACTS
from minibert.errors import InputError
from minibert.families import FAMILIES, OWN_HEADS
from minibert.formats.conversion import convert
from minibert.formats.source import FORMATS, MODELS, ConversionSource, open_source
from tasks.run.arguments import ArgumentParser
from tasks.run.console import run_main
from tasks.run.streams import say

SCRIPT = "python tools/convert_weights.py"

_TOLERANCE = 1e-5  # relative to the largest value, or absolute if that is below 1
_LENGTHS = ((1, 9, 24, 5), (16, 2), (31,))  # of the sequences in each batch, cut to the model's positions

_PART_OF = {"pooler outputs": "pooler.", "pair logits": "pair."}  # parameters that only this output depends on


def main(argv: Sequence[str] | None = None, *, program: str = SCRIPT) -> int:
    """Runs the command, under the name that ``program`` gives it; returns its exit status."""
    arguments = _parser(program).parse_args(argv)
    try:
        source = open_source(
            arguments.source, arch=arguments.arch, hidden_act=arguments.hidden_act, head=arguments.head
        )
        if arguments.verify and source.format != "huggingface":
            raise InputError(
                f"--verify: {source.folder} is in {source.format} format, which transformers cannot read, so there is "
                "nothing to compare with; leave --verify out."
            )
        report = convert(source, arguments.destination, to=arguments.to, tokenizer=not arguments.no_tokenizer)
        differences = verify(source, Path(report.destination)) if arguments.verify else None
    except (InputError, OSError) as error:
        say(f"error: {error}", error=True)
        return 2
    if arguments.json:
        print(json.dumps({**report.to_dict(), "verified": differences}, ensure_ascii=False))
    else:
        say(str(report))
        for name, difference in (differences or {}).items():
            say(f"verified: {name} differ from transformers' by {difference:.1e} at most")
    return 0


def _parser(program: str) -> ArgumentParser:
    about, _, details = (__doc__ or "").replace(SCRIPT, program).partition("\n\n")
    parser = ArgumentParser(
        prog=program, description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="SRC", help="a folder, or a name on the hub")
    parser.add_argument("destination", metavar="DST", help="the folder to write")
    parser.add_argument("--to", choices=FORMATS, default="huggingface")
    parser.add_argument(
        "--arch", choices=tuple(FAMILIES), help="the family that you expect; if it is another, the report says why"
    )
    parser.add_argument(
        "--hidden-act",
        choices=HIDDEN_ACTS,
        help="the activation, if the settings are wrong: gelu is the erf form, gelu_new the tanh form",
    )
    parser.add_argument(
        "--head", metavar="NAME", help="the fairseq classification head to convert, in place of the language head"
    )
    parser.add_argument("--no-tokenizer", action="store_true", help="convert the weights alone")
    parser.add_argument("--verify", action="store_true", help="compare with the outputs of transformers on SRC")
    parser.add_argument("--json", action="store_true", help="print the report as one line of JSON")
    return parser


def verify(source: ConversionSource, result: Path) -> dict[str, float]:
    """Compares what transformers computes from a source with what minibert computes from the result.

    A CRF and the mean of a sequence have no counterpart in transformers; the emissions and the hidden states are
    compared.

    Returns:
        The largest absolute difference of each output, in fp32 over batches of several lengths; of the encoder's alone
        where transformers has no such head (the mean of all tokens, n-gram scores).

    Raises:
        InputError: transformers is not installed, or the outputs differ by more than rounding.
    """
    try:
        import transformers  # an optional extra, which takes seconds to import
    except ImportError:
        raise InputError("--verify needs transformers: pip install transformers; the result is written.") from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    head = source.table.head
    architecture = source.architecture
    if head in OWN_HEADS or source.config.ngram_buckets:
        head = OWN_HEADS[head] if head.startswith("Crf") else "Model"
        architecture = source.config.family.class_of(head)
    theirs = getattr(transformers, architecture).from_pretrained(source.folder, dtype=torch.float32).eval()
    with tempfile.TemporaryDirectory() as temporary:
        folder = result
        if not (result / "config.json").is_file():
            folder = Path(temporary) / "back"
            convert(open_source(result), folder)
        ours, loaded = open_checkpoint(folder).load(MODELS[head])
    # Parts that the result's format cannot store, such as a pooler in fairseq's; the report lists them.
    at_random = {output for output in _PART_OF if any(_PART_OF[output] in name for name in loaded.newly_initialised)}
    differences: dict[str, float] = {}
    for seed, lengths in enumerate(_LENGTHS):
        batch = _batch([min(length, source.config.max_length) for length in lengths], source, seed)
        with torch.no_grad():
            expected = _their_outputs(theirs, batch, architecture)
            found = _our_outputs(ours(from_padded(*batch.values())))
        for name in found.keys() & expected.keys() - at_random:
            difference = (found[name] - expected[name]).abs().max().item()
            differences[name] = max(difference, differences.get(name, 0.0))
            if not difference <= _TOLERANCE * max(1.0, expected[name].abs().max().item()):  # not, for NaN
                raise InputError(
                    f"{result}: its {name} differ from those that transformers computes from {source.folder}, by "
                    f"{difference:.1e}; do not use it."
                )
    return differences


def _batch(lengths: list[int], source: ConversionSource, seed: int) -> dict[str, Tensor]:
    """Random sequences ``(B, S)``, padded on the right, without the padding token inside."""
    config = source.config
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    mask = (torch.arange(shape[1]) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(config.vocab_size - 1, shape, generator=generator)
    ids += ids >= config.pad_token_id
    types = torch.randint(max(config.type_vocab_size, 1), shape, generator=generator)
    return {
        "input_ids": ids.where(mask.bool(), config.pad_token_id),
        "attention_mask": mask,
        "token_type_ids": types * mask,
    }


def _their_outputs(model: Any, batch: dict[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """The outputs of a transformers model, without padding: ``(T, ...)`` for tokens, ``(B, ...)`` for sequences."""
    real = batch["attention_mask"].bool()
    if architecture.endswith("ForMultipleChoice"):  # each sequence is a question with a single choice
        batch = {name: value[:, None] for name, value in batch.items()}
    accepted = inspect.signature(model.forward).parameters
    values = dict(model(**{name: value for name, value in batch.items() if name in accepted}))
    if "start_logits" in values:
        values["logits"] = torch.stack([values["start_logits"], values["end_logits"]], dim=-1)
    if architecture.endswith("ForNextSentencePrediction"):
        return {"pair logits": values["logits"]}
    if architecture.endswith("ForMultipleChoice"):
        return {"logits": values["logits"][:, 0]}
    per_token = {"last_hidden_state": "hidden states", "prediction_logits": "logits", "logits": "logits"}
    per_sequence = {
        "pooler_output": "pooler outputs", "seq_relationship_logits": "pair logits", "sop_logits": "pair logits",
    }  # fmt: skip
    if architecture.endswith("ForSequenceClassification"):
        per_sequence["logits"] = per_token.pop("logits")
    found = {name: values[key][real] for key, name in per_token.items() if values.get(key) is not None}
    return found | {name: values[key] for key, name in per_sequence.items() if values.get(key) is not None}


def _our_outputs(output: Any) -> dict[str, Tensor]:
    if isinstance(output, Tensor):
        return {"logits": output}
    if isinstance(output, tuple):
        found = {"logits": output[0], "pair logits": output[1]}
    else:
        found = {"hidden states": output.last_hidden_state, "pooler outputs": output.pooler_output}
    return {name: value for name, value in found.items() if value is not None}


if __name__ == "__main__":
    run_main(lambda: sys.exit(main()))
