"""fairseq's byte-level BPE vocabulary, and its equivalent in ``vocab.json`` and ``merges.txt``.

fairseq encodes twice: ``encoder.json`` and ``vocab.bpe`` turn a text into GPT-2's ids, and ``dict.txt`` renumbers
them, most frequent first. Line i of ``dict.txt``, ``<GPT-2 id> <count>``, is row 4 + i of the embedding, after ``<s>``,
``<pad>``, ``</s>`` and ``<unk>``; ``<mask>`` is the last row, which RoBERTa's task adds. Sources:
``fairseq/data/dictionary.py``, ``fairseq/tasks/masked_lm.py``, ``fairseq/data/encoders/gpt2_bpe_utils.py``.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from minibert.errors import InputError
from minibert.files import read_json_object, write_atomically

_FIRST = ("<s>", "<pad>", "</s>", "<unk>")
_MASK = "<mask>"
_END_OF_TEXT = "<|endoftext|>"  # GPT-2's one special token: no merge makes it, and RoBERTa never uses it
_VERSION = "#version: 0.2"


def _bytes_in_order() -> list[str]:
    """The characters that represent the 256 bytes, in the order of GPT-2's ids: printable ones as they are, then the
    others as U+0100 onwards (``bytes_to_unicode`` in GPT-2's ``encoder.py``)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level BPE vocabulary.

    Attributes:
        tokens: the token of each row of the embedding.
        merges: the pairs that are merged, in order.
    """

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]

    @classmethod
    def from_fairseq(cls, folder: Path, num_rows: int) -> "Vocabulary":
        """Reads ``dict.txt``, ``encoder.json`` and ``vocab.bpe``.

        Args:
            folder: the folder with these files.
            num_rows: the rows of the embedding.

        Raises:
            InputError: a file is missing or malformed, or they give another number of rows.
        """
        symbols = _read_dictionary(folder / "dict.txt")
        if _MASK not in symbols:
            symbols.append(_MASK)
        if len(symbols) != num_rows:
            raise InputError(
                f"{folder / 'dict.txt'}: gives {len(symbols)} rows with the special tokens and {_MASK}, but the "
                f"embedding has {num_rows}; take the dict.txt that the checkpoint was trained with."
            )
        for name in ("encoder.json", "vocab.bpe"):
            if not (folder / name).is_file():
                raise InputError(
                    f"{folder / name}: missing; fairseq's RoBERTa uses GPT-2's. Fetch encoder.json and vocab.bpe from "
                    "https://dl.fbaipublicfiles.com/fairseq/gpt2_bpe/ and put them next to dict.txt, or convert the "
                    "weights alone with --no-tokenizer."
                )
        by_id = _read_encoder(folder / "encoder.json")
        if bad := next((symbol for symbol in symbols if re.fullmatch(r"\d+", symbol) and symbol not in by_id), None):
            raise InputError(
                f"{folder / 'dict.txt'}: the id {bad[:80]} is not in encoder.json; the files are from different models."
            )
        tokens = [by_id.pop(symbol, symbol) for symbol in symbols]
        if lost := [token for token in by_id.values() if token != _END_OF_TEXT]:
            raise InputError(
                f"{folder / 'dict.txt'}: has no row for {len(lost)} of encoder.json's tokens, such as {lost[0]!r}; "
                "vocab.json cannot express that."
            )
        return cls(_check_distinct(tokens, folder / "dict.txt"), _read_merges(folder / "vocab.bpe", set(tokens)))

    @classmethod
    def from_huggingface(cls, folder: Path) -> "Vocabulary":
        """Reads ``vocab.json`` and ``merges.txt``.

        Raises:
            InputError: a file is missing or damaged, or its ids are not 0, 1, 2, ... without gaps.
        """
        by_id = _read_encoder(folder / "vocab.json")
        if sorted(by_id, key=int) != [str(index) for index in range(len(by_id))]:
            raise InputError(f"{folder / 'vocab.json'}: its ids are not 0, 1, 2, ... without gaps.")
        tokens = [by_id[str(index)] for index in range(len(by_id))]
        return cls(tuple(tokens), _read_merges(folder / "merges.txt", set(tokens)))

    def save_huggingface(self, folder: Path) -> None:
        """Writes ``vocab.json`` and ``merges.txt``."""
        ids = {token: index for index, token in enumerate(self.tokens)}
        _write(folder / "vocab.json", json.dumps(ids, ensure_ascii=False))
        _write(folder / "merges.txt", self._merges_text())

    def save_fairseq(self, folder: Path) -> None:
        """Writes ``dict.txt``, ``encoder.json`` and ``vocab.bpe``.

        GPT-2's ids number the bytes, the merges and the end of the text, in this order, so they follow from the merges.
        The counts in ``dict.txt`` are lost; fairseq's RoBERTa does not use them.

        Raises:
            InputError: the first tokens are not fairseq's, or ``dict.txt`` cannot hold a token.
        """
        if self.tokens[: len(_FIRST)] != _FIRST:
            raise InputError(f"{folder}: fairseq's vocabularies begin with {' '.join(_FIRST)}, but this one does not.")
        in_order = dict.fromkeys([*_bytes_in_order(), *(left + right for left, right in self.merges), _END_OF_TEXT])
        known = set(self.tokens)
        encoder = {token: index for index, token in enumerate(token for token in in_order if token in known)}
        lines = []
        for token in self.tokens[len(_FIRST) :]:
            if token not in encoder and (re.fullmatch(r"\d+|", token) or re.search(r"\s", token)):
                raise InputError(f"{folder}: a dict.txt cannot hold the token {token!r}.")
            lines.append(f"{encoder.get(token, token)} 1")
        if lines and lines[-1] == f"{_MASK} 1":
            lines.pop()  # RoBERTa's task adds it
        _write(folder / "dict.txt", "".join(f"{line}\n" for line in lines))
        _write(folder / "encoder.json", json.dumps(encoder))
        _write(folder / "vocab.bpe", self._merges_text())

    def _merges_text(self) -> str:
        return "".join(f"{line}\n" for line in (_VERSION, *(f"{left} {right}" for left, right in self.merges)))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _check_distinct(tokens: list[str], path: Path) -> tuple[str, ...]:
    seen: set[str] = set()
    for token in tokens:
        if token in seen:
            raise InputError(f"{path}: two rows are the token {token[:80]!r}.")
        seen.add(token)
    return tuple(tokens)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not valid UTF-8.") from None


def _read_dictionary(path: Path) -> list[str]:
    """The symbol of each row: the special ones, and those of the lines ``<symbol> <count>``."""
    symbols = dict.fromkeys(_FIRST)
    for number, line in enumerate(_lines(path), 1):
        match = re.fullmatch(r"(\S+) -?[0-9]+\s*", line)
        if match is None:
            raise InputError(f"{path}, line {number}: not '<GPT-2 id> <count>' but {line[:80]!r}.")
        if match[1] in symbols:
            raise InputError(f"{path}, line {number}: {match[1][:80]!r} appears twice.")
        symbols[match[1]] = None
    return list(symbols)


def _read_encoder(path: Path) -> dict[str, str]:
    """The token of each id, with ids as strings, as ``dict.txt`` has them."""
    by_id: dict[str, str] = {}
    for token, index in read_json_object(path).items():
        if type(index) is not int or not 0 <= index < 2**31 or re.search(r"[\ud800-\udfff]", token):
            raise InputError(f"{path}: does not map tokens to ids; see {token[:80]!r}.")
        if str(index) in by_id:
            raise InputError(f"{path}: {token[:80]!r} and {by_id[str(index)][:80]!r} have the same id {index}.")
        by_id[str(index)] = token
    return by_id


def _read_merges(path: Path, tokens: set[str]) -> tuple[tuple[str, str], ...]:
    merges = []
    for number, line in enumerate(_lines(path), 1):
        if (number == 1 and line.startswith("#version")) or not line:
            continue
        left, space, right = line.rstrip("\r").partition(" ")
        if not space or not {left, right, left + right} <= tokens:
            raise InputError(f"{path}, line {number}: not two tokens that merge into a third: {line[:80]!r}.")
        merges.append((left, right))
    return tuple(merges)
