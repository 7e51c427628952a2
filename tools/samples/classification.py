"""The review sample: short reviews, labelled positive, negative or neutral.

``{item}``, ``{aspect}``, ``{praise}`` and ``{blame}`` come from one domain (appliances, food, stays, services), so a
review keeps to one subject. The list "aside" may follow any review, "positive" and "negative" one with that label. Most
templates come in pairs that use the same words to opposite ends: the right label depends on what is negated and on
which half of a contrast comes last.
"""

import json
import random
import re
from collections import Counter
from dataclasses import dataclass

from tools.samples.drawing import Chooser, Divided, Files, hold_out_of_each, read_lists, read_material

SIZES = {"train": 900, "dev": 200, "test": 200}
LABEL_WEIGHTS = {"positive": 0.38, "negative": 0.35, "neutral": 0.27}
REASON_SHARE = 0.6  # positive and negative reviews with one more sentence that says why
ASIDE_SHARE = 0.3  # reviews with a sentence that expresses no opinion
TRADITIONAL_SHARE = 0.4  # of the Chinese reviews


@dataclass(frozen=True)
class Language:
    """All the material for reviews in one language."""

    templates: dict[str, Divided[str]]  # by label
    domains: list[dict[str, Divided[str]]]


def read_language(name: str, rng: random.Random) -> Language:
    """Reads the material and holds a part of each list out of train."""
    material = read_material(f"reviews_{name}")
    words = hold_out_of_each(read_lists(material["words"]), rng)
    return Language(
        hold_out_of_each(read_lists(material["templates"]), rng),
        [words | hold_out_of_each(read_lists(domain), rng) for domain in material["domains"]],
    )


def polish(text: str) -> str:
    """Capitals at the beginning of sentences, and `an` before a vowel. Leaves Chinese as it is."""
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return re.sub(r"(?:^|[.!?] )[a-z]", lambda start: start[0].upper(), text)


def make(rng: random.Random) -> tuple[Files, str]:
    """Reviews as JSON lines, and their counts. English and Chinese alternate; no text occurs twice."""
    english, simplified, traditional = (read_language(name, rng) for name in ("english", "simplified", "traditional"))
    seen: set[str] = set()
    files: Files = {}
    for split, size in SIZES.items():
        choices = Chooser(split=split, rng=rng)
        rows: list[str] = []
        while len(rows) < size:
            chinese = traditional if rng.random() < TRADITIONAL_SHARE else simplified
            language = chinese if len(rows) % 2 else english
            label = rng.choices(list(LABEL_WEIGHTS), list(LABEL_WEIGHTS.values()))[0]
            domain = rng.choice(language.domains)
            sentences = [choices.choose(language.templates[label])]
            sentences += [f"{{{label}}}"] * (label in domain and rng.random() < REASON_SHARE)
            sentences += ["{aside}"] * (rng.random() < ASIDE_SHARE)
            # The only slot that has the same filling everywhere in a review.
            template = ("" if len(rows) % 2 else " ").join(sentences).replace("{item}", choices.choose(domain["item"]))
            text = polish(choices.fill(template, domain))
            if text not in seen:
                seen.add(text)
                rows.append(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n")
        files[f"{split}.jsonl"] = "".join(rows)
    return files, summary(files)


def summary(files: Files) -> str:
    rows = []
    for name, text in files.items():
        labels = Counter(json.loads(line)["label"] for line in text.splitlines())
        rows.append(f"classification/{name}: {labels.total()} texts, {dict(sorted(labels.items()))}")
    return "\n".join(rows)
