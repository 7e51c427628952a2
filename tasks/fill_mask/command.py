"""The words that a model predicts for a mask: ``python -m tasks.fill_mask RUN_OR_WEIGHTS "臺北是[MASK]灣的首都"``."""

from collections.abc import Sequence

from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from tasks.fill_mask.arguments import parser
from tasks.fill_mask.task import FillMaskSettings, FillMaskTask
from tasks.run.predictor import Predictor
from tasks.run.streams import say


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the likeliest words for each mask.

    Raises:
        InputError: the model or the text cannot be used.
    """
    options = parser().parse_args(argv)
    if options.top < 1:
        raise InputError(f"--top {options.top}: must be 1 or more.")
    task = FillMaskTask(FillMaskSettings())
    predictor = Predictor.load(task, open_checkpoint(options.run), device="auto")
    (answer,) = predictor.answer([task.parse_input({"text": options.text, "top_k": options.top}, "TEXT")])
    for number, mask in enumerate(answer["masks"], start=1):
        say(f"mask {number}")
        for word in mask["words"]:
            say(f"  {word['probability']:6.1%}  {word['text']}")
