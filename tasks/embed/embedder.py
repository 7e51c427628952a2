"""A model as a Python function from texts to vectors: ``embed = load("folder"); embed(["a", "b"])``."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from minibert.checkpoint import Checkpoint, open_checkpoint
from minibert.errors import InputError
from minibert.formats.sentence_transformers import MEAN, MODULES, POOLINGS
from tasks.embed.task import VECTOR, EmbedSettings, EmbedTask, Vector
from tasks.predict.answerer import Answerer, Input
from tasks.predict.arguments import require_positive
from tasks.run.predictor import Predictor


class Embedder:
    """Computes the vectors of texts, as ``python -m tasks.embed`` does.

    Threads may share one. Many texts in one call are much faster than many calls, because they share batches.

    Attributes:
        answerer: whose answers have the vectors.
        settings: how vectors are made.
        width: C, the numbers in a vector.
    """

    def __init__(self, answerer: Answerer) -> None:
        self.answerer = answerer
        self.settings: EmbedSettings = answerer.predictor.task.settings
        self.width = answerer.predictor.model.config.hidden_size

    @property
    def notes(self) -> Counter[str]:
        """Counts over all texts so far, such as ``cut_texts``."""
        return self.answerer.notes

    def __call__(self, inputs: Input | Iterable[Input]) -> Vector:
        """The vector of one text, ``(C,)``, or those of N texts in order, ``(N, C)``, in fp32.

        Raises:
            InputError: an input cannot be used.
        """
        if isinstance(inputs, (str, Mapping)):
            vector: Vector = self.answerer(inputs)[VECTOR]
            return vector
        vectors = [answer[VECTOR] for answer in self.answerer(inputs)]
        return np.array(vectors, np.float32).reshape(len(vectors), self.width)

    def stream(self, inputs: Iterable[Input]) -> Iterator[Vector]:
        """The vectors of any number of texts, in order; reads up to 2,048 texts (or a million characters) ahead.

        Raises:
            InputError: an input cannot be used; those before it have their vectors.
        """
        return (answer[VECTOR] for answer in self.answerer.stream(inputs))


def load(
    model: str,
    *,
    pooling: str | None = None,
    normalize: bool | None = None,
    text_column: str | None = None,
    device: str = "auto",
    precision: str = "fp32",
    batch_tokens: int | None = None,
) -> Embedder:
    """Loads a model for vectors of texts.

    Args:
        model: a checkpoint, a folder of sentence-transformers or a run; or a name on the hub.
        pooling: ``mean`` of all tokens or ``first`` token; None for what the folder of sentence-transformers says, else
            ``mean``.
        normalize: whether to scale vectors to length 1; None for what the folder says, else not.
        text_column: the field of an input that has the text, if it is called otherwise.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32``, ``auto``, ``bf16``, ``fp16``, or ``int8`` (on a CPU).
        batch_tokens: in a batch at most: fewer take less memory. None for what is fastest on the device.

    Raises:
        InputError: the model cannot be used, or makes its vectors in a way that minibert does not have.
    """
    checkpoint = open_checkpoint(str(model))
    if pooling is not None and pooling not in POOLINGS:
        raise InputError(f"--pooling {pooling}: use one of {', '.join(POOLINGS)}.")
    require_positive("--batch-tokens", batch_tokens)
    own = checkpoint.sentence_settings
    longest = checkpoint.config.max_length
    settings = EmbedSettings(
        text_column=text_column,
        pooling=pooling or _own_pooling(checkpoint),
        normalize=own is not None and own.normalize if normalize is None else normalize,
        max_length=longest if own is None or own.max_length is None else min(own.max_length, longest),
        lower_case=own is not None and own.lower_case,
        prompt="" if own is None else own.prompt,
    )
    predictor = Predictor.load(
        EmbedTask(settings), checkpoint, device=device, precision=precision, batch_tokens=batch_tokens
    )
    return Embedder(Answerer(predictor, text_column=text_column))


def _own_pooling(checkpoint: Checkpoint) -> str:
    """The pooling of a folder of sentence-transformers, else the mean.

    Raises:
        InputError: minibert does not have it, or a module that comes behind it.
    """
    own = checkpoint.sentence_settings
    if own is None:
        return MEAN
    if own.others or own.pooling not in POOLINGS:
        unknown = ", ".join(own.others) or f"the pooling {own.pooling or 'of several kinds'}"
        raise InputError(
            f"{checkpoint.folder / MODULES}: names {unknown}, which minibert does not have; give --pooling mean or "
            "--pooling first for vectors of the encoder without it."
        )
    return own.pooling
