"""Named-entity recognition: ``python -m tasks.ner --arch albert``.

A linear head over each word's first token, trained with cross-entropy. Long sentences are cut into overlapping windows
and each word is counted in the window that shows most of its context, so every gold entity is trained on and scored.
"""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minibert import TokenClassifier, Tokenizer, pack
from minibert.checkpoint import load_model
from minibert.errors import InputError
from minibert.tokenizer import windows
from minibert.training import (
    Examples,
    LabelledBatch,
    Metric,
    check_finite,
    choose_device,
    choose_precision,
    fit,
    predict,
)
from tasks import common
from tasks.ner_data import NerSplit, Sentence, bio_tags, hold_out, read_ner

METRICS = {
    "strict_f1": Metric("strict_f1"),
    "default_f1": Metric("default_f1"),
    "loss": Metric("loss", higher_is_better=False),
}
_NO_TARGET = -100  # a token that carries no tag; F.cross_entropy passes over it
_EVALUATION_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class NerSettings(common.RunSettings):
    """The options of this task."""

    scheme: str = field(default="auto", metadata={"help": "tags in the files: auto, iob1, bio, bioes or bmes"})
    overlap: int = field(
        default=64, metadata={"help": "most tokens that the windows of a long sentence share, up to half a window"}
    )
    metric: str = field(
        default="strict_f1", metadata={"help": f"dev figure that chooses the best epoch: {', '.join(METRICS)}"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric not in METRICS:
            raise InputError(f"--metric {self.metric}: use one of {', '.join(METRICS)}.")
        if self.overlap < 0:
            raise InputError(f"--overlap {self.overlap}: must be 0 or more.")


class Window(NamedTuple):
    """A piece of a sentence as the model sees it: ids with special tokens, and each one's tag (or -100)."""

    ids: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int16]


@dataclass(frozen=True)
class EncodedSplit:
    """A split cut into windows, in order; the tags in them, read one after another, are the words of the split.

    Attributes:
        windows: of all sentences.
        num_lost: words with no token of their own (control or zero-width characters), which stand as unknown tokens.
        num_unknown: unknown tokens, those of the lost words included.
        num_cut: tokens at the end of single words longer than a window, which no window shows.
    """

    windows: list[Window]
    num_lost: int
    num_unknown: int
    num_cut: int


# -- data -------------------------------------------------------------------------------------------------------------


def read_splits(settings: NerSettings) -> dict[str, NerSplit]:
    """Reads train, dev and, where there is one, test, and makes sure that they can be trained and scored on."""
    if settings.train is None:
        paths = {name: str(common.SAMPLES / "ner" / f"{name}.txt") for name in ("train", "dev", "test")}
    else:
        given = {"train": settings.train, "dev": settings.dev, "test": settings.test}
        paths = {name: path for name, path in given.items() if path is not None}
    splits = {name: read_ner(path, settings.scheme) for name, path in paths.items()}
    if "dev" not in splits:
        splits["train"], splits["dev"] = hold_out(splits["train"], share=0.1, seed=settings.seed)
    known = splits["train"].entity_counts()
    for name, split in splits.items():
        if not split.entity_counts():
            raise InputError(
                f"{split.path}: holds no entity at all, so there is nothing to learn or to score ({name})."
            )
        for sentence in split.sentences:
            for entity in sentence.entities:
                if entity.type not in known:
                    raise InputError(
                        f"{split.path}, line {sentence.line}: the type {entity.type} does not occur in the training "
                        f"file (it has {', '.join(known)}); correct the label or add examples of it."
                    )
    return splits


def tag_names(split: NerSplit) -> dict[int, str]:
    """The labels of the head by index: O, then B- and I- of each type in alphabetical order."""
    types = split.entity_counts()
    return dict(enumerate(["O", *chain.from_iterable((f"B-{t}", f"I-{t}") for t in types)]))


def encode_split(
    split: NerSplit, tokenizer: Tokenizer, label2id: Mapping[str, int], *, max_length: int, overlap: int
) -> EncodedSplit:
    """Cuts a split into windows of at most ``max_length`` tokens, special tokens included."""
    room = max_length - tokenizer.num_special_tokens()
    examples: list[Window] = []
    num_lost = num_unknown = num_cut = 0
    for sentence, pieces in zip(
        split.sentences, tokenizer.encode_words([sentence.words for sentence in split.sentences]), strict=True
    ):
        num_lost += pieces.num_lost
        num_unknown += pieces.ids.count(tokenizer.unk_token_id)
        tags = [label2id[tag] for tag in bio_tags(sentence)]
        ends = [*pieces.first[1:], len(pieces.ids)]
        for window in windows(pieces.first, len(pieces.ids), room=room, overlap=overlap):
            start, end = pieces.first[window.start], ends[window.end - 1]
            num_cut += max(0, end - start - room)
            ids, _ = tokenizer.with_special_tokens(pieces.ids[start : min(end, start + room)])
            targets = [_NO_TARGET] * len(ids)
            for word in range(window.keep_start, window.keep_end):
                targets[1 + pieces.first[word] - start] = tags[word]
            examples.append(Window(np.array(ids, np.int32), np.array(targets, np.int16)))
    return EncodedSplit(examples, num_lost, num_unknown, num_cut)


def collate(examples: Sequence[Window]) -> LabelledBatch:
    """Packs windows; the targets are ``(T,)``."""
    targets = np.concatenate([example.targets for example in examples], dtype=np.int64)
    return LabelledBatch(
        inputs=pack([example.ids for example in examples]),
        targets=torch.from_numpy(targets),
        num_targets=int((targets != _NO_TARGET).sum()),
    )


# -- loss and figures -------------------------------------------------------------------------------------------------


def tagging_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in fp32, summed over the tokens that carry a tag."""
    return F.cross_entropy(logits.float(), targets, ignore_index=_NO_TARGET, reduction="sum")


def batch_loss(model: nn.Module, batch: LabelledBatch) -> Tensor:
    """:func:`tagging_loss` of a model's logits, as the training loop asks for it."""
    return tagging_loss(model(batch.inputs), batch.targets)


def predict_tags(
    model: TokenClassifier, data: Examples[Window], sentences: Sequence[Sentence], settings: NerSettings
) -> tuple[list[list[str]], float]:
    """The likeliest tag of every word, by sentence, and the mean loss."""
    device = next(model.parameters()).device
    chosen, losses, num_words = [], [], 0
    for batch, logits in predict(
        model, data, batch_size=_EVALUATION_BATCH, precision=settings.precision, device=device
    ):
        chosen.append(logits.argmax(-1)[batch.targets != _NO_TARGET])
        losses.append(tagging_loss(logits, batch.targets))
        num_words += batch.num_targets
    tags = iter(model.config.id2label[index] for index in torch.cat(chosen).tolist())
    by_sentence = [[next(tags) for _ in sentence.words] for sentence in sentences]
    return by_sentence, float(torch.stack(losses).sum()) / num_words


def score(gold: list[list[str]], predicted: list[list[str]]) -> tuple[dict[str, float], dict[str, Any], str]:
    """seqeval's figures.

    Returns:
        ``strict_f1`` and ``default_f1`` (micro averages; seqeval's two modes differ in how they read tags that follow
        no scheme), the strict figures per type and averaged, and the same as a table.
    """
    # Imported here because it brings scikit-learn, which takes a second.
    from seqeval.metrics import classification_report, f1_score
    from seqeval.scheme import IOB2

    strict: dict[str, Any] = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns of types that were never predicted; the table shows them
        report = classification_report(gold, predicted, output_dict=True, **strict)
        table = classification_report(gold, predicted, digits=4, **strict)
        default_f1 = float(f1_score(gold, predicted, zero_division=0))
    figures = {name: {key: float(value) for key, value in row.items()} for name, row in report.items()}
    return {"strict_f1": figures["micro avg"]["f1-score"], "default_f1": default_f1}, figures, table


# -- the command ------------------------------------------------------------------------------------------------------


def describe(splits: Mapping[str, NerSplit], encoded: Mapping[str, EncodedSplit]) -> dict[str, dict[str, Any]]:
    """What a reader of the figures has to know of each split."""
    in_training = {tuple(sentence.words) for sentence in splits["train"].sentences}
    described = {}
    for name, split in splits.items():
        described[name] = {
            "path": split.path,
            "sha256": split.sha256,
            "scheme": split.scheme,
            "sentences": len(split.sentences),
            "words": sum(len(sentence.words) for sentence in split.sentences),
            "entities": split.entity_counts(),
            "repaired_tags": sum(sentence.num_repaired for sentence in split.sentences),
            "windows": len(encoded[name].windows),
            "unknown_tokens": encoded[name].num_unknown,
            "lost_words": encoded[name].num_lost,
            "cut_tokens": encoded[name].num_cut,
        }
        if name != "train":
            described[name]["sentences_also_in_train"] = sum(tuple(s.words) in in_training for s in split.sentences)
    return described


def _data_lines(described: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for name, split in described.items():
        entities = ", ".join(f"{type_} {count:,}" for type_, count in split["entities"].items())
        line = f"{name:5} {split['path']}: {split['sentences']:,} sentences, {entities}"
        notes = {
            "also in train": split.get("sentences_also_in_train", 0),
            "tags repaired": split["repaired_tags"],
            "windows added where sentences are long": split["windows"] - split["sentences"],
            "unknown tokens": split["unknown_tokens"],
            "words without a token": split["lost_words"],
            "tokens cut from words longer than a window": split["cut_tokens"],
        }
        lines.append(line + "".join(f"; {count:,} {what}" for what, count in notes.items() if count))
    return lines


def main(argv: Sequence[str] | None = None) -> Path:
    """Trains, scores and saves; returns the run folder.

    Raises:
        InputError: something that was given cannot be used.
    """
    started = common.now()
    settings = common.parse(
        NerSettings, argv, program="python -m tasks.ner", about="Fine-tune BERT, ALBERT or RoBERTa for named entities."
    )
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    splits = read_splits(settings)
    model, tokenizer, origin = common.starting_model(
        TokenClassifier, settings, tag_names(splits["train"]), (s.words for s in splits["train"].sentences)
    )
    config = model.config
    max_length = settings.max_length or config.max_length
    overlap = min(settings.overlap, (max_length - tokenizer.num_special_tokens()) // 2)
    label2id = {label: index for index, label in config.id2label.items()}
    encoded = {
        name: encode_split(split, tokenizer, label2id, max_length=max_length, overlap=overlap)
        for name, split in splits.items()
    }
    data = {name: Examples(split.windows, collate) for name, split in encoded.items()}
    gold = {name: [bio_tags(sentence) for sentence in split.sentences] for name, split in splits.items()}
    described = describe(splits, encoded)
    folder = common.new_run_folder(settings.out, "ner", config.model_type)
    print("\n".join(_data_lines(described)))
    print(f"model {origin}")
    print(f"run   {folder}: {settings.epochs} epochs, lr {settings.lr:g}, {precision} on {common.device_name(device)}")

    def evaluate() -> dict[str, float]:
        predicted, mean_loss = predict_tags(model, data["dev"], splits["dev"].sentences, settings)
        check_finite(mean_loss, "the dev loss")
        figures, _, _ = score(gold["dev"], predicted)
        return {"loss": mean_loss, **figures}

    def save() -> None:
        model.save_pretrained(folder)

    log = common.RunLog(folder)

    def record(entry: Mapping[str, Any]) -> None:
        log(entry)
        if "train_loss" in entry:
            print(
                f"epoch {entry['epoch']:2}: train loss {entry['train_loss']:.4f}, dev loss {entry['loss']:.4f}, "
                f"strict F1 {entry['strict_f1']:.4f}, {entry['tokens_per_second']:,} tokens/s"
                + (" (best so far)" if entry["best"] else ""),
                flush=True,
            )

    model.to(device)
    with common.no_folder_without_model(folder):
        tokenizer.save_pretrained(folder, for_words=True)
        history = fit(
            model,
            data["train"],
            loss=batch_loss,
            evaluate=evaluate,
            metric=METRICS[settings.metric],
            settings=settings,
            device=device,
            on_best=save,
            on_record=record,
            show_progress=True,
        )

    best, _ = load_model(TokenClassifier, folder)  # what is scored is what was saved
    best.to(device)
    final = {}
    for name in [name for name in ("dev", "test") if name in splits]:
        predicted, mean_loss = predict_tags(best, data[name], splits[name].sentences, settings)
        figures, report, table = score(gold[name], predicted)
        final[name] = {"loss": mean_loss, **figures, "report": report}
    metrics = {
        "task": "ner",
        "arch": config.model_type,
        "weights": settings.weights,
        "command": common.command_line("tasks.ner", argv),
        "seed": settings.seed,
        "settings": dataclasses.asdict(settings),
        "precision": precision,
        "device": common.device_name(device),
        "versions": common.versions(),
        "started": started,
        "finished": common.now(),
        "data": described,
        "epochs": history,
        "final": final,
    }
    common.write_metrics(folder, metrics)
    print(f"\n{name}: {splits[name].path}, best epoch, seqeval in strict mode (IOB2)\n\n{table}")
    print(f"micro F1: strict mode {figures['strict_f1']:.4f}, default mode {figures['default_f1']:.4f}")
    print(f"saved to {folder}")
    return folder


if __name__ == "__main__":
    common.run(main)
