"""The paragraph sample: questions that a span of a paragraph answers, or that nothing in it answers.

A paragraph describes a thing of one of the kinds in the material, which are written in this notation::

    = {stem} Bridge | {stem} Viaduct             names that such a thing may have
    - {name} was built by {person} in {year}.    a sentence, and other wordings of it on more such lines
    ? year: When was {name} built? | Since ...?  the slot that answers a question, and ways of asking it

A paragraph always has the first sentence of its kind and some of the others. A question about a sentence that was left
out is impossible to answer. ``{year}``, ``{year2}``, ... are in ascending order; other numbered slots only differ.
"""

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tools.samples.drawing import (
    SLOT,
    Chooser,
    Divided,
    Files,
    Lists,
    entries,
    expand,
    hold_out,
    read_lists,
    read_material,
    split_names,
)

SIZES = {"train": 60, "dev": 20, "test": 20}
TRADITIONAL_SHARE = 0.4  # of the Chinese paragraphs
IMPOSSIBLE_EVERY = 5  # one question in so many cannot be answered
QUESTIONS = (3, 4, 4, 5)  # per paragraph

_CHINESE_NUMBERS = {
    "n": [str(n) for n in range(12, 99)],
    "big": [str(n) for n in range(1200, 60000, 1700)],
    "year": [f"{year}年" for year in range(1891, 2022)],
}
NUMBERS: dict[str, Lists] = {
    "english": {
        "n": [str(n) for n in range(12, 99)],
        "big": [f"{n},{rest}00" for n in range(2, 60, 5) for rest in range(1, 9, 3)],
        "year": [str(year) for year in range(1861, 2022)],
    },
    "simplified": _CHINESE_NUMBERS,
    "traditional": _CHINESE_NUMBERS,
}


@dataclass(frozen=True)
class Fact:
    """One sentence of a paragraph: its wordings, and questions by the slot that answers them."""

    wordings: list[str] = field(default_factory=list)
    questions: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """What paragraphs of one kind can say; `names` is for the thing they are about."""

    names: list[str]
    facts: list[Fact] = field(default_factory=list)


@dataclass(frozen=True)
class Language:
    """All the material for paragraphs in one language."""

    kinds: Divided[Kind]
    lists: dict[str, Lists]  # by split
    joint: str  # between sentences


def read_kinds(text: str) -> list[Kind]:
    """Reads the notation explained at the top of this file."""
    kinds: list[Kind] = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        mark, rest = line[0], line[2:]
        if mark == "=":
            kinds.append(Kind(entries(rest)))
            continue
        facts = kinds[-1].facts
        if mark == "-":
            if not facts or facts[-1].questions:
                facts.append(Fact())
            facts[-1].wordings.append(rest)
        else:
            slot, _, questions = rest.partition(": ")
            facts[-1].questions[slot] = entries(questions)
    return kinds


def read_language(name: str, rng: random.Random) -> Language:
    """Reads the material, divides the names between the splits and holds some kinds out of train."""
    material = read_material(f"paragraphs_{name}")
    words = NUMBERS[name] | read_lists(material["words"])
    lists = {split: words | names for split, names in split_names(read_lists(material["names"]), rng).items()}
    return Language(hold_out(read_kinds(material["kinds"]), rng), lists, " " if name == "english" else "")


def draw_values(kind: Kind, lists: Lists, rng: random.Random) -> dict[str, str]:
    """What fills each slot of the kind, no two of them equal, and its name."""
    name = rng.choice(kind.names)
    templates = [name, *(wording for fact in kind.facts for wording in fact.wordings)]
    values: dict[str, str] = {}
    for slot in dict.fromkeys(SLOT.findall(" ".join(templates))):
        while slot != "name" and (slot not in values or list(values.values()).count(values[slot]) > 1):
            values[slot] = expand(slot.rstrip("0123456789"), lists, rng)
    years = sorted(slot for slot in values if slot.startswith("year"))
    values |= zip(years, sorted(values[slot] for slot in years), strict=True)
    return values | {"name": name.format_map(values)}


def write_context(kind: Kind, values: dict[str, str], joint: str, rng: random.Random) -> tuple[str, dict[str, int]]:
    """A context, and for each slot in it the character at which the slot's value first begins."""
    others = range(1, len(kind.facts))
    chosen = [0, *sorted(rng.sample(others, rng.randint(2, min(5, len(others) - 1))))]
    context, starts = "", dict[str, int]()
    for fact in (kind.facts[i] for i in chosen):
        sentence = joint if context else ""
        for i, piece in enumerate(SLOT.split(rng.choice(fact.wordings))):
            if i % 2:
                starts.setdefault(piece, len(context) + len(sentence))
                piece = values[piece]
            sentence += piece if sentence.strip() else piece[:1].upper() + piece[1:]
        context += sentence
    return context, starts


def choose_questions(
    kind: Kind, starts: dict[str, int], impossible: list[bool], rng: random.Random
) -> list[tuple[str, str]]:
    """The slot and the wording of one question for each flag of `impossible`."""
    questions = [(slot, rng.choice(ways)) for fact in kind.facts for slot, ways in fact.questions.items()]
    rng.shuffle(questions)
    with_answer = [entry for entry in questions if entry[0] in starts]
    without_answer = [entry for entry in questions if entry[0] not in starts]
    return [(without_answer if flag else with_answer).pop() for flag in impossible]


def make(rng: random.Random) -> tuple[Files, str]:
    """Paragraphs in SQuAD's layout, and their counts. English and Chinese alternate; no two share a name."""
    english, simplified, traditional = (read_language(name, rng) for name in ("english", "simplified", "traditional"))
    titles: set[str] = set()
    files: Files = {}
    for split, size in SIZES.items():
        choices = Chooser(split=split, rng=rng)
        articles: list[dict[str, Any]] = []
        asked = 0
        while len(articles) < size:
            chinese = traditional if rng.random() < TRADITIONAL_SHARE else simplified
            language = chinese if len(articles) % 2 else english
            kind = choices.choose(language.kinds)
            values = draw_values(kind, language.lists[split], rng)
            title = values["name"][:1].upper() + values["name"][1:]
            if title in titles:
                continue
            titles.add(title)
            context, starts = write_context(kind, values, language.joint, rng)
            impossible = [(asked + i) % IMPOSSIBLE_EVERY == 0 for i in range(1, rng.choice(QUESTIONS) + 1)]
            questions = choose_questions(kind, starts, impossible, rng)
            qas = [
                {
                    "id": f"{split}-{number}",
                    "question": question.format_map(values),
                    "answers": [] if flag else [{"text": values[slot], "answer_start": starts[slot]}],
                    "is_impossible": flag,
                }
                for number, (flag, (slot, question)) in enumerate(
                    zip(impossible, questions, strict=True), start=asked + 1
                )
            ]
            asked += len(qas)
            articles.append({"title": title, "paragraphs": [{"context": context, "qas": qas}]})
        files[f"{split}.json"] = json.dumps({"version": "v2.0", "data": articles}, ensure_ascii=False, indent=1) + "\n"
    return files, summary(files)


def summary(files: Files) -> str:
    rows = []
    for name, text in files.items():
        paragraphs = [article["paragraphs"][0] for article in json.loads(text)["data"]]
        flags = Counter(question["is_impossible"] for paragraph in paragraphs for question in paragraph["qas"])
        rows.append(
            f"span_qa/{name}: {len(paragraphs)} paragraphs, {flags.total()} questions, {flags[True]} impossible"
        )
    return "\n".join(rows)
