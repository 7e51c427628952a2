"""What is measured: the sizes of models, sequences with realistic lengths, their batches, and their cost in operations.

The benchmarks share the options of :func:`add_options`, which :func:`read_workload` turns into a :class:`Workload`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minibert import EncoderConfig, TokenClassifier
from minibert.errors import InputError
from minibert.training import choose_device, choose_precision
from minibert.training.data import split_by_tokens
from minibert.training.precision import DTYPES
from tasks.ner.data import read_ner

Ids = npt.NDArray[np.int64]

_LABELS = ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")
_NUM_SPECIAL_TOKENS = 2  # added to the lengths in a file, which are of texts
_FIRST_WORD = 5  # lower ids are special tokens in all families


def _shape(layers: int, hidden: int, heads: int, intermediate: int | None = None) -> dict[str, int]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": intermediate or 4 * hidden,
    }


_FAMILIES: dict[str, dict[str, int]] = {
    "bert": {"vocab_size": 21128},
    "albert": {"vocab_size": 30000, "embedding_size": 128},
    "roberta": {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1},
}
# Published sizes; "trial" is for tests of the benchmarks.
SIZES: dict[str, dict[str, dict[str, int]]] = {
    "bert": {
        "trial": _shape(2, 32, 2),
        "tiny": _shape(2, 128, 2),
        "minilm": _shape(6, 384, 12),
        "base": _shape(12, 768, 12),
        "large": _shape(24, 1024, 16),
    },
    "albert": {
        "trial": _shape(2, 32, 2),
        "tiny": _shape(4, 312, 12),
        "base": _shape(12, 768, 12),
        "large": _shape(24, 1024, 16),
        "xlarge": _shape(24, 2048, 16),
        "xxlarge": _shape(12, 4096, 64),
    },
    "roberta": {
        "trial": _shape(2, 32, 2),
        "base": _shape(12, 768, 12),
        "large": _shape(24, 1024, 16),
    },
}


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model's shape and its input.

    Attributes:
        options: the command line's options, for the record.
        config: the model's shape.
        sequences: token ids, special tokens included, in order of arrival.
        batches: the sequences, split into batches.
        device, precision: where and how to compute (fp32, bf16 or fp16).
        seed: of the weights, ids and targets.
    """

    options: dict[str, Any]
    config: EncoderConfig
    sequences: list[Ids]
    batches: list[list[Ids]]
    device: torch.device
    precision: str
    seed: int

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.precision]

    @property
    def lengths(self) -> list[int]:
        return [len(sequence) for sequence in self.sequences]

    @property
    def padding(self) -> float:
        """The tokens of padded batches relative to real tokens."""
        return sum(len(batch) * max(map(len, batch)) for batch in self.batches) / sum(self.lengths)

    def sorted_batches(self) -> list[list[Ids]]:
        """Batches of the same sizes, made from all sequences sorted by length."""
        ordered = sorted(self.sequences, key=len)
        borders = [0, *accumulate(map(len, self.batches))]
        return [ordered[start:end] for start, end in pairwise(borders)]

    def random_model(self) -> TokenClassifier:
        """A token classifier on the CPU in fp32, initialised from the seed."""
        torch.manual_seed(self.seed)
        return TokenClassifier(self.config).eval()

    def random_targets(self) -> list[Ids]:
        """A label for each token of each sequence."""
        chance = np.random.default_rng(self.seed + 1)
        return [chance.integers(0, self.config.num_labels, length) for length in self.lengths]


def add_options(parser: argparse.ArgumentParser, *, lengths: str, sequences: int, batch: int = 32) -> None:
    """Adds the options of a workload, with a benchmark's own defaults for some of them."""
    add = parser.add_argument
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--arch", default="bert", choices=tuple(SIZES))
    add("--size", default="base", help="tiny, minilm, base, large, xlarge or xxlarge, if --arch has it")
    add("--precision", default="auto", choices=("auto", "fp32", "bf16", "fp16"), help="of all contenders")
    add(
        "--lengths",
        default=lengths,
        help="fixed:TOKENS; lognormal:MEDIAN,SIGMA in tokens; a file with the number of characters of a text on each "
        "line; or a file of labelled sentences, whose words are counted (default: %(default)s)",
    )
    add(
        "--sequences",
        type=int,
        default=sequences,
        help="number of sequences, from the start of a file (default: %(default)s)",
    )
    add("--batch", type=int, default=batch, help="sequences per batch (default: %(default)s)")
    add("--batch-tokens", type=int, default=None, help="maximal tokens per batch, instead of --batch")
    add("--seed", type=int, default=0, help="of weights, ids and random lengths")


