"""Write the bundled samples of three tasks: reviews, questions to a city's departments, questions on paragraphs.

    python -m tools.make_task_samples [--seed 2026] [--out tasks/samples]

Everything is made from templates and lists (``tools/sample_*.py``) and invented. A share of the templates and of the
lists is kept away from train, so that a model which only remembers words does worse on dev and test. The same seed
gives the same bytes.

The paragraphs come from descriptions of KINDS of things, in this notation::

    = {stem} Bridge | {stem} Viaduct             names that such a thing may have
    - {name} was built by {person} in {year}.    a sentence, and other ways of putting it on more such lines
    ? year: When was {name} built? | Since ...?  the slot that answers a question, and ways of asking it

The first sentence of a kind always stands, some of the others are left out, and what is asked about a sentence that was
left out is impossible to answer. ``{year}``, ``{year2}``, ... go up; other slots with a number only differ.
"""

import argparse
import json
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tools import sample_paragraphs_en as en
from tools import sample_paragraphs_zh as zh
from tools.make_ner_sample import expand, split_names
from tools.sample_questions import CITY, DISTRICTS, FRAMES, SUBJECTS
from tools.sample_reviews import ENGLISH, SIMPLIFIED, TRADITIONAL, Language
from tools.sample_text import SLOT, Divided, Drawer, Pools, divide, divide_all, parts

SIZES = {
    "classification": {"train": 900, "dev": 200, "test": 200},
    "qa": {"train": 480, "dev": 120, "test": 120},
    "span_qa": {"train": 60, "dev": 20, "test": 20},
}
FRESH_SHARE = 0.25  # how often dev and test use what is kept away from train
LABEL_WEIGHTS = {"positive": 0.38, "negative": 0.35, "neutral": 0.27}
REASON_SHARE = 0.6  # positive and negative reviews with one more sentence that says why
ASIDE_SHARE = 0.3  # reviews with a sentence that says nothing
TRADITIONAL_SHARE = 0.4  # of the Chinese texts
IMPOSSIBLE_EVERY = 5  # one question in so many cannot be answered
QUESTIONS = (3, 4, 4, 5)  # per paragraph

Sample = dict[str, str]  # file name -> its text


def drawer(split: str, rng: random.Random) -> Drawer:
    """What a split draws with."""
    return Drawer(rng=rng, fresh_share=0.0 if split == "train" else FRESH_SHARE)


# ----------------------------------------------------------------------------------------------- reviews


def polish(text: str) -> str:
    """Capitals at the beginning of sentences, and `an` before a vowel. Leaves Chinese as it is."""
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return re.sub(r"(?:^|[.!?] )[a-z]", lambda start: start[0].upper(), text)


def divide_language(
    language: Language, rng: random.Random
) -> tuple[dict[str, Divided[str]], list[dict[str, Divided[str]]]]:
    """The templates by label, and for each domain what the slots may hold."""
    words = divide_all(language.words, rng)
    return divide_all(language.templates, rng), [words | divide_all(domain, rng) for domain in language.domains]


