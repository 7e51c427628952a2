"""What pre-training stores of a corpus: the list of its documents, divided into splits, and their tokens and chunks."""

from collections.abc import Mapping
from importlib import metadata

from tqdm import tqdm

from minibert.training import distributed
from tasks.data import Split
from tasks.pretraining.corpus import Corpus, Documents, Listed, document_arrays
from tasks.pretraining.encode import ChunkedStream, Chunking, encode
from tasks.pretraining.store import Store, Writer, stored


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
            "understood": list(split.understood),
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
            understood=facts["understood"],
            indices=documents.numbers if facts["part"] else None,
            draw=facts["draw"],
        )
    return splits


def stored_chunks(documents: Documents, chunking: Chunking) -> tuple[ChunkedStream, int]:
    """The tokens and chunks of documents, and the number of unknown tokens."""
    tokenizer = chunking.tokenizer

    def make(writer: Writer) -> None:
        texts = tqdm(
            documents.texts(), total=len(documents), desc="tokens", unit=" documents", leave=False,
            disable=None if distributed.is_rank0() else True,
        )  # fmt: skip
        writer.facts["unknown_tokens"] = encode(texts, chunking, writer.append)

    key = {
        "documents": documents.key,
        "tokenizer": tokenizer.fingerprint(),
        "tokenizers": metadata.version("tokenizers"),
        "in_pairs": chunking.in_pairs,
        "room": chunking.room,
    }
    store = stored(key, make, f"the tokens of {', '.join(documents.corpus.paths)}")
    return ChunkedStream.from_arrays(store.arrays), store.facts["unknown_tokens"]
