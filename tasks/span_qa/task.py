"""Question answering by span: ``python -m tasks.span_qa --arch bert``.

The answer is a span of a context, or nothing if the context has no answer (SQuAD v2). The head scores every token as a
start and as an end. Long contexts are read in overlapping windows; an answer may start only where its window shows most
of its context, so that each position is scored once.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from minibert import EncoderConfig, SpanClassifier, Tokenizer, pack
from minibert.errors import InputError
from minibert.tokenizer.tokenizer import Pieces
from minibert.training import LabelledBatch
from minibert.training.data import IGNORE_INDEX
from minibert.windows import split_into_windows
from tasks.data import Details, Encoded, ErrorCase, Mark, Split, worst
from tasks.read.records import read_options
from tasks.read.tables import find
from tasks.span_qa.data import QUESTION_NAMES, Question, count_oddities, read_span_qa
from tasks.span_qa.fields import CONTEXT_NAMES
from tasks.span_qa.scores import SCORERS, best_thresholds, choose_scorer, overall
from tasks.span_qa.settings import SpanQaSettings
from tasks.statistics import Figures, Weights
from tasks.task import Task

_NEVER = math.inf
_BLOCK = 1000
"""Questions that are tokenised at a time."""


class SpanWindow(NamedTuple):
    """A question and a window of its context, as the model sees them.

    Attributes:
        ids, types: with special tokens.
        target: the tokens where the answer starts and ends; 0, the first token, if this window has no answer.
        at: the token where the window of the context starts.
        offsets: ``(n, 2)``, the characters of the whole context that each of the window's tokens covers.
        keep: the range of these tokens in which an answer may start.
        line: where the question starts in its file.
    """

    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.int8]
    target: tuple[int, int]
    at: int
    offsets: npt.NDArray[np.int32]
    keep: tuple[int, int]
    line: int


class Span(NamedTuple):
    """Characters ``start:end`` of the context, and their score: the sum of the logits of start and end."""

    start: int
    end: int
    score: float


class Spans(NamedTuple):
    """The prediction for a question: the best spans, best first, and the score for no answer."""

    best: list[Span]
    null: float

    @property
    def null_difference(self) -> float:
        """The score for no answer minus that of the best span."""
        return self.null - self.best[0].score if self.best else _NEVER

    def chosen(self, null_threshold: float) -> Span | None:
        """The best span, or None for no answer."""
        return self.best[0] if self.best and self.null_difference <= null_threshold else None


class SpanQaTask(Task[Question, SpanWindow, Spans]):
    """Answers that are spans of a context."""

    name = "span_qa"
    settings_class = SpanQaSettings
    model_class = SpanClassifier
    example_class = SpanWindow
    unit = "answer"
    settings: SpanQaSettings
    _top_k: int | None = None

    # -- data --------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Split[Question]:
        file = read_span_qa(path, read_options(self.settings))
        notes = file.notes
        if self.settings.scorer == "auto":  # by the file that is read first, the training data
            self.settings = dataclasses.replace(self.settings, scorer=choose_scorer(file.questions))
        return Split(
            path=path, sha256=file.sha256, items=file.questions, notes=notes.to_json(), understood=notes.in_words()
        )

    def count_oddities(self, items: Sequence[Question]) -> dict[str, int]:
        return count_oddities(items)

    def group(self, item: Question) -> str:
        return item.context

    def labels_of(self, item: Question) -> list[str]:
        return ["answers"] if item.answers else []

    def summary(self, split: Split[Question]) -> str:
        sizes = self.describe(split)
        return ", ".join(f"{count:,} {name}" for name, count in sizes.items() if count)

    def describe(self, split: Split[Question]) -> dict[str, Any]:
        return {
            "questions": len(split.items),
            "contexts": len({question.context for question in split.items}),
            "impossible": sum(question.impossible for question in split.items),
        }

    def texts(self, item: Question) -> list[str]:
        return [item.question, item.context]

    def resolve_settings(self, train: Split[Question]) -> None:
        if self.settings.null_threshold is None and any(question.impossible for question in train.items):
            self.settings = dataclasses.replace(self.settings, null_threshold=0.0)

    # -- model -------------------------------------------------------------------------------------------------------

    def labels(self, train: Split[Question]) -> None:
        return None

    def known_labels(self, model: nn.Module) -> None:
        return None

    def encode(self, items: Sequence[Question], tokenizer: Tokenizer, config: EncoderConfig) -> Encoded[SpanWindow]:
        """The notes count unknown tokens, truncated questions, windows added for long contexts, and answers that no
        window has as a whole or that are longer than ``max_answer``."""
        settings = self.settings
        most = settings.max_length or config.max_length
        frame = tokenizer.num_special_tokens(pair=True)
        examples, counts = [], []
        notes: Counter[str] = Counter()
        for item, asked, pieces in _tokenised(items, tokenizer):
            notes["cut_questions"] += len(asked) > settings.max_question
            asked = asked[: settings.max_question]
            room = most - frame - len(asked)
            if room < 1:
                raise InputError(
                    f"{item.id}: the question has {len(asked)} tokens, after which {most} leave no room for a context; "
                    "shorten it, or train with a higher --max-length or a lower --max-question."
                )
            notes["unknown_tokens"] += pieces.ids.count(tokenizer.unk_token_id)
            answer = _tokens_of_answer(item, pieces)
            notes["answers_longer_than_max_answer"] += (
                answer is not None and answer[1] - answer[0] >= settings.max_answer
            )
            cut = split_into_windows(
                range(len(pieces.ids)), len(pieces.ids), max_tokens=room, overlap=min(settings.overlap, room // 2)
            )
            targets = []
            for window in cut:
                ids, types = tokenizer.with_special_tokens(asked, pieces.ids[window.start : window.end])
                at = len(ids) - 1 - (window.end - window.start)
                target = (0, 0)
                if answer is not None and window.start <= answer[0] and answer[1] < window.end:
                    target = (at + answer[0] - window.start, at + answer[1] - window.start)
                elif item.golds and answer is None:
                    target = (IGNORE_INDEX, IGNORE_INDEX)
                targets.append(target)
                examples.append(
                    SpanWindow(
                        ids=np.array(ids, np.int32),
                        types=np.array(types, np.int8),
                        target=target,
                        at=at,
                        offsets=np.array(pieces.offsets[window.start : window.end], np.int32).reshape(-1, 2),
                        keep=(window.keep_start - window.start, window.keep_end - window.start),
                        line=item.line,
                    )
                )
            counts.append(len(cut))
            notes["windows_added"] += max(0, len(cut) - 1)
            notes["answers_that_no_window_shows"] += answer is not None and not any(end for _, end in targets)
        return Encoded(examples=examples, counts=counts, notes=notes)

    def collate(self, examples: Sequence[SpanWindow]) -> LabelledBatch:
        """Packs windows; the targets are ``(B, 2)``, the tokens of start and end within each sequence."""
        return LabelledBatch(
            inputs=pack([example.ids for example in examples], [example.types for example in examples]),
            targets=torch.tensor([example.target for example in examples]),
            num_targets=sum(example.target[0] != IGNORE_INDEX for example in examples),
            lines=tuple(example.line for example in examples),
        )

    def losses(self, model: nn.Module, logits: Tensor, batch: LabelledBatch) -> Tensor:
        """Cross-entropy of the start and of the end over the tokens of each sequence, averaged (Devlin et al. 2019,
        section 4.2)."""
        rows = batch.inputs.unpack(logits.float())
        padded = pad_sequence(rows, batch_first=True, padding_value=-math.inf)  # (B, longest, 2)
        return F.cross_entropy(padded, batch.targets, ignore_index=IGNORE_INDEX, reduction="none").mean(1)

    # -- answers -----------------------------------------------------------------------------------------------------

    def decode(
        self, model: nn.Module, logits: Tensor, batch: LabelledBatch, examples: Sequence[SpanWindow]
    ) -> list[Spans]:
        rows = batch.inputs.unpack(logits.float().cpu())
        return [self._best_spans(row.numpy(), example) for row, example in zip(rows, examples, strict=True)]

    def _best_spans(self, scores: npt.NDArray[np.float32], window: SpanWindow) -> Spans:
        """The ``n_best`` highest-scoring spans that start in the window's ``keep`` range and have at most
        ``max_answer`` tokens."""
        number = len(window.offsets)
        starts, ends = scores[window.at : window.at + number].T
        width = min(self.settings.max_answer, number)
        behind = np.concatenate([ends, np.full(width - 1, -np.inf, np.float32)])
        pairs = starts[:, None] + np.lib.stride_tricks.sliding_window_view(behind, width)  # (number, width)
        pairs[: window.keep[0]] = pairs[window.keep[1] :] = -np.inf
        flat = pairs.ravel()
        count = min(self.settings.n_best, len(flat))
        best = np.argpartition(-flat, count - 1)[:count] if count else np.empty(0, np.int64)
        spans = []
        for index in best[np.argsort(-flat[best], kind="stable")]:
            start, length = divmod(int(index), width)
            if np.isfinite(flat[index]):
                first, last = window.offsets[start], window.offsets[start + length]
                spans.append(Span(int(first[0]), int(last[1]), float(flat[index])))
        return Spans(spans, float(scores[0].sum()))

    def outputs(self, model: nn.Module, items: Sequence[Question], decoded: Sequence[Sequence[Spans]]) -> list[Spans]:
        """The best spans of all windows; the null score is their lowest (as in Google BERT's ``run_squad.py``)."""
        outputs = []
        for parts in decoded:
            by_place: dict[tuple[int, int], Span] = {}
            for span in sorted((span for part in parts for span in part.best), key=lambda span: -span.score):
                if span.end > span.start:
                    by_place.setdefault((span.start, span.end), span)
            best = list(by_place.values())[: self.settings.n_best]
            outputs.append(Spans(best, min((part.null for part in parts), default=0.0)))
        return outputs

    def label_pairs(self, item: Question, output: Spans) -> Iterable[tuple[str, str]]:
        return ()

    def compute_metrics(self, items: Sequence[Question], outputs: Sequence[Spans]) -> dict[str, float]:
        """Those of the official scorers, from 0 to 1; with impossible questions, also by kind, and the best that
        another threshold would give."""
        threshold = self._threshold
        impossible = [item.impossible for item in items]
        scores = [self._score(item, o.chosen(threshold)) for item, o in zip(items, outputs, strict=True)]
        metrics = overall(scores, impossible)
        if any(impossible):
            answered = [self._score(item, o.chosen(_NEVER)) for item, o in zip(items, outputs, strict=True)]
            metrics |= best_thresholds(answered, impossible, [output.null_difference for output in outputs])
        renamed = {
            name.replace("exact", "exact_match"): value for name, value in metrics.items() if "total" not in name
        }
        return {name: value if name.endswith("thresh") else value / 100 for name, value in renamed.items()}

    @property
    def _threshold(self) -> float:
        return _NEVER if self.settings.null_threshold is None else self.settings.null_threshold

    def _score(self, item: Question, span: Span | None) -> tuple[float, float]:
        text = "" if span is None else item.context[span.start : span.end]
        return SCORERS[self.settings.scorer](text, item.golds)

    def details(self, split: Split[Question], outputs: Sequence[Spans], losses: Sequence[float]) -> Details:
        kinds = {"all": [True] * len(outputs), "answerable": [not item.impossible for item in split.items]}
        kinds["impossible"] = [item.impossible for item in split.items]
        chosen = [output.chosen(self._threshold) for output in outputs]
        scores = [self._score(item, span) for item, span in zip(split.items, chosen, strict=True)]
        rows = {}
        for name, wanted in kinds.items():
            part = [score for score, belongs in zip(scores, wanted, strict=True) if belongs]
            if part:
                exact, f1 = np.mean(part, axis=0)
                rows[name] = {"exact match": float(exact), "f1": float(f1), "support": len(part)}
        lines = [f"{'':12} {'exact match':>12} {'f1':>8} {'support':>8}"]
        lines += [f"{n:12} {r['exact match']:12.4f} {r['f1']:8.4f} {r['support']:8,}" for n, r in rows.items()]
        errors = [
            _error(split, item, span, loss)
            for item, span, score, loss in zip(split.items, chosen, scores, losses, strict=True)
            if score[0] < 1
        ]
        unit = "words (SQuAD's scorer)" if self.settings.scorer == "words" else "characters (CMRC 2018's scorer)"
        return Details(
            title=f"F1 over {unit}",
            rows=rows,
            table="\n".join(lines),
            errors=worst(errors),
            loss="cross-entropy of start and end, averaged, summed over windows (nats)",
        )

    def prediction_record(self, item: Question, output: Spans) -> dict[str, Any] | None:
        """The texts of all right answers, none for an impossible question; and the predicted one, empty for none."""
        if not item.golds and not item.impossible:
            return None
        answer = self.format_answer(item, output)
        kept = {name: answer[name] for name in ("start", "end", "probability", "null_score")}
        return {"gold": item.golds, "predicted": answer["answer"], **kept}

    def weighted_metrics(self, records: Sequence[Mapping[str, Any]]) -> Figures:
        scores = np.array([SCORERS[self.settings.scorer](record["predicted"], record["gold"]) for record in records])

        def figures(weights: Weights) -> dict[str, float]:
            exact, f1 = weights @ scores / weights.sum()
            return {"exact_match": float(exact), "f1": float(f1)}

        return figures

    # -- new text ----------------------------------------------------------------------------------------------------

    def parse_input(self, record: Mapping[str, Any], place: str) -> Question:
        """``question`` and ``context``."""
        question, context = (record.get(find(list(record), names) or "") for names in (QUESTION_NAMES, CONTEXT_NAMES))
        if not isinstance(question, str) or not isinstance(context, str):
            raise InputError(f"{place}: needs the fields question and context, in a JSON object or a table.")
        if not context.strip():
            raise InputError(f"{place}: the context is empty.")
        return Question(place, question, context, [], [], False, 0, "")

    def set_top_k(self, top_k: int) -> None:
        """The run's ``n_best`` are compared all the same: the probabilities do not depend on how many are shown."""
        self._top_k = top_k
        self.settings = dataclasses.replace(self.settings, n_best=max(top_k, self.settings.n_best))

    def format_answer(self, item: Question, output: Spans) -> dict[str, Any]:
        """The answer (empty and without offsets for no answer), and the best spans. Probabilities are relative to each
        other and, if the run knows impossible questions, to no answer."""
        threshold = self._threshold
        scores = [span.score for span in output.best] + ([output.null] if threshold < _NEVER else [])
        weights = np.exp(np.array(scores) - max(scores, default=0.0))
        probabilities = (weights / weights.sum()).tolist()
        best = [
            {
                "text": item.context[span.start : span.end], "start": span.start, "end": span.end,
                "score": span.score, "probability": probability,
            }
            for span, probability in zip(output.best, probabilities, strict=False)
        ]  # fmt: skip
        chosen = output.chosen(threshold)
        return {
            "question": item.question,
            "answer": "" if chosen is None else best[0]["text"],
            "start": None if chosen is None else chosen.start,
            "end": None if chosen is None else chosen.end,
            "probability": probabilities[0 if chosen is not None else -1] if probabilities else 0.0,
            "null_score": output.null,
            "n_best": best[: self._top_k],
        }


def _tokenised(items: Sequence[Question], tokenizer: Tokenizer) -> Iterator[tuple[Question, list[int], Pieces]]:
    """Each question, its ids, and the tokens of its context."""
    for start in range(0, len(items), _BLOCK):
        block = items[start : start + _BLOCK]
        contexts = list(dict.fromkeys(item.context for item in block))
        pieces = dict(zip(contexts, tokenizer.encode_all(contexts), strict=True))
        asked = tokenizer.encode_batch([item.question for item in block])
        for item, ids in zip(block, asked, strict=True):
            yield item, ids, pieces[item.context]


def _tokens_of_answer(item: Question, pieces: Pieces) -> tuple[int, int] | None:
    """The first and last token of the first answer; None if there is no answer."""
    if not item.answers:
        return None
    start, text = item.answers[0]
    end = start + len(text)
    inside = [index for index, (a, b) in enumerate(pieces.offsets) if a < end and b > start]
    return (inside[0], inside[-1]) if inside else None


def _error(split: Split[Question], item: Question, span: Span | None, loss: float) -> ErrorCase:
    ahead = f"{item.question}\n"
    marks = []
    if item.answers:
        start, text = item.answers[0]
        marks.append(Mark(start=len(ahead) + start, end=len(ahead) + start + len(text), kind="gold", label="gold"))
    if span is not None:
        kind, label = "predicted", "predicted"
        marks.append(Mark(start=len(ahead) + span.start, end=len(ahead) + span.end, kind=kind, label=label))
    return ErrorCase(
        place=f"{split.path}, {item.place or f'line {item.line}'}",
        text=ahead + item.context,
        gold=" | ".join(dict.fromkeys(item.golds)) or "(no answer)",
        predicted="(no answer)" if span is None else item.context[span.start : span.end],
        loss=loss,
        marks=sorted(marks, key=lambda mark: mark.start),
    )
