"""What pre-training stores of a corpus: the list of its documents, divided into splits, and their tokens and chunks."""

import hashlib
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

import torch
from tqdm import tqdm

from minibert import Tokenizer
from minibert.checkpoint import Pretrained
from minibert.training import distributed
from tasks.data import Split
from tasks.pretraining.corpus import Corpus, Documents, Listed, document_arrays
from tasks.pretraining.encode import ChunkedStream, Chunking, encode
from tasks.run.store import Store, Writer, stored


def write_splits(writer: Writer, corpora: Mapping[str, Corpus], splits: Mapping[str, Split[Listed]]) -> None:
    """Writes splits to a store; ``corpora`` are those that were given, by split."""
    for name, split in splits.items():
        source = "train" if split.indices is not None else name
        for array, values in document_arrays(corpora[source], split.items, split.indices).items():
            writer.append(f"{name}-{array}", values)
        writer.facts[name] = {
            "source": source,
            "part": split.part,
            "sha256": split.sha256,
            "understood": [line.rpartition(": ")[2] for line in split.understood],  # the files may move
            "draw": None if split.draw is None else dict(split.draw),
        }


def read_splits(store: Store, corpora: Mapping[str, Corpus]) -> dict[str, Split[Listed]]:
    """What :func:`write_splits` wrote."""
    splits = {}
    for name, facts in store.facts.items():
        corpus = corpora[facts["source"]]
        arrays = {
            array.removeprefix(f"{name}-"): values
            for array, values in store.arrays.items()
            if array.startswith(f"{name}-")
        }
        documents = Documents(corpus=corpus, key=f"{store.key}/{name}", **arrays)
        splits[name] = Split(
            path=", ".join(corpus.paths),
            part=facts["part"],
            sha256=facts["sha256"],
            items=documents,
            understood=corpus.named(facts["understood"]),
            indices=documents.numbers if facts["part"] else None,
            draw=facts["draw"],
        )
    return splits


def stored_tokenizer(documents: Documents, arch: str, train: Callable[[], Tokenizer]) -> Tokenizer:
    """The tokenizer that ``train`` makes of documents for an architecture."""

    def make(writer: Writer) -> None:
        writer.facts["tokenizer"] = train().to_json()

    key = {"documents": documents.key, "arch": arch, "tokenizers": metadata.version("tokenizers")}
    return Tokenizer.from_json(stored(key, make, "the tokenizer").facts["tokenizer"])


def stored_weights(model: Pretrained, key: Mapping[str, Any], initialise: Callable[[], None]) -> None:
    """Initialises a model by ``initialise``, which depends on nothing but the key and the model's shape, or as it did
    before."""

    def make(writer: Writer) -> None:
        initialise()
        for name, parameter in model.named_parameters():
            writer.append(name, parameter.detach().numpy().reshape(-1))

    store = stored({**key, "config": model.config.to_dict(), "torch": torch.__version__}, make, "the initial weights")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.tensor(store.arrays[name]).view_as(parameter))


def chunks_key(documents: Documents, chunking: Chunking) -> dict[str, Any]:
    """Everything that the tokens and chunks of documents depend on, as JSON."""
    return {**tokens_key(documents, chunking), "room": chunking.room}


def tokens_key(documents: Documents, chunking: Chunking) -> dict[str, Any]:
    """Everything that the tokens of documents depend on, separators included, as JSON."""
    return {
        "documents": documents.key,
        "tokenizer": hashlib.sha256(chunking.tokenizer.to_json().encode("utf-8", "surrogatepass")).hexdigest(),
        "tokenizers": metadata.version("tokenizers"),
        "in_pairs": chunking.in_pairs,
    }


def stored_chunks(documents: Documents, chunking: Chunking) -> tuple[ChunkedStream, int]:
    """The tokens and chunks of documents, and the number of unknown tokens."""

    def make(writer: Writer) -> None:
        texts = tqdm(
            documents.texts(), total=len(documents), desc="tokens", unit=" documents", leave=False,
            disable=None if distributed.is_rank0() else True,
        )  # fmt: skip
        writer.facts["unknown_tokens"] = encode(texts, chunking, writer.append)

    store = stored(chunks_key(documents, chunking), make, f"the tokens of {', '.join(documents.corpus.paths)}")
    return ChunkedStream.from_arrays(store.arrays), store.facts["unknown_tokens"]
