"""Text to token ids, from whatever tokenizer files a checkpoint ships."""

from minibert.tokenizer.tokenizer import Pieces, Tokenizer, WordPieces, split_words

__all__ = ["Pieces", "Tokenizer", "WordPieces", "split_words"]
