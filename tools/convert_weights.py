"""Converts a checkpoint of BERT, ALBERT or RoBERTa between Hugging Face's, Google's and fairseq's formats.

    python tools/convert_weights.py SRC DST                        # a folder for this project and for Hugging Face
    python tools/convert_weights.py SRC DST --to google            # and back
    python tools/convert_weights.py SRC DST --verify               # and compare the logits with transformers

SRC is a folder or a hub name; what is in it is told by its files and tensors, never by its name. DST must be new or
empty. The exit status is 0 where every tensor was accounted for, and 2, with one sentence and nothing written, where
not.
"""

import argparse
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
from minibert.families import FAMILIES
from minibert.formats.conversion import convert
from minibert.formats.source import FORMATS, MODELS, ConversionSource, open_source

SCRIPT = "python tools/convert_weights.py"

_TOLERANCE = 1e-5  # of the largest value, and no less than this
_LENGTHS = ((1, 9, 24, 5), (16, 2), (31,))  # of the sequences in each batch, where the model has so many positions

_PART_OF = {"pooler outputs": "pooler.", "pair logits": "pair."}  # the parameters that an output alone needs


def main(argv: Sequence[str] | None = None, *, program: str = SCRIPT) -> int:
    """Runs the command, under the name that ``program`` gives it; returns its exit status."""
    arguments = _parser(program).parse_args(argv)
    try:
        source = open_source(
            arguments.source, arch=arguments.arch, hidden_act=arguments.hidden_act, head=arguments.head
        )
        if arguments.verify and source.format != "huggingface":
            raise InputError(
                f"--verify: {source.folder} is {source.format}'s, which transformers does not read; there is nothing "
                "to compare with. Leave --verify out."
            )
        report = convert(source, arguments.destination, to=arguments.to)
        differences = verify(source, Path(report.destination)) if arguments.verify else None
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps({**report.to_dict(), "verified": differences}, ensure_ascii=False))
    else:
        print(report)
        for name, difference in (differences or {}).items():
            print(f"verified: {name} differ from transformers' by {difference:.1e} at most")
    return 0


def _parser(program: str) -> argparse.ArgumentParser:
    about, _, details = (__doc__ or "").replace(SCRIPT, program).partition("\n\n")
    parser = argparse.ArgumentParser(
        prog=program, description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="SRC", help="a folder, or a name on the hub")
    parser.add_argument("destination", metavar="DST", help="the folder to make")
    parser.add_argument("--to", choices=FORMATS, default="huggingface")
    parser.add_argument("--arch", choices=tuple(FAMILIES), help="what you believe it is; says why where it is not")
    parser.add_argument(
        "--hidden-act",
        choices=HIDDEN_ACTS,
        help="the activation, where the settings do not say it rightly: gelu is the erf form, gelu_new the tanh form",
    )
    parser.add_argument("--head", metavar="NAME", help="take this classification head of fairseq's, not the language's")
    parser.add_argument("--verify", action="store_true", help="compare with what transformers computes from SRC")
    parser.add_argument("--json", action="store_true", help="print the report as one line of JSON")
    return parser


def verify(source: ConversionSource, result: Path) -> dict[str, float]:
    """Compares what transformers computes from a source with what minibert computes from the result.

    Returns:
        The largest absolute difference of each output, in fp32 over some ragged batches.

    Raises:
        InputError: there is no transformers, or they differ by more than rounding.
    """
    try:
        import transformers  # an extra
    except ImportError:
        raise InputError("--verify needs transformers: pip install transformers; the result is written.") from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    theirs = getattr(transformers, source.architecture).from_pretrained(source.folder, dtype=torch.float32).eval()
    with tempfile.TemporaryDirectory() as temporary:
        folder = result
        if not (result / "config.json").is_file():
            folder = Path(temporary) / "back"
            convert(open_source(result), folder)
        ours, loaded = open_checkpoint(folder).load(MODELS[source.table.head])
    # What the format of the result has no place for, such as a pooler in fairseq's, the report has said.
    at_random = {output for output in _PART_OF if any(_PART_OF[output] in name for name in loaded.newly_initialised)}
    differences: dict[str, float] = {}
    for seed, lengths in enumerate(_LENGTHS):
        batch = _batch([min(length, source.config.max_length) for length in lengths], source, seed)
        with torch.no_grad():
            expected = _named(theirs(**batch), batch["attention_mask"].bool())
            found = ours(from_padded(*batch.values()))
        for name, value in _unpacked(found).items():
            if name not in expected or name in at_random:
                continue
            difference = (value - expected[name]).abs().max().item()
            differences[name] = max(difference, differences.get(name, 0.0))
            if not difference <= _TOLERANCE * max(1.0, expected[name].abs().max().item()):  # not, for NaN
                raise InputError(
                    f"{result}: its {name} differ from those that transformers computes from {source.folder}, by "
                    f"{difference:.1e}; do not use it."
                )
    return differences


def _batch(lengths: list[int], source: ConversionSource, seed: int) -> dict[str, Tensor]:
    """Random sequences, padded on the right, without the padding token inside."""
    config = source.config
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    mask = (torch.arange(shape[1]) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(config.vocab_size - 1, shape, generator=generator)
    ids += ids >= config.pad_token_id
    types = torch.randint(config.type_vocab_size, shape, generator=generator)
    return {
        "input_ids": ids.where(mask.bool(), config.pad_token_id),
        "attention_mask": mask,
        "token_type_ids": types * mask,
    }


def _named(output: Any, real: Tensor) -> dict[str, Tensor]:
    """The outputs of a transformers model, without those of padding."""
    values = dict(output)
    if "start_logits" in values:
        values["logits"] = torch.stack([values["start_logits"], values["end_logits"]], dim=-1)
    names = {
        "last_hidden_state": "hidden states",
        "pooler_output": "pooler outputs",
        "prediction_logits": "logits",
        "logits": "logits",
        "seq_relationship_logits": "pair logits",
        "sop_logits": "pair logits",
    }
    return {
        names[key]: value[real] if value.dim() == 3 else value
        for key, value in values.items()
        if key in names and value is not None
    }


def _unpacked(output: Any) -> dict[str, Tensor]:
    """The outputs of a model of ours."""
    if isinstance(output, Tensor):
        return {"logits": output}
    if isinstance(output, tuple):
        found = {"logits": output[0], "pair logits": output[1]}
    else:
        found = {"hidden states": output.last_hidden_state, "pooler outputs": output.pooler_output}
    return {name: value for name, value in found.items() if value is not None}


if __name__ == "__main__":
    sys.exit(main())
