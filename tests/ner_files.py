"""Labelled sentences for the tests of named entities."""

from pathlib import Path

TRAIN = [
    ("Ann went to Rome .", "B-PER O O B-LOC O"),
    ("Bob saw Ann in New York .", "B-PER O B-PER O B-LOC I-LOC O"),
    ("Rome is far from York .", "B-LOC O O O B-LOC O"),
    ("Nobody saw it .", "O O O O"),
] * 4
DEV = [("Bob went to York .", "B-PER O O B-LOC O"), ("Ann is far from Rome .", "B-PER O O O B-LOC O")]


def write(path: Path, sentences: list[tuple[str, str]]) -> str:
    blocks = (
        "\n".join(f"{w} {t}" for w, t in zip(text.split(), tags.split(), strict=True)) for text, tags in sentences
    )
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return str(path)


def options(folder: Path) -> list[str]:
    """Those that name the training and dev data, written to a folder."""
    return ["--train", write(folder / "train.txt", TRAIN), "--dev", write(folder / "dev.txt", DEV)]
