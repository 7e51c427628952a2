"""The model and tokenizer that a run starts from."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import torch

from minibert import EncoderConfig, Tokenizer
from minibert.checkpoint import Pretrained, open_checkpoint
from minibert.errors import InputError
from minibert.families import BERT, FAMILIES
from minibert.loading import LoadReport
from tasks.data import Split
from tasks.run.local_weights import bundled, check_longest
from tasks.run.options import taken_over
from tasks.settings import RunSettings
from tasks.task import Task

DROPOUT: dict[str, Any] = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
"""For small models in fine-tuning; also for ALBERT, whose own default is 0."""

# The small pre-trained models, and random ones: small enough for a laptop.
_SMALL = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "intermediate_size": 768,
    "max_position_embeddings": 256,
    "classifier_dropout": 0.1,
    **DROPOUT,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StartingModel:
    """The model and tokenizer that a run starts from.

    Attributes:
        model: with its head, on the CPU.
        tokenizer: the model's.
        origin: one line that describes the model.
        folder: of the checkpoint that it was loaded from; None if its weights are new.
        loading: which tensors were loaded, and which were not.
        summary: the same in few words.
    """

    model: Pretrained
    tokenizer: Tokenizer
    origin: str
    folder: Path | None = None
    loading: str = ""
    summary: str = ""

    @property
    def line(self) -> str:
        """The model, and how it was loaded."""
        return f"{self.origin} ({self.summary})" if self.summary else self.origin


def load_starting_model(task: Task[Any, Any, Any], train: Split[Any]) -> StartingModel:
    """Loads ``--weights``, or the small pre-trained model of ``--arch``; or makes a new one of the same shape, with a
    tokenizer from the training data.

    A checkpoint trained with the same labels keeps its own order of them. The task gets the settings that depend on the
    model.

    Raises:
        InputError: the checkpoint cannot be used, or ``max_length`` is above what its positions allow.
    """
    settings: RunSettings = task.settings
    torch.manual_seed(settings.seed)
    labels = task.labels(train)
    arch = settings.arch or BERT.name
    folder: Path | None = None
    loading = summary = ""
    source = None if settings.from_random else settings.weights or bundled(arch)
    if source is None:
        task.resolve_for_checkpoint(None)
        tokenizer = task.train_tokenizer(train, arch)
        config = EncoderConfig.from_dict({
            **_SMALL,
            **FAMILIES[arch].small,
            **task.model_shape(),
            "model_type": arch,
            "vocab_size": tokenizer.vocab_size,
            "pad_token_id": tokenizer.pad_token_id,
        })  # fmt: skip
        config = task.update_config(config)
        model = task.model_class(config if labels is None else config.with_labels(labels))
        how = task.init_weights(model, tokenizer, train)
        origin = f"small and {how}; for real use pass --weights {FAMILIES[arch].examples}"
    else:
        checkpoint = open_checkpoint(source, revision=settings.revision)
        task.resolve_for_checkpoint(checkpoint)
        folder = checkpoint.folder
        config = task.update_config(checkpoint.config)
        checkpoint = dataclasses.replace(checkpoint, config=config)
        if labels is not None and set(config.id2label.values()) == set(labels.values()):
            labels = config.id2label
        tokenizer = checkpoint.tokenizer
        model, report = checkpoint.load(task.model_class, labels=labels)
        task.check_loaded(report, source)
        loading, summary = str(report), report.summary
        origin = _origin(task.settings, config, report, folder, task.name)
    task.settings = task.settings.for_width(config.hidden_size)
    task.take_out(model)
    _check_length(settings.max_length, tokenizer, model.config)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    origin = f"{config.model_type}, {millions:.1f} M parameters, {origin}"
    return StartingModel(
        model=model, tokenizer=tokenizer, origin=origin, folder=folder, loading=loading, summary=summary
    )


def require_trained_head(report: LoadReport, path: object) -> None:
    """Raises InputError if a checkpoint had no language-modelling head, so that its predictions would be random."""
    if untrained := [name for name in report.newly_initialised if name.startswith("mlm.")]:
        raise InputError(
            f"{path}: has no trained head for masked words ({', '.join(untrained)} missing); name a pre-trained "
            "checkpoint, or a run of python -m tasks.pretraining."
        )


def _check_length(max_length: int | None, tokenizer: Tokenizer, config: EncoderConfig) -> None:
    check_longest(max_length, config)
    smallest = tokenizer.num_special_tokens() + 1
    if max_length is not None and max_length < smallest:
        raise InputError(f"--max-length {max_length}: leaves no room beside special tokens; give {smallest} or more.")


def _origin(settings: RunSettings, config: EncoderConfig, report: LoadReport, folder: Path, task: str) -> str:
    if settings.weights is None:
        examples = config.family.examples
        return f"small, pre-trained by this project; for real use pass --weights {examples}"
    revision = f", revision {settings.revision}" if settings.revision else ""
    origin = f"from {settings.weights}{revision}"
    origin += _continued(settings, folder, task)
    if any(name.startswith("crf.") for name in report.ignored):
        origin += "; its CRF is not used"
    if settings.arch is not None and settings.arch != config.model_type:
        origin += f"; this checkpoint is a {config.model_type}, so --arch {settings.arch} is not used"
        if why := config.family.lookalikes.get(settings.arch):
            origin += f" ({why})"
    return origin


def _continued(settings: RunSettings, folder: Path, task: str) -> str:
    """What a run takes over from the run in ``folder``, and what it does not."""
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    same, other = [], []
    for name, value in taken_over(folder, type(settings), task).items():
        text = f"{name} = {' | '.join(value) if isinstance(value, tuple) else value}"
        if getattr(settings, name) != value:
            other.append(text)
        elif value != defaults[name]:
            same.append(text)
    said = f"; continues that run with its {', '.join(same)}" if same else ""
    if other:
        said += f"; does not take over its {', '.join(other)}"
        if not Path(str(settings.weights)).is_dir():
            said += f" (to do so, give --weights {shlex.quote(str(folder))})"
    return said
