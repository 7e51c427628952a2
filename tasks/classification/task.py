"""Sentence classification: ``python -m tasks.classification --arch bert``.

One text or a pair of texts; one label of several, several labels at once, or a number. The head is a linear map over
the pooled first token, or over the mean of all tokens.
"""

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from minibert import EncoderConfig, MeanSequenceClassifier, SequenceClassifier, Tokenizer
from minibert.checkpoint import Checkpoint, Pretrained
from minibert.errors import InputError
from minibert.ngrams import BUCKETS
from minibert.training import Divergence, LabelledBatch
from minibert.training.settings import option_name
from tasks.classification.baseline import linear_baseline
from tasks.classification.calibration import (
    Calibration,
    best_thresholds,
    expected_calibration_error,
    fit_temperature,
    probabilities,
)
from tasks.classification.cleanups import parse_cleanups
from tasks.classification.curves import gold_labels, ranking_figures, reliability_bins
from tasks.classification.data import LabelledText, count_oddities, read_texts, text_fields
from tasks.classification.details import text_details
from tasks.classification.examples import Floats, TextExample, encode_texts
from tasks.classification.losses import Weights, balanced_weights, divergence_of, text_distances, text_losses
from tasks.classification.ngrams import MOST_LABELS, fit_ngrams
from tasks.classification.prediction import TextPrediction, predictions_from_logits
from tasks.classification.scores import text_metrics
from tasks.classification.settings import EACH, FIRST, MEAN, ClassificationSettings
from tasks.classification.stored import Texts, stored_texts, text_keys
from tasks.classification.weighted import weighted_probability_figures, weighted_text_metrics
from tasks.data import Baseline, Details, Encoded, Split
from tasks.read.records import with_label_names
from tasks.run.store import StoreError, is_large
from tasks.statistics import Figures
from tasks.task import Task, label_names

logger = logging.getLogger(__name__)

# Hugging Face's names for the kinds, as in config.json.
_PROBLEM_TYPES = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}
_SHOWN_LABELS = 20
SCORE = "score"  # the name of a regression's one label


