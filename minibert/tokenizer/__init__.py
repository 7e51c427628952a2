"""Tokenizers, read from any of the files that checkpoints ship."""

from minibert.tokenizer.tokenizer import Pieces, Tokenizer, WordPieces, split_words

__all__ = ["Pieces", "Tokenizer", "WordPieces", "split_words"]
