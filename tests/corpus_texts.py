"""Documents of a corpus for pre-training."""

import random

WORDS = ["臺北", "是", "首都", "小狗", "Ann", "sees", "the", "river", "unbelievably", "3.5", "(home)", "“yes”"]


def texts(count: int = 60) -> list[list[str]]:
    """Documents with sentences of all lengths; every tenth has no tokens."""
    rng = random.Random(0)

    def paragraph() -> str:
        lengths = [rng.choice([1, 3, 8, 40]) for _ in range(rng.randint(1, 5))]
        return "".join(" ".join(rng.choices(WORDS, k=length)) + rng.choice("。!;. ") for length in lengths)

    return [
        ["\u200b"] if number % 10 == 3 else [paragraph() for _ in range(rng.randint(1, 3))] for number in range(count)
    ]
