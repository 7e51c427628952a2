"""What every task shares: its settings as options, its starting model, its run folder, and its manners with errors."""

import argparse
import contextlib
import dataclasses
import io
import itertools
import json
import platform
import shlex
import shutil
import sys
import tempfile
import time
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import torch

from minibert import EncoderConfig, Tokenizer
from minibert.checkpoint import LoadReport, Pretrained, load_model, read_config
from minibert.config import ARCHITECTURES
from minibert.errors import InputError
from minibert.files import write_json, write_whole
from minibert.training import TrainingSettings

SAMPLES = Path(__file__).parent / "samples"

# What `--weights` to name to a person who has none yet.
OFFICIAL_WEIGHTS = {
    "bert": "google-bert/bert-base-chinese or google-bert/bert-base-cased",
    "albert": "voidful/albert_chinese_base (Chinese) or albert/albert-base-v2 (English)",
    "roberta": "FacebookAI/roberta-base (English)",
}

# Shapes and settings for a start from random weights: small enough for a laptop, long and fast enough to learn.
_SMALL = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512, "classifier_dropout": 0.1}
_SMALL_BY_ARCH: dict[str, dict[str, Any]] = {
    "bert": {"num_hidden_layers": 2},
    "albert": {"num_hidden_layers": 2, "embedding_size": 64, "hidden_dropout_prob": 0.1},
    "roberta": {"num_hidden_layers": 2, "max_position_embeddings": 514, "type_vocab_size": 1},
}
_SMALL_VOCABULARY = 8000
FROM_RANDOM: dict[str, Any] = {"epochs": 15, "lr": 1e-3, "precision": "fp32"}  # too narrow to gain from bf16