class ClassificationTask(Task[LabelledText, TextExample, TextPrediction]):
    """Labels for texts."""

    name = "classification"
    settings_class = ClassificationSettings
    example_class: ClassVar[type[TextExample] | None] = TextExample
    settings: ClassificationSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._cleanups = parse_cleanups(settings.clean)
        self.calibration = Calibration()
        self._top_k = _SHOWN_LABELS
        self._label_weights: Weights | None = None
        self._weight_tensor: Tensor | None = None

    # -- data --------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Split[LabelledText]:
        options, separator = self.settings.text_options(), self.settings.separator
        if is_large(path):
            try:
                split, found = stored_texts(path, options, cleanups=self._cleanups, separator=separator)
                self.settings = dataclasses.replace(self.settings, separator=found)
                return split
            except StoreError as error:
                logger.warning("%s Going on in memory.", error)
        file = read_texts(path, options, cleanups=self._cleanups, separator=separator)
        self.settings = dataclasses.replace(self.settings, separator=file.separator)  # the training data's, read first
        notes = file.notes
        return Split(
            path=path, sha256=file.sha256, items=file.items, notes=notes.to_json(), understood=notes.in_words()
        )

    def count_oddities(self, items: Sequence[LabelledText]) -> dict[str, int]:
        return items.count_oddities() if isinstance(items, Texts) else count_oddities(items)

    def count_duplicates(self, splits: Mapping[str, Split[LabelledText]]) -> dict[str, dict[str, int]]:
        if not any(isinstance(split.items, Texts) for split in splits.values()):
            return super().count_duplicates(splits)
        keys = {name: text_keys(split.items) for name, split in splits.items()}
        counts = {name: {"duplicates": len(each) - len(np.unique(each))} for name, each in keys.items()}
        for name in counts.keys() - {"train"}:
            counts[name]["also_in_train"] = int(np.isin(keys[name], keys["train"]).sum())
        return counts

    def count_labels(self, split: Split[LabelledText]) -> dict[str, int]:
        if not isinstance(split.items, Texts):
            return super().count_labels(split)
        if self.settings.kind == "regression":
            return {SCORE: len(split.items)}
        counts: Counter[str] = Counter()
        for label, count in split.items.count_labels().items():
            for name in label if isinstance(label, tuple) else [label]:
                counts[name] += count
        return dict(sorted(counts.items()))

    def group_numbers(self, items: Sequence[LabelledText]) -> npt.NDArray[np.int64]:
        if not isinstance(items, Texts):
            return super().group_numbers(items)
        _, first, numbers = np.unique(items.keys, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[numbers]

    def stratum_numbers(self, items: Sequence[LabelledText]) -> npt.NDArray[np.int64]:
        return items.strata() if isinstance(items, Texts) else super().stratum_numbers(items)

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
        """Fixes the names of labels, and of the text columns, for predictions to read the same fields; and weighs the
        labels."""
        self.settings = with_label_names(self.settings)
        names = ("text_column", "pair_column")
        if not any(getattr(self.settings, name) for name in names):
            recognised = {name: train.notes[name] for name in names if name in train.notes}
            self.settings = dataclasses.replace(self.settings, **recognised)
        if self.settings.ngrams is None:
            few = not is_large(train.path) and len(self.count_labels(train)) <= MOST_LABELS
            self.settings = dataclasses.replace(self.settings, ngrams=few and self.settings.ngrams_by_default)
        if self.settings.class_weights is not None:
            self._label_weights = balanced_weights(train.items)

    def texts(self, item: LabelledText) -> list[str]:
        return [item.text] if item.pair is None else [item.text, item.pair]

    def texts_as_given(self, item: LabelledText) -> list[str]:
        return [text for text in item.as_given if text is not None]

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

    def known_labels(self, model: nn.Module) -> set[str] | None:
        return None if self.settings.kind == "regression" else super().known_labels(model)

    @classmethod
    def settings_from_checkpoint(cls, checkpoint: Checkpoint) -> dict[str, Any]:
        config = checkpoint.config
        kinds = {problem_type: kind for kind, problem_type in _PROBLEM_TYPES.items()}
        by_size = "regression" if config.num_labels == 1 else "single"  # as in Hugging Face's models
        pooling = MEAN if checkpoint.has_head(MeanSequenceClassifier.head) else FIRST
        kind = kinds.get(config.problem_type or "", by_size)
        return {"kind": kind, "pooling": pooling, "ngrams": config.ngram_buckets > 0}

    def resolve_for_checkpoint(self, checkpoint: Checkpoint | None) -> None:
        """Fixes the pooling."""
        if self.settings.pooling is None:
            pooling = MEAN if checkpoint is not None and checkpoint.made_for_means else FIRST
            self.settings = dataclasses.replace(self.settings, pooling=pooling)

    @property
    def model_class(self) -> type[Pretrained]:
        return MeanSequenceClassifier if self.settings.pooling == MEAN else SequenceClassifier

    def update_config(self, config: EncoderConfig) -> EncoderConfig:
        return config.with_problem_type(_PROBLEM_TYPES[self.settings.kind]).with_ngrams(
            BUCKETS if self.settings.ngrams else 0
        )

    def prompted(self, item: LabelledText) -> list[str]:
        """The texts that the model sees for an item, each as an example of its own."""
        return [item.text]

    def encode(
        self, items: Sequence[LabelledText], tokenizer: Tokenizer, config: EncoderConfig
    ) -> Encoded[TextExample]:
        """The notes count unknown tokens, texts that were cut to fit, and the tokens cut off."""
        label2id = {label: index for index, label in config.id2label.items()}
        return encode_texts(
            items,
            tokenizer,
            most=self.settings.max_length or config.max_length,
            prompted=self.prompted,
            target=lambda item: self._target(item, label2id),
        )

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
        return text_losses(self.settings.kind, logits, batch.targets, self._weights_of(model, logits.device))

    def _weights_of(self, model: nn.Module, device: torch.device) -> Tensor | None:
        """The weights of the model's labels, ``(2, num_labels)``; None where all count the same."""
        if self._label_weights is None:
            return None
        if self._weight_tensor is None or self._weight_tensor.device != device:
            rows = [self._label_weights[name] for _, name in sorted(label_names(model).items())]
            self._weight_tensor = torch.tensor(rows, device=device).T
        return self._weight_tensor

    def divergence(self, model: nn.Module) -> Divergence:
        return divergence_of(self.settings.kind)

    def check_teacher(self, teacher: Task[LabelledText, TextExample, TextPrediction], place: str) -> None:
        for name in ("kind", "clean"):
            own, its = getattr(self.settings, name), getattr(teacher.settings, name)
            if own != its:
                raise InputError(f"{place}: was trained with {option_name(name)} {its}, not {own}; give the same.")

    def distances(self, logits: Tensor, soft_targets: Tensor, temperature: float) -> Tensor:
        return text_distances(self.settings.kind, logits, soft_targets, temperature)

    # -- answers -----------------------------------------------------------------------------------------------------

    def decode(
        self, model: nn.Module, logits: Tensor, batch: LabelledBatch, examples: Sequence[TextExample]
    ) -> list[Floats]:
        """The logits."""
        return list(logits.float().cpu().numpy())

    def outputs(
        self, model: nn.Module, items: Sequence[LabelledText], decoded: Sequence[Sequence[Floats]]
    ) -> list[TextPrediction]:
        names = [name for _, name in sorted(label_names(model).items())]
        return predictions_from_logits(self.settings.kind, names, np.array(decoded), self._with_fixed_threshold(names))

    def _with_fixed_threshold(self, names: Sequence[str]) -> Calibration:
        """What was fitted, with the threshold that was given in place of fitted ones."""
        fixed = self.settings.fixed_threshold
        thresholds = self.calibration.thresholds if fixed is None else dict.fromkeys(names, fixed)
        return dataclasses.replace(self.calibration, thresholds=thresholds)

    def take_out(self, model: Any) -> str:
        """The n-gram scores, if the model has any."""
        if self.settings.ngrams:
            model.ngrams.clear()
        return "n-gram scores" if self.settings.ngrams else ""

    def complete(self, model: Any, encoded: Any, dev_outputs: Sequence[TextPrediction]) -> None:
        fit_ngrams(model.ngrams, encoded, [output.logits for output in dev_outputs], self.settings)

    def calibrate(self, items: Sequence[LabelledText], outputs: Sequence[TextPrediction]) -> Sequence[TextPrediction]:
        """Fits a temperature; for several labels, then the thresholds, as ``--threshold`` says."""
        kind, names = self.settings.kind, outputs[0].names
        if kind == "regression":
            return outputs
        logits = np.array([output.logits for output in outputs])
        gold = np.array([self._target(item, {name: index for index, name in enumerate(names)}) for item in items])
        temperature = fit_temperature(logits, gold, kind)
        thresholds = {}
        if kind == "multi" and self.settings.fixed_threshold is None:
            mean = probabilities(logits, kind, temperature).mean(axis=1)
            of_labels = zip(names, best_thresholds(mean, gold > 0, each=self.settings.threshold == EACH), strict=True)
            thresholds = dict(of_labels)
        self.calibration = Calibration(temperature=temperature, thresholds=thresholds)
        return predictions_from_logits(kind, names, logits, self._with_fixed_threshold(names))

    def calibration_record(self) -> Mapping[str, Any]:
        return {} if self.calibration == Calibration() else self.calibration.to_json()

    def load_calibration(self, record: Mapping[str, Any], place: str) -> None:
        if record:
            self.calibration = Calibration.from_json(record, place)

    def compute_metrics(self, items: Sequence[LabelledText], outputs: Sequence[TextPrediction]) -> dict[str, float]:
        """Those of :func:`~tasks.classification.scores.text_metrics`; the expected calibration error; and of several
        labels the mean average precision and area under the ROC curve."""
        kind, gold = self.settings.kind, gold_labels(items)
        metrics = text_metrics(kind, items, [output.prediction for output in outputs])
        if kind == "regression":
            return metrics
        metrics["calibration_error"] = expected_calibration_error(reliability_bins(kind, gold, outputs))
        if kind == "multi" and (ranking := ranking_figures(gold, outputs)):
            for name in ("average_precision", "auc"):
                metrics[f"macro_{name}"] = float(np.mean([of_label[name] for of_label in ranking.values()]))
        return metrics

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
            yield item.label, output.prediction

    def details(
        self, split: Split[LabelledText], outputs: Sequence[TextPrediction], losses: Sequence[float]
    ) -> Details:
        return text_details(self.settings, split, outputs, losses)

    def prediction_record(self, item: LabelledText, output: TextPrediction) -> dict[str, Any]:
        """Labels with the probabilities of all, or of the likeliest if one of many is to be chosen; or numbers."""
        kind = self.settings.kind
        record = {"gold": item.label, "predicted": output.prediction}
        if kind == "single":
            record["probability"] = output.probability
        if kind != "regression":
            most = max(_SHOWN_LABELS, self._top_k) if kind == "single" else None
            record["probabilities"] = dict(output.ranked()[:most])
        return record

    def weighted_metrics(self, records: Sequence[Mapping[str, Any]]) -> Figures:
        kind = self.settings.kind
        figures = weighted_text_metrics(kind, records)
        if kind == "regression":
            return figures
        of_probabilities = weighted_probability_figures(kind, records)
        return lambda weights: {**figures(weights), **of_probabilities(weights)}

    def baseline(self, splits: Mapping[str, Split[LabelledText]]) -> Baseline | None:
        if not self.settings.baseline:
            return None
        return linear_baseline(
            splits["train"].items,
            {name: split.items for name, split in splits.items() if name != "train"},
            kind=self.settings.kind,
            seed=self.settings.seed,
            class_weights=self.settings.class_weights,
        )

    # -- new text ----------------------------------------------------------------------------------------------------

    def parse_input(self, record: Mapping[str, Any], place: str) -> LabelledText:
        """The text, and the second one of a pair, from the fields of the training data or recognised ones."""
        text, pair = text_fields(
            record, place, text_column=self.settings.text_column, pair_column=self.settings.pair_column
        )
        return LabelledText(text, pair, None, 0).cleaned(self._cleanups)

    def set_top_k(self, top_k: int) -> None:
        if self.settings.kind == "regression":
            raise InputError(f"--top-k {top_k}: this model's answer is a number; leave it out.")
        self._top_k = top_k

    def format_answer(self, item: LabelledText, output: TextPrediction) -> dict[str, Any]:
        """The text before clean-ups; the prediction, and the probabilities of the likeliest labels, in order."""
        kind = self.settings.kind
        text, pair = item.as_given
        given: dict[str, Any] = {"text": text} if pair is None else {"text": text, "pair": pair}
        if kind == "regression":
            return {**given, "score": output.prediction}
        if kind == "single":
            given |= {"label": output.prediction, "probability": output.probability}
        else:
            given["labels"] = list(output.prediction)
        return {**given, "probabilities": dict(output.ranked()[: self._top_k])}
