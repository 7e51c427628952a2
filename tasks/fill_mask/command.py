"""The words that a model predicts for a mask: ``python -m tasks.fill_mask RUN_OR_WEIGHTS "臺北是[MASK]灣的首都"``."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from minibert import PretrainingModel, Tokenizer, pack
from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from tasks.cloze.settings import MASK
from tasks.fill_mask.arguments import parser
from tasks.run.start_model import require_trained_head
from tasks.run.streams import say


class Candidate(NamedTuple):
    """A token as text, and its probability."""

    text: str
    probability: float


def load(path: str) -> tuple[PretrainingModel, Tokenizer]:
    """The model and tokenizer of a pre-training run or a checkpoint.

    Raises:
        InputError: it cannot be used, or has no trained head for masked words.
    """
    checkpoint = open_checkpoint(path)
    model, report = checkpoint.load(PretrainingModel)
    require_trained_head(report, path)
    checkpoint.require_whole_head(model, report)
    return model, checkpoint.tokenizer


@torch.inference_mode()
def fill(model: PretrainingModel, tokenizer: Tokenizer, text: str, *, top: int) -> list[list[Candidate]]:
    """The likeliest tokens for each mask of a text, independently.

    Raises:
        InputError: the text has no mask, or is too long for the model.
    """
    ids = torch.tensor(tokenizer.with_special_tokens(tokenizer.encode(_with_mask_of(tokenizer, text)).ids)[0])
    positions = (ids == tokenizer.mask_token_id).nonzero().flatten()
    if not len(positions):
        raise InputError(
            f"TEXT: holds no {tokenizer.special_tokens['mask']} to fill; write it where a word is missing."
        )
    if len(ids) > model.config.max_length:
        raise InputError(
            f"TEXT: has {len(ids)} tokens, and the model has positions for {model.config.max_length}; shorten it."
        )
    words, _ = model(pack([ids.tolist()]), positions)
    # An embedding may have more rows than the tokenizer has tokens.
    probabilities, tokens = words.softmax(-1)[:, : tokenizer.vocab_size].topk(min(top, tokenizer.vocab_size))
    return [
        [Candidate(tokenizer.decode([token]), value) for token, value in zip(*row, strict=True)]
        for row in zip(tokens.tolist(), probabilities.tolist(), strict=True)
    ]


def _with_mask_of(tokenizer: Tokenizer, text: str) -> str:
    return MASK.sub(lambda _: tokenizer.special_tokens["mask"], text)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the likeliest words for each mask.

    Raises:
        InputError: the model or the text cannot be used.
    """
    options = parser().parse_args(argv)
    if options.top < 1:
        raise InputError(f"--top {options.top}: must be 1 or more.")
    for number, candidates in enumerate(fill(*load(options.run), options.text, top=options.top), start=1):
        say(f"mask {number}")
        for candidate in candidates:
            say(f"  {candidate.probability:6.1%}  {candidate.text}")
