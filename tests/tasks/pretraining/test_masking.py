"""Masked words: how many, which, and what stands in their place."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from tasks.pretraining.masking import Masking, choose, units_of

VOCABULARY = 1000
SPECIALS = range(5)  # of them, 4 is the mask
CERTAIN = 1e-6  # a test fails by chance this often


def masking(unit: str) -> Masking:
    special = np.zeros(VOCABULARY, bool)
    special[list(SPECIALS)] = True
    return Masking(unit=unit, mask_token_id=4, special=special)


def sequences(count: int, seed: int = 0) -> list[tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]]:
    """Ids in a frame with a separator in the middle and an unknown word, and where words of 1 to 4 tokens start."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        length = int(rng.integers(20, 128))
        ids = rng.integers(5, VOCABULARY, length).astype(np.int32)
        starts = rng.random(length) < 0.6
        for place, special in ((0, 0), (length // 2, 1), (length // 2 + 3, 3), (length - 1, 1)):
            ids[place] = special
            starts[place : place + 2] = True
        made.append((ids, starts))
    return made


def within_chance(successes: int, trials: int, probability: float) -> bool:
    return bool(stats.binomtest(successes, trials, probability).pvalue > CERTAIN)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["token", "word", "ngram"])
def test_the_ratios_are_those_of_the_papers_and_special_tokens_stay(unit: str) -> None:
    rng = np.random.default_rng(1)
    apply = masking(unit)
    maskable = masked = unchanged = strange = total = 0
    replacements: Counter[int] = Counter()
    for ids, starts in sequences(1700):
        result = apply(ids, starts, rng)
        before = ids[result.positions]
        assert (np.diff(result.positions) > 0).all()
        assert (result.words == before).all()
        assert (before > 4).all(), "special tokens are never to be predicted"
        others = np.delete(np.arange(len(ids)), result.positions)
        assert (result.ids[others] == ids[others]).all()
        after = result.ids[result.positions]
        words_of_specials = sum(int(end - start) for start, end in words(starts) if (ids[start:end] <= 4).any())
        maskable += len(ids) - (words_of_specials if unit != "token" else int((ids <= 4).sum()))
        total += len(before)
        masked += int((after == 4).sum())
        unchanged += int((after == before).sum())
        strange += int(((after != 4) & (after != before)).sum())
        replacements.update(after[(after != 4) & (after != before)].tolist())
    assert maskable > 100_000
    # Fewer successes vary less than independent draws would, so that the bound is a wide one for tokens.
    assert within_chance(total, maskable, 0.15)
    assert within_chance(masked, total, 0.8)
    assert within_chance(strange, total, 0.1 * (1 - 1 / (VOCABULARY - 5)))  # by chance, the word itself is drawn
    assert within_chance(unchanged, total, 0.1 + 0.1 / (VOCABULARY - 5))
    assert min(replacements) > 4, "special tokens never stand for a word"
    assert len(replacements) > 500


def words(starts: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    places = np.flatnonzero(starts).tolist()
    return list(zip(places, [*places[1:], len(starts)], strict=True))


@pytest.mark.parametrize("unit", ["word", "ngram"])
def test_words_are_masked_whole(unit: str) -> None:
    rng = np.random.default_rng(2)
    for ids, starts in sequences(300):
        chosen = set(masking(unit)(ids, starts, rng).positions.tolist())
        for start, end in words(starts):
            assert len(chosen & set(range(start, end))) in (0, end - start)


def test_tokens_are_masked_one_by_one() -> None:
    ids, starts = np.arange(5, 105, dtype=np.int32), np.zeros(100, bool)
    starts[0] = True
    assert len(masking("token")(ids, starts, np.random.default_rng(0)).positions) == 15


def test_ngrams_have_the_odds_of_the_paper_and_do_not_cross_special_tokens() -> None:
    rng = np.random.default_rng(3)
    lengths: Counter[int] = Counter()
    masked: Counter[int] = Counter()
    for _ in range(150):
        units = units_of(np.ones(600, bool), np.zeros(600, bool), rng)
        chosen = set(choose(units, 90, rng).tolist())
        lengths.update(end - start for start, end in units)
        masked.update(end - start for start, end in units if start in chosen)
    for counts in (lengths, masked):
        assert set(counts) == {1, 2, 3}
        for length in (1, 2, 3):  # p(n) = (1/n) / (1 + 1/2 + 1/3)
            assert within_chance(counts[length], sum(counts.values()), (1 / length) / (11 / 6))
    special = np.zeros(30, bool)
    special[[10, 20]] = True
    for _ in range(50):
        covered = sorted(place for unit in units_of(np.ones(30, bool), special, rng) for place in range(*unit))
        assert covered == [*range(10), *range(11, 20), *range(21, 30)]