@dataclass(frozen=True, kw_only=True)
class RunSettings(TrainingSettings):
    """The options that all tasks have, by the same names."""

    arch: str | None = field(
        default=None, metadata={"help": "bert, albert or roberta (default: that of --weights, else bert)"}
    )
    weights: str | None = field(
        default=None, metadata={"help": "checkpoint folder or hub name to start from (default: small and random)"}
    )
    train: str | None = field(default=None, metadata={"help": "training file (default: the bundled sample)"})
    dev: str | None = field(
        default=None, metadata={"help": "file that chooses the best epoch (default: a tenth of --train, held out)"}
    )
    test: str | None = field(default=None, metadata={"help": "file for the final report (default: the dev file's)"})
    max_length: int | None = field(
        default=None, metadata={"help": "most tokens the model sees at a time (default: what its positions allow)"}
    )
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N"})
    out: str | None = field(default=None, metadata={"help": "run folder, new or empty (default: runs/TASK-ARCH-N)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.arch is not None and self.arch not in ARCHITECTURES:
            raise InputError(f"--arch {self.arch}: use one of {', '.join(ARCHITECTURES)}.")
        if self.train is None and (self.dev or self.test):
            raise InputError("--dev and --test need --train; without it the bundled sample is used whole.")


Settings = TypeVar("Settings", bound=RunSettings)


def parse(settings_class: type[Settings], argv: Sequence[str] | None, *, program: str, about: str) -> Settings:
    """Reads settings from a command line that is derived from their dataclass.

    From random weights, options that were not given take the values of :data:`FROM_RANDOM`.
    """
    parser = argparse.ArgumentParser(prog=program, description=about, allow_abbrev=False)
    hints = typing.get_type_hints(settings_class)
    shared = {f.name for f in dataclasses.fields(TrainingSettings)}
    for option in sorted(dataclasses.fields(settings_class), key=lambda f: f.name in shared):
        hint = hints[option.name]
        if isinstance(hint, types.UnionType):
            hint = next(choice for choice in typing.get_args(hint) if choice is not type(None))
        text = option.metadata["help"]
        if option.default is not None:
            random = f"; {FROM_RANDOM[option.name]} from random weights" if option.name in FROM_RANDOM else ""
            text += f" (default: {option.default}{random})"
        parser.add_argument(
            f"--{option.name.replace('_', '-')}", type=hint, default=argparse.SUPPRESS, help=text.replace("%", "%%")
        )
    given = vars(parser.parse_args(argv))
    if given.get("weights") is None:
        given = {**FROM_RANDOM, **given}
    return settings_class(**given)


def run(main: Callable[[], object]) -> None:
    """Runs a command: what a person can correct is printed as one sentence, with exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without Chinese must not end a run
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        sys.exit(130)


Model = TypeVar("Model", bound=Pretrained)


def starting_model(
    model_class: type[Model], settings: RunSettings, labels: Mapping[int, str], words: Iterable[Sequence[str]]
) -> tuple[Model, Tokenizer, str]:
    """The model and tokenizer that a run starts from.

    Args:
        model_class: with its head.
        settings: ``weights`` to load, or none for a small random model of ``arch``.
        labels: the head's labels, by index; a checkpoint trained with the same ones keeps its own order.
        words: the training data's sentences of words, from which a random model's tokenizer is made.

    Returns:
        The model, its tokenizer, and a line that says what it is.

    Raises:
        InputError: the checkpoint cannot be used, or ``max_length`` is above what its positions allow.
    """
    torch.manual_seed(settings.seed)
    if settings.weights is None:
        arch = settings.arch or "bert"
        tokenizer = Tokenizer.train(words, model_type=arch, vocab_size=_SMALL_VOCABULARY)
        config = EncoderConfig(
            model_type=arch,
            vocab_size=tokenizer.vocab_size,
            pad_token_id=tokenizer.pad_token_id,
            **{**_SMALL, **_SMALL_BY_ARCH[arch]},
        ).with_labels(labels)
        model = model_class(config)
        origin = f"small and random; for real use pass --weights {OFFICIAL_WEIGHTS[arch]}"
    else:
        config = read_config(settings.weights)
        if set(config.id2label.values()) == set(labels.values()):
            labels = config.id2label
        tokenizer = Tokenizer.from_pretrained(settings.weights)
        tokenizer.check_fits(config, settings.weights)
        model, report = load_model(model_class, settings.weights, labels=labels)
        origin = _origin(settings, config, report)
    if settings.max_length is not None:
        smallest = tokenizer.num_special_tokens() + 1
        if not smallest <= settings.max_length <= config.max_length:
            raise InputError(
                f"--max-length {settings.max_length}: this model has positions for {config.max_length} tokens, special "
                f"tokens included; give a number from {smallest} to {config.max_length}."
            )
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return model, tokenizer, f"{config.model_type}, {millions:.1f} M parameters, {origin}"


def _origin(settings: RunSettings, config: EncoderConfig, report: LoadReport) -> str:
    origin = f"from {settings.weights} ({report})"
    if settings.arch not in (None, config.model_type):
        origin += f"; this checkpoint is a {config.model_type}, so --arch {settings.arch} is not used"
        if (settings.arch, config.model_type) == ("roberta", "bert"):
            origin += " (most Chinese RoBERTas have BERT's architecture, trained in RoBERTa's way)"
    return origin


def new_run_folder(out: str | None, task: str, arch: str) -> Path:
    """Makes the folder of a new run: ``out``, or the next free ``runs/TASK-ARCH-N``.

    Raises:
        InputError: it holds something already, or cannot be written.
    """
    folder = Path(out) if out is not None else Path("runs")
    try:
        if out is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise InputError(f"--out {folder}: is not empty; name a new folder, so that nothing in it is lost.")
        else:
            folder = _numbered(folder, f"{task}-{arch}")
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--out {folder}: cannot be written ({error}).") from None
    return folder


def _numbered(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        with contextlib.suppress(FileExistsError):  # two runs may start at once
            (parent / f"{name}-{number}").mkdir()
            break
    return parent / f"{name}-{number}"


@contextlib.contextmanager
def no_folder_without_model(folder: Path) -> Iterator[None]:
    """Takes a new run's folder away again if the block fails before it has saved a model."""
    try:
        yield
    except BaseException:
        if not (folder / "model.safetensors").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


class RunLog:
    """``train_log.jsonl``: one JSON object a line, on the disk as soon as it is there."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "train_log.jsonl"
        self._started = time.perf_counter()

    def __call__(self, record: Mapping[str, Any]) -> None:
        line = json.dumps({**record, "seconds": round(time.perf_counter() - self._started, 2)}, ensure_ascii=False)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def versions() -> dict[str, str]:
    """The versions that a run's figures depend on."""
    found = {"python": platform.python_version()}
    for name in ("minibert", "torch", "tokenizers", "numpy", "seqeval", "safetensors"):
        with contextlib.suppress(metadata.PackageNotFoundError):  # minibert itself, run from a checkout
            found[name] = metadata.version(name)
    return found


def device_name(device: torch.device) -> str:
    """What a person calls the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} threads"


def command_line(program: str, argv: Sequence[str] | None) -> str:
    """The command that makes this run again."""
    return shlex.join(["python", "-m", program, *(sys.argv[1:] if argv is None else argv)])


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    write_whole(folder / "metrics.json", lambda path: write_json(path, metrics))
