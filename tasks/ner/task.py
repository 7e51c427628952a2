"""Named-entity recognition: ``python -m tasks.ner --arch albert``.

A linear head over each word's first token, trained with cross-entropy, or a CRF over the words' first tokens. Long
sentences are split into overlapping windows. Each word counts in the window with most of its context, so every gold
entity is trained on and scored.
"""

import dataclasses
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minibert import CrfTokenClassifier, EncoderConfig, TokenClassifier, Tokenizer, pack
from minibert.checkpoint import Pretrained
from minibert.errors import InputError
from minibert.tokenizer.tokenizer import split_words
from minibert.training import Divergence, LabelledBatch, class_divergence
from minibert.training.data import IGNORE_INDEX
from minibert.windows import split_into_windows
from tasks.data import Details, Encoded, ErrorCase, Mark, Split, worst
from tasks.ner.data import Sentence, bio_tags, entity_counts, read_ner
from tasks.ner.settings import CRF_LR, NerSettings
from tasks.ner.tags import entities_from_tags
from tasks.read.columns import is_tag
from tasks.task import Task, label_names

_CRF_BATCH = 64


class Window(NamedTuple):
    """A piece of a sentence as the model sees it: ids with special tokens, the tag of each (or -100), and the line
    of the sentence in its file."""

    ids: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int16]
    line: int


class Tags(NamedTuple):
    """The predicted tag of every word of a sentence, and its probability."""

    names: list[str]
    probabilities: list[float]


