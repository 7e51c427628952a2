"""Multiple choice: ``python -m tasks.multiple_choice --arch bert``.

Each choice is a sequence of its own, ``[CLS] context [SEP] question choice [SEP]``, and gets a score; a softmax over
the scores of a question's choices tells the right one (Radford et al. 2018, section 3.3). The sequences lie end to end,
so choices may differ in length and questions in their number of choices.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from minibert import EncoderConfig, MultipleChoiceClassifier, Tokenizer
from minibert.errors import InputError
from minibert.training import LabelledBatch
from tasks.classification.examples import cut_to_fit
from tasks.data import Encoded, ErrorCase, GroupExample, Split
from tasks.multiple_choice.data import Question, parse_question, read_choices
from tasks.multiple_choice.settings import MultipleChoiceSettings
from tasks.read.records import read_options
from tasks.task import Task

Floats = npt.NDArray[np.float32]  # the probabilities of a question's choices


_BLOCK = 1000
"""Questions that are tokenised at a time."""


class MultipleChoiceTask(Task[Question, GroupExample, Floats]):
    """The right answer among several."""

    name = "multiple_choice"
    unit = "right choice"
    settings_class = MultipleChoiceSettings
    model_class = MultipleChoiceClassifier
    example_class = GroupExample
    _top_k: int | None = None

    def read(self, path: str) -> Split[Question]:
        known = self.settings.first_number  # that of the training data, which is read first
        split = read_choices(path, read_options(self.settings), first_number=known)
        first_number = split.notes.get("choices_numbered_from", known)
        self.settings = replace(self.settings, first_number=first_number)
        return split

    def texts(self, item: Question) -> list[str]:
        return [text for text in (item.context, item.question, *item.choices) if text]

    def labels_of(self, item: Question) -> Iterable[str]:
        return [self.unit]

    def group(self, item: Question) -> str:
        return item.context or item.question

    def describe(self, split: Split[Question]) -> dict[str, Any]:
        return {"questions": len(split.items), "choices": sum(len(item.choices) for item in split.items)}

    def labels(self, train: Split[Question]) -> None:
        return None

    def known_labels(self, model: nn.Module) -> None:
        return None

    def encode(self, items: Sequence[Question], tokenizer: Tokenizer, config: EncoderConfig) -> Encoded[GroupExample]:
        """The notes count unknown tokens, choices whose sequence was cut to fit, and the tokens cut off."""
        most = self.settings.max_length or config.max_length
        room = most - tokenizer.num_special_tokens(pair=True)
        if room < 2:
            raise InputError(f"--max-length {most}: too short for a pair of texts; raise it by {2 - room}.")
        examples = []
        notes: Counter[str] = Counter()
        for item, first, seconds in _tokenised(items, tokenizer):
            sequences = []
            for second in seconds:
                kept, kept_second = cut_to_fit(first, second, room)
                lost = len(first) + len(second) - len(kept) - len(kept_second or [])
                notes.update(cut_choices=lost > 0, cut_tokens=lost)
                sequences.append(tokenizer.with_special_tokens(kept, kept_second))
            examples.append(GroupExample.join(sequences, target=item.label or 0, line=item.line))
            notes["unknown_tokens"] += int((examples[-1].ids == tokenizer.unk_token_id).sum())
        return Encoded(examples=examples, counts=[1] * len(examples), notes=notes)

    def decode(
        self, model: nn.Module, logits: Tensor, batch: LabelledBatch, examples: Sequence[GroupExample]
    ) -> list[Floats]:
        rows = batch.by_example(logits).softmax(-1).cpu().numpy()
        return [row[: len(example.lengths)] for row, example in zip(rows, examples, strict=True)]

    def outputs(self, model: nn.Module, items: Sequence[Question], decoded: Sequence[Sequence[Floats]]) -> list[Floats]:
        return [probabilities for (probabilities,) in decoded]

    def compute_metrics(self, items: Sequence[Question], outputs: Sequence[Floats]) -> dict[str, float]:
        return {"accuracy": float(np.mean([item.label == o.argmax() for item, o in zip(items, outputs, strict=True)]))}

    def warnings(self, items: Sequence[Question], metrics: Mapping[str, float]) -> list[str]:
        guess = float(np.mean([1 / len(item.choices) for item in items]))
        if metrics["accuracy"] >= guess + 2 * (guess * (1 - guess) / len(items)) ** 0.5:
            return []
        return [f"Accuracy {metrics['accuracy']:.4f} is not clearly better than guessing, {guess:.4f}."]

    def label_pairs(self, item: Question, output: Floats) -> Iterable[tuple[str, str]]:
        return [(str(item.label), str(output.argmax()))]

    def error_case(self, split: Split[Question], item: Question, output: Floats, loss: float) -> ErrorCase | None:
        case = super().error_case(split, item, output, loss)
        gold, predicted = item.choices[item.label or 0], item.choices[output.argmax()]
        return case and replace(case, place=f"{split.path}, {item.where}", gold=gold, predicted=predicted)

    def prediction_record(self, item: Question, output: Floats) -> dict[str, Any]:
        return {"gold": item.label, "predicted": int(output.argmax()), "probabilities": output.tolist()}

    def parse_input(self, record: Mapping[str, Any], place: str) -> Question:
        return parse_question(record, place)

    def set_top_k(self, top_k: int) -> None:
        self._top_k = top_k

    def format_answer(self, item: Question, output: Floats) -> dict[str, Any]:
        """The likeliest choice, and the probabilities of all in their order; or the ``top_k`` likeliest."""
        ranked = [
            {"answer": item.choices[choice], "label": choice, "probability": float(output[choice])}
            for choice in np.argsort(-output, kind="stable").tolist()
        ]
        if self._top_k is not None:
            return {**ranked[0], "answers": ranked[: self._top_k]}
        return {**ranked[0], "probabilities": output.tolist()}


def _tokenised(
    items: Sequence[Question], tokenizer: Tokenizer
) -> Iterator[tuple[Question, list[int], list[list[int]]]]:
    """The ids of each question's first segment, and of each of its choices."""
    for start in range(0, len(items), _BLOCK):
        block = items[start : start + _BLOCK]
        firsts = tokenizer.encode_batch([item.context or item.question for item in block])
        seconds = iter(tokenizer.encode_batch([item.with_choice(choice) for item in block for choice in item.choices]))
        for item, first in zip(block, firsts, strict=True):
            yield item, first, [next(seconds) for _ in item.choices]
