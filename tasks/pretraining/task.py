"""Pre-training: ``python -m tasks.pretraining --arch bert --corpus FILE...``.

BERT learns masked words and next sentences, ALBERT masked n-grams and sentence order, RoBERTa masked words in
continuous text. Masks and pairs are drawn anew in each epoch, from the seed, the epoch and the example's number
alone, so they do not depend on batches, processes or interruptions. A new model is initialised from co-occurrences in
the corpus (see :mod:`tasks.pretraining.cooccurrence_init`), or at random with ``--weights random``.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minibert import EncoderConfig, PretrainingModel, Tokenizer, pack
from minibert.checkpoint import Pretrained
from minibert.errors import InputError
from minibert.training import LabelledBatch
from tasks.data import Details, Encoded, Split
from tasks.pretraining.chunks import Chunk, Chunks, EncodedChunks, Objective
from tasks.pretraining.cooccurrence_init import init_from_cooccurrences
from tasks.pretraining.corpus import Corpus, Document, Documents, Listed, list_corpus
from tasks.pretraining.encode import ChunkedStream, Chunking, encode_in_memory
from tasks.pretraining.masking import Masking
from tasks.pretraining.pairs import NEXT_SENTENCE
from tasks.pretraining.prepared import (
    chunks_key,
    read_splits,
    stored_chunks,
    stored_tokenizer,
    stored_weights,
    write_splits,
)
from tasks.pretraining.settings import PretrainingSettings
from tasks.pretraining.shape import read_shape
from tasks.pretraining.taught import model_class, taught, teacher_distances
from tasks.pretraining.teacher import Teacher
from tasks.pretraining.teacher_states import Axes, TeacherStates, stored_axes, stored_states
from tasks.pretraining.tokens import id_parts
from tasks.read.text_file import file_sha256
from tasks.run.store import stored
from tasks.settings import RANDOM
from tasks.task import SMALL_VOCABULARY, Task


class Tally(NamedTuple):
    """Counts over some chunks: masked words, those predicted correctly, and the sum of their losses; the same for
    pairs, 0 if there are none; and the chunks with the sum of their distances from a teacher, 0 if there is none."""

    words: int
    words_correct: int
    words_loss: float
    pairs: int
    pairs_correct: int
    pairs_loss: float
    taught: int
    distance: float


_NOTHING = Tally(0, 0, 0.0, 0, 0, 0.0, 0, 0.0)


class PretrainingTask(Task[Listed, Chunk, Tally]):
    """Pre-training."""

    name = "pretraining"
    settings_class = PretrainingSettings
    unit = "document"
    answers_inputs = False
    settings: PretrainingSettings
    _axes: Axes | None = None

    @property
    def model_class(self) -> type[PretrainingModel]:
        return model_class(words_alone=self.settings.words_alone, taught=self.settings.teacher is not None)

    # -- data --------------------------------------------------------------------------------------------------------

    def read_given(self) -> dict[str, Split[Listed]]:
        return {name: list_corpus(corpus) for name, corpus in self._corpora.items()}

    def read(self, path: str) -> Split[Listed]:
        return list_corpus(self._corpus(path))

    @cached_property
    def _corpora(self) -> dict[str, Corpus]:
        """The given files, by split."""
        given = {"dev": self.settings.dev, "test": self.settings.test}
        held_out = {name: self._corpus(path) for name, path in given.items() if path is not None}
        return {"train": self._corpus(*self.settings.corpus), **held_out}

    def _corpus(self, *paths: str) -> Corpus:
        return Corpus(paths=paths, documents=self.settings.documents, encoding=self.settings.encoding)

    def stored_splits(self, read: Callable[[], dict[str, Split[Listed]]]) -> dict[str, Split[Listed]]:
        settings, corpora = self.settings, self._corpora
        drawn = "dev" not in corpora or settings.test_share is not None
        key = {
            "files": {name: corpus.key() for name, corpus in corpora.items()},
            "draw": [settings.seed, settings.dev_share, settings.test_share] if drawn else None,
        }
        store = stored(key, lambda writer: write_splits(writer, corpora, read()), "the list of documents")
        return read_splits(store, corpora)

    def labels_of(self, item: Listed) -> list[str]:
        return [self.unit]

    def duplicate_key(self, item: Listed) -> Hashable:
        return item.text_hash

    def stratum(self, item: Listed) -> Hashable:
        return item.path

    def count_duplicates(self, splits: Mapping[str, Split[Listed]]) -> dict[str, dict[str, int]]:
        hashes = {name: _documents(split).text_hashes for name, split in splits.items()}
        counts = {name: {"duplicates": len(each) - len(np.unique(each))} for name, each in hashes.items()}
        for name in counts.keys() - {"train"}:
            counts[name]["also_in_train"] = int(np.isin(hashes[name], hashes["train"]).sum())
        return counts

    def summary(self, split: Split[Listed]) -> str:
        return ", ".join(f"{count:,} {what}" for what, count in self.describe(split).items())

    def describe(self, split: Split[Listed]) -> dict[str, Any]:
        documents = _documents(split)
        return {
            "documents": len(documents),
            "paragraphs": int(documents.paragraphs.sum()),
            "characters": int(documents.characters.sum()),
        }

    # -- model -------------------------------------------------------------------------------------------------------

    def train_tokenizer(self, train: Split[Listed], arch: str) -> Tokenizer:
        if self.settings.tokenizer is not None:
            return Tokenizer.from_pretrained(self.settings.tokenizer)
        documents = _documents(train)
        return stored_tokenizer(
            documents,
            arch,
            lambda: Tokenizer.train(documents.texts(), model_type=arch, vocab_size=SMALL_VOCABULARY, running_text=True),
        )

    def model_shape(self) -> Mapping[str, Any]:
        path = self.settings.model_config
        return {} if path is None else read_shape(path)

    def init_weights(self, model: Pretrained, tokenizer: Tokenizer, train: Split[Listed]) -> str:
        if self.settings.weights == RANDOM:
            return "random"
        assert isinstance(model, PretrainingModel)
        documents, seed = _documents(train), self.settings.seed
        chunking = self._chunking(tokenizer, model.config)
        # Where chunks cross documents, there are separators already.
        separator = tokenizer.sep_token_id if chunking.in_pairs else None

        def initialise() -> None:
            chunked, _ = stored_chunks(documents, chunking)
            init_from_cooccurrences(model, lambda: id_parts(chunked.stream, separator), seed)

        stored_weights(model, {**chunks_key(documents, chunking), "seed": seed}, initialise)
        return "initialised from co-occurrences in the corpus"

    def labels(self, train: Split[Listed]) -> None:
        return None

    def encode(
        self, items: Sequence[Listed] | Sequence[Document], tokenizer: Tokenizer, config: EncoderConfig
    ) -> Encoded[Chunk]:
        """Splits documents into chunks. The notes count unknown tokens.

        Args:
            items: stored documents, whose tokens are stored, too; or documents with their text.
            tokenizer, config: of the model.

        Raises:
            InputError: there are fewer than two documents to make pairs of, or fewer than two tokens.
        """
        pair = self._pair_objective(config)
        chunking = self._chunking(tokenizer, config)
        if isinstance(items, Documents):
            chunked, unknown = stored_chunks(items, chunking)
        else:
            chunked, unknown = encode_in_memory(
                (item.paragraphs for item in cast("Sequence[Document]", items)), chunking
            )
        if not len(chunked.starts) or (pair == NEXT_SENTENCE and len(chunked.stream.filled) < 3):
            raise InputError(
                f"{items[0].path}: too little text ({len(items)} documents) for training or evaluation; give more "
                "documents, with blank lines between them, or hold out a larger share."
            )
        objective = Objective(
            pair=pair,
            masking=Masking.of(tokenizer, self.settings.masking or config.family.masked_unit),
            tokenizer=tokenizer,
            stream=chunked.stream,
            seed=self.settings.seed,
            teacher=self._states(items, tokenizer, config, chunked),
        )
        lines = items.lines if isinstance(items, Documents) else np.array([item.line for item in items])
        return EncodedChunks(
            examples=Chunks(objective=objective, chunked=chunked, lines=lines),
            counts=np.diff(chunked.first_chunks),
            notes=Counter(unknown_tokens=unknown),
        )

    def _states(
        self, items: Sequence[Any], tokenizer: Tokenizer, config: EncoderConfig, chunked: ChunkedStream
    ) -> TeacherStates | None:
        """The teacher's, if there is one. Its axes are those of the data that come first: the training data."""
        if self._teacher is None:
            return None
        assert isinstance(items, Documents)
        if self._axes is None:
            self._axes = stored_axes(items, self._teacher, config.hidden_size)
        return stored_states(items, self._chunking(tokenizer, config), chunked, self._teacher, self._axes)

    @cached_property
    def _teacher(self) -> Teacher | None:
        settings = self.settings
        if settings.teacher is None:
            return None
        return Teacher.find(settings.teacher, device=settings.device, precision=settings.precision)

    def other_sources(self) -> dict[str, dict[str, Any]]:
        sources: dict[str, dict[str, Any]] = {}
        if (shape := self.settings.model_config) is not None:
            sources["model config"] = {"path": shape, "sha256": file_sha256(shape)}
        if self._teacher is not None and self._axes is not None:
            facts = {"path": self._teacher.name, "sha256": self._teacher.sha256, "variance_kept": self._axes.kept}
            sources["teacher"] = facts
        return sources

    def _pair_objective(self, config: EncoderConfig) -> str | None:
        return None if self.settings.words_alone else config.family.pair_objective

    def _chunking(self, tokenizer: Tokenizer, config: EncoderConfig) -> Chunking:
        in_pairs = self._pair_objective(config) is not None
        room = (self.settings.max_length or config.max_length) - tokenizer.num_special_tokens(pair=in_pairs)
        if room < 1 + in_pairs:
            given, positions = self.settings.max_length, config.max_length
            what = f"--max-length {given}" if given else f"max_position_embeddings: {positions} tokens"
            raise InputError(f"{what}: leaves no room for {'a pair' if in_pairs else 'text'}; give a larger value.")
        return Chunking(tokenizer=tokenizer, in_pairs=in_pairs, room=room)

    def at_epoch(self, example: Chunk, epoch: int) -> Chunk:
        return example if self.settings.static_masks else example._replace(epoch=epoch)

    def collate(self, examples: Sequence[Chunk]) -> LabelledBatch:
        """Draws and packs chunks; the targets are the masked words ``(M,)``, then the labels of the pairs ``(B,)``."""
        drawn = [example.draw() for example in examples]
        starts = np.cumsum([0, *(len(each.ids) for each in drawn[:-1])])
        positions = [start + each.positions for start, each in zip(starts, drawn, strict=True)]
        words = [each.words for each in drawn]
        labels = [each.label for each in drawn if each.label is not None]
        teacher = examples[0].objective.teacher
        return LabelledBatch(
            inputs=pack([each.ids for each in drawn], [each.types for each in drawn]),
            targets=torch.from_numpy(np.concatenate([*words, labels]).astype(np.int64)),
            num_targets=sum(map(len, words)),
            lines=tuple(example.line for example in examples),
            positions=torch.from_numpy(np.concatenate(positions)),
            **({} if teacher is None else taught(teacher, [each.places for each in drawn])),
        )

    def losses(self, model: nn.Module, logits: Sequence[Any], batch: LabelledBatch) -> Tensor:
        """Cross-entropy over the masked words and over the pairs, and the distance from a teacher's states.

        The objective is a sum of means, of the first two as in Hugging Face's ForPreTraining classes. The optimizer
        step divides by its number of masked words, so what each sequence has once is multiplied by masked words per
        sequence in the whole step: all means are then exact, however the step is split into micro-batches or shared
        among processes.
        """
        words, pairs = _losses(logits, batch)
        if batch.soft_targets is not None:
            distances = self.settings.teacher_weight * teacher_distances(logits[2], batch)
            pairs = distances if pairs is None else pairs + distances
        if pairs is None:
            return words
        weight = batch.targets_per_sequence
        return words + pairs * (batch.num_targets / batch.inputs.num_sequences if weight is None else weight)

    # -- answers -----------------------------------------------------------------------------------------------------

    def decode(
        self, model: nn.Module, logits: Sequence[Any], batch: LabelledBatch, examples: Sequence[Chunk]
    ) -> list[Any]:
        """The counts of each chunk."""
        word_losses, pair_losses = _losses(logits, batch)
        words, labels = _targets(batch)
        sequence = _sequence_of_each(batch)
        correct = torch.zeros_like(word_losses).index_add(0, sequence, (logits[0].argmax(-1) == words).float())
        count = torch.zeros_like(word_losses).index_add(0, sequence, torch.ones_like(sequence, dtype=torch.float32))
        none = torch.zeros_like(word_losses)
        columns = [count, correct, word_losses, *[none] * 5]
        if pair_losses is not None:
            columns[3:6] = [none + 1, (logits[1].argmax(-1) == labels).float(), pair_losses]
        if batch.soft_targets is not None:
            columns[6:] = [none + 1, teacher_distances(logits[2], batch)]
        return torch.stack(columns, 1).tolist()

    def outputs(self, model: nn.Module, items: Sequence[Listed], decoded: Sequence[Sequence[Any]]) -> list[Tally]:
        return [_sum(parts) for parts in decoded]

    def label_pairs(self, item: Listed, output: Tally) -> Iterable[tuple[str, str]]:
        return ()

    def compute_metrics(self, items: Sequence[Listed], outputs: Sequence[Tally]) -> dict[str, float]:
        """The loss and its parts; the perplexity is that of the masked words."""
        all_ = _sum(outputs)
        words_loss = all_.words_loss / max(1, all_.words)
        metrics = {
            "loss": words_loss,
            "masked_accuracy": all_.words_correct / max(1, all_.words),
            "perplexity": math.exp(min(words_loss, 700)),  # math.exp overflows above it
        }
        if all_.pairs:
            metrics |= {
                "loss": words_loss + all_.pairs_loss / all_.pairs,
                "masked_loss": words_loss,
                "pair_loss": all_.pairs_loss / all_.pairs,
                "pair_accuracy": all_.pairs_correct / all_.pairs,
            }
        if all_.taught:
            distance = all_.distance / all_.taught
            metrics["loss"] += self.settings.teacher_weight * distance
            metrics["teacher_distance"] = distance
        return metrics

    def details(self, split: Split[Listed], outputs: Sequence[Tally], losses: Sequence[float]) -> Details:
        by_file: dict[str, list[Tally]] = {}
        for document, tally in zip(split.items, outputs, strict=True):
            by_file.setdefault(document.path, []).append(tally)
        rows = {path: self.compute_metrics(split.items, tallies) for path, tallies in by_file.items()}
        rows["all"] = self.compute_metrics(split.items, outputs)
        table = "\n".join(
            f"{path}: " + ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in row.items())
            for path, row in rows.items()
        )
        return Details(title="masked words and pairs", rows=rows, table=f"{table}\n")

    def prediction_record(self, item: Listed, output: Tally) -> None:
        return None

    # -- new text ----------------------------------------------------------------------------------------------------

    def parse_input(self, record: Mapping[str, Any], place: str) -> Listed:
        raise InputError(f"{place}: a pre-trained model only fills masks; use python -m tasks.fill_mask.")

    def format_answer(self, item: Listed, output: Tally) -> dict[str, Any]:
        return output._asdict()


