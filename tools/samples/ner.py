"""The Chinese named-entity sample: BIO-tagged sentences made from templates and lists of names.

A sentence starts as a template such as ``{PER}昨天在{LOC}会见了{ORG}的代表{PER}。``:

* ``{UPPER}`` is an entity slot: one of its forms is filled in, and its characters get the slot's type;
* ``{lower}`` is an ordinary word (a date, a number, a dish), tagged O;
* ``[长江/LOC]`` is an entity spelled out, for sentences that play on one particular word.

The lists of names are divided between the splits, and a fifth of the templates is held out of train, so a model that
only remembers names does badly on dev and test. People and events are invented. Place names are real, so an
organisation named after a place may share its name with a real one.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tools.samples.drawing import (
    REDRAWS,
    Divided,
    Files,
    Lists,
    expand,
    hold_out,
    read_lists,
    read_material,
    split_names,
)

SIZES = {"train": 1200, "dev": 300, "test": 300}
LONG = {"train": 3, "dev": 1, "test": 1}  # how many of them are chains of clauses of over 150 characters
TRADITIONAL_SHARE = 0.25
PLAIN_SHARE = 0.15  # sentences without any entity
CLAUSES = (1,) * 16 + (2, 2, 2, 3)  # how many templates a sentence is made of
LONG_CLAUSES = 8
HELD_OUT_SHARE = 0.4  # dev and test sentences from templates that train never uses
SHORTEST, LONGEST, LONG_OVER = 6, 90, 150

# The entity type of each slot.
TYPES = {
    slot: entity_type
    for entity_type, slots in {
        "PER": "PER",
        "LOC": "LOC CITY COUNTY ABROAD ROAD VILLAGE RIVER MOUNT",
        "ORG": "ORG SCHOOL FIRM SHORT BANK COURT LAW POLICE HOSPITAL CLUB PRESS INST",
    }.items()
    for slot in slots.split()
}
NUMBERS = {
    "n": range(2, 99),
    "digit": range(1, 8),
    "month": range(2, 13),
    "day": range(1, 29),
    "year": range(1911, 2024),
}
PIECE = re.compile(r"\{(?P<slot>\w+)\}|\[(?P<literal>[^/\]]+)/(?P<type>\w+)\]|(?P<char>.)")

Sentence = list[tuple[str, str]]  # characters and their tags


@dataclass(frozen=True)
class Grammar:
    """What one split may use of one script."""

    lists: Lists
    plain: Divided[str]  # templates without an entity
    entity: Divided[str]


def make_grammars(script: str, rng: random.Random) -> dict[str, Grammar]:
    """The grammar of each split for one script."""
    material = read_material(f"ner_{script}")
    genres = {genre: hold_out(templates, rng) for genre, templates in read_lists(material["templates"]).items()}
    plain = genres.pop("plain")
    entity = (
        [template for common, _ in genres.values() for template in common],
        [template for _, held_out in genres.values() for template in held_out],
    )
    numbers = {slot: list(map(str, values)) for slot, values in NUMBERS.items()}
    shared = numbers | read_lists(material["words"]) | read_lists(material["forms"])
    return {
        split: Grammar(shared | names, plain, entity)
        for split, names in split_names(read_lists(material["names"]), rng).items()
    }


def render(template: str, lists: Lists, rng: random.Random) -> Sentence:
    """Fills in a template and tags each character; avoids using an entity twice."""
    sentence: Sentence = []
    used = {piece["literal"] for piece in PIECE.finditer(template)}
    for piece in PIECE.finditer(template):
        slot = piece["slot"]
        text = expand(slot, lists, rng) if slot else piece["literal"] or piece["char"]
        entity_type = TYPES.get(slot, piece["type"])
        if slot in TYPES:
            for _ in range(REDRAWS):
                if text.removesuffix("市") not in used:
                    break
                text = expand(slot, lists, rng)
            used.add(text.removesuffix("市"))
        if entity_type:
            sentence += zip(text, [f"B-{entity_type}"] + [f"I-{entity_type}"] * (len(text) - 1), strict=True)
        else:
            sentence += [(char, "O") for char in text]
    return sentence


def draw_sentence(split: str, grammar: Grammar, clauses: int, rng: random.Random) -> Sentence:
    """One random sentence of the split, joined from as many templates as `clauses` says."""
    common, held_out = grammar.plain if rng.random() < PLAIN_SHARE else grammar.entity
    chosen: list[str] = []
    while len(chosen) < clauses:
        templates = held_out if split != "train" and rng.random() < HELD_OUT_SHARE else common
        template = rng.choice(templates)
        if template not in chosen:
            chosen.append(template)
    joined = "".join(chosen[:-1])
    if rng.random() < 0.5:
        joined = joined.replace("。", "；")
    return render(joined + chosen[-1], grammar.lists, rng)


def draw_sample(rng: random.Random) -> dict[str, list[Sentence]]:
    """The sentences of every split. No sentence occurs twice, within a split or across splits."""
    grammars = {script: make_grammars(script, rng) for script in ("simplified", "traditional")}
    seen: set[str] = set()
    sample: dict[str, list[Sentence]] = {}
    for split, size in SIZES.items():
        sentences: list[Sentence] = []
        while len(sentences) < size:
            script = "traditional" if rng.random() < TRADITIONAL_SHARE else "simplified"
            is_long = len(sentences) < LONG[split]
            clauses = LONG_CLAUSES if is_long else rng.choice(CLAUSES)
            sentence = draw_sentence(split, grammars[script][split], clauses, rng)
            text = "".join(char for char, _ in sentence)
            fits = len(text) > LONG_OVER if is_long else SHORTEST <= len(text) <= LONGEST
            if fits and text not in seen:
                seen.add(text)
                sentences.append(sentence)
        rng.shuffle(sentences)
        sample[split] = sentences
    return sample


def make(rng: random.Random) -> tuple[Files, str]:
    """The files, with one ``character TAG`` a line and a blank line between sentences; and a table of counts."""
    sample = draw_sample(rng)
    files = {
        f"{split}.txt": "\n\n".join("\n".join(f"{char} {tag}" for char, tag in sentence) for sentence in sentences)
        + "\n"
        for split, sentences in sample.items()
    }
    return files, summary(sample)


def entities(sentence: Sentence) -> Iterator[tuple[str, str]]:
    """The (text, type) of each entity, read back from the tags."""
    text, entity_type = "", ""
    for char, tag in [*sentence, ("", "O")]:
        if text and not tag.startswith("I-"):
            yield text, entity_type
            text = ""
        if tag != "O":
            text, entity_type = text + char, tag[2:]


def summary(sample: dict[str, list[Sentence]]) -> str:
    """A table of counts, and of the share of entities of dev and test that are none in train."""
    rows = ["ner    sentences  without entity   PER   LOC   ORG  unseen mentions  unseen distinct"]
    known = {text for sentence in sample["train"] for text, _ in entities(sentence)}
    for split, sentences in sample.items():
        found = [list(entities(sentence)) for sentence in sentences]
        counts = Counter(entity_type for row in found for _, entity_type in row)
        mentions = [text for row in found for text, _ in row]
        row = f"{split:5}  {len(sentences):9}  {sum(not row for row in found):14}"
        row += "".join(f"  {counts[entity_type]:4}" for entity_type in ("PER", "LOC", "ORG"))
        if split != "train":
            for texts in (mentions, set(mentions)):
                row += f"  {sum(text not in known for text in texts) / len(texts):15.1%}"
        rows.append(row)
    return "\n".join(rows)
