"""Sentence classification: ``python -m tasks.classification --arch bert``.

One text or a pair of texts; one label of several, several labels at once, or a number. The head is a linear map over
the pooled first token.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor, nn

from minibert import EncoderConfig, SequenceClassifier, Tokenizer
from minibert.checkpoint import Pretrained
from minibert.errors import InputError
from minibert.training import Divergence, LabelledBatch, class_divergence
from tasks.classification.baseline import linear_baseline
from tasks.classification.data import LabelledText, count_oddities, parse_cleanups, read_texts, text_fields
from tasks.classification.scores import in_words, text_metrics, text_scores
from tasks.classification.settings import ClassificationSettings
from tasks.classification.weighted import weighted_text_metrics
from tasks.data import Details, Encoded, ErrorCase, Split, worst
from tasks.statistics import Figures
from tasks.task import Task, label_names

Floats = npt.NDArray[np.float32]

# Hugging Face's names for the kinds, as in config.json.
_PROBLEM_TYPES = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}
_SHOWN_LABELS = 20
SCORE = "score"  # the name of a regression's one label


class TextExample(NamedTuple):
    """A text as the model sees it: ids with special tokens, token types, the target, and the text's line in its file.

    ``target`` is the index of a label, 0 or 1 for each label, or a number.
    """

    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.int8]
    target: int | np.float32 | Floats
    line: int


class TextPrediction(NamedTuple):
    """The prediction for an item.

    Attributes:
        names: of the labels.
        values: ``(P, num_labels)``: a row for each of its P prompts (one without prompts); probabilities, or a number.
    """

    names: tuple[str, ...]
    values: Floats

    @property
    def mean(self) -> Floats:
        """``(num_labels,)``."""
        mean: Floats = self.values.mean(axis=0)
        return mean

    def prediction(self, kind: str) -> Any:
        """A label, a tuple of the labels with a probability of at least one half, or a number."""
        if kind == "single":
            return self.names[int(self.mean.argmax())]
        if kind == "multi":
            return tuple(name for name, value in zip(self.names, self.mean, strict=True) if value >= 0.5)
        return float(self.mean[0])

    def ranked(self) -> list[tuple[str, float]]:
        """The labels with their probabilities, likeliest first."""
        return sorted(zip(self.names, self.mean.tolist(), strict=True), key=lambda pair: -pair[1])

    def probability_of(self, prediction: Any) -> float | None:
        """The probability of a single label."""
        return float(self.mean[self.names.index(prediction)]) if isinstance(prediction, str) else None


def _label_divergence(first: Tensor, second: Tensor, batch: LabelledBatch) -> Tensor:
    """``(KL(p || q) + KL(q || p)) / 2`` of each label's probabilities, averaged over labels as their loss is, and
    summed over texts; from logits ``(B, K)``."""
    p, q = first.float(), second.float()
    return ((p.sigmoid() - q.sigmoid()) * (p - q)).mean(-1).sum() / 2


def _squared_distance(first: Tensor, second: Tensor, batch: LabelledBatch) -> Tensor:
    return ((first.float() - second.float()) ** 2).sum()


class ClassificationTask(Task[LabelledText, TextExample, TextPrediction]):
    """Labels for texts."""

    name = "classification"
    settings_class = ClassificationSettings
    model_class: type[Pretrained] = SequenceClassifier
    settings: ClassificationSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._cleanups = parse_cleanups(settings.clean)
        self._separator: str | None = None  # of several labels: that of the file which is read first, the training data

    # -- data --------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Split[LabelledText]:
        file = read_texts(path, self.settings.text_options(), cleanups=self._cleanups, separator=self._separator)
        self._separator = file.separator
        notes = file.notes
        return Split(
            path=path, sha256=file.sha256, items=file.items, notes=notes.to_json(), understood=notes.in_words()
        )

    def count_oddities(self, items: Sequence[LabelledText]) -> dict[str, int]:
        return count_oddities(items)

    def labels_of(self, item: LabelledText) -> Iterable[str]:
        if isinstance(item.label, tuple):
            return item.label
        return [item.label if isinstance(item.label, str) else SCORE]

    def stratum(self, item: LabelledText) -> str | None:
        return item.label if isinstance(item.label, str) else None

    def summary(self, split: Split[LabelledText]) -> str:
        counts = self.count_labels(split)
        if len(counts) > _SHOWN_LABELS:
            return f"{len(split.items):,} texts, {len(counts):,} labels"
        return f"{len(split.items):,} texts, " + ", ".join(f"{label} {count:,}" for label, count in counts.items())

    def describe(self, split: Split[LabelledText]) -> dict[str, Any]:
        return {"texts": len(split.items), "labels": self.count_labels(split)}

    def resolve_settings(self, train: Split[LabelledText]) -> None:
        """Fixes the names of the text columns, so that predictions read the same fields as training."""
        names = ("text_column", "pair_column")
        if not any(getattr(self.settings, name) for name in names):
            recognised = {name: train.notes[name] for name in names if name in train.notes}
            self.settings = dataclasses.replace(self.settings, **recognised)

    def texts(self, item: LabelledText) -> list[str]:
        return [item.text] if item.pair is None else [item.text, item.pair]

    # -- model -------------------------------------------------------------------------------------------------------

    def labels(self, train: Split[LabelledText]) -> dict[int, str]:
        """All labels of the training data in alphabetical order.

        Raises:
            InputError: each text has the same single label.
        """
        names = list(self.count_labels(train))
        if self.settings.kind == "single" and len(names) == 1:
            raise InputError(f"{train.source}: every text has the label {names[0]}; add texts with other labels.")
        return dict(enumerate(names))

    @classmethod
    def settings_from_config(cls, config: EncoderConfig) -> dict[str, Any]:
        kinds = {problem_type: kind for kind, problem_type in _PROBLEM_TYPES.items()}
        by_size = "regression" if config.num_labels == 1 else "single"  # as in Hugging Face's models
        return {"kind": kinds.get(config.problem_type or "", by_size)}

    def update_config(self, config: EncoderConfig) -> EncoderConfig:
        return config.with_problem_type(_PROBLEM_TYPES[self.settings.kind])

    def prompted(self, item: LabelledText) -> list[str]:
        """The texts that the model sees for an item, each as an example of its own."""
        return [item.text]

    def encode(
        self, items: Sequence[LabelledText], tokenizer: Tokenizer, config: EncoderConfig
    ) -> Encoded[TextExample]:
        """The notes count unknown tokens, texts that were cut to fit, and the tokens cut off."""
        most = self.settings.max_length or config.max_length
        label2id = {label: index for index, label in config.id2label.items()}
        examples, counts = [], []
        notes: Counter[str] = Counter()
        for item in items:
            texts = self.prompted(item)
            counts.append(len(texts))
            for text in texts:
                first = tokenizer.encode(text).ids
                second = None if item.pair is None else tokenizer.encode(item.pair).ids
                room = most - tokenizer.num_special_tokens(pair=second is not None)
                if room < 2 and second is not None:
                    raise InputError(f"--max-length {most}: too short for a pair of texts; raise it by {2 - room}.")
                kept, kept_second = cut_to_fit(first, second, room)
                lost = len(first) + len(second or []) - len(kept) - len(kept_second or [])
                notes["cut_texts"] += lost > 0
                notes["cut_tokens"] += lost
                ids, types = tokenizer.with_special_tokens(kept, kept_second)
                notes["unknown_tokens"] += ids.count(tokenizer.unk_token_id)
                examples.append(
                    TextExample(
                        np.array(ids, np.int32), np.array(types, np.int8), self._target(item, label2id), item.line
                    )
                )
        return Encoded(examples=examples, counts=counts, notes=notes)

    def _target(self, item: LabelledText, label2id: Mapping[str, int]) -> int | np.float32 | Floats:
        """The label as the loss needs it; 0 for an item without one."""
        label = item.label
        if self.settings.kind == "multi":
            target = np.zeros(len(label2id), np.float32)
            if isinstance(label, tuple):
                target[[label2id[name] for name in label]] = 1
            return target
        if self.settings.kind == "regression":
            return np.float32(label if isinstance(label, float) else 0)
        return label2id[label] if isinstance(label, str) else 0

    def losses(self, model: nn.Module, logits: Tensor, batch: LabelledBatch) -> Tensor:
        """Cross-entropy, binary cross-entropy averaged over the labels, or squared error, as in Hugging Face."""
        logits = logits.float()
        if self.settings.kind == "single":
            return F.cross_entropy(logits, batch.targets, reduction="none")
        if self.settings.kind == "multi":
            return F.binary_cross_entropy_with_logits(logits, batch.targets, reduction="none").mean(-1)
        return (logits.squeeze(-1) - batch.targets) ** 2

    def divergence(self, model: nn.Module) -> Divergence:
        """For one label, of two distributions; for several labels, of each label's probabilities; for numbers, their
        squared distance (as the R-Drop paper does for STS-B)."""
        return {"single": class_divergence, "multi": _label_divergence, "regression": _squared_distance}[
            self.settings.kind
        ]

    # -- answers -----------------------------------------------------------------------------------------------------

    def decode(
        self, model: nn.Module, logits: Tensor, batch: LabelledBatch, examples: Sequence[TextExample]
    ) -> list[Floats]:
        logits = logits.float()
        if self.settings.kind == "single":
            logits = logits.softmax(-1)
        elif self.settings.kind == "multi":
            logits = logits.sigmoid()
        return list(logits.cpu().numpy())

    def outputs(
        self, model: nn.Module, items: Sequence[LabelledText], decoded: Sequence[Sequence[Floats]]
    ) -> list[TextPrediction]:
        id2label = label_names(model)
        names = tuple(id2label[index] for index in range(len(id2label)))
        return [TextPrediction(names, np.array(parts)) for parts in decoded]

    def compute_metrics(self, items: Sequence[LabelledText], outputs: Sequence[TextPrediction]) -> dict[str, float]:
        return text_metrics(self.settings.kind, items, self._predictions(outputs))

    def warnings(self, items: Sequence[LabelledText], metrics: Mapping[str, float]) -> list[str]:
        if self.settings.kind != "regression":
            return []
        variance = float(np.var([float(item.label) for item in items]))  # type: ignore[arg-type]  # all are numbers
        if metrics["mse"] < variance or variance == 0:
            return []
        return [
            "The predictions are no better than always predicting the mean (mean squared error "
            f"{metrics['mse']:.4g}, variance {variance:.4g}), whatever the correlations say. Scale the labels to about "
            "-1 to 1, or train longer."
        ]

    def label_pairs(self, item: LabelledText, output: TextPrediction) -> Iterable[tuple[str, str]]:
        if isinstance(item.label, str):
            yield item.label, output.prediction("single")

    def details(
        self, split: Split[LabelledText], outputs: Sequence[TextPrediction], losses: Sequence[float]
    ) -> Details:
        predictions = self._predictions(outputs)
        scored = text_scores(self.settings.kind, split.items, predictions)
        errors = [
            ErrorCase(
                place=f"{split.path}, line {item.line}",
                text=item.text if item.pair is None else f"{item.text} \u2016 {item.pair}",
                gold=in_words(item.label),
                predicted=f"{in_words(prediction)}{'' if sure is None else f' ({sure:.1%})'}",
                loss=loss,
            )
            for item, prediction, output, loss in zip(split.items, predictions, outputs, losses, strict=True)
            if item.label != prediction
            for sure in [output.probability_of(prediction)]
        ]
        return Details(
            title=scored.title, rows=scored.rows, table=scored.table, confusion=scored.confusion, errors=worst(errors)
        )

    def prediction_record(self, item: LabelledText, output: TextPrediction) -> dict[str, Any]:
        """Labels with the probabilities of all, or of the likeliest if one of many is to be chosen; or numbers."""
        kind = self.settings.kind
        predicted = output.prediction(kind)
        record = {"gold": item.label, "predicted": predicted}
        if kind == "single":
            record["probability"] = output.probability_of(predicted)
        if kind != "regression":
            most = _SHOWN_LABELS if kind == "single" else None
            record["probabilities"] = dict(output.ranked()[:most])
        return record

    def weighted_metrics(self, records: Sequence[Mapping[str, Any]]) -> Figures:
        return weighted_text_metrics(self.settings.kind, records)

    def _predictions(self, outputs: Sequence[TextPrediction]) -> list[Any]:
        return [output.prediction(self.settings.kind) for output in outputs]

    def baseline(self, splits: Mapping[str, Split[LabelledText]]) -> dict[str, Any] | None:
        if not self.settings.baseline:
            return None
        evaluated = {name: split.items for name, split in splits.items() if name != "train"}
        return linear_baseline(splits["train"].items, evaluated, kind=self.settings.kind, seed=self.settings.seed)

    # -- new text ----------------------------------------------------------------------------------------------------

    def parse_input(self, record: Mapping[str, Any], place: str) -> LabelledText:
        """The text, and the second one of a pair, from the fields of the training data or recognised ones."""
        text, pair = text_fields(
            record, place, text_column=self.settings.text_column, pair_column=self.settings.pair_column
        )
        return LabelledText(text, pair, None, 0).cleaned(self._cleanups)

    def format_answer(self, item: LabelledText, output: TextPrediction) -> dict[str, Any]:
        """The text as it was given, before clean-ups; the prediction, and the probabilities of the labels, or of the
        likeliest if there are many."""
        kind = self.settings.kind
        text, pair = item.as_given
        given: dict[str, Any] = {"text": text} if pair is None else {"text": text, "pair": pair}
        prediction = output.prediction(kind)
        if kind == "regression":
            return {**given, "score": prediction}
        if kind == "single":
            given |= {"label": prediction, "probability": output.probability_of(prediction)}
        else:
            given["labels"] = list(prediction)
        return {**given, "probabilities": dict(output.ranked()[:_SHOWN_LABELS])}


def cut_to_fit(first: list[int], second: list[int] | None, room: int) -> tuple[list[int], list[int] | None]:
    """Truncates one or two segments to ``room`` tokens in all, the longer one first (Google BERT's
    ``_truncate_seq_pair``)."""
    if second is None:
        return first[:room], None
    excess = max(0, len(first) + len(second) - room)
    from_longer = min(excess, abs(len(first) - len(second)))
    rest = excess - from_longer
    from_first = (from_longer if len(first) > len(second) else 0) + rest // 2
    from_second = (from_longer if len(second) >= len(first) else 0) + rest - rest // 2
    return first[: len(first) - from_first], second[: len(second) - from_second]