def _documents(split: Split[Listed]) -> Documents:
    assert isinstance(split.items, Documents)
    return split.items


def _sum(tallies: Iterable[Sequence[float]]) -> Tally:
    columns = zip(_NOTHING, *tallies, strict=True)
    words, words_correct, words_loss, pairs, pairs_correct, pairs_loss, taught, distance = map(math.fsum, columns)
    counted = int(words), int(words_correct), words_loss, int(pairs), int(pairs_correct), pairs_loss
    return Tally(*counted, int(taught), distance)


def _targets(batch: LabelledBatch) -> tuple[Tensor, Tensor]:
    """The masked words ``(M,)``, and the labels of the pairs ``(B,)``, or none."""
    return batch.targets[: batch.num_targets], batch.targets[batch.num_targets :]


def _sequence_of_each(batch: LabelledBatch) -> Tensor:
    """The sequence of each masked word: ``(M,)``."""
    assert batch.positions is not None
    return torch.bucketize(batch.positions, batch.inputs.cu_seqlens[1:], right=True)


def _losses(logits: Sequence[Any], batch: LabelledBatch) -> tuple[Tensor, Tensor | None]:
    """Each sequence's loss summed over its masked words, and that of its pair, in at least fp32: ``(B,)`` each."""
    words, labels = _targets(batch)
    each = F.cross_entropy(_wide(logits[0]), words, reduction="none")
    by_sequence = each.new_zeros(batch.inputs.num_sequences).index_add(0, _sequence_of_each(batch), each)
    if logits[1] is None:
        return by_sequence, None
    return by_sequence, F.cross_entropy(_wide(logits[1]), labels, reduction="none")


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
