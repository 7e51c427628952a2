"""Named-entity recognition: ``python -m tasks.ner --arch albert``. How words are labelled is in
:mod:`tasks.ner.word_labels`; here are entities and their tags.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from torch import nn

from minibert.checkpoint import Checkpoint
from minibert.crf import MOST_LABELS
from minibert.errors import InputError
from minibert.tokenizer.tokenizer import split_words
from tasks.data import Details, ErrorCase, Mark, Split, worst
from tasks.ner.data import Sentence, bio_tags, entity_counts, read_ner
from tasks.ner.settings import CRF, NerSettings
from tasks.ner.tags import entities_from_tags, tags_in
from tasks.ner.word_labels import WordLabels, WordLabelTask
from tasks.read.columns import is_tag
from tasks.read.records import read_options, with_label_names
from tasks.read.spans import text_of
from tasks.statistics import Figures, Weights, confusion_matrix
from tasks.task import label_names


class NerTask(WordLabelTask[Sentence]):
    """Named entities."""

    name = "ner"
    settings_class = NerSettings
    unit = "entity"
    settings: NerSettings

    # -- data --------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Split[Sentence]:
        settings = self.settings
        return read_ner(
            path,
            settings.scheme,
            read_options(settings, settings.label_names),
            text_column=settings.text_column,
            tag_column=settings.tag_column,
            offsets=settings.offsets,
        )

    def resolve_settings(self, train: Split[Sentence]) -> None:
        super().resolve_settings(train)
        self.settings = with_label_names(self.settings)

    def word_labels(self, item: Sentence) -> list[str]:
        return bio_tags(item)

    def labelling(self, labels: Collection[str]) -> Callable[[Sentence], list[str]]:
        """In the scheme of the labels, which are those of BIO unless another tool has trained the model."""
        types = {name[2:] for name in labels if name != "O"}
        if {*labels} == {"O", *(f"{letter}-{type_}" for letter in "BI" for type_ in types)}:
            return self.word_labels
        return lambda item: tags_in(labels, item.entities, len(item.words))

    def labels_of(self, item: Sentence) -> list[str]:
        return [entity.type for entity in item.entities]

    def summary(self, split: Split[Sentence]) -> str:
        counts = ", ".join(f"{type_} {count:,}" for type_, count in entity_counts(split.items).items())
        repaired = sum(sentence.num_repaired for sentence in split.items)
        return f"{len(split.items):,} sentences, {counts}" + (f"; {repaired:,} tags repaired" if repaired else "")

    def describe(self, split: Split[Sentence]) -> dict[str, Any]:
        return {
            "sentences": len(split.items),
            "words": sum(len(sentence.words) for sentence in split.items),
            "entities": entity_counts(split.items),
            "repaired_tags": sum(sentence.num_repaired for sentence in split.items),
            "widened_spans": sum(sentence.num_widened for sentence in split.items),
            "spans_in_cut_words": sum(sentence.num_cut for sentence in split.items),
        }

    # -- model -------------------------------------------------------------------------------------------------------

    def labels(self, train: Split[Sentence]) -> dict[int, str]:
        """O, then B- and I- of each type in alphabetical order.

        Raises:
            InputError: there are more than a CRF decodes, which also decodes a linear head's tags.
        """
        tags = ["O", *chain.from_iterable((f"B-{t}", f"I-{t}") for t in entity_counts(train.items))]
        most = (MOST_LABELS - 1) // 2
        if (count := len(tags) // 2) > most:
            raise InputError(
                f"{train.path}: has {count:,} types of entities, more than the {most:,} that can be decoded; check the "
                "order of its columns, or join types."
            )
        return dict(enumerate(tags))

    def known_labels(self, model: nn.Module) -> set[str]:
        """The types of entities."""
        return {name[2:] for name in label_names(model).values() if name != "O"}

    @classmethod
    def settings_from_checkpoint(cls, checkpoint: Checkpoint) -> dict[str, Any]:
        """The labels of a checkpoint from another tool must be tags."""
        names = list(checkpoint.config.id2label.values())
        if "O" not in names or not all(is_tag(name) for name in names):
            raise InputError(
                f"the checkpoint's labels ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''}) are not O and "
                "tags such as B-PER and I-PER; rename them in id2label and label2id of its config.json."
            )
        return super().settings_from_checkpoint(checkpoint)

    # -- answers -----------------------------------------------------------------------------------------------------

    def compute_metrics(self, items: Sequence[Sentence], outputs: Sequence[WordLabels]) -> dict[str, float]:
        return score([bio_tags(item) for item in items], _delivered(outputs))[0]

    def details(self, split: Split[Sentence], outputs: Sequence[WordLabels], losses: Sequence[float]) -> Details:
        metrics, rows, table = score([bio_tags(item) for item in split.items], _delivered(outputs))
        return Details(
            title="seqeval in strict mode (IOB2)",
            rows=rows,
            table=f"{table}\nmicro F1: strict mode {metrics['strict_f1']:.4f}, default {metrics['default_f1']:.4f}\n",
            confusion=_confusion(split.items, outputs),
            errors=worst(_errors(split, outputs, losses)),
            counted="words",
            loss="negative log-likelihood of the tags, CRF (nats)"
            if self.settings.head == CRF
            else "cross-entropy, summed over words (nats)",
        )

    def prediction_record(self, item: Sentence, output: WordLabels) -> dict[str, Any]:
        """The entities by characters of ``text``, as ``predict`` gives them."""
        text, places = item.laid_out()
        gold = []
        for entity in item.entities:
            start, end = places[entity.start][0], places[entity.end - 1][1]
            gold.append({"start": start, "end": end, "type": entity.type, "text": text[start:end]})
        return {"text": text, "gold": gold, "predicted": self.format_answer(item, output)["entities"]}

    def weighted_metrics(self, records: Sequence[Mapping[str, Any]]) -> Figures:
        """The strict F1 (and seqeval's default, which is the same where all predicted tags follow the scheme)."""
        gold, predicted = (
            [{(entity["start"], entity["end"], entity["type"]) for entity in record[key]} for record in records]
            for key in ("gold", "predicted")
        )
        right = np.array([len(a & b) for a, b in zip(gold, predicted, strict=True)])
        total = np.array([len(a) + len(b) for a, b in zip(gold, predicted, strict=True)])

        def figures(weights: Weights) -> dict[str, float]:
            f1 = 2 * float(weights @ right) / max(1.0, float(weights @ total))
            return {"strict_f1": f1, "default_f1": f1}

        return figures

    # -- new text ----------------------------------------------------------------------------------------------------

    def parse_input(self, record: Mapping[str, Any], place: str) -> Sentence:
        """A text, or a list of words, in the field of the training data or a recognised one."""
        text = text_of(record, self.settings.text_column)
        if isinstance(text, list):
            return Sentence(text, [], 0)
        if text is None:
            raise InputError(f"{place}: needs text, or tokens as a list of words.")
        places = split_words(text)
        return Sentence([text[start:end] for start, end in places], [], 0, text=text, places=places)

    def format_answer(self, item: Sentence, output: WordLabels) -> dict[str, Any]:
        text, places = item.laid_out()
        entities = []
        for start, end, type_ in entities_from_tags(output.names, "bio")[0]:
            first, last = places[start][0], places[end - 1][1]
            entities.append({
                "start": first, "end": last, "type": type_, "text": text[first:last],
                "probability": float(np.mean(output.probabilities[start:end])),
            })  # fmt: skip
        return {"text": text, "entities": entities}


def _delivered(outputs: Sequence[WordLabels]) -> list[list[str]]:
    """The entities that ``predict`` gives, as BIO tags, whatever the scheme of the model's labels."""
    return [bio_tags(Sentence(o.names, entities_from_tags(o.names, "bio")[0], 0)) for o in outputs]


def score(gold: list[list[str]], predicted: list[list[str]]) -> tuple[dict[str, float], dict[str, Any], str]:
    """seqeval's metrics.

    Returns:
        ``strict_f1`` and ``default_f1`` (micro averages; seqeval's two modes differ in how they read tags that follow
        no scheme), the strict metrics per type and averaged, and the same as a table.
    """
    # Imported here because it imports scikit-learn, which takes a second.
    from seqeval.metrics import classification_report, f1_score
    from seqeval.scheme import IOB2

    if not any(tag != "O" for tags in chain(gold, predicted) for tag in tags):  # seqeval fails on this
        return {"strict_f1": 0.0, "default_f1": 0.0}, {}, "no entities"
    strict: dict[str, Any] = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about types that were never predicted; the table shows them
        report = classification_report(gold, predicted, output_dict=True, **strict)
        table = classification_report(gold, predicted, digits=4, **strict)
        default_f1 = float(f1_score(gold, predicted, zero_division=0))
    metrics = {name: {key: float(value) for key, value in row.items()} for name, row in report.items()}
    return {"strict_f1": metrics["micro avg"]["f1-score"], "default_f1": default_f1}, metrics, table


def _confusion(items: Sequence[Sentence], outputs: Sequence[WordLabels]) -> dict[str, dict[str, int]]:
    """Gold and predicted entity types of each word."""
    pairs = [
        (gold[2:] or "O", predicted[2:] or "O")
        for item, output in zip(items, outputs, strict=True)
        for gold, predicted in zip(bio_tags(item), output.names, strict=True)
    ]
    return confusion_matrix(pairs, sorted(set(chain(*pairs)), key=lambda type_: (type_ == "O", type_)))


def _errors(split: Split[Sentence], outputs: Sequence[WordLabels], losses: Sequence[float]) -> Iterable[ErrorCase]:
    for item, output, loss in zip(split.items, outputs, losses, strict=True):
        gold = set(item.entities)
        predicted = set(entities_from_tags(output.names, "bio")[0])
        if gold == predicted:
            continue
        text, places = item.laid_out()
        marks = [
            Mark(
                start=places[entity.start][0],
                end=places[entity.end - 1][1],
                kind="both" if entity in gold & predicted else "gold" if entity in gold else "predicted",
                label=entity.type,
            )
            for entity in sorted(gold | predicted)
        ]

        def spelled(entities: Iterable[Any], text: str = text, places: Sequence[Any] = places) -> str:
            return ", ".join(f"{text[places[s][0] : places[e - 1][1]]} {type_}" for s, e, type_ in sorted(entities))

        yield ErrorCase(
            place=f"{split.path}, line {item.line}",
            text=text,
            gold=spelled(gold - predicted) or "nothing more",
            predicted=spelled(predicted - gold) or "nothing more",
            loss=loss,
            marks=marks,
        )
