"""The scene sample: how a short scene goes on, one of two to five endings.

A scene in the material has sentences that open it and endings that suit them; a question takes one of each, and wrong
endings from other scenes. Endings are held out of train, and people's names are divided between the splits.
"""

import json
import random
from collections import Counter
from dataclasses import dataclass

from tools.samples.drawing import Chooser, Divided, Files, Lists, entries, hold_out, read_material, split_names

SIZES = {"train": 600, "dev": 150, "test": 150}
CHOICES = (2, 3, 4, 4, 4, 5)
TRADITIONAL_SHARE = 0.4  # of the Chinese scenes


@dataclass(frozen=True)
class Language:
    """All the material for scenes in one language."""

    names: dict[str, Lists]  # by split
    links: list[str]
    scenes: list[tuple[list[str], Divided[str]]]  # the sentences that open each, and its endings


def read_language(name: str, rng: random.Random) -> Language:
    """Reads the material, divides the names, and holds a part of each scene's endings out of train."""
    material = read_material(f"scenes_{name}")
    scenes = [(entries(scene["openings"]), hold_out(entries(scene["endings"]), rng)) for scene in material["scenes"]]
    return Language(split_names({"name": entries(material["names"])}, rng), entries(material["links"]), scenes)


def make(rng: random.Random) -> tuple[Files, str]:
    """Questions as JSON lines, and their counts. English and Chinese alternate; no question occurs twice."""
    english, simplified, traditional = (read_language(name, rng) for name in ("english", "simplified", "traditional"))
    seen: set[tuple[str, str]] = set()
    files: Files = {}
    for split, size in SIZES.items():
        choices = Chooser(split=split, rng=rng)
        rows: list[str] = []
        while len(rows) < size:
            chinese = traditional if rng.random() < TRADITIONAL_SHARE else simplified
            language = chinese if len(rows) % 2 else english
            (openings, endings), *others = rng.sample(language.scenes, rng.choice(CHOICES))
            right = choices.choose(endings)
            given = [right, *(choices.choose(wrong) for _, wrong in others)]
            rng.shuffle(given)
            name = rng.choice(language.names[split]["name"])
            context = rng.choice(openings).replace("{name}", name)
            if (context, right) in seen:
                continue
            seen.add((context, right))
            row = {"context": context, "question": rng.choice(language.links).replace("{name}", name)}
            rows.append(json.dumps({**row, "choices": given, "label": given.index(right)}, ensure_ascii=False) + "\n")
        files[f"{split}.jsonl"] = "".join(rows)
    return files, summary(files)


def summary(files: Files) -> str:
    rows = []
    for name, text in files.items():
        sizes = Counter(len(json.loads(line)["choices"]) for line in text.splitlines())
        by_size = ", ".join(f"{count} with {size}" for size, count in sorted(sizes.items()))
        rows.append(f"multiple_choice/{name}: {sizes.total()} questions, {by_size} choices")
    return "\n".join(rows)
