"""Tasks that label each word of a text: named entities, and whatever else is one label a word.

A linear head over each word's first token that carries text, trained with cross-entropy, or a CRF over these. Tags such
as ``B-PER`` are decoded as well-formed sequences with both heads; other labels, without a CRF, word by word. Long texts
are split into overlapping windows. Each word counts in the window with most of its context, so every label is trained
on and scored.
"""

import dataclasses
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minibert import CrfTokenClassifier, EncoderConfig, TokenClassifier, Tokenizer, pack
from minibert.checkpoint import Checkpoint, Pretrained
from minibert.crf import LinearChainCRF
from minibert.training import Divergence, LabelledBatch, class_divergence, divergence_of_rows
from minibert.training.data import IGNORE_INDEX
from minibert.windows import split_into_windows
from tasks.data import Encoded, Split
from tasks.ner.settings import CRF, CRF_LR, LINEAR, WordLabelSettings
from tasks.ner.tags import is_begin_marked
from tasks.statistics import Figures
from tasks.task import Task, label_names

_DECODING_BATCH = 64


class HasWords(Protocol):
    """An item: the words of a text (for Chinese, usually its characters), and its line in the file."""

    @property
    def words(self) -> list[str]: ...

    @property
    def line(self) -> int: ...


Words = TypeVar("Words", bound=HasWords)


class Window(NamedTuple):
    """A piece of an item as the model sees it: ids with special tokens, the label of each (or -100), and the item's
    line in its file."""

    ids: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int16]
    line: int


class WordLabels(NamedTuple):
    """The predicted label of every word of an item, and its probability."""

    names: list[str]
    probabilities: list[float]


