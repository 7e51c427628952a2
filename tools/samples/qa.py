"""The question sample: what people ask the departments of an invented city, 晴川市.

Under a department, a ``+`` line begins a subject with things that people want to do, and the ``!`` line below it says
how they put it when something is wrong. The frames turn either into a question.
"""

import random
from collections import Counter

from tools.samples.drawing import Chooser, Divided, Files, entries, hold_out_of_each, read_lists, read_material

SIZES = {"train": 480, "dev": 120, "test": 120}

Subject = tuple[str, dict[str, Divided[str]]]  # the department, and the phrases of each way of asking


def read_subjects(departments: dict[str, str], city: str, rng: random.Random) -> list[Subject]:
    """The subjects of all departments, with a part of their phrases held out of train."""
    subjects: list[Subject] = []
    for department, text in departments.items():
        lines = text.strip().split("\n")
        for wishes, problems in zip(lines[::2], lines[1::2], strict=True):
            phrases = {"wish": entries(wishes.removeprefix("+")), "problem": entries(problems.removeprefix("!"))}
            subjects.append((city + department, hold_out_of_each(phrases, rng)))
    return subjects


def make(rng: random.Random) -> tuple[Files, str]:
    """Lines of ``department question``, and their counts; no question occurs twice."""
    material = read_material("questions")
    frames = hold_out_of_each(read_lists(material["frames"]), rng)
    words: dict[str, Divided[str]] = {slot: (list_, []) for slot, list_ in read_lists(material["words"]).items()}
    subjects = read_subjects(material["departments"], material["city"], rng)
    seen: set[str] = set()
    files: Files = {}
    for split, size in SIZES.items():
        choices = Chooser(split=split, rng=rng)
        rows: list[str] = []
        while len(rows) < size:
            department, phrases = rng.choice(subjects)
            way = rng.choice(list(frames))
            question = choices.fill(choices.choose(frames[way]), words | {way: phrases[way]})
            if question not in seen:
                seen.add(question)
                rows.append(f"{department} {question}\n")
        files[f"{split}.txt"] = "".join(rows)
    return files, summary(files)


def summary(files: Files) -> str:
    rows = []
    for name, text in files.items():
        departments = Counter(line.split(" ")[0] for line in text.splitlines())
        least, most = min(departments.values()), max(departments.values())
        rows.append(f"qa/{name}: {departments.total()} questions, {least} to {most} for each of {len(departments)}")
    return "\n".join(rows)