def read_workload(options: argparse.Namespace) -> Workload:
    """Makes the workload of the options.

    Raises:
        InputError: there is no such size, device or precision, or the lengths cannot be read.
    """
    sizes = SIZES[options.arch]
    if options.size not in sizes:
        raise InputError(f"--size {options.size}: {options.arch} has {', '.join(sizes)}.")
    for name in ("sequences", "batch", "batch_tokens"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value}: must be 1 or more.")
    device = choose_device(options.device)
    shape = sizes[options.size]
    settings: dict[str, Any] = {
        "model_type": options.arch,
        **_FAMILIES[options.arch],
        **shape,
        "id2label": dict(enumerate(_LABELS)),
        # Larger than usual, so that every part of the model has a visible effect on the logits.
        "initializer_range": shape["hidden_size"] ** -0.5,
    }
    config = EncoderConfig(**settings)
    lengths = read_lengths(options.lengths, options.sequences, most=config.max_length, seed=options.seed)
    chance = np.random.default_rng(options.seed)
    sequences = [chance.integers(_FIRST_WORD, config.vocab_size, length) for length in lengths]
    return Workload(
        options=vars(options),
        config=config,
        sequences=sequences,
        batches=cut(sequences, size=options.batch, tokens=options.batch_tokens),
        device=device,
        precision=choose_precision(options.precision, device),
        seed=options.seed,
    )


def read_lengths(given: str, count: int, *, most: int, seed: int = 0) -> list[int]:
    """The lengths of ``count`` sequences, special tokens included, at most ``most`` each; fewer if a file has fewer.

    Args:
        given: the value of ``--lengths``.

    Raises:
        InputError: it has none of the accepted forms.
    """
    law, _, numbers = given.partition(":")
    if law in ("fixed", "lognormal") and not Path(given).exists():
        try:
            values = [float(number) for number in numbers.split(",")]
        except ValueError:
            values = []
        if len(values) != (1 if law == "fixed" else 2) or values[0] < 1 or (law == "fixed" and values[0] > most):
            raise InputError(
                f"--lengths {given}: write fixed:TOKENS, such as fixed:128, or lognormal:MEDIAN,SIGMA, such as "
                f"lognormal:28,0.6; this model accepts at most {most} tokens."
            )
        if law == "fixed":
            return [int(values[0])] * count
        drawn = np.random.default_rng(seed).lognormal(np.log(values[0]), values[1], count)
        return [int(length) for length in np.clip(np.round(drawn), 1 + _NUM_SPECIAL_TOKENS, most)]
    return [min(length + _NUM_SPECIAL_TOKENS, most) for length in _lengths_in(given)[:count]]


def _lengths_in(path: str) -> list[int]:
    """The numbers in a file, or the lengths of the labelled sentences in it."""
    try:
        rows = Path(path).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):  # read_ner reads .gz, and has a better message
        rows = []
    if rows and all(row.isdecimal() for row in rows):
        return [int(row) for row in rows]
    return [len(sentence.words) for sentence in read_ner(path).items]


def cut(sequences: Sequence[Ids], *, size: int, tokens: int | None = None) -> list[list[Ids]]:
    """Splits sequences, in order, into batches of ``size`` sequences, or of at most ``tokens`` tokens (but at least one
    sequence)."""
    if tokens is None:
        return [list(sequences[start : start + size]) for start in range(0, len(sequences), size)]
    return [list(sequences[run]) for run in split_by_tokens([len(sequence) for sequence in sequences], tokens)]


def padded(sequences: Sequence[Ids], fill: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Sequences padded to the longest: ids and attention mask, ``(B, S)``."""
    lengths = np.array([len(sequence) for sequence in sequences])
    real = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(real.shape, fill)
    ids[real] = np.concatenate(sequences)
    mask = torch.from_numpy(real.astype(np.int64))
    return torch.from_numpy(ids).to(device, non_blocking=True), mask.to(device, non_blocking=True)


def layer_weights(config: EncoderConfig) -> int:
    """The number of weights in the layers' matrices; layers of ALBERT that share their weights count once."""
    per_layer = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    return config.num_hidden_groups * config.inner_group_num * per_layer


def operations(config: EncoderConfig, lengths: Sequence[int]) -> float:
    """Multiplications and additions of a forward pass over real tokens, counting only the layers' matrix products.

    For one sequence of s tokens ``F(s) = L (4 h^2 + 2 h i) 2 s + 4 L s^2 h``, with L layers, hidden size h and
    intermediate size i: four projections, two feed-forward maps, attention scores and their weighted sum. A training
    step costs 3 F.
    """
    layers, hidden = config.num_hidden_layers * config.inner_group_num, config.hidden_size
    per_token = 2 * layers * (4 * hidden**2 + 2 * hidden * config.intermediate_size)
    return float(sum(per_token * s + 4 * layers * s**2 * hidden for s in lengths))