class WordLabelTask(Task[Words, Window, WordLabels]):
    """A task whose items have ``words`` with a label each. What is left to write: ``name``, ``settings_class``,
    ``read``, ``word_labels``, ``compute_metrics``, ``parse_input`` and ``format_answer``."""

    for_words = True
    example_class = Window
    settings: WordLabelSettings

    @abstractmethod
    def word_labels(self, item: Words) -> Sequence[str]:
        """The gold label of each word. Where the item has none: one of the training labels for all words, which a CRF
        must allow after itself."""

    def labelling(self, labels: Collection[str]) -> Callable[[Words], Sequence[str]]:
        """Gives an item's words the labels that a model with these ones learns. Default: :meth:`word_labels`."""
        return self.word_labels

    @classmethod
    def settings_from_checkpoint(cls, checkpoint: Checkpoint) -> dict[str, Any]:
        """The head that its tensors are."""
        scores = {name for name in checkpoint.tensors if name.startswith("crf.")}
        return {"head": CRF if scores == {"crf.transitions", "crf.start", "crf.end"} else LINEAR}

    def resolve_settings(self, train: Split[Words]) -> None:
        if self.settings.head == CRF and self.settings.head_lr is None:
            self.settings = dataclasses.replace(self.settings, head_lr=max(CRF_LR, self.settings.lr or 0))

    def texts(self, item: Words) -> list[str]:
        return item.words

    def labels_of(self, item: Words) -> Iterable[str]:
        return self.word_labels(item)

    @property
    def model_class(self) -> type[Pretrained]:
        return CrfTokenClassifier if self.settings.head == CRF else TokenClassifier

    def encode(self, items: Sequence[Words], tokenizer: Tokenizer, config: EncoderConfig) -> Encoded[Window]:
        """Splits items into windows.

        The notes count words without a token of their own (control or zero-width characters), which become unknown
        tokens; all unknown tokens; windows added for long items; and tokens cut off single words that are longer
        than a window.
        """
        room = (self.settings.max_length or config.max_length) - tokenizer.num_special_tokens()
        overlap = min(self.settings.overlap, room // 2)
        label2id = {label: index for index, label in config.id2label.items()}
        labels_of = self.labelling(label2id)
        examples: list[Window] = []
        counts = []
        notes: Counter[str] = Counter()
        pieces_of_items = tokenizer.encode_words([item.words for item in items])
        for item, pieces in zip(items, pieces_of_items, strict=True):
            notes["lost_words"] += pieces.num_lost
            notes["unknown_tokens"] += pieces.ids.count(tokenizer.unk_token_id)
            labels = [label2id[label] for label in labels_of(item)]
            ends = [*pieces.starts[1:], len(pieces.ids)]
            cut = split_into_windows(pieces.starts, len(pieces.ids), max_tokens=room, overlap=overlap)
            for window in cut:
                start, end = pieces.starts[window.start], ends[window.end - 1]
                notes["cut_tokens"] += max(0, end - start - room)
                ids, _ = tokenizer.with_special_tokens(pieces.ids[start : min(end, start + room)])
                targets = [IGNORE_INDEX] * len(ids)
                for word in range(window.keep_start, window.keep_end):
                    targets[1 + pieces.first[word] - start] = labels[word]
                examples.append(Window(np.array(ids, np.int32), np.array(targets, np.int16), item.line))
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
        if (crf := _trained_crf(model)) is not None:
            kept = batch.target_positions
            return -crf.log_likelihood(logits[kept], batch.targets[kept], batch.target_counts)
        each = F.cross_entropy(logits.float(), batch.targets, ignore_index=IGNORE_INDEX, reduction="none")
        return _sum_by_sequence(each, batch)

    def divergence(self, model: nn.Module) -> Divergence | None:
        if _trained_crf(model) is None:
            return class_divergence

        def between_words(first: Tensor, second: Tensor, batch: LabelledBatch) -> Tensor:
            rows = (self.target_logits(model, logits, batch) for logits in (first, second))
            return divergence_of_rows(*rows).sum()

        return between_words

    def num_targets(self, example: Window) -> int:
        return int((example.targets != IGNORE_INDEX).sum())

    def target_logits(self, model: nn.Module, logits: Tensor, batch: LabelledBatch) -> Tensor:
        """A row for each word; with a CRF, the logarithms of the marginals."""
        rows = logits[batch.target_positions].float()
        crf = _trained_crf(model)
        return rows if crf is None else crf.log_marginals(rows, batch.target_counts)

    def decode(self, model: nn.Module, logits: Tensor, batch: LabelledBatch, examples: Sequence[Window]) -> list[Any]:
        """For tags, which are decoded as whole sentences, the logits of each window's words; for other labels, the
        likeliest ones and their probabilities."""
        kept, counts = logits[batch.target_positions].float(), batch.target_counts
        if _sequence_model(model) is not None:
            return list(kept.cpu().split(counts))
        probabilities, labels = kept.softmax(-1).max(-1)
        return list(zip(labels.cpu().split(counts), probabilities.cpu().split(counts), strict=True))

    def outputs(self, model: nn.Module, items: Sequence[Words], decoded: Sequence[Sequence[Any]]) -> list[WordLabels]:
        """The likeliest well-formed tags of each whole sentence. A tag's probability is that of the softmax over its
        word's logits; with a CRF, the marginal one over all well-formed sequences. Labels that are no tags are each
        word's likeliest."""
        id2label = label_names(model)
        crf = _sequence_model(model)
        if crf is None:
            return [
                WordLabels(
                    [id2label[label] for labels, _ in parts for label in labels.tolist()],
                    [value for _, values in parts for value in values.tolist()],
                )
                for parts in decoded
            ]
        outputs = [WordLabels([], []) for _ in items]
        filled = [index for index, parts in enumerate(decoded) if parts]
        filled.sort(key=lambda index: len(items[index].words))
        for start in range(0, len(filled), _DECODING_BATCH):
            some = filled[start : start + _DECODING_BATCH]
            logits = torch.cat([part for index in some for part in decoded[index]]).to(crf.transitions.device)
            lengths = tuple(len(items[index].words) for index in some)
            if _trained_crf(model) is not None:
                paths, probabilities = crf.viterbi(logits, lengths), crf.marginals(logits, lengths)
            else:
                paths, probabilities = crf.viterbi(logits.log_softmax(-1), lengths), logits.softmax(-1)
            chosen = torch.tensor(list(chain.from_iterable(paths)), device=logits.device)
            values = probabilities.gather(1, chosen.unsqueeze(1)).squeeze(1).cpu().split(lengths)
            for index, path, value in zip(some, paths, values, strict=True):
                outputs[index] = WordLabels([id2label[tag] for tag in path], value.tolist())
        return outputs

    def label_pairs(self, item: Words, output: WordLabels) -> Iterable[tuple[str, str]]:
        return zip(self.word_labels(item), output.names, strict=True)

    def prediction_record(self, item: Words, output: WordLabels) -> dict[str, Any]:
        """The labels of all words, and the predicted ones with their probabilities."""
        gold = list(self.word_labels(item))
        return {"gold": gold, "predicted": output.names, "probabilities": output.probabilities}

    def weighted_metrics(self, records: Sequence[Mapping[str, Any]]) -> Figures | None:
        return None  # the default's accuracy would be that of whole sentences


def _trained_crf(model: nn.Module) -> LinearChainCRF | None:
    """The CRF of a model that has one, whichever engine computes its emissions."""
    return getattr(model, "crf", None)


def _sequence_model(model: nn.Module) -> LinearChainCRF | None:
    """What decodes a model's sentences: its CRF; for tags, one without trained scores, which allows well-formed
    sequences alone; None if each word is decoded by itself."""
    if (crf := _trained_crf(model)) is not None:
        return crf
    id2label = label_names(model)
    return LinearChainCRF(id2label) if is_begin_marked(id2label.values()) else None


def _sum_by_sequence(values: Tensor, batch: LabelledBatch) -> Tensor:
    """``(T,)`` -> ``(B,)``."""
    inputs = batch.inputs
    sequence = torch.repeat_interleave(inputs.cu_seqlens.diff(), output_size=inputs.num_tokens)
    return values.new_zeros(inputs.num_sequences).index_add(0, sequence, values)