class NerTask(Task[Sentence, Window, Tags]):
    """Named entities."""

    name = "ner"
    settings_class = NerSettings
    unit = "entity"
    metric_names = ("strict_f1", "default_f1")
    for_words = True
    settings: NerSettings

    # -- data --------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Split[Sentence]:
        return read_ner(path, self.settings.scheme)

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
        }

    def resolve_settings(self, train: Split[Sentence]) -> None:
        if self.settings.head == "crf" and self.settings.head_lr is None:
            self.settings = dataclasses.replace(self.settings, head_lr=max(CRF_LR, self.settings.lr))

    def texts(self, item: Sentence) -> list[str]:
        return item.words

    # -- model -------------------------------------------------------------------------------------------------------

    @property
    def model_class(self) -> type[Pretrained]:
        return CrfTokenClassifier if self.settings.head == "crf" else TokenClassifier

    def labels(self, train: Split[Sentence]) -> dict[int, str]:
        """O, then B- and I- of each type in alphabetical order."""
        return dict(enumerate(["O", *chain.from_iterable((f"B-{t}", f"I-{t}") for t in entity_counts(train.items))]))

    @classmethod
    def settings_from_config(cls, config: EncoderConfig) -> dict[str, Any]:
        """No settings, but the labels of a checkpoint from another tool must be tags."""
        names = list(config.id2label.values())
        if "O" not in names or not all(is_tag(name) for name in names):
            raise InputError(
                f"the checkpoint's labels ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''}) are not O and "
                "tags such as B-PER and I-PER; rename them in id2label and label2id of its config.json."
            )
        return {}

    def encode(self, items: Sequence[Sentence], tokenizer: Tokenizer, config: EncoderConfig) -> Encoded[Window]:
        """Splits sentences into windows.

        The notes count words without a token of their own (control or zero-width characters), which become unknown
        tokens; all unknown tokens; windows added for long sentences; and tokens cut off single words that are longer
        than a window.
        """
        room = (self.settings.max_length or config.max_length) - tokenizer.num_special_tokens()
        overlap = min(self.settings.overlap, room // 2)
        label2id = {label: index for index, label in config.id2label.items()}
        examples: list[Window] = []
        counts = []
        notes: Counter[str] = Counter()
        pieces_of_items = tokenizer.encode_words([sentence.words for sentence in items])
        for sentence, pieces in zip(items, pieces_of_items, strict=True):
            notes["lost_words"] += pieces.num_lost
            notes["unknown_tokens"] += pieces.ids.count(tokenizer.unk_token_id)
            tags = [label2id[tag] for tag in bio_tags(sentence)]
            ends = [*pieces.first[1:], len(pieces.ids)]
            cut = split_into_windows(pieces.first, len(pieces.ids), max_tokens=room, overlap=overlap)
            for window in cut:
                start, end = pieces.first[window.start], ends[window.end - 1]
                notes["cut_tokens"] += max(0, end - start - room)
                ids, _ = tokenizer.with_special_tokens(pieces.ids[start : min(end, start + room)])
                targets = [IGNORE_INDEX] * len(ids)
                for word in range(window.keep_start, window.keep_end):
                    targets[1 + pieces.first[word] - start] = tags[word]
                examples.append(Window(np.array(ids, np.int32), np.array(targets, np.int16), sentence.line))
            counts.append(len(cut))
            notes["windows_added"] += max(0, len(cut) - 1)
        return Encoded(examples=examples, counts=counts, notes=notes)

    def collate(self, examples: Sequence[Window]) -> LabelledBatch:
        """Packs windows; the targets are tags ``(T,)``."""
        inputs = pack([example.ids for example in examples])
        targets = np.concatenate([example.targets for example in examples], dtype=np.int64)
        has_target = targets != IGNORE_INDEX
        counts = np.add.reduceat(has_target, inputs.cu_seqlens[:-1].numpy(), dtype=np.int64)
        return LabelledBatch(
            inputs=inputs,
            targets=torch.from_numpy(targets),
            num_targets=int(counts.sum()),
            target_positions=torch.from_numpy(np.flatnonzero(has_target)),
            target_counts=tuple(counts.tolist()),
            lines=tuple(example.line for example in examples),
        )

    def losses(self, model: nn.Module, logits: Tensor, batch: LabelledBatch) -> Tensor:
        """Cross-entropy over the tokens that carry a tag, or the CRF's negative log-likelihood of their tags."""
        if isinstance(model, CrfTokenClassifier):
            kept = batch.target_positions
            return -model.crf.log_likelihood(logits[kept], batch.targets[kept], batch.target_counts)
        each = F.cross_entropy(logits.float(), batch.targets, ignore_index=IGNORE_INDEX, reduction="none")
        return _sum_by_sequence(each, batch)

    def divergence(self, model: nn.Module) -> Divergence | None:
        return None if isinstance(model, CrfTokenClassifier) else class_divergence

    # -- answers -----------------------------------------------------------------------------------------------------

    def decode(self, model: nn.Module, logits: Tensor, batch: LabelledBatch, examples: Sequence[Window]) -> list[Any]:
        """For a CRF, which decodes whole sentences, the emissions of each window's words; else the likeliest tags and
        their probabilities."""
        kept, counts = logits[batch.target_positions].float(), batch.target_counts
        if isinstance(model, CrfTokenClassifier):
            return list(kept.cpu().split(counts))
        probabilities, tags = kept.softmax(-1).max(-1)
        return list(zip(tags.cpu().split(counts), probabilities.cpu().split(counts), strict=True))

    def outputs(self, model: nn.Module, items: Sequence[Sentence], decoded: Sequence[Sequence[Any]]) -> list[Tags]:
        id2label = label_names(model)
        if not isinstance(model, CrfTokenClassifier):
            return [
                Tags(
                    [id2label[tag] for tags, _ in parts for tag in tags.tolist()],
                    [value for _, values in parts for value in values.tolist()],
                )
                for parts in decoded
            ]
        outputs = [Tags([], []) for _ in items]
        filled = [index for index, parts in enumerate(decoded) if parts]
        filled.sort(key=lambda index: len(items[index].words))
        device = model.crf.transitions.device
        for start in range(0, len(filled), _CRF_BATCH):
            some = filled[start : start + _CRF_BATCH]
            emissions = torch.cat([part for index in some for part in decoded[index]]).to(device)
            lengths = tuple(len(items[index].words) for index in some)
            paths = model.crf.viterbi(emissions, lengths)
            probabilities = model.crf.marginals(emissions, lengths).split(lengths)
            for index, path, values in zip(some, paths, probabilities, strict=True):
                chosen = values.cpu()[range(len(path)), path].tolist()
                outputs[index] = Tags([id2label[tag] for tag in path], chosen)
        return outputs

    def compute_metrics(self, items: Sequence[Sentence], outputs: Sequence[Tags]) -> dict[str, float]:
        return score([bio_tags(item) for item in items], [output.names for output in outputs])[0]

    def label_pairs(self, item: Sentence, output: Tags) -> Iterable[tuple[str, str]]:
        return zip(bio_tags(item), output.names, strict=True)

    def details(self, split: Split[Sentence], outputs: Sequence[Tags], losses: Sequence[float]) -> Details:
        figures, rows, table = score([bio_tags(item) for item in split.items], [output.names for output in outputs])
        return Details(
            title="seqeval in strict mode (IOB2)",
            rows=rows,
            table=f"{table}\nmicro F1: strict mode {figures['strict_f1']:.4f}, default {figures['default_f1']:.4f}\n",
            confusion=_confusion(split.items, outputs),
            errors=worst(_errors(split, outputs, losses)),
        )

    # -- new text ----------------------------------------------------------------------------------------------------

    def parse_input(self, record: Mapping[str, Any], place: str) -> Sentence:
        """``text``, or a list of words: ``tokens`` or ``words``."""
        tokens, text = record.get("tokens", record.get("words")), record.get("text")
        if isinstance(tokens, list) and tokens and all(isinstance(token, str) for token in tokens):
            return Sentence(tokens, [], 0)
        if not isinstance(text, str):
            raise InputError(f"{place}: needs text, or tokens as a list of words.")
        places = split_words(text)
        return Sentence([text[start:end] for start, end in places], [], 0, text=text, places=places)

    def format_answer(self, item: Sentence, output: Tags) -> dict[str, Any]:
        text, places = item.laid_out()
        entities = []
        for start, end, type_ in entities_from_tags(output.names, "bio")[0]:
            first, last = places[start][0], places[end - 1][1]
            entities.append({
                "start": first, "end": last, "type": type_, "text": text[first:last],
                "probability": float(np.mean(output.probabilities[start:end])),
            })  # fmt: skip
        return {"text": text, "entities": entities}


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
    figures = {name: {key: float(value) for key, value in row.items()} for name, row in report.items()}
    return {"strict_f1": figures["micro avg"]["f1-score"], "default_f1": default_f1}, figures, table


def _sum_by_sequence(values: Tensor, batch: LabelledBatch) -> Tensor:
    """``(T,)`` -> ``(B,)``."""
    inputs = batch.inputs
    sequence = torch.repeat_interleave(inputs.cu_seqlens.diff(), output_size=inputs.num_tokens)
    return values.new_zeros(inputs.num_sequences).index_add(0, sequence, values)


def _confusion(items: Sequence[Sentence], outputs: Sequence[Tags]) -> dict[str, dict[str, int]]:
    """Gold and predicted entity types of each word."""
    pairs = Counter(
        (gold[2:] or "O", predicted[2:] or "O")
        for item, output in zip(items, outputs, strict=True)
        for gold, predicted in zip(bio_tags(item), output.names, strict=True)
    )
    types = sorted({type_ for pair in pairs for type_ in pair}, key=lambda type_: (type_ == "O", type_))
    return {gold: {predicted: pairs[gold, predicted] for predicted in types} for gold in types}


def _errors(split: Split[Sentence], outputs: Sequence[Tags], losses: Sequence[float]) -> Iterable[ErrorCase]:
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
