"""Files as annotation tools export them, and the entities that are read from them."""

import json
from pathlib import Path
from typing import Any

from tasks.data import Split
from tasks.ner.data import Sentence


def write(folder: Path, name: str, content: Any) -> str:
    """A file of a text, or of a value as JSON."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def entities(split: Split[Sentence]) -> list[list[tuple[str, str]]]:
    """The text and the type of each entity, by sentence."""
    found = []
    for item in split.items:
        text, places = item.laid_out()
        found.append([(text[places[s][0] : places[e - 1][1]], type_) for s, e, type_ in item.entities])
    return found