def make_classification(rng: random.Random) -> Sample:
    """Reviews as JSON lines; the languages alternate, and no text occurs twice."""
    english, simplified, traditional = (
        divide_language(language, rng) for language in (ENGLISH, SIMPLIFIED, TRADITIONAL)
    )
    seen: set[str] = set()
    sample = {}
    for split, size in SIZES["classification"].items():
        draw = drawer(split, rng)
        rows: list[str] = []
        while len(rows) < size:
            chinese = traditional if rng.random() < TRADITIONAL_SHARE else simplified
            templates, domains = chinese if len(rows) % 2 else english
            label = rng.choices(list(LABEL_WEIGHTS), list(LABEL_WEIGHTS.values()))[0]
            domain = rng.choice(domains)
            sentences = [draw.pick(templates[label])]
            sentences += [f"{{{label}}}"] * (label in domain and rng.random() < REASON_SHARE)
            sentences += ["{aside}"] * (rng.random() < ASIDE_SHARE)
            # The one slot that means the same thing wherever it stands.
            template = ("" if len(rows) % 2 else " ").join(sentences).replace("{item}", draw.pick(domain["item"]))
            text = polish(draw.fill(template, domain))
            if text not in seen:
                seen.add(text)
                rows.append(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n")
        sample[f"{split}.jsonl"] = "".join(rows)
    return sample


# --------------------------------------------------------------------------------- questions by department


def make_qa(rng: random.Random) -> Sample:
    """Lines of `department question`; no question occurs twice."""
    frames = {way: divide(parts(text), rng) for way, text in FRAMES.items()}
    words: dict[str, Divided[str]] = {"district": (DISTRICTS, [])}
    subjects: list[tuple[str, dict[str, Divided[str]]]] = []
    for department, text in SUBJECTS.items():
        lines = [line.strip() for line in text.strip().split("\n")]
        for wishes, problems in zip(lines[::2], lines[1::2], strict=True):
            phrases = {"wish": parts(wishes.removeprefix("+")), "problem": parts(problems.removeprefix("!"))}
            subjects.append((CITY + department, divide_all(phrases, rng)))
    seen: set[str] = set()
    sample = {}
    for split, size in SIZES["qa"].items():
        draw = drawer(split, rng)
        rows: list[str] = []
        while len(rows) < size:
            department, phrases_by_way = rng.choice(subjects)
            way = rng.choice(list(FRAMES))
            question = draw.fill(draw.pick(frames[way]), words | {way: phrases_by_way[way]})
            if question not in seen:
                seen.add(question)
                rows.append(f"{department} {question}\n")
        sample[f"{split}.txt"] = "".join(rows)
    return sample


# ----------------------------------------------------------------------------------- questions on paragraphs


@dataclass(frozen=True)
class Fact:
    """One sentence of a paragraph: ways of putting it, and questions by the slot that answers them."""

    wordings: list[str] = field(default_factory=list)
    questions: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """What paragraphs of one kind can say; `names` is for the thing they are about."""

    names: list[str]
    facts: list[Fact] = field(default_factory=list)


def read_kinds(text: str) -> list[Kind]:
    """Reads the notation that the top of this file explains."""
    kinds: list[Kind] = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        mark, rest = line[0], line[2:]
        if mark == "=":
            kinds.append(Kind(parts(rest)))
            continue
        facts = kinds[-1].facts
        if mark == "-":
            if not facts or facts[-1].questions:
                facts.append(Fact())
            facts[-1].wordings.append(rest)
        else:
            slot, _, questions = rest.partition(": ")
            facts[-1].questions[slot] = parts(questions)
    return kinds


@dataclass(frozen=True)
class Teller:
    """What paragraphs of one language are made of."""

    kinds: Divided[Kind]
    pools: dict[str, Pools]  # by split
    joint: str  # between sentences


def make_teller(kinds: str, names: Pools, words: Pools, joint: str, rng: random.Random) -> Teller:
    """Divides names and kinds between the splits."""
    by_split = {split: words | part for split, part in split_names(names, rng).items()}
    return Teller(divide(read_kinds(kinds), rng), by_split, joint)


def draw_values(kind: Kind, pools: Pools, rng: random.Random) -> dict[str, str]:
    """What stands in each slot of the kind, no two of them equal, and its name."""
    name = rng.choice(kind.names)
    templates = [name, *(wording for fact in kind.facts for wording in fact.wordings)]
    values: dict[str, str] = {}
    for slot in dict.fromkeys(SLOT.findall(" ".join(templates))):
        while slot != "name" and (slot not in values or list(values.values()).count(values[slot]) > 1):
            values[slot] = expand(slot.rstrip("0123456789"), pools, rng)
    years = sorted(slot for slot in values if slot.startswith("year"))
    values |= zip(years, sorted(values[slot] for slot in years), strict=True)
    return values | {"name": name.format_map(values)}


def tell(kind: Kind, values: dict[str, str], joint: str, rng: random.Random) -> tuple[str, dict[str, int]]:
    """A context, and for each slot that it holds the character at which the slot's value first stands."""
    others = range(1, len(kind.facts))
    told = [0, *sorted(rng.sample(others, rng.randint(2, min(5, len(others) - 1))))]
    context, starts = "", dict[str, int]()
    for fact in (kind.facts[i] for i in told):
        sentence = joint if context else ""
        for i, piece in enumerate(SLOT.split(rng.choice(fact.wordings))):
            if i % 2:
                starts.setdefault(piece, len(context) + len(sentence))
                piece = values[piece]
            sentence += piece if sentence.strip() else piece[:1].upper() + piece[1:]
        context += sentence
    return context, starts


def ask(kind: Kind, starts: dict[str, int], flags: list[bool], rng: random.Random) -> list[tuple[str, str]]:
    """The slot and the words of a question for each flag, which says whether it is to be impossible."""
    questions = [(slot, rng.choice(ways)) for fact in kind.facts for slot, ways in fact.questions.items()]
    rng.shuffle(questions)
    possible = [entry for entry in questions if entry[0] in starts]
    impossible = [entry for entry in questions if entry[0] not in starts]
    return [(impossible if flag else possible).pop() for flag in flags]


def make_span_qa(rng: random.Random) -> Sample:
    """Paragraphs with questions in SQuAD's layout; the languages alternate, and no two share a name."""
    english = make_teller(en.KINDS, en.NAMES, en.WORDS, " ", rng)
    simplified = make_teller(zh.KINDS_SIMPLIFIED, zh.NAMES_SIMPLIFIED, zh.WORDS_SIMPLIFIED, "", rng)
    traditional = make_teller(zh.KINDS_TRADITIONAL, zh.NAMES_TRADITIONAL, zh.WORDS_TRADITIONAL, "", rng)
    titles: set[str] = set()
    sample = {}
    for split, size in SIZES["span_qa"].items():
        draw = drawer(split, rng)
        articles: list[dict[str, object]] = []
        asked = 0
        while len(articles) < size:
            chinese = traditional if rng.random() < TRADITIONAL_SHARE else simplified
            teller = chinese if len(articles) % 2 else english
            kind = draw.pick(teller.kinds)
            values = draw_values(kind, teller.pools[split], rng)
            title = values["name"][:1].upper() + values["name"][1:]
            if title in titles:
                continue
            titles.add(title)
            context, starts = tell(kind, values, teller.joint, rng)
            flags = [(asked + i) % IMPOSSIBLE_EVERY == 0 for i in range(1, rng.choice(QUESTIONS) + 1)]
            questions = []
            for flag, (slot, question) in zip(flags, ask(kind, starts, flags, rng), strict=True):
                asked += 1
                questions.append(
                    {
                        "id": f"{split}-{asked}",
                        "question": question.format_map(values),
                        "answers": [] if flag else [{"text": values[slot], "answer_start": starts[slot]}],
                        "is_impossible": flag,
                    }
                )
            articles.append({"title": title, "paragraphs": [{"context": context, "qas": questions}]})
        sample[f"{split}.json"] = json.dumps({"version": "v2.0", "data": articles}, ensure_ascii=False, indent=1) + "\n"
    return sample


# --------------------------------------------------------------------------------------- files and counts


def summary(samples: dict[str, Sample]) -> str:
    """How much is in each file."""
    rows = []
    for name, text in samples["classification"].items():
        labels = Counter(json.loads(line)["label"] for line in text.splitlines())
        rows.append(f"classification/{name}: {labels.total()} texts, {dict(sorted(labels.items()))}")
    for name, text in samples["qa"].items():
        departments = Counter(line.split(" ")[0] for line in text.splitlines())
        least, most = min(departments.values()), max(departments.values())
        rows.append(f"qa/{name}: {departments.total()} questions, {least} to {most} for each of {len(departments)}")
    for name, text in samples["span_qa"].items():
        paragraphs = [article["paragraphs"][0] for article in json.loads(text)["data"]]
        flags = Counter(question["is_impossible"] for paragraph in paragraphs for question in paragraph["qas"])
        rows.append(
            f"span_qa/{name}: {len(paragraphs)} paragraphs, {flags.total()} questions, {flags[True]} impossible"
        )
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> int:
    """Write the nine files and print their counts."""
    parser = argparse.ArgumentParser(description="Write the bundled samples of three tasks.")
    parser.add_argument("--seed", type=int, default=2026, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("tasks/samples"), help="default: %(default)s")
    args = parser.parse_args(argv)
    # Each sample has its own random numbers, so that a change in one leaves the others as they are.
    samples = {
        "classification": make_classification(random.Random(args.seed)),
        "qa": make_qa(random.Random(args.seed)),
        "span_qa": make_span_qa(random.Random(args.seed)),
    }
    try:
        for task, sample in samples.items():
            (args.out / task).mkdir(parents=True, exist_ok=True)
            for name, text in sample.items():
                (args.out / task / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        print(f"Cannot write the samples to {args.out}: {error.strerror or error}.", file=sys.stderr)
        return 2
    print(summary(samples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
